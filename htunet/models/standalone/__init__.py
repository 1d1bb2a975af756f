"""Networks of their own, the paper's baselines. To add one: write a module here and import it below."""

from htunet.models.standalone import clipseg as _clipseg  # noqa: F401  (registers its entries)
from htunet.models.standalone import dinov2 as _dinov2  # noqa: F401
from htunet.models.standalone import resnet as _resnet  # noqa: F401
from htunet.models.standalone import unet as _unet  # noqa: F401
from htunet.models.standalone.base import STANDALONE, Standalone

__all__ = ["STANDALONE", "Standalone"]
