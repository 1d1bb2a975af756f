"""Prostate (Micro-US, MicroSegNet): ``train/micro_ultrasound_scans/microUS_train_01.nii.gz`` and its expert annotation.

A volume becomes one case for each slice, ``train_01_000``; the patient, ``train_01``, is the group.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.common import (
    Collected,
    ConversionReport,
    Converter,
    Exclusions,
    Options,
    SourceFacts,
    Written,
    convert_images,
    source_of,
    write_case,
)
from dataset_conversion.source import Layout
from htunet.data.formats.medical_file import Spacing, check_place
from htunet.data.formats.nifti import Turn, Volume, open_nifti, open_volume, unreadable, upright
from htunet.data.image_io import UInt8
from htunet.data.raw import TEST, TRAIN, Case, Excluded
from htunet.errors import HtunetError
from htunet.parallel import suitable_workers

SCANS, EXPERT = "micro_ultrasound_scans", "expert_annotations"
OTHERS = {
    "non_expert_annotations": "a non-expert's annotation",
    "clinician_annotations": "a clinician's annotation",
    "master_student_annotations": "a master student's annotation",
    "medical_student_annotations": "a medical student's annotation",
}
FILE = re.compile(r".*_(?P<split>train|test)_(?P<number>[0-9]{1,6})\.nii(\.gz)?", re.IGNORECASE)
SLICES_CSV = "slices.csv"
NO_SPACING = "the pixel size is not known, so distances are in pixels only"
OUTSIDE = "part of the mask lies outside the field of view and is kept"
NARROW_TOP = "the field is narrow at the top although the probe should be at the bottom; look if it is upside down"
ELSEWHERE = (
    "by their headers the annotation and the scan differ in their place or axes; they are paired voxel by voxel: look "
    "at the masks over the images"
)
NARROW = 0.8
"""A field whose upper third has less than this fraction of its lower third's area is narrow at the top."""

PROSTATE = SourceFacts(
    dataset="Dataset506_Prostate",
    title="Micro-ultrasound volumes of the prostate with expert annotations, 75 patients, as slices",
    licence="see the record on Zenodo; the code that goes with it asks for research use only",
    home="https://zenodo.org/records/10475293",
    citation=(
        "Jiang H, Imran M, Muralidharan P, et al.: MicroSegNet: a deep learning approach for prostate segmentation on "
        "micro-ultrasound images. Computerized Medical Imaging and Graphics 112, 102326 (2024). "
        "https://doi.org/10.1016/j.compmedimag.2024.102326"
    ),
    download="the zip of the record, or Micro_Ultrasound_Prostate_Segmentation_Dataset/ with train/ and test/",
    expected={TRAIN: 2152, TEST: 758},
    split_rule="9:1",
)


def is_here(folder: Path) -> bool:
    """Does ``folder`` hold train/ or test/ with a scan in it?"""
    scans = (folder / split / SCANS for split in (TRAIN, TEST))
    return any(FILE.fullmatch(path.name) for place in scans if place.is_dir() for path in place.iterdir())


LAYOUT = Layout(
    looked_for=f"a folder with train/{SCANS}/microUS_train_01.nii.gz and train/{EXPERT}/, and the same in test/",
    is_here=is_here,
    member=re.compile(r"microUS_(train|test)_\d+\.nii", re.IGNORECASE),
)


def convert_prostate(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder``, which holds train/ and test/; raises HtunetError as ``convert_images``."""
    collected = collect(folder, drop_empty=options.drop_empty_slices)
    workers = suitable_workers(sum(collected.found.values()), options.workers)
    return convert_images(folder, facts, collected, write_volume, workers=workers)


CONVERTER = Converter(facts=PROSTATE, layout=LAYOUT, run=convert_prostate, takes=frozenset({"drop_empty_slices"}))


@dataclass(frozen=True, kw_only=True)
class VolumeJob:
    """A scan and its expert annotation."""

    patient: str
    """``train_01``: the number alone names two patients."""
    split: str
    scan: Path
    annotation: Path
    source: str
    drop_empty: bool = False


def collect(folder: Path, *, drop_empty: bool = False) -> Collected[VolumeJob]:
    """The volumes by split, and every other file with the reason why it is none. Reads the headers of the scans."""
    exclusions = Exclusions(folder)
    exclusions.add_unknown(folder, {folder / split for split in (TRAIN, TEST) if (folder / split).is_dir()})
    jobs, found = [], {}
    for split in (TRAIN, TEST):
        scans, annotations = _volumes(split, exclusions)
        found[split] = sum(_slices(path) for path in scans.values())
        for number in sorted({*scans, *annotations}):
            if number not in scans:
                exclusions.add(annotations[number], "an expert annotation without a scan")
            elif number not in annotations:
                exclusions.add(scans[number], "a scan without an expert annotation")
            else:
                job = VolumeJob(
                    patient=f"{split}_{number:02d}",
                    split=split,
                    scan=scans[number],
                    annotation=annotations[number],
                    source=source_of(folder, scans[number]),
                    drop_empty=drop_empty,
                )
                jobs.append(job)
    return Collected(jobs=jobs, found=found, excluded=exclusions.items, unit="volume")


def _volumes(split: str, exclusions: Exclusions) -> tuple[dict[int, Path], dict[int, Path]]:
    """The scans and the expert annotations of train/ or test/ by their numbers."""
    place = exclusions.base / split
    scans: dict[int, Path] = {}
    annotations: dict[int, Path] = {}
    for child in sorted(place.iterdir()) if place.is_dir() else []:
        if not child.is_dir() or child.name not in (SCANS, EXPERT, *OTHERS):
            exclusions.add(child)
            continue
        known = scans if child.name == SCANS else annotations
        for path in sorted(child.iterdir()):
            match = FILE.fullmatch(path.name) if path.is_file() and not path.name.startswith(".") else None
            if match is None:
                exclusions.add(path)
            elif match["split"].lower() != split:
                exclusions.add(path, f"its name says {match['split'].lower()}, its folder {split}")
            elif child.name in OTHERS:
                exclusions.add(path, f"{OTHERS[child.name]}; the expert's is used")
            elif (first := known.setdefault(int(match["number"]), path)) is not path:
                exclusions.add(path, f"a second file of the number, beside {first.name}")
    return scans, annotations


def _slices(path: Path) -> int:
    """0 for a broken file, which is named when it is converted."""
    try:
        return open_volume(path).slices
    except HtunetError:
        return 0


def write_volume(job: VolumeJob, folder: Path) -> list[Written | Excluded]:
    """Write the slices of one volume and of its mask, or none of them where one cannot be read.

    Holds one volume and its mask, a byte a voxel each.
    """
    try:
        scan, annotation = open_volume(job.scan), open_volume(job.annotation)
        if scan.shape != annotation.shape:
            reason = f"scan and annotation differ in shape: {scan.shape} and {annotation.shape}"
            return [Excluded(source=job.source, class_name="", reason=reason)]
        turn = upright(scan.axes)
        images = _stacked((_gray(plane, scan) for plane in scan.planes(turn)), scan.slices)
        masks = _stacked(((plane > 0).astype(np.uint8) for plane in annotation.planes(turn)), scan.slices)
    except HtunetError as error:
        reason = str(error).replace(f"{job.scan.parent.parent}{os.sep}", "")
        return [Excluded(source=job.source, class_name="", reason=reason)]
    field_of_view = images.max(axis=0) > 0
    found = {
        NO_SPACING: scan.sides_mm is None,
        ELSEWHERE: _lies_elsewhere(job),
        NARROW_TOP: narrow_at_the_top(field_of_view),
    }
    remarks = tuple(remark for remark, applies in found.items() if applies)
    facts = VolumeFacts(scan.axes, turn, scan.spacing_mm(turn), remarks, field_of_view)
    numbered = zip(range(scan.slices), images, masks, strict=True)
    return [_write_slice(job, folder, one, facts) for one in numbered]


def _lies_elsewhere(job: VolumeJob) -> bool:
    try:
        return bool(check_place("", open_nifti(job.annotation), "", open_nifti(job.scan)))
    except HtunetError:
        return True


@dataclass(frozen=True)
class VolumeFacts:
    """What the slices of a volume share."""

    axes: str
    turn: Turn
    spacing_mm: Spacing | None
    remarks: tuple[str, ...]
    field: NDArray[np.bool_]
    """(H, W) True where any slice shows something."""


def _write_slice(
    job: VolumeJob, folder: Path, numbered: tuple[int, UInt8, UInt8], facts: VolumeFacts
) -> Written | Excluded:
    position, image, mask = numbered
    source = f"{job.source} slice {position}"
    if job.drop_empty and not mask.any():
        return Excluded(source=source, class_name="", reason="no prostate is marked in it (--drop-empty-slices)")
    outside = int((mask.astype(bool) & ~facts.field).sum())
    case = Case(
        id=f"{job.patient}_{position:03d}",
        split=job.split,
        group=job.patient,
        source=source,
        spacing_mm=facts.spacing_mm,
    )
    row = {
        "id": case.id,
        "volume": job.source,
        "slice": position,
        "stored_axes": facts.axes,
        "turned": str(facts.turn),
        "mask_pixels": int(mask.sum()),
        "mask_pixels_outside_field": outside,
    }
    remarks = (*facts.remarks, OUTSIDE) if outside else facts.remarks
    return replace(write_case(folder, case, image, mask), remarks=remarks, tables={SLICES_CSV: row})


def _stacked(planes: Iterator[UInt8], count: int) -> UInt8:
    """(count, H, W), without a second copy of the volume."""
    first = next(planes)
    stacked = np.empty((count, *first.shape), np.uint8)
    stacked[0] = first
    for position, plane in enumerate(planes, start=1):
        stacked[position] = plane
    return stacked


def _gray(plane: NDArray[Any], volume: Volume) -> UInt8:
    """Gray values as they are; the data set's are 0..254. Raises HtunetError for others, which no one scale fits."""
    low, high = plane.min(), plane.max()
    if not 0 <= low <= high <= 255:
        raise unreadable(volume.path, ValueError(f"it holds the values {low} to {high}, gray values are 0 to 255"))
    return (plane if np.issubdtype(plane.dtype, np.integer) else np.rint(plane)).astype(np.uint8)


def narrow_at_the_top(field: NDArray[np.bool_]) -> bool:
    """Is a fan, (H, W) True inside, narrow at the top? False for a rectangle and for nothing."""
    rows = np.flatnonzero(field.any(axis=1))
    if len(rows) < 3:
        return False
    shown = field[rows[0] : rows[-1] + 1]
    third = len(shown) // 3
    return bool(shown[:third].sum() < NARROW * shown[-third:].sum())
