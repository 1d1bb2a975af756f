"""The options of ``htunet_convert`` for a user's own images, and what they mean together."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_conversion import CONVERTERS
from htunet.errors import UsageError

if TYPE_CHECKING:
    from dataset_conversion.common import ConversionReport

FOLDERS = {
    "images": "folder of images at any depth: PNG, JPG, BMP, TIFF, GIF, WebP, DICOM, NIfTI, MHA, NRRD; a frame a case",
    "masks": "folder of their masks, named as the images with _mask, _seg, _tumor or the like added; may be the same",
    "nnunet": "an nnU-Net folder that cannot be used in place: NIfTI, JPEG, or a file for each channel",
    "test_images": "images of a test split of its own",
    "test_masks": "their masks",
}
ANNOTATIONS = {
    "annotations": (
        "--coco",
        "annotations of --images instead of --masks, files or folders: COCO, LabelMe, VIA (JSON, CSV), CVAT (XML); of "
        "several readers the majority counts",
    ),
    "test_annotations": ("--test-coco", "those of the test split"),
}
"""With the names of earlier versions."""
TEXTS = {
    "classes": (
        "CSV|REGEX",
        "class of each image: a table (image,class; any columns: FILE:COLUMN, FILE:IMAGES:COLUMN), or a pattern on its "
        "path: '(benign|malignant)'",
    ),
    "groups": (
        "CSV|REGEX",
        "patient of each image: a table (image,group), or a pattern; default: what DICOM headers say",
    ),
    "spacing": (
        "MM|CSV",
        "side of a pixel in millimetres, of all images, or a table (image,spacing_mm); default: what headers say",
    ),
    "folds": (
        "CSV|REGEX",
        "official folds: train, val, test or a number of each image, a table (image,fold) or a pattern",
    ),
    "labels": ("MAP", 'what mask values mean: "lesion=1,cyst=2", "lesion=#ff0000", or a JSON file; default: inferred'),
}
OF_CONVERTERS = ("crop_overlays", "drop_empty_slices", "min_side", "translations", "translate", "source")
"""Options of ``htunet_convert`` that only some data sets have a use for."""
POSITIVE = "of two classes the one that recall, precision and F1 are of (default: not benign, normal or the like)"
OWN = (*FOLDERS, *ANNOTATIONS, "annotator", *TEXTS, "pairs", "positive", "fill_outlines")


def add_own_options(parser: argparse.ArgumentParser) -> None:
    """The options for images that no converter knows; instead of DATASET and SOURCE."""
    group = parser.add_argument_group(
        "your own images",
        "instead of DATASET and SOURCE; --name MYDATA names them and gets the next free number from 600",
    )
    for name, text in FOLDERS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar="DIR", type=Path, help=text)
    for name, (former, text) in ANNOTATIONS.items():
        option = f"--{name.replace('_', '-')}"
        group.add_argument(option, former, dest=name, nargs="+", metavar="PATH", type=Path, help=text)
    group.add_argument("--annotator", metavar="NAME", default="", help="the reader whose --annotations are taken")
    group.add_argument(
        "--pairs",
        nargs="+",
        metavar="CSV|PATTERN",
        help="which masks belong to which images, where the names do not say it: a table (columns image, mask), or two "
        "patterns such as 'bus_{id}' 'mask_{id}'",
    )
    for name, (metavar, text) in TEXTS.items():
        group.add_argument(f"--{name}", metavar=metavar, default="", help=text)
    group.add_argument("--positive", metavar="CLASS", default="", help=POSITIVE)
    outlines = "masks show outlines alone: what they enclose belongs to them"
    group.add_argument("--fill-outlines", action="store_true", default=None, help=outlines)


def own_options(options: argparse.Namespace) -> list[str]:
    """Those that the user gave, as typed."""
    return [f"--{name.replace('_', '-')}" for name in OWN if getattr(options, name) not in (None, "")]


def convert_own_images(options: argparse.Namespace) -> "ConversionReport":
    """Convert what the options name; raises UsageError where they do not go together."""
    from dataset_conversion.own_images.convert import convert_own
    from dataset_conversion.own_images.options import OwnData

    given = own_options(options)
    if options.dataset is not None:
        why = f"{options.dataset} is no data set of --list; your own gets its name by --name {options.dataset}."
        if options.dataset in CONVERTERS:
            why = f"{options.dataset} has a converter: drop them."
        raise UsageError(f"{', '.join(given)} are for images of your own; {why}")
    if other := [f"--{name.replace('_', '-')}" for name in OF_CONVERTERS if getattr(options, name, None)]:
        raise UsageError(
            f"{', '.join(other)} is for the data sets of --list, not for images of your own: leave it out."
        )
    if not options.name:
        raise UsageError("Name your data set: --name MYDATA.")
    if len(options.pairs or ()) > 2:
        raise UsageError(f"--pairs takes a table or two patterns, got {len(options.pairs)} words. Put each in quotes.")
    paths = {name: getattr(options, name) for name in FOLDERS}
    texts = {name: getattr(options, name) for name in TEXTS}
    paths |= {name: tuple(getattr(options, name) or ()) for name in ANNOTATIONS}
    texts |= {"annotator": options.annotator, "positive": options.positive}
    shared = {"fit_masks": options.fit_masks, "workers": options.workers}
    shared["fill_outlines"] = bool(options.fill_outlines)
    return convert_own(OwnData(name=options.name, pairs=tuple(options.pairs or ()), **paths, **texts, **shared))
