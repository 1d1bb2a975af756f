"""What the attack on converters damages: a small sound download for every converter, and the command for it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.busi import build_busi
from builders.curd import build_curd
from builders.ddti import build_ddti_png, build_ddti_xml
from builders.lymph_node import build_lymph_node
from builders.medical import us_region, write_dicom, write_nifti
from builders.medpix import build_medpix, build_medpix_table
from builders.own import build_own, labelled
from builders.pmc_oa import build_pmc_oa
from builders.prostate import build_prostate
from builders.tn3k import build_tn3k
from dataset_conversion import CONVERTERS
from dataset_conversion.phantom.scan import write_phantom

OWN = "own images"
"""In the place of a converter's name: the general converter."""
NAMES = ("case 1", "left/case 2", "结节 3")


@dataclass(frozen=True)
class Subject:
    """One form of download. ``build`` fills a folder; ``command`` converts it, or a zip of it."""

    converter: str
    build: Callable[[Path], object]
    command: Callable[[Path], list[str]]
    foreign: bool = False
    """The download is another data set's: the converter may refuse it, but in an orderly way."""

    @property
    def takes_zip(self) -> bool:
        return self.converter != OWN


def of(converter: str, build: Callable[[Path], object], *options: str) -> Subject:
    """The download of a converter that ``htunet_convert`` knows by name."""
    return Subject(converter, build, lambda source: [converter, str(source), *options])


def own(build: Callable[[Path], object], *options: str) -> Subject:
    """Images of a user; in ``options`` SOURCE stands for the folder."""
    return Subject(
        OWN, build, lambda source: ["--name", "Mine", *(word.replace("SOURCE", str(source)) for word in options)]
    )


def build_classes(folder: Path) -> None:
    """Images, masks, and tables of classes and patients."""
    build_own(folder, NAMES, labels=2, values=(100, 200))
    rows = [("image", "class", "group"), *((f"{name}.png", "ab"[i % 2], f"p{i}") for i, name in enumerate(NAMES))]
    (folder / "table.csv").write_text("\n".join(",".join(row) for row in rows), encoding="utf-8-sig")


def build_stacks(folder: Path) -> None:
    """A NIfTI volume, a DICOM cine loop and a DICOM image, each with its mask."""
    images, masks = folder / "images", folder / "masks"
    for place in (images, masks):
        place.mkdir(parents=True)
    volume, mask = (np.stack(column) for column in zip(*(labelled(1, seed) for seed in range(2)), strict=True))
    write_nifti(images / "a.nii.gz", volume, (0.4, 0.4, 1.0))
    write_nifti(images / "b.nii", volume[0])
    write_dicom(images / "c.dcm", volume, PatientID="7")
    write_dicom(images / "d.dcm", volume[0], SequenceOfUltrasoundRegions=[us_region((0.01, 0.01))])
    for name, array in (("a.nii.gz", mask), ("b.nii", mask[0]), ("c.nii.gz", mask), ("d.nii.gz", mask[0])):
        write_nifti(masks / name, array)


def build_coco(folder: Path) -> None:
    """Images with polygons and run lengths of both kinds."""
    build_own(folder, NAMES)
    shapes = [
        [[4, 4, 20, 4, 20, 20, 4, 20]],
        {"size": [32, 40], "counts": [100, 200, 980]},
        {"size": [32, 40], "counts": "Q3Wbg1hm2"},
    ]
    content = {
        "images": [{"id": i, "file_name": f"{name}.png", "height": 32, "width": 40} for i, name in enumerate(NAMES)],
        "categories": [{"id": 1, "name": "lesion"}, {"id": 2, "name": "cyst"}],
        "annotations": [
            {"image_id": i, "category_id": 1 + i % 2, "segmentation": shape, "iscrowd": int(i == 1)}
            for i, shape in enumerate(shapes)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(content), encoding="utf-8")


def build_nnunet(folder: Path, *, listed: bool = False) -> None:
    """An nnU-Net folder of volumes; ``listed`` names its files in dataset.json."""
    volume, mask = (np.stack(column) for column in zip(*(labelled(2, seed) for seed in range(2)), strict=True))
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    for case in ("p1", "p2"):
        write_nifti(folder / "imagesTr" / f"{case}_0000.nii.gz", volume, (0.4, 0.4, 1.0))
        write_nifti(folder / "labelsTr" / f"{case}.nii.gz", mask)
    write_nifti(folder / "imagesTs" / "p3_0000.nii.gz", volume)
    content: dict[str, object] = {
        "channel_names": {"0": "US"},
        "labels": {"background": 0, "cyst": 1, "nodule": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    if listed:
        entries = {c: {"images": [f"imagesTr/{c}_0000.nii.gz"], "label": f"labelsTr/{c}.nii.gz"} for c in ("p1", "p2")}
        content["dataset"] = entries
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def _phantom(folder: Path) -> None:
    folder.rmdir()  # the phantom makes its folder itself
    write_phantom(folder, num_images=4, seed=0)


IMAGES_AND_MASKS: Sequence[str] = ("--images", "SOURCE/images", "--masks", "SOURCE/masks")
SUBJECTS: dict[str, Subject] = {
    "BUSI": of("BUSI", lambda folder: build_busi(folder, benign=3, malignant=2, normal=1)),
    "BUSI, fitted": of("BUSI", lambda folder: build_busi(folder, benign=2, malignant=1, normal=0), "--fit-masks"),
    "CURD": of("CURD", build_curd),
    "DDTI, PNG": of("DDTI", lambda folder: build_ddti_png(folder, images=3)),
    "DDTI, XML": of("DDTI", lambda folder: build_ddti_xml(folder, cases=2)),
    "LN-EXT": of("LN-EXT", lambda folder: build_lymph_node(folder, benign=2, malignant=2), "--crop-overlays"),
    "LN-INT": of("LN-INT", lambda folder: build_lymph_node(folder, benign=2, malignant=2)),
    "MedPix": of("MedPix", lambda folder: build_medpix(folder, ct=2, mr=2)),
    "MedPix, lines": of("MedPix", lambda folder: build_medpix(folder, ct=2, mr=2, form="jsonl")),
    "MedPix, table": of("MedPix", lambda folder: build_medpix_table(folder, pairs=4)),
    "PMC-OA": of("PMC-OA", lambda folder: build_pmc_oa(folder, ultrasound=3, others=2), "--min-side", "8"),
    "PMC-OA, folder": of(
        "PMC-OA", lambda folder: build_pmc_oa(folder, ultrasound=3, others=2, zipped=False), "--min-side", "8"
    ),
    "Phantom": of("Phantom", _phantom),
    "PhantomCaptions": of("PhantomCaptions", _phantom),
    "Prostate": of("Prostate", lambda folder: build_prostate(folder, train=(2, 1), test=(2,))),
    "Prostate, marked": of(
        "Prostate", lambda folder: build_prostate(folder, train=(3,), test=(1,), quirks=False), "--drop-empty-slices"
    ),
    "TN3K": of("TN3K", lambda folder: build_tn3k(folder, trainval=5, test=2, labels=True)),
    "TN3K, nested": of("TN3K", lambda folder: build_tn3k(folder, trainval=5, test=2, nested=True)),
    "own images": own(lambda folder: build_own(folder, NAMES), *IMAGES_AND_MASKS),
    "own classes": own(
        build_classes, *IMAGES_AND_MASKS, "--classes", "SOURCE/table.csv", "--groups", "SOURCE/table.csv"
    ),
    "own stacks": own(build_stacks, *IMAGES_AND_MASKS),
    "own COCO": own(build_coco, "--images", "SOURCE/images", "--coco", "SOURCE/coco.json"),
    "nnU-Net": own(build_nnunet, "--nnunet", "SOURCE"),
    "nnU-Net, listed": own(lambda folder: build_nnunet(folder, listed=True), "--nnunet", "SOURCE"),
}
FOREIGN = {
    f"{name}, a foreign download": Subject(
        name, build_busi, lambda source, name=name: [name, str(source)], foreign=True
    )
    for name in CONVERTERS.names()
    if name not in {subject.converter for subject in SUBJECTS.values()}
}
"""For converters that have no download of their own above."""
SUBJECTS |= FOREIGN
