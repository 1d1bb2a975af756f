"""What planning needs to know of a data set, in ``dataset_fingerprint.json``: nnU-Net's keys where they fit, and ours.

It is taken from cases that no fold tests, so that no rule ever sees a test image: see ``planning_cases``. The
measurements of each image come from ``data.measured_case``.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from htunet.data.measured_case import NO_MASK, Files, MeasuredCase
from htunet.data.raw import TRAIN, Case, RawDataset
from htunet.data.splits import Fold
from htunet.errors import HtunetError, counted
from htunet.files import file_hash, read_json, write_json
from htunet.parallel import AHEAD, available_cores, in_order
from htunet.records import record_from

FORMAT = 1
WIDE_BORDER = 0.05
"""A border that takes more than this part of an image is worth cropping."""
NO_SPACING = 999.0
"""What nnU-Net writes for the axis that a 2D image does not have; and here for an unknown pixel size, too."""

Numbers = dict[str, float]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The numbers of one data set. None where there is nothing to measure (no lesion, no spacing)."""

    format: int = FORMAT
    dataset: str
    raw_sha256: str
    """Hash of everything in the raw folder that the arrays are made from; see ``hash_raw``."""
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
    """Fraction of the image's area, 0..1, over images with a lesion."""
    lesion_smaller_side: Numbers | None
    """Smaller side of the box around an image's largest lesion, as a fraction of the image's longer side."""
    lesion_smaller_side_after_crop: Numbers | None
    """The same as a fraction of the longer side of the insonified field."""
    lesions_per_image: dict[str, int]
    """Number of connected lesions (8 neighbours) to the number of images."""
    empty_masks: int
    classes: dict[str, int]
    groups: Numbers
    """``count``, ``largest`` (cases), ``cases_without``."""
    spacing_mm: Numbers | None
    """Side of a pixel; of one that is not square the mean of both sides."""
    border: Numbers
    """Fraction of the area outside the insonified field: ``median``, ``max``; ``cases_wide``: number above 5 %."""
    cases_losing_lesion: int
    """Number of cases in which the crop to the insonified field would cut off lesion pixels."""
    losing_lesion: list[str] = field(default_factory=list)
    """Their ids."""
    margin_for_lesions: float | None = None
    """How much more the crop has to keep on each side to cut none off, a fraction of the longer side; None: unknown."""
    measured_on: str = ""
    """Which cases were measured, in words; empty in files of earlier versions, which measured split ``train``."""
    cases_sha256: str = ""
    """Hash of the ids of these cases."""
    listed_training: int = 0
    """Number of images that fold 0 trains on where lists define the split; 0: as many as the data set's rule takes."""
    gray_values: str = ""
    """See ``DatasetInfo.gray_values``."""


def hash_raw(raw: RawDataset) -> tuple[str, dict[str, Files]]:
    """SHA-256 over what the arrays are made from: every image and mask file byte by byte, labels, classes and cases.

    Also returns the hashes of the image and the mask of each case, by its id. A missing file counts as missing
    (verification names it). The order of the cases and the times of the files do not matter.
    """
    cases = sorted(raw.cases, key=lambda case: case.id)
    files = (path for case in cases for path in (raw.image_path(case), raw.label_path(case)))
    digest = lambda path: file_hash(path) if path.exists() else "missing"  # noqa: E731
    with ThreadPoolExecutor(workers := available_cores()) as pool:  # hashing gives the interpreter's lock free
        digests = list(in_order(pool, digest, files, AHEAD * workers, chunk=8))
    masks = digests[1::2] if raw.info.has_masks else [NO_MASK] * len(cases)
    files_of = {case.id: pair for case, pair in zip(cases, zip(digests[::2], masks, strict=True), strict=True)}
    facts = (raw.info.channels, sorted(raw.info.labels.items()), sorted(raw.info.classes.items()))
    rows = ((case.id, case.split, case.class_name, case.group, case.spacing_mm) for case in cases)
    whole = hashlib.sha256(f"({FORMAT!r}, {facts!r}, ".encode())
    for values, end in ((rows, ", "), (digests, ")")):  # the text of (FORMAT, facts, [*rows], digests), part by part
        for number, value in enumerate(values):
            whole.update(f"{', ' if number else '['}{value!r}".encode())
        whole.update(f"{']' if cases else '[]'}{end}".encode())
    return whole.hexdigest(), files_of


def planning_cases(folds: Sequence[Fold]) -> tuple[list[str], str]:
    """The ids of the cases that planning may look at, sorted, and a description of them.

    Where the folds share a test split, these are all other cases. Where folds test each other's training cases, they
    are the training cases of fold 0 that no fold tests; in a cross-validation, which tests every case, all training
    cases of fold 0. Of a data set for tests alone they are all cases.
    """
    seen, tested = ({case for fold in folds for split in splits for case in fold[split]}
                    for splits in (("train", "val"), ("test",)))  # fmt: skip
    if seen and seen.isdisjoint(tested):
        return sorted(seen), f"the {counted(len(seen), 'case')} that no fold tests"
    if untested := {*folds[0]["train"]} - tested:
        return sorted(untested), f"the {counted(len(untested), 'training case')} of fold 0 that no fold tests"
    if train := folds[0]["train"]:
        return sorted(train), f"the {counted(len(train), 'training case')} of fold 0; other folds test some of them"
    return sorted(tested), f"all {counted(len(tested), 'case')}, for tests alone"


def take_fingerprint(
    raw: RawDataset,
    raw_sha256: str,
    measured: Mapping[str, MeasuredCase],
    chosen: tuple[Sequence[str], str] | None = None,
) -> Fingerprint:
    """The fingerprint of a verified raw folder, from the measurements of its cases by their ids.

    ``chosen`` is the result of ``planning_cases``; None: the cases of split ``train``, or all where it has none. Raises
    HtunetError where there is no case.
    """
    ids, words = chosen or ([case.id for case in raw.cases if case.split == TRAIN], "the split train")
    allowed = {*ids}
    cases = [case for case in raw.cases if case.id in allowed] or list(raw.cases)
    if not cases:
        raise HtunetError(f"{raw.paths.cases_csv} lists no case. Convert the data set again.")
    seen, histogram, foreground = (
        np.zeros(len(cases), _SIZES),
        np.zeros(256, np.int64),
        np.zeros((raw.info.channels, 256), np.int64),
    )
    for row, one in enumerate(measured[case.id] for case in cases):
        seen[row] = tuple(getattr(one, name) for name in _SIZES.names or ())
        histogram += one.histogram
        foreground += one.foreground
    num_training = sum(case.split == TRAIN for case in raw.cases)
    groups = Counter(case.group for case in cases if case.group)
    return Fingerprint(
        dataset=raw.paths.name,
        raw_sha256=raw_sha256,
        num_training=num_training,
        num_test=len(raw.cases) - num_training,
        classes=dict(sorted(Counter(case.class_name for case in cases if case.class_name).items())),
        groups={
            "count": len(groups),
            "largest": max(groups.values(), default=0),
            "cases_without": sum(not case.group for case in cases),
        },
        spacings=_shared([NO_SPACING, *_sides(case)] for case in cases),
        spacing_mm=_spread(np.array([sum(_sides(case)) / 2 for case in cases if case.spacing_mm is not None])),
        margin_for_lesions=float(seen["overshoot"].max()),
        losing_lesion=[cases[row].id for row in np.flatnonzero(seen["overshoot"] > 0)],
        measured_on=words,
        cases_sha256=ids_digest(ids),
        **_of_images(seen, histogram),
        **_of_lesions(seen if raw.info.has_masks else seen[:0], foreground),
    )


_SIZES = np.dtype([
    *(("hw", "<i8", (2,)), ("field_hw", "<i8", (2,)), ("lesion_pixels", "<i8"), ("lesion_sides", "<i8", (2,))),
    *(("lesions", "<i8"), ("overshoot", "<f8")),
])  # fmt: skip
"""What is kept of a ``MeasuredCase`` beside sums over all."""


def _shared(rows: Iterable[list[T]]) -> list[list[T]]:
    """The same lists, each value once in memory."""
    known: dict[tuple[T, ...], list[T]] = {}
    return [known.setdefault(tuple(row), row) for row in rows]


def _sides(case: Case) -> tuple[float, float]:
    """Height and width of a pixel, millimetres."""
    spacing = case.spacing_mm or NO_SPACING
    return spacing if isinstance(spacing, tuple) else (spacing, spacing)


def ids_digest(ids: Iterable[str]) -> str:
    """SHA-256 of a set of ids."""
    return hashlib.sha256(repr(sorted(ids)).encode()).hexdigest()


def save_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Write strict JSON."""
    write_json(path, vars(fingerprint))


def load_fingerprint(path: Path) -> Fingerprint | None:
    """Read a fingerprint; None where there is no whole file of this format, so that it has to be taken."""
    try:
        found = record_from(Fingerprint, read_json(path), str(path))
    except HtunetError:
        return None
    return found if found.format == FORMAT else None


def _of_images(seen: NDArray[np.void], histogram: NDArray[np.int64]) -> dict[str, Any]:
    heights, widths = seen["hw"].T
    field_heights, field_widths = seen["field_hw"].T
    remaining = (field_heights * field_widths) / (heights * widths)
    return {
        "shapes_after_crop": _shared([1, *map(int, hw)] for hw in seen["field_hw"]),
        "median_relative_size_after_cropping": float(np.median(remaining)),
        "intensities": _properties(histogram),
        "height": _spread(heights),
        "width": _spread(widths),
        "aspect_ratio": _spread(heights / widths),
        "aspect_ratio_after_crop": _spread(field_heights / field_widths),
        "border": {
            "median": 1.0 - float(np.median(remaining)),
            "max": 1.0 - float(remaining.min()),
            "cases_wide": int((remaining < 1.0 - WIDE_BORDER).sum()),
        },
        "cases_losing_lesion": int((seen["overshoot"] > 0).sum()),
    }


def _of_lesions(seen: NDArray[np.void], foreground: NDArray[np.int64]) -> dict[str, Any]:
    shown = seen[seen["lesion_pixels"] > 0]
    smaller_side = shown["lesion_sides"].min(axis=1)
    return {
        "foreground_intensity_properties_per_channel": {
            str(channel): _properties(histogram) for channel, histogram in enumerate(foreground if len(shown) else ())
        }
        or None,
        "lesion_area": _spread(shown["lesion_pixels"] / shown["hw"].prod(axis=1)),
        "lesion_smaller_side": _spread(smaller_side / shown["hw"].max(axis=1)),
        "lesion_smaller_side_after_crop": _spread(smaller_side / shown["field_hw"].max(axis=1)),
        "lesions_per_image": {str(count): n for count, n in sorted(Counter(seen["lesions"].tolist()).items())},
        "empty_masks": len(seen) - len(shown),
    }


def _spread(values: NDArray[Any]) -> Numbers | None:
    if not len(values):
        return None
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}


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
