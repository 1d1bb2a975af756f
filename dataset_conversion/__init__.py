"""From the files that a user downloads to the raw folder: one module a data set. To add one, add a line below."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from htunet.errors import UsageError, option
from htunet.paths import DatasetPaths
from htunet.registry import Registry

if TYPE_CHECKING:
    from dataset_conversion.common import ConversionReport, Converter, Options

CONVERTERS: "Registry[Converter]" = Registry(
    "data set to convert",
    {
        "BUSI": "dataset_conversion.busi:BUSI_CONVERTER",
        "CURD": "dataset_conversion.captions.curd:CONVERTER",
        "DDTI": "dataset_conversion.ddti:CONVERTER",
        "LN-EXT": "dataset_conversion.lymph_node:LN_EXT_CONVERTER",
        "LN-INT": "dataset_conversion.lymph_node:LN_INT_CONVERTER",
        "MedPix": "dataset_conversion.captions.medpix:CONVERTER",
        "PMC-OA": "dataset_conversion.captions.pmc_oa:CONVERTER",
        "Phantom": "dataset_conversion.busi:PHANTOM_CONVERTER",
        "PhantomCaptions": "dataset_conversion.captions.phantom_captions:CONVERTER",
        "Prostate": "dataset_conversion.prostate:CONVERTER",
        "Shards": "dataset_conversion.captions.make_shards:CONVERTER",
        "TN3K": "dataset_conversion.tn3k:CONVERTER",
    },
    group="htunet.datasets",
)
"""Converters by the short name of the data set, which follows the number in ``facts.dataset``."""


def convert(name: str, source: Path, options: "Options") -> "ConversionReport":
    """Convert what the user downloaded to the raw folder of data set ``name`` (short, such as ``BUSI``).

    Raises UsageError for an unknown name, a wrong full name, an option that the data set has no use for, or a missing
    source, HtunetError for everything that is wrong with the files as a whole. On any error the raw folder stays as it
    was.
    """
    from dataset_conversion.source import open_source

    converter = CONVERTERS[name]
    for given in sorted(options.chosen() - converter.general - converter.takes):
        known = [other for other in CONVERTERS.names() if given in CONVERTERS[other].general | CONVERTERS[other].takes]
        raise UsageError(f"{option(given)} does nothing for {name}; it is for {', '.join(known)}.")
    facts = replace(converter.facts, dataset=options.name) if options.name else converter.facts
    DatasetPaths(facts.dataset)  # a wrong name raises before a large zip is unpacked
    with open_source(source, converter.layout) as folder:
        report = converter.run(folder, facts, options)
    return replace(report, source=source)
