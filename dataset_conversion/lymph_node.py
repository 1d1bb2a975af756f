"""Lymph nodes, LN-INT and LN-EXT: in-house sets of the paper, so the layout is htunet's own.

LN/  benign/{images,masks}/NAME.png  malignant/{images,masks}/NAME.png  patients.csv (image, patient; may be absent)
"""

import re
import unicodedata
from dataclasses import replace
from functools import partial
from pathlib import Path

from dataset_conversion.common import (
    CLASSES,
    LOSSY_THRESHOLD,
    Collected,
    ConversionReport,
    Converter,
    Exclusions,
    ImageWithMasks,
    Options,
    SourceFacts,
    convert_images,
    source_of,
    write_image_with_masks,
)
from dataset_conversion.crop_sheet import write_crop_sheet
from dataset_conversion.patients import PATIENTS, with_patients
from dataset_conversion.source import Layout
from htunet.data.image_io import READABLE
from htunet.data.raw import Case
from htunet.data.splits import TEST_ONLY

IMAGES, MASKS = "images", "masks"
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
LN_EXT = replace(
    LN_INT,
    dataset="Dataset502_LN-EXT",
    title="Lymph node ultrasound images of a second centre, to test what was trained on LN-INT",
    expected={"benign": 190, "malignant": 184},
    split_rule=TEST_ONLY,
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
    finish = partial(write_crop_sheet, jobs=[*collected.jobs]) if options.crop_overlays else None
    write, workers = write_image_with_masks, options.workers
    return convert_images(folder, facts, collected, write, workers=workers, finish=finish, threads=True)


LN_INT_CONVERTER = Converter(facts=LN_INT, layout=LAYOUT, run=convert_lymph_node, takes=frozenset({"crop_overlays"}))
LN_EXT_CONVERTER = replace(LN_INT_CONVERTER, facts=LN_EXT)


def collect(folder: Path, *, fit_masks: bool = False, crop_overlays: bool = False) -> Collected[ImageWithMasks]:
    """The cases of both classes, and every other file with the reason why it is none.

    Cases are numbered by class in the natural order of the file names (2 before 10), which need not be plain. Raises
    HtunetError when ``patients.csv`` is there and lacks an image.
    """
    exclusions = Exclusions(folder)
    exclusions.add_unknown(folder, {folder / name for name in (*CLASSES, PATIENTS)})
    jobs: list[ImageWithMasks] = []
    counts, notes = {}, list[str]()
    for class_name in CLASSES:
        files: dict[str, dict[str, Path]] = {IMAGES: {}, MASKS: {}}
        place = folder / class_name
        for child in sorted(place.iterdir()) if place.is_dir() else []:
            if not child.is_dir() or child.name not in files:
                exclusions.add(child, class_name=class_name)
                continue
            known = files[child.name]
            for path in sorted(child.iterdir()):
                if not _is_image(path):
                    exclusions.add(path, class_name=class_name)
                elif (first := known.setdefault(unicodedata.normalize("NFC", path.stem), path)) is not path:
                    exclusions.add(path, f"a second file of the name, beside {first.name}", class_name)
        images, masks = files[IMAGES], files[MASKS]
        counts[class_name] = len(images)
        for name in sorted(set(masks) - set(images)):
            exclusions.add(masks[name], "a mask without an image", class_name)
        for number, name in enumerate(sorted(images, key=_natural), start=1):
            if name not in masks:
                exclusions.add(images[name], "an image without a mask", class_name)
                continue
            source = source_of(folder, images[name])
            job = ImageWithMasks(
                case=Case(id=f"{class_name}_{number:04d}", class_name=class_name, source=source),
                image=images[name],
                masks=(masks[name],),
                threshold=LOSSY_THRESHOLD,
                fit_masks=fit_masks,
                crop_overlays=crop_overlays,
            )
            jobs.append(job)
    if (folder / PATIENTS).is_file():
        jobs, notes = with_patients(jobs, folder / PATIENTS)
    return Collected(jobs=jobs, found=counts, excluded=exclusions.items, notes=notes)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers in names by their value, whatever their zeros."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts], name


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE and not path.name.startswith(".") and path.is_file()
