"""The images and overlays of the cases on the page: small, each image once however many methods show it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.image_io import read_image, read_labels
from htunet.data.raw import Case, RawDataset, read_raw
from htunet.errors import HtunetError
from htunet.paths import DatasetPaths
from htunet.reporting.overlays import EXTRA, MISSED, OPACITY, RIGHT, Colour, contour, label_colour, legend_of

UInt8 = NDArray[np.uint8]
SIDES = ((150, 512), (400, 384), (900, 288))
"""Up to so many images on a page, the longer side of each in pixels."""
SMALLEST_SIDE = 224
QUALITY = 80


def longer_side(n_images: int) -> int:
    """Pixels, so that a page with many images stays small."""
    return next((side for most, side in SIDES if n_images <= most), SMALLEST_SIDE)


@dataclass
class Pictures:
    """The pictures of a page, made as they are asked for."""

    side: int
    images: list[bytes] = field(default_factory=list)
    layers: list[bytes] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    """Of each data set, the first thing that kept a picture from being made."""
    _raw: dict[str, RawDataset | None] = field(default_factory=dict)
    _cases: dict[str, dict[str, Case]] = field(default_factory=dict)
    _places: dict[tuple[str, str], int | None] = field(default_factory=dict)
    _sizes: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def image(self, dataset: str, case: str) -> int | None:
        """The place of a case's image among ``images``; None, and a problem noted, where it cannot be had."""
        key = dataset, case
        if key not in self._places:
            self._places[key] = None
            try:
                self._places[key] = self._add_image(dataset, case)
            except HtunetError as error:
                self.problems.setdefault(dataset, str(error))
        return self._places[key]

    def layer(self, dataset: str, case: str, prediction: Path) -> int | None:
        """The place of the overlay of a prediction among ``layers``; None where there is none, as ``image``.

        ``image`` must have been asked for the case before.
        """
        raw, known = self.raw(dataset), self._cases.get(dataset, {})
        if raw is None or case not in known or (dataset, case) not in self._sizes:
            return None
        try:
            predicted, true = read_labels(prediction), read_labels(raw.label_path(known[case]))
            if predicted.shape != true.shape:
                raise HtunetError(f"{prediction} has the shape {predicted.shape}, its mask {true.shape}.")
        except HtunetError as error:
            self.problems.setdefault(dataset, str(error))
            return None
        size = self._sizes[dataset, case]
        self.layers.append(layer_png(_scaled(predicted, size), _scaled(true, size), num_labels=_num_labels(raw)))
        return len(self.layers) - 1

    def legend(self, dataset: str) -> tuple[tuple[str, str], ...]:
        """Colours and what they mean."""
        raw = self.raw(dataset)
        labels = sorted(raw.info.labels, key=raw.info.labels.__getitem__)[1:] if raw else ["lesion"]
        return tuple((f"#{r:02x}{g:02x}{b:02x}", name) for (r, g, b), name in legend_of(labels))

    def raw(self, dataset: str) -> RawDataset | None:
        """The raw folder; None, and a problem noted, where it is not there."""
        if dataset not in self._raw:
            try:
                raw = self._raw[dataset] = read_raw(DatasetPaths(dataset))
                self._cases[dataset] = {case.id: case for case in raw.cases}
            except HtunetError as error:
                self._raw[dataset] = None
                self.problems.setdefault(dataset, str(error))
        return self._raw[dataset]

    def _add_image(self, dataset: str, case: str) -> int | None:
        raw = self.raw(dataset)
        if raw is None:
            return None
        if case not in self._cases[dataset]:
            raise HtunetError(f"{raw.paths.cases_csv} has no case {case}.")
        values = read_image(raw.image_path(self._cases[dataset][case]), raw.info.channels)
        picture = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
        picture.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        self._sizes[dataset, case] = picture.size
        stream = io.BytesIO()
        picture.save(stream, format="JPEG", quality=QUALITY, optimize=True)
        self.images.append(stream.getvalue())
        return len(self.images) - 1


def layer_png(prediction: UInt8, reference: UInt8, *, num_labels: int = 1) -> bytes:
    """What ``overlays.overlay`` paints, as a PNG with transparency that lies over an image of the same shape.

    ``prediction`` and ``reference`` are (H, W) label maps of the same shape.
    """
    colours, areas, lines = _one_label(prediction, reference) if num_labels == 1 else _labels(prediction, reference)
    indices = areas.copy()
    indices[lines > 0] = lines[lines > 0] + len(colours)
    picture = Image.fromarray(indices)
    picture.putpalette([value for colour in ((0, 0, 0), *colours, *colours) for value in colour])
    alpha = [0, *[round(255 * OPACITY)] * len(colours), *[255] * len(colours)]
    stream = io.BytesIO()
    picture.save(stream, format="PNG", transparency=bytes(alpha), optimize=True)
    return stream.getvalue()


def _one_label(prediction: UInt8, reference: UInt8) -> tuple[Sequence[Colour], UInt8, UInt8]:
    """Colours, and the (H, W) number of the colour (from 1) of areas and of lines; 0: nothing."""
    areas = np.zeros(prediction.shape, np.uint8)
    areas[prediction > 0] = 2
    areas[(reference > 0) & (reference != prediction)] = 1
    areas[(reference > 0) & (reference == prediction)] = 3
    lines = np.where(contour(prediction) | contour(reference), areas, 0).astype(np.uint8)
    return (MISSED, EXTRA, RIGHT), areas, lines


def _labels(prediction: UInt8, reference: UInt8) -> tuple[Sequence[Colour], UInt8, UInt8]:
    highest = max(int(prediction.max()), int(reference.max()))
    lines = np.where(contour(reference), reference, 0).astype(np.uint8)
    return [label_colour(label) for label in range(1, highest + 1)], prediction, lines


def _num_labels(raw: RawDataset) -> int:
    return len(raw.info.labels) - 1


def _scaled(mask: UInt8, size: tuple[int, int]) -> UInt8:
    """Label map at (width, height)."""
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
