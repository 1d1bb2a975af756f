"""A small Micro-US prostate data set in its distributed layout, with every oddity of the real one and its copies.

A slice is made upright (anterior at the top, the patient's right at the left) and stored as its file's affine says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from htunet.data.image_io import UInt8
from htunet.reproducibility import generator

SCANS, EXPERT = "micro_ultrasound_scans", "expert_annotations"
OTHERS = {
    "train": {"non_expert_annotations": "nonexpert_annotation"},
    "test": {
        "clinician_annotations": "clinician_annotation",
        "master_student_annotations": "master_student_annotation",
        "medical_student_annotations": "medical_student_annotation",
    },
}
"""Folder to prefix of the annotations that are not the expert's; the prefix is not the folder's name."""
MASK_TYPES = (np.uint8, np.float32, np.float64, np.int16)
SPACING = (0.05, 0.05, 1.5)
FULL_COUNTS = {"train": (55, 2152), "test": (20, 758)}
"""Volumes and slices of the real data set by split, as Table I counts the slices."""


@dataclass(frozen=True)
class BuiltProstate:
    """What was built, and what a conversion has to make of the oddities (files relative to ``folder``)."""

    folder: Path
    """Holds train/ and test/."""
    found: dict[str, int]
    """Slices by split in all readable volumes."""
    cases: dict[str, int]
    """Cases by split that a conversion makes when it keeps empty slices."""
    empty: tuple[str, ...]
    """Cases with an empty mask."""
    others: tuple[str, ...]
    """Annotations that are not the expert's."""
    excluded: dict[str, str]
    """The other files that become no case, with words of the reason."""
    without_spacing: str = ""
    """A volume whose header says 1, 1, 1."""
    outside: str = ""
    """A volume whose mask reaches out of the field of view."""


def full_counts() -> dict[str, list[int]]:
    """Slices of each volume, 30 to 45, that sum up to those of the real data set."""
    counts = {}
    for split, (volumes, slices) in FULL_COUNTS.items():
        lengths = [slices // volumes] * volumes
        for index in range(slices % volumes):
            lengths[index] += 1
        for index in range(0, volumes - 1, 2):
            change = index % 6
            lengths[index], lengths[index + 1] = lengths[index] + change, lengths[index + 1] - change
        counts[split] = lengths
    return counts


def build_prostate(
    folder: Path,
    *,
    train: Sequence[int] = (5, 4, 3),
    test: Sequence[int] = (4, 3),
    size: tuple[int, int] = (32, 40),
    quirks: bool = True,
    seed: int = 0,
) -> BuiltProstate:
    """Write one volume for each number of slices; oddities come on top, as further volumes and files.

    The first and the last slice of each volume that has more than two have an empty mask. ``size`` is the height and
    width of a slice. For the counts of the real data set: ``**full_counts(), quirks=False``, where ``size`` may be
    small.
    """
    found = {"train": sum(train), "test": sum(test)}
    empty, others = [], []
    for split, lengths in (("train", train), ("test", test)):
        for number, slices in enumerate(lengths, start=1):
            images, masks = upright_volume(slices, size, seed, split, number)
            write_volume(folder, split, number, images, masks)
            empty += [f"{split}_{number:02d}_{z:03d}" for z in range(slices) if not masks[z].any()]
            others += [write_other(folder, split, kind, number, masks) for kind in OTHERS[split]]
    sound = BuiltProstate(folder, found, dict(found), tuple(sorted(empty)), tuple(sorted(others)), {})
    return _add_quirks(sound, len(train), size, seed) if quirks else sound


def field_of_view(size: tuple[int, int]) -> UInt8:
    """(H, W) with 1 inside a fan that is narrow at the bottom, where the probe lies in the rectum."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    half = width * (0.5 - 0.3 * rows / height)
    return (np.abs(columns - (width - 1) / 2) < half).astype(np.uint8)


def upright_volume(slices: int, size: tuple[int, int], *key: int | str) -> tuple[UInt8, UInt8]:
    """(slices, H, W) of noise blocks 1..254 in the fan, and masks 0/1 of a prostate left of the middle."""
    height, width = size
    field = field_of_view(size)
    rows, columns = np.mgrid[:height, :width]
    organ = ((rows / height - 0.45) / 0.25) ** 2 + ((columns / width - 0.42) / 0.2) ** 2 < 1
    rng = generator(*key)
    images = np.empty((slices, height, width), np.uint8)
    for image in images:
        blocks = rng.integers(1, 255, (-(-height // 3), -(-width // 3)), dtype=np.uint8)
        image[:] = np.kron(blocks, np.ones((3, 3), np.uint8))[:height, :width] * field
    masks = np.repeat(organ.astype(np.uint8)[None], slices, axis=0)
    if slices > 2:
        masks[[0, -1]] = 0
    return images, masks


def affine_for(axes: str, spacing: tuple[float, float, float] = SPACING) -> np.ndarray:
    """The affine of a file whose voxel axes lead to ``axes``, such as RAS."""
    start = nib.orientations.axcodes2ornt(tuple(axes))
    affine = np.zeros((4, 4))
    for column, (row, sign) in enumerate(start):
        affine[int(row), column] = sign * spacing[column]
    affine[3, 3] = 1
    return affine


def as_stored(upright: np.ndarray, axes: str) -> np.ndarray:
    """Upright (slices, rows to posterior, columns to the left) as the voxels of a file with ``axes``.

    The slices keep their order; ``axes`` may name the two axes of the plane in any order and direction.
    """
    plane = {"P": 1, "A": 1, "L": 2, "R": 2}
    stored = upright.transpose(plane[axes[0]], plane[axes[1]], 0)
    flips = tuple(slice(None, None, -1 if axis in "AR" else 1) for axis in axes[:2])
    return np.ascontiguousarray(stored[flips])


def write_volume(
    folder: Path,
    split: str,
    number: int,
    images: np.ndarray,
    masks: np.ndarray,
    *,
    axes: str = "RAS",
    spacing: tuple[float, float, float] = SPACING,
) -> None:
    """Write an upright volume and its expert annotation under the distribution's names."""
    affine = affine_for(axes, spacing)
    kind = MASK_TYPES[number % len(MASK_TYPES)]
    ending = f"{split}_{number:02d}.nii.gz"
    save(folder / split / SCANS / f"microUS_{ending}", as_stored(images, axes), affine)
    save(folder / split / EXPERT / f"expert_annotation_{ending}", as_stored(masks, axes).astype(kind), affine)


def write_other(folder: Path, split: str, kind: str, number: int, masks: np.ndarray) -> str:
    """Write an annotation of somebody else, which differs from the expert's; returns its name."""
    path = folder / split / kind / f"{OTHERS[split][kind]}_{split}_{number:02d}.nii.gz"
    save(path, np.ones_like(as_stored(masks, "RAS")), affine_for("RAS"))
    return path.relative_to(folder).as_posix()


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write a NIfTI file, its unit millimetres."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _add_quirks(sound: BuiltProstate, last: int, size: tuple[int, int], seed: int) -> BuiltProstate:
    """Six further training volumes and stray files; numbers start after ``last`` and reach 10 and above."""
    folder, first = sound.folder, max(last + 1, 9)
    unknown, outside, misfit, broken, alone = range(first, first + 5)

    def upright(number: int) -> tuple[UInt8, UInt8]:
        return upright_volume(2, size, seed, "train", number)

    def name(folder_name: str, prefix: str, number: int) -> str:
        return f"train/{folder_name}/{prefix}_train_{number:02d}.nii.gz"

    write_volume(folder, "train", unknown, *upright(unknown), spacing=(1.0, 1.0, 1.0))
    images, masks = upright(outside)
    masks[:, -4:, :4] = 1
    write_volume(folder, "train", outside, images, masks)
    images, masks = upright(misfit)
    write_volume(folder, "train", misfit, images, masks[:1])
    write_volume(folder, "train", broken, *upright(broken))
    path = folder / name(SCANS, "microUS", broken)
    path.write_bytes(path.read_bytes()[:-100])
    write_volume(folder, "train", alone, *upright(alone))
    (folder / name(EXPERT, "expert_annotation", alone)).unlink()
    write_volume(folder, "train", alone + 1, *upright(alone + 1))
    (folder / name(SCANS, "microUS", alone + 1)).unlink()
    strays = ("readme.txt", f"train/{SCANS}/Thumbs.db", f"test/{EXPERT}/._expert_annotation_test_01.nii.gz")
    for stray in strays:
        (folder / stray).write_text("not a volume\n", encoding="utf-8")
    wrong = f"test/{SCANS}/microUS_train_01.nii.gz"
    (folder / wrong).write_bytes((folder / name(SCANS, "microUS", 1)).read_bytes())
    excluded = dict.fromkeys(strays, "not a file of the data set")
    excluded |= {
        name(SCANS, "microUS", misfit): "differ in shape",
        name(SCANS, "microUS", broken): "cannot be read",
        name(SCANS, "microUS", alone): "a scan without an expert annotation",
        name(EXPERT, "expert_annotation", alone + 1): "an expert annotation without a scan",
        wrong: "its name says train, its folder test",
    }
    # the headers of the misfit, of the cut file and of the one without annotation tell 2 slices each
    found = sound.found | {"train": sound.found["train"] + 10}
    cases = sound.cases | {"train": sound.cases["train"] + 4}
    return BuiltProstate(
        folder,
        found,
        cases,
        sound.empty,
        sound.others,
        excluded,
        without_spacing=f"train_{unknown:02d}",
        outside=f"train_{outside:02d}",
    )
