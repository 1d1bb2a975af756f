"""Lymph nodes, LN-INT and LN-EXT: in-house sets of the paper, so the layout is htunet's own.

LN/  benign/{images,masks}/NAME.png  malignant/{images,masks}/NAME.png  patients.csv (image, patient; may be absent)
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dataset_conversion.common import (
    Collected,
    ConversionReport,
    Converter,
    ImageWithMasks,
    Options,
    SourceFacts,
    convert_images,
    write_image_with_masks,
)
from dataset_conversion.crop_sheet import write_crop_sheet
from dataset_conversion.patients import PATIENTS, with_patients
from dataset_conversion.source import Layout
from htunet.data.image_io import READABLE
from htunet.data.raw import Case, Excluded
from htunet.data.splits import TEST_ONLY

CLASSES = {"benign": 0, "malignant": 1}
IMAGES, MASKS = "images", "masks"
JPEG = (".jpg", ".jpeg")
JPEG_THRESHOLD = 127
"""JPEG spreads the two values of a mask by some ten gray values."""
ENDINGS = "|".join(ending.removeprefix(".") for ending in READABLE)
PAPER = "arXiv 2506.08849 (the paper of the method that htunet implements), section III-A"
IN_HOUSE = "in-house, not distributed; images of your own have your own terms"
OWN_LAYOUT = (
    "nothing public; put images of your own into benign/images and malignant/images, each mask under the same name "
    "into benign/masks and malignant/masks, and the patients into patients.csv (columns image, patient)"
)

LN_INT = SourceFacts(
    dataset="Dataset501_LN-INT",
    title="Lymph node ultrasound images of one centre with node masks, classes benign and malignant",
    licence=IN_HOUSE,
    home="https://arxiv.org/abs/2506.08849",
    citation=PAPER,
    download=OWN_LAYOUT,
    expected={"benign": 785, "malignant": 488},
    split_rule="8:1:1",
    classes=CLASSES,
)
LN_EXT = SourceFacts(
    dataset="Dataset502_LN-EXT",
    title="Lymph node ultrasound images of a second centre, to test what was trained on LN-INT",
    licence=IN_HOUSE,
    home="https://arxiv.org/abs/2506.08849",
    citation=PAPER,
    download=OWN_LAYOUT,
    expected={"benign": 190, "malignant": 184},
    split_rule=TEST_ONLY,
    classes=CLASSES,
)


def is_here(folder: Path) -> bool:
    """Does ``folder`` hold the images of at least one class?"""
    places = (folder / name / IMAGES for name in CLASSES)
    return any(_is_image(path) for place in places if place.is_dir() for path in place.iterdir())


LAYOUT = Layout(
    looked_for="a folder with benign/images/NAME.png, benign/masks/NAME.png and the same in malignant/",
    is_here=is_here,
    member=re.compile(rf"(^|/)(benign|malignant)/{IMAGES}/[^/]+\.({ENDINGS})$", re.IGNORECASE),
)


def convert_lymph_node(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder``, which holds benign/ and malignant/; raises HtunetError as ``convert_images``."""
    collected = collect(folder, fit_masks=options.fit_masks, crop_overlays=options.crop_overlays)
    finish = partial(write_crop_sheet, jobs=collected.jobs) if options.crop_overlays else None
    return convert_images(folder, facts, collected, write_image_with_masks, workers=options.workers, finish=finish)


LN_INT_CONVERTER = Converter(facts=LN_INT, layout=LAYOUT, run=convert_lymph_node, takes=frozenset({"crop_overlays"}))
LN_EXT_CONVERTER = replace(LN_INT_CONVERTER, facts=LN_EXT)


def collect(folder: Path, *, fit_masks: bool = False, crop_overlays: bool = False) -> Collected[ImageWithMasks]:
    """The cases of both classes, and every other file with the reason why it is none.

    Cases are numbered by class in the natural order of the file names (2 before 10), which need not be plain. Raises
    HtunetError when ``patients.csv`` is there and lacks an image.
    """
    classes = {name: _scan(folder, name) for name in CLASSES}
    known = {*CLASSES, PATIENTS}
    excluded = [_leave(folder, path, "", STRAY) for path in sorted(folder.iterdir()) if path.name not in known]
    jobs: list[ImageWithMasks] = []
    for name, files in classes.items():
        excluded += files.excluded
        for found in _pair(folder, name, files):
            if isinstance(found, Excluded):
                excluded.append(found)
            else:
                image, mask, case = found
                threshold = JPEG_THRESHOLD if mask.suffix.lower() in JPEG else 0
                job = ImageWithMasks(
                    case=case,
                    image=image,
                    masks=(mask,),
                    fit_masks=fit_masks,
                    threshold=threshold,
                    crop_overlays=crop_overlays,
                )
                jobs.append(job)
    notes: list[str] = []
    if (folder / PATIENTS).is_file():
        jobs, notes = with_patients(jobs, folder / PATIENTS)
    counts = {name: len(files.images) for name, files in classes.items()}
    return Collected(jobs=jobs, found=counts, excluded=excluded, notes=notes)


STRAY = "not a file of the data set"


@dataclass
class _ClassFiles:
    """The files of one class by their names without the ending."""

    images: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    excluded: list[Excluded] = field(default_factory=list)


def _scan(base: Path, class_name: str) -> _ClassFiles:
    files = _ClassFiles()
    children = sorted((base / class_name).iterdir()) if (base / class_name).is_dir() else []
    for child in children:
        if child.is_dir() and child.name in (IMAGES, MASKS):
            known = files.images if child.name == IMAGES else files.masks
            for path in sorted(child.iterdir()):
                if not _is_image(path):
                    files.excluded.append(_leave(base, path, class_name, STRAY))
                elif (first := known.setdefault(unicodedata.normalize("NFC", path.stem), path)) is not path:
                    reason = f"a second file of the name, beside {first.name}"
                    files.excluded.append(_leave(base, path, class_name, reason))
        else:
            files.excluded.append(_leave(base, child, class_name, STRAY))
    return files


def _pair(base: Path, class_name: str, files: _ClassFiles) -> Iterator[tuple[Path, Path, Case] | Excluded]:
    for number, name in enumerate(sorted(files.images, key=_natural), start=1):
        image, mask = files.images[name], files.masks.get(name)
        if mask is None:
            yield _leave(base, image, class_name, "an image without a mask")
        else:
            source = image.relative_to(base).as_posix()
            yield image, mask, Case(id=f"{class_name}_{number:04d}", class_name=class_name, source=source)
    for name in sorted(set(files.masks) - set(files.images)):
        yield _leave(base, files.masks[name], class_name, "a mask without an image")


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers in names by their value, whatever their zeros."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts], name


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE and not path.name.startswith(".") and path.is_file()


def _leave(base: Path, path: Path, class_name: str, reason: str) -> Excluded:
    return Excluded(source=path.relative_to(base).as_posix(), class_name=class_name, reason=reason)
