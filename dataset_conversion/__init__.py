"""One module per data set: from the files that a user downloads to the raw folder.

Importing a converter's module registers it; each has one line here.
"""

from dataset_conversion import busi as busi
from dataset_conversion import ddti as ddti
from dataset_conversion import lymph_node as lymph_node
from dataset_conversion import prostate as prostate
from dataset_conversion import tn3k as tn3k
from dataset_conversion.captions import curd as curd
from dataset_conversion.captions import medpix as medpix
from dataset_conversion.captions import phantom_captions as phantom_captions
from dataset_conversion.captions import pmc_oa as pmc_oa
