"""What planning needs to know of a data set, in ``dataset_fingerprint.json``: nnU-Net's keys where they fit, and ours.

Taken from cases that are tested by no fold, so that no rule ever sees a test image: see ``planning_cases``. One pass
over the files, in worker processes, without keeping any image.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.field_of_view import insonified_field
from htunet.data.image_io import UInt8, read_image, read_labels
from htunet.data.raw import TRAIN, Case, RawDataset
from htunet.data.splits import Fold
from htunet.errors import HtunetError
from htunet.files import file_hash, read_json, write_json
from htunet.parallel import available_cores, parallel_map
from htunet.records import record_from

FORMAT = 1
WIDE_BORDER = 0.05
"""A border that takes more than this part of an image is worth cropping."""
NO_SPACING = 999.0
"""What nnU-Net writes for the axis that a 2D image does not have; and here for an unknown pixel size, too."""
EIGHT_NEIGHBOURS = np.ones((3, 3))

Numbers = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The numbers of one data set. None where there is nothing to measure (no lesion, no spacing)."""

    format: int = FORMAT
    dataset: str
    raw_sha256: str
    """Of everything in the raw folder that the arrays are made from; see ``raw_content_hash``."""
    num_training: int
    num_test: int
    shapes_after_crop: list[list[int]]
    """[1, height, width] of each case's insonified field, pixels."""
    spacings: list[list[float]]
    """[999, mm, mm] of each case; 999 where unknown."""
    foreground_intensity_properties_per_channel: dict[str, Numbers] | None
    median_relative_size_after_cropping: float
    intensities: Numbers
    """Of all pixels, gray values 0..255."""
    height: Numbers
    width: Numbers
    """Pixels, of the whole images: min, median, max; ``aspect_ratio`` is height / width."""
    aspect_ratio: Numbers
    aspect_ratio_after_crop: Numbers
    lesion_area: Numbers | None
    """Part of the image's area, 0..1, over images with a lesion."""
    lesion_smaller_side: Numbers | None
    """Smaller side of the box around an image's largest lesion, as part of its field's longer side."""
    lesions_per_image: dict[str, int]
    """Number of connected lesions (8 neighbours) to the number of images."""
    empty_masks: int
    classes: dict[str, int]
    groups: Numbers
    """``count``, ``largest`` (cases), ``cases_without``."""
    spacing_mm: Numbers | None
    """The sides of pixels; of one that is not square the mean of both."""
    border: Numbers
    """Part of the area outside the insonified field: ``median``, ``max``; ``cases_wide``: more than 5 %."""
    cases_losing_lesion: int
    """Cases of which the crop to the insonified field would cut off lesion pixels."""
    losing_lesion: list[str] = field(default_factory=list)
    """Their ids."""
    margin_for_lesions: float | None = None
    """How much more the crop has to keep on each side to cut off none, a fraction of the longer side; None: unknown."""
    measured_on: str = ""
    """Which cases were measured, in words; empty in files of earlier versions: all of split ``train``."""
    cases_sha256: str = ""
    """Of the ids of these cases."""


def raw_content_hash(raw: RawDataset) -> str:
    """SHA-256 over what the arrays are made from: every image and mask file byte by byte, labels, classes and cases.

    A missing file counts as such (verification names it). The order of the cases and the file times do not matter.
    """
    cases = sorted(raw.cases, key=lambda case: case.id)
    files = [path for case in cases for path in (raw.image_path(case), raw.label_path(case))]
    with ThreadPoolExecutor(available_cores()) as pool:  # hashing gives the interpreter's lock free
        digests = list(pool.map(_file_digest, files))
    facts = (raw.info.channels, sorted(raw.info.labels.items()), sorted(raw.info.classes.items()))
    rows = [(case.id, case.split, case.class_name, case.group, case.spacing_mm) for case in cases]
    return hashlib.sha256(repr((FORMAT, facts, rows, digests)).encode()).hexdigest()


def planning_cases(folds: Sequence[Fold]) -> tuple[list[str], str]:
    """The ids that planning may look at, sorted, and which they are in words.

    Where the folds share a test split, all other cases; where they test each other's training cases, those of the
    training split of fold 0 that no fold tests, and in a cross-validation, which tests all, that split. A data set for
    tests alone is measured as it is.
    """
    seen, tested = ({case for fold in folds for split in splits for case in fold[split]}
                    for splits in (("train", "val"), ("test",)))  # fmt: skip
    if seen and seen.isdisjoint(tested):
        return sorted(seen), f"the {len(seen)} cases that no fold tests"
    if untested := {*folds[0]["train"]} - tested:
        return sorted(untested), f"the {len(untested)} training cases of fold 0 that no fold tests"
    if train := folds[0]["train"]:
        return sorted(train), f"the {len(train)} training cases of fold 0; other folds test some of them"
    return sorted(tested), f"all {len(tested)} cases, which are for tests alone"


def take_fingerprint(
    raw: RawDataset,
    raw_sha256: str,
    measured: tuple[Sequence[str], str] | None = None,
    known: Mapping[str, "Measured"] | None = None,
    *,
    workers: int = 1,
    progress: str | None = None,
) -> Fingerprint:
    """Measure a verified raw folder. ``progress`` names the bar on stderr, None shows none.

    ``measured`` is what ``planning_cases`` says; None: the cases of split ``train``, all where there is none. The files
    of cases that are ``known`` already, by their ids, are not read.
    """
    ids, words = measured or ([case.id for case in raw.cases if case.split == TRAIN], "the split train")
    cases = [case for case in raw.cases if case.id in set(ids)] or list(raw.cases)
    if not cases:
        raise HtunetError(f"{raw.paths.cases_csv} lists no case. Convert the data set again.")
    masks = raw.info.has_masks
    jobs = [
        _CaseToMeasure(raw.image_path(case), raw.label_path(case) if masks else None, raw.info.channels)
        for case in cases
        if case.id not in (known or {})
    ]
    from tqdm import tqdm  # only in the process that shows it

    results = parallel_map(_measure, jobs, workers=workers, name=lambda job: job.image.name)
    bar = tqdm(results, total=len(jobs), desc=progress, unit="case", disable=None if progress else True)
    read = iter(bar)
    seen = [(known or {}).get(case.id) or next(read) for case in cases]
    list(read)  # closes the workers
    num_training = sum(case.split == TRAIN for case in raw.cases)
    return Fingerprint(
        dataset=raw.paths.name,
        raw_sha256=raw_sha256,
        num_training=num_training,
        num_test=len(raw.cases) - num_training,
        classes=dict(sorted(Counter(case.class_name for case in cases if case.class_name).items())),
        groups=_groups(cases),
        spacings=[[NO_SPACING, *_sides(case)] for case in cases],
        spacing_mm=_spread(sum(_sides(case)) / 2 for case in cases if case.spacing_mm is not None),
        margin_for_lesions=max(one.overshoot for one in seen),
        losing_lesion=[case.id for case, one in zip(cases, seen, strict=True) if one.lesion_lost],
        measured_on=words,
        cases_sha256=ids_digest(ids),
        **_of_images(seen),
        **_of_lesions(seen if masks else []),
    )


def _sides(case: Case) -> tuple[float, float]:
    """Height and width of a pixel, millimetres."""
    spacing = case.spacing_mm or NO_SPACING
    return spacing if isinstance(spacing, tuple) else (spacing, spacing)


def ids_digest(ids: Iterable[str]) -> str:
    """SHA-256 of a set of ids."""
    return hashlib.sha256(repr(sorted(ids)).encode()).hexdigest()


def save_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Write strict JSON."""
    write_json(path, asdict(fingerprint))


def load_fingerprint(path: Path) -> Fingerprint | None:
    """Read a fingerprint; None where there is none that is whole and of this format, so that it is taken (again)."""
    if not path.exists():
        return None
    try:
        found = record_from(Fingerprint, read_json(path), str(path))
    except HtunetError:
        return None
    return found if found.format == FORMAT else None


@dataclass(frozen=True)
class _CaseToMeasure:
    image: Path
    label: Path | None
    """None in a data set without masks."""
    channels: int


@dataclass(frozen=True)
class Measured:
    """Small numbers of one image and its mask; histograms instead of pixels, so that sums are exact."""

    hw: tuple[int, int]
    field_hw: tuple[int, int]
    histogram: NDArray[np.int32]
    foreground: NDArray[np.int32]
    """(C, 256)"""
    lesion_pixels: int
    lesion_sides: tuple[int, int]
    """Height and width of the box around the largest lesion."""
    lesions: int
    lesion_lost: bool
    overshoot: float
    """How far the lesions reach out of the field, as a fraction of the image's longer side."""


def _measure(job: _CaseToMeasure) -> Measured:
    image_CHW = read_image(job.image, job.channels)
    mask_HW = read_labels(job.label) if job.label else np.zeros(image_CHW.shape[1:], dtype=np.uint8)
    if image_CHW.shape[1:] != mask_HW.shape:
        raise HtunetError(f"{job.image} and {job.label} differ in size. Check the data set with --verify-only.")
    return measure(image_CHW, mask_HW)


def measure(image_CHW: UInt8, mask_HW: UInt8) -> Measured:
    """What the fingerprint needs to know of one image and its mask of the same size."""
    from scipy import ndimage  # a quarter of a second, and only in the processes that measure

    box, pixels = insonified_field(image_CHW), Image.fromarray(image_CHW.reshape(-1, image_CHW.shape[-1]))
    left, top, right, bottom = Image.fromarray(mask_HW).getbbox() or (box.left, box.top, box.left, box.top)
    marked_CHW, lesion = image_CHW[:, top:bottom, left:right], mask_HW[top:bottom, left:right] > 0
    areas, count = ndimage.label(lesion, EIGHT_NEIGHBOURS)
    sides = lesion.shape
    if count > 1:
        largest = int(np.bincount(areas.ravel())[1:].argmax())
        height, width = ndimage.find_objects(areas)[largest]
        sides = (height.stop - height.start, width.stop - width.start)
    beyond = (box.top - top, bottom - box.top - box.height, box.left - left, right - box.left - box.width)
    return Measured(
        hw=mask_HW.shape,
        field_hw=(box.height, box.width),
        histogram=np.array(pixels.histogram(), np.int32),
        foreground=np.array([np.bincount(channel[lesion], minlength=256) for channel in marked_CHW], np.int32),
        lesion_pixels=int(np.count_nonzero(lesion)),
        lesion_sides=sides,
        lesions=int(count),
        lesion_lost=max(beyond) > 0,
        overshoot=max(0, *beyond) / max(mask_HW.shape),
    )


def _of_images(seen: Sequence[Measured]) -> dict[str, Any]:
    remaining = [_area(one.field_hw) / _area(one.hw) for one in seen]
    return {
        "shapes_after_crop": [[1, *one.field_hw] for one in seen],
        "median_relative_size_after_cropping": float(np.median(remaining)),
        "intensities": _properties(np.sum([one.histogram for one in seen], axis=0, dtype=np.int64)),
        "height": _spread(one.hw[0] for one in seen),
        "width": _spread(one.hw[1] for one in seen),
        "aspect_ratio": _spread(one.hw[0] / one.hw[1] for one in seen),
        "aspect_ratio_after_crop": _spread(one.field_hw[0] / one.field_hw[1] for one in seen),
        "border": {
            "median": 1.0 - float(np.median(remaining)),
            "max": 1.0 - min(remaining),
            "cases_wide": sum(part < 1.0 - WIDE_BORDER for part in remaining),
        },
        "cases_losing_lesion": sum(one.lesion_lost for one in seen),
    }


def _of_lesions(seen: Sequence[Measured]) -> dict[str, Any]:
    shown = [one for one in seen if one.lesion_pixels]
    foreground: Any = np.sum([one.foreground for one in shown], axis=0, dtype=np.int64) if shown else []
    return {
        "foreground_intensity_properties_per_channel": {
            str(channel): _properties(histogram) for channel, histogram in enumerate(foreground)
        }
        or None,
        "lesion_area": _spread(one.lesion_pixels / _area(one.hw) for one in shown),
        "lesion_smaller_side": _spread(min(one.lesion_sides) / max(one.field_hw) for one in shown),
        "lesions_per_image": {str(count): n for count, n in sorted(Counter(one.lesions for one in seen).items())},
        "empty_masks": len(seen) - len(shown),
    }


def _groups(cases: Sequence[Case]) -> Numbers:
    sizes = Counter(case.group for case in cases if case.group)
    return {
        "count": len(sizes),
        "largest": max(sizes.values(), default=0),
        "cases_without": sum(not case.group for case in cases),
    }


def _spread(values: Iterable[float]) -> Numbers | None:
    found = list(values)
    if not found:
        return None
    return {"min": float(min(found)), "median": float(np.median(found)), "max": float(max(found))}


def _properties(histogram: NDArray[np.int64]) -> Numbers:
    """nnU-Net's seven numbers, from the counts of the gray values 0..255."""
    values, count = np.arange(256), int(histogram.sum())
    mean = float((values * histogram).sum() / count)
    cumulated = np.cumsum(histogram)

    def percentile(part: float) -> float:
        return float(np.searchsorted(cumulated, part * count, side="left"))

    shown = np.flatnonzero(histogram)
    return {
        "max": float(shown[-1]),
        "mean": mean,
        "median": percentile(0.5),
        "min": float(shown[0]),
        "percentile_00_5": percentile(0.005),
        "percentile_99_5": percentile(0.995),
        "std": float(np.sqrt((histogram * (values - mean) ** 2).sum() / count)),
    }


def _area(hw: tuple[int, int]) -> int:
    return hw[0] * hw[1]


def _file_digest(path: Path) -> str:
    return file_hash(path) if path.exists() else "missing"
