"""The options of ``htunet_convert`` for a user's own images, and what they mean together."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_conversion import CONVERTERS
from htunet.cli.arguments import settings_from
from htunet.errors import UsageError, option

if TYPE_CHECKING:
    from dataset_conversion.common import ConversionReport

FOLDERS = {
    "images": (
        "folder of images, with or without subfolders: PNG, JPG, BMP, TIFF, GIF, WebP, DICOM, NIfTI, MHA, NRRD; each "
        "frame or slice becomes a case"
    ),
    "masks": (
        "folder of the masks, named like the images, with or without _mask, _seg or similar; may be the same folder"
    ),
    "nnunet": "nnU-Net data set that htunet cannot use without conversion: NIfTI, JPEG, or one file for each channel",
    "test_images": "folder of the test images, for a test split of your own (default: planning splits --images)",
    "test_masks": "folder of the masks of --test-images",
}
ANNOTATIONS = {
    "annotations": (
        "--coco",
        "annotations of --images, instead of --masks; files or folders of COCO, LabelMe, VIA (JSON, CSV) or CVAT "
        "(XML). One path for each reader: the majority of the readers decides about a pixel",
    ),
    "test_annotations": ("--test-coco", "annotations of --test-images"),
}
"""Each with its option name in earlier versions."""
TEXTS = {
    "classes": (
        "CSV|REGEX",
        "class of each image: a table with the columns image and class (FILE:COLUMN or FILE:IMAGES:COLUMN names other "
        "columns), or a regular expression that is searched in the path, such as '(benign|malignant)'",
    ),
    "groups": (
        "CSV|REGEX",
        "patient of each image: a table with the columns image and group, or a regular expression (default: the "
        "patient in the DICOM headers)",
    ),
    "spacing": (
        "MM|CSV",
        "side of a pixel in millimetres, such as 0.1, or its height and width, such as '0.1 0.2': for all images, or a "
        "table with the columns image and spacing_mm (default: the pixel size in the file headers)",
    ),
    "folds": (
        "CSV|REGEX",
        "official folds: train, val, test or a number for each image, as a table with the columns image and fold or a "
        "regular expression",
    ),
    "labels": (
        "MAP",
        'label of each mask value: "lesion=1,cyst=2", "lesion=1+2", "lesion=#ff0000", or a JSON file '
        "(default: inferred from the masks)",
    ),
}
OF_CONVERTERS = ("crop_overlays", "drop_empty_slices", "min_side", "translations", "translate", "source")
"""Options of ``htunet_convert`` that apply to some published data sets only."""
POSITIVE = (
    "positive one of two classes, for which recall, precision and F1 are computed (default: the one that is not called "
    "benign, normal or similar)"
)
OWN = (*FOLDERS, *ANNOTATIONS, "annotator", *TEXTS, "pairs", "positive", "fill_outlines")


def add_own_options(parser: argparse.ArgumentParser, others: str) -> None:
    """The options for a user's own images, in place of what names the ``others``."""
    group = parser.add_argument_group(
        "your own images",
        f"Instead of {others}. --name MYDATA names the data set; it gets the next free number from 600.",
    )
    for name, text in FOLDERS.items():
        group.add_argument(option(name), metavar="DIR", type=Path, help=text)
    for name, (former, text) in ANNOTATIONS.items():
        group.add_argument(option(name), former, dest=name, nargs="+", metavar="PATH", type=Path, help=text)
    annotator = "use the --annotations of this reader alone (default: the majority of the readers)"
    group.add_argument("--annotator", metavar="NAME", default="", help=annotator)
    group.add_argument(
        "--pairs",
        nargs="+",
        metavar="CSV|PATTERN",
        help="which mask belongs to which image, if their names do not show it: a table with the columns image and "
        "mask, or two patterns such as 'bus_{id}' 'mask_{id}'",
    )
    for name, (metavar, text) in TEXTS.items():
        group.add_argument(f"--{name}", metavar=metavar, default="", help=text)
    group.add_argument("--positive", metavar="CLASS", default="", help=POSITIVE)
    outlines = "the masks are outlines: fill them"
    group.add_argument("--fill-outlines", action="store_true", default=None, help=outlines)


def own_options(options: argparse.Namespace) -> list[str]:
    """The options for own images that the user gave, as typed."""
    return [option(name) for name in OWN if getattr(options, name) not in (None, "")]


def convert_own_images(options: argparse.Namespace) -> "ConversionReport":
    """Convert the user's images; raises UsageError for options that exclude each other."""
    from dataset_conversion.own_images.convert import convert_own
    from dataset_conversion.own_images.options import OwnData

    given = own_options(options)
    if options.dataset is not None:
        why = f"{options.dataset} is not a data set of --list; to name your own write --name {options.dataset}."
        if options.dataset in CONVERTERS:
            why = f"{options.dataset} has a converter: omit them."
        raise UsageError(f"{', '.join(given)} are for images of your own; {why}")
    if other := [option(name) for name in OF_CONVERTERS if getattr(options, name, None)]:
        raise UsageError(f"{', '.join(other)} is for the data sets of --list, not for images of your own: omit it.")
    if not options.name:
        raise UsageError("Name your data set: --name MYDATA.")
    if len(options.pairs or ()) > 2:
        raise UsageError(f"--pairs takes a table or two patterns, got {len(options.pairs)} words. Put each in quotes.")
    for name in ("pairs", *ANNOTATIONS):
        setattr(options, name, tuple(getattr(options, name) or ()))
    options.fill_outlines = bool(options.fill_outlines)
    return convert_own(settings_from(OwnData, options))
