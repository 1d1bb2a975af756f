"""What is measured of an image and its mask, once: by the conversion that writes them, or by planning that reads them.

``measured.npz`` keeps it by the SHA-256 of both files: what was changed since, or was never measured, is not found.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.duplicates import THUMBNAIL, Signature, signature_of
from htunet.data.field_of_view import insonified_field
from htunet.data.image_io import UInt8, label_counts
from htunet.data.measurements import read_rows, write_rows
from htunet.data.outlines import is_outline
from htunet.errors import HtunetError

FORMAT = 3
"""To be raised when anything here is measured in another way, so that what is stored is measured anew."""
EIGHT_NEIGHBOURS = np.ones((3, 3))
FRAME_WIDTH = 4
"""Pixels; a frame is thinner."""
NO_MASK = ""
"""The digest of the mask in a data set without masks."""

Files = tuple[str, str]
"""SHA-256 of an image file and of its mask file, hexadecimal."""


@dataclass(frozen=True)
class MarkedLabels:
    """What one mask looks like."""

    labels: frozenset[int]
    """Its labels, background excluded."""
    surrounding: int | None
    """The label that covers most of the image and most of its edge, as background does."""
    is_outline: bool
    """Whether what it encloses is larger than what it marks."""
    is_framed: bool = False
    """Whether a thin line is marked along a whole side of the image, or all, as of a screenshot; then no outline."""


@dataclass(frozen=True)
class MeasuredCase:
    """Small numbers of one image and its mask; histograms instead of pixels, so that sums are exact."""

    signature: Signature
    mask: MarkedLabels | None
    """None in a data set without masks."""
    hw: tuple[int, int]
    field_hw: tuple[int, int]
    histogram: NDArray[np.int32]
    """(256,)"""
    foreground: NDArray[np.int32]
    """(C, 256)"""
    lesion_pixels: int
    lesion_sides: tuple[int, int]
    """Height and width of the box around the largest lesion."""
    lesions: int
    overshoot: float
    """How far the lesions reach out of the field, as a fraction of the image's longer side."""


def measure_case(image_CHW: UInt8, mask_HW: UInt8 | None) -> MeasuredCase:
    """Measure one image and its mask of the same size; None: the data set has no masks."""
    from scipy import ndimage  # a quarter of a second, and only in the processes that measure

    box, pixels = insonified_field(image_CHW), Image.fromarray(image_CHW.reshape(-1, image_CHW.shape[-1]))
    extent = None if mask_HW is None else Image.fromarray(mask_HW).getbbox()
    left, top, right, bottom = extent or (box.left, box.top, box.left, box.top)
    marked_CHW = image_CHW[:, top:bottom, left:right]
    lesion = np.zeros((0, 0), bool) if mask_HW is None else mask_HW[top:bottom, left:right] > 0
    areas, count = ndimage.label(lesion, EIGHT_NEIGHBOURS)
    sides = lesion.shape
    if count > 1:
        largest = int(np.bincount(areas.ravel())[1:].argmax())
        height, width = ndimage.find_objects(areas)[largest]
        sides = (height.stop - height.start, width.stop - width.start)
    beyond = (box.top - top, bottom - box.top - box.height, box.left - left, right - box.left - box.width)
    hw = image_CHW.shape[1:]
    return MeasuredCase(
        signature=signature_of(image_CHW),
        mask=None if mask_HW is None else marked_labels(mask_HW),
        hw=hw,
        field_hw=(box.height, box.width),
        histogram=np.array(pixels.histogram(), np.int32),
        foreground=np.array([np.bincount(channel[lesion], minlength=256) for channel in marked_CHW], np.int32),
        lesion_pixels=int(np.count_nonzero(lesion)),
        lesion_sides=sides,
        lesions=int(count),
        overshoot=max(0, *beyond) / max(hw),
    )


def marked_labels(mask_HW: UInt8) -> MarkedLabels:
    """Describe the labels 0..255 of one mask."""
    counts = label_counts(mask_HW)
    largest = int(counts[1:].argmax()) + 1
    edge = np.concatenate([mask_HW[0], mask_HW[-1], mask_HW[:, 0], mask_HW[:, -1]])
    surrounds = counts[largest] > mask_HW.size / 2 and (edge == largest).mean() > 1 / 2
    labels = frozenset((np.flatnonzero(counts[1:]) + 1).tolist())
    sides = [side > 0 for side in (mask_HW, mask_HW[::-1], mask_HW.T, mask_HW.T[::-1]) if len(side) > FRAME_WIDTH]
    framed = any(side[0].all() and side[FRAME_WIDTH].mean() < 1 / 2 for side in sides)
    outline = bool(labels) and not (framed and edge.all()) and is_outline(mask_HW > 0)
    return MarkedLabels(labels, largest if surrounds else None, outline, framed and not outline)


class MeasuredCases(Mapping[str, MeasuredCase]):
    """What was measured of cases, by their ids, in a temporary file: each takes some kilobytes, here a few bytes.

    ``channels`` is what all images are read with.
    """

    def __init__(self, channels: int) -> None:
        self.type = _row_type(channels)
        self._rows, self._place = tempfile.TemporaryFile(), dict[str, int]()  # noqa: SIM115 - as long as this is needed

    def __getitem__(self, case_id: str) -> MeasuredCase:
        return _case(self._row_at(self._place[case_id]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def add(self, case_id: str, case: MeasuredCase, files: Files = ("-", "-")) -> None:
        """Keep what was measured of a case; without the digests of its ``files`` it cannot be saved."""
        self.add_row(case_id, np.array(_row(files, case), self.type))

    def add_row(self, case_id: str, row: NDArray[Any]) -> None:
        """Add a case as one stored row."""
        self._place[case_id] = self._rows.seek(0, 2)
        self._rows.write(row.tobytes())

    def save(self, path: Path) -> None:
        """Write whole or not at all, sorted by the ids."""
        rows = (self._row_at(self._place[case_id]) for case_id in sorted(self))
        write_rows(path, "cases", self.type, len(self), rows, {"measured": FORMAT})

    def _row_at(self, place: int) -> NDArray[np.void]:
        self._rows.seek(place)
        return np.frombuffer(self._rows.read(self.type.itemsize), self.type)[0]


def load_measured(path: Path, channels: int, files: Mapping[str, Files]) -> MeasuredCases:
    """What is stored of the ``files`` of cases, by their ids, that were read with ``channels``.

    Nothing of a file that is missing, damaged or of another version: then all is measured again.
    """
    found, ids_of = MeasuredCases(channels), dict[Files, list[str]]()
    for case_id, pair in files.items():
        ids_of.setdefault(pair, []).append(case_id)
    try:
        for row in read_rows(path, "cases", found.type, {"measured": FORMAT}):
            names: Any = row[["image", "label"]].item()
            for case_id in ids_of.get((names[0].decode(), names[1].decode()), ()):
                found.add_row(case_id, row)
    except (HtunetError, UnicodeDecodeError):
        return MeasuredCases(channels)
    return found


def _row_type(channels: int) -> np.dtype[np.void]:
    return np.dtype([
        *(("image", "S64"), ("label", "S64")),
        *(("content", "S64"), ("bits", "<u8"), ("thumbnail", "<f2", (THUMBNAIL**2,))),
        *(("held", "?", (256,)), ("surrounding", "u1"), ("is_outline", "?"), ("is_framed", "?")),
        *(("hw", "<i4", (2,)), ("field_hw", "<i4", (2,)), ("histogram", "<i4", (256,))),
        *(("foreground", "<i4", (channels, 256)), ("lesion_pixels", "<i8"), ("lesion_sides", "<i4", (2,))),
        *(("lesions", "<i8"), ("overshoot", "<f8")),
    ])  # fmt: skip


def _row(files: Files, case: MeasuredCase) -> tuple[object, ...]:
    mask, label = (case.mask, files[1]) if case.mask else (MarkedLabels(frozenset(), None, is_outline=False), NO_MASK)
    held = np.isin(np.arange(256), list(mask.labels))
    one = case.signature
    return (
        *(files[0], label), *(one.content, one.bits, one.thumbnail), held,
        *(mask.surrounding or 0, mask.is_outline, mask.is_framed),
        *(case.hw, case.field_hw, case.histogram, case.foreground, case.lesion_pixels, case.lesion_sides),
        *(case.lesions, case.overshoot),
    )  # fmt: skip


def _case(row: NDArray[np.void]) -> MeasuredCase:
    values: Any = row.item()
    _, label, content, bits, thumbnail, held, surrounding, outline, framed, *numbers = values
    hw, field_hw, histogram, foreground, lesion_pixels, lesion_sides, lesions, overshoot = numbers
    labels = MarkedLabels(frozenset(np.flatnonzero(held).tolist()), surrounding or None, outline, framed)
    return MeasuredCase(
        signature=Signature(content.decode(), bits, thumbnail),
        mask=labels if label else None,
        hw=tuple(hw.tolist()),
        field_hw=tuple(field_hw.tolist()),
        histogram=histogram,
        foreground=foreground,
        lesion_pixels=lesion_pixels,
        lesion_sides=tuple(lesion_sides.tolist()),
        lesions=lesions,
        overshoot=overshoot,
    )
