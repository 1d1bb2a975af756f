"""BUSI, breast lesions: ``benign/benign (1).png`` with one or more masks ``benign (1)_mask.png``, ``_mask_1.png``.

The phantom of the demo is written in the same layout, with a table ``patients.csv`` beside the class folders.
"""

import re
from collections import defaultdict
from pathlib import Path

from dataset_conversion.common import (
    CLASSES,
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
from dataset_conversion.patients import PATIENTS, with_patients
from dataset_conversion.source import Layout
from htunet.data.image_io import READABLE
from htunet.data.raw import Case

NORMAL = "normal"
FILE = re.compile(r"(?P<class>benign|malignant|normal) ?\((?P<number>\d+)\)(?P<mask>_mask(_\d+)?)?", re.IGNORECASE)

BUSI = SourceFacts(
    dataset="Dataset503_BUSI",
    title="Breast ultrasound images with lesion masks, classes benign and malignant",
    licence="not stated with the files; ask the authors before any use beyond research",
    home="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    citation=(
        "Al-Dhabyani W, Gomaa M, Khaled H, Fahmy A: Dataset of breast ultrasound images. "
        "Data in Brief 28, 104863 (2020). https://doi.org/10.1016/j.dib.2019.104863"
    ),
    download="Dataset_BUSI.zip, or its folder Dataset_BUSI_with_GT with benign/, malignant/ and normal/",
    expected={"benign": 437, "malignant": 210, NORMAL: 133},
    split_rule="8:1:1",
    classes=CLASSES,
)
PHANTOM = SourceFacts(
    dataset="Dataset509_Phantom",
    title="Synthetic ultrasound images with lesion masks, classes benign and malignant",
    licence="Apache-2.0, as htunet",
    home="made by htunet itself",
    citation="",
    download="nothing: htunet_demo makes it, in the layout of BUSI with a patients.csv",
    split_rule="8:1:1",
    classes=CLASSES,
)


def is_here(folder: Path) -> bool:
    """Does ``folder`` hold the folders of both lesion classes, with at least one image of the data set in them?"""
    folders = _class_folders(folder)
    return set(CLASSES) <= set(folders) and any(_parse(path) for name in CLASSES for path in folders[name].iterdir())


LAYOUT = Layout(
    looked_for="a folder with the folders benign/ and malignant/ that hold files such as 'benign (1).png'",
    is_here=is_here,
    member=re.compile(r"(benign|malignant) ?\(\d+\)", re.IGNORECASE),
)


def convert_busi(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder``, which holds the class folders; raises HtunetError as ``convert_images``."""
    return convert_images(
        folder,
        facts,
        collect(folder, fit_masks=options.fit_masks),
        write_image_with_masks,
        workers=options.workers,
        threads=True,
    )


BUSI_CONVERTER = Converter(facts=BUSI, layout=LAYOUT, run=convert_busi)
PHANTOM_CONVERTER = Converter(facts=PHANTOM, layout=LAYOUT, run=convert_busi)


def collect(folder: Path, *, fit_masks: bool = False) -> Collected[ImageWithMasks]:
    """The cases of the lesion classes, and every other file with the reason why it is none.

    Normal images have no lesion and belong to neither class; they are excluded. Raises HtunetError when
    ``patients.csv`` is there and lacks an image.
    """
    folders = _class_folders(folder)
    exclusions = Exclusions(folder)
    exclusions.add_unknown(folder, {*folders.values(), folder / PATIENTS})
    jobs, found, notes = [], {}, list[str]()
    for class_name in (name for name in (*CLASSES, NORMAL) if name in folders):
        images: dict[int, Path] = {}
        masks: dict[int, list[Path]] = defaultdict(list)
        for path in sorted(folders[class_name].iterdir()):
            match = _parse(path)
            if match is None:
                exclusions.add(path)
                continue
            number = int(match["number"])
            if match["class"].lower() != class_name:
                exclusions.add(path, f"its name says {match['class'].lower()}, its folder {class_name}", class_name)
            elif match["mask"]:
                masks[number].append(path)
            elif (first := images.setdefault(number, path)) is not path:
                exclusions.add(path, f"a second image with the number {number}, beside {first.name}", class_name)
        found[class_name] = len(images)
        for mask in (mask for number in sorted(masks) if number not in images for mask in masks[number]):
            exclusions.add(mask, "a mask without an image", class_name)
        for number, image in sorted(images.items()):
            if class_name == NORMAL:
                exclusions.add(image, "normal: no lesion, so neither benign nor malignant", class_name)
            elif number not in masks:
                exclusions.add(image, "an image without a mask", class_name)
            else:
                case = Case(id=f"{class_name}_{number:04d}", class_name=class_name, source=source_of(folder, image))
                jobs.append(ImageWithMasks(case=case, image=image, masks=tuple(masks[number]), fit_masks=fit_masks))
    if (folder / PATIENTS).exists():
        jobs, notes = with_patients(jobs, folder / PATIENTS)
    return Collected(jobs=jobs, found=found, excluded=exclusions.items, notes=notes)


def _class_folders(folder: Path) -> dict[str, Path]:
    known = (*CLASSES, NORMAL)
    return {child.name.lower(): child for child in folder.iterdir() if child.name.lower() in known and child.is_dir()}


def _parse(path: Path) -> re.Match[str] | None:
    return FILE.fullmatch(path.stem) if path.suffix.lower() in READABLE and path.is_file() else None
