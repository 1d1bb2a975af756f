"""The images and overlays of the cases on the page: small, each image once however many methods show it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.image_io import channels_last, read_image, read_labels
from htunet.errors import HtunetError
from htunet.parallel import parallel_map, suitable_workers
from htunet.reporting.overlays.draw import OPACITY, Colour, contour, label_colour, paint

UInt8 = NDArray[np.uint8]
SIDES = ((150, 512), (400, 384), (900, 288))
"""Up to so many images on a page, the longer side of each in pixels."""
SMALLEST_SIDE = 224
QUALITY = 80
REFERENCE: Colour = (213, 94, 0)
PREDICTION: Colour = (86, 180, 233)
BOTH: Colour = (240, 228, 66)
UNCERTAINTY: Colour = (204, 121, 167)
"""Which colour-blind readers tell apart: Okabe and Ito, Color Universal Design, 2008. Overlays have the paper's."""
PIXELS_PER_LINE_WIDTH, THINNEST, DASH = 180, 2, 4
"""Outlines are wider than in overlays, because pictures are also shown small; and the length of a dash, pixels."""
REDUCING_GAP = 2.0
"""Large images are first shrunk by whole numbers, to twice the size that is shown: much faster, and looks the same."""


@dataclass(frozen=True, kw_only=True)
class PictureRequest:
    """One image, and the predictions to lay over it."""

    image: Path
    label: Path
    channels: int
    num_labels: int
    """Background not counted."""
    predictions: tuple[Path, ...]
    uncertainties: tuple[Path, ...] = ()
    """Of each prediction, where there are any; a file may be missing."""
    side: int
    """Longer side of the pictures at most, pixels."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What lies over the picture of one prediction: PNG with transparency."""

    fill: bytes
    """Areas: missed, extra and right, or the predicted labels."""
    prediction: bytes
    """The outline of the predicted mask."""
    uncertainty: bytes = b""
    """Stronger where the network is undecided, half as large; empty where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What became of it."""

    picture: bytes | None = None
    """JPEG; None where the image cannot be read."""
    reference: bytes | None = None
    """PNG with the outline of the true mask; None where it cannot be read, or is not needed."""
    layers: tuple[Layers | None, ...] = ()
    """Of each prediction; None where it or the true mask cannot be read."""
    problems: tuple[str, ...] = ()


def longer_side(n_images: int) -> int:
    """Pixels, so that a page with many images stays small."""
    return next((side for most, side in SIDES if n_images <= most), SMALLEST_SIDE)


def draw_all(request: Sequence[PictureRequest]) -> list[Drawn]:
    """All pictures in the order of ``request``, by processes where there are many."""
    workers = suitable_workers(len(request))
    return list(parallel_map(draw, request, workers=workers, name=lambda one: str(one.image)))


def draw(request: PictureRequest) -> Drawn:
    """The picture and the layers of one image; ``problems`` names what cannot be read or does not fit."""
    try:
        values = read_image(request.image, request.channels)
    except HtunetError as error:
        return Drawn(layers=(None,) * len(request.predictions), problems=(str(error),))
    picture = Image.fromarray(channels_last(values))
    picture.thumbnail((request.side, request.side), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=QUALITY)
    drawn = Drawn(picture=stream.getvalue(), layers=(None,) * len(request.predictions))
    if not request.predictions:
        return drawn
    try:
        true = read_labels(request.label)
    except HtunetError as error:
        return replace(drawn, problems=(str(error),))
    size, several = picture.size, request.num_labels > 1
    reference = outline_png(_scaled(true, size), several=several, colour=REFERENCE, dashed=several)
    layers: list[Layers | None] = []
    problems = []
    for path, doubt in zip_longest(request.predictions, request.uncertainties):
        layer = None
        try:
            predicted = read_labels(path)
            if predicted.shape != true.shape:
                raise HtunetError(f"{path} has the shape {predicted.shape}, its mask {true.shape}. Predict it again.")
            found = _scaled(predicted, size)
            table, areas, _ = paint(found, _scaled(true, size), request.num_labels)
            table = table if several else np.array([(0, 0, 0), REFERENCE, PREDICTION, BOTH], dtype=np.uint8)
            outline = outline_png(found, several=several, colour=PREDICTION)
            layer = Layers(
                fill=layer_png(table, areas, OPACITY),
                prediction=outline,
                uncertainty=uncertainty_png(read_image(doubt, 1)[0], size) if doubt and doubt.exists() else b"",
            )
        except HtunetError as error:
            problems.append(str(error))
        layers.append(layer)
    return replace(drawn, reference=reference, layers=tuple(layers), problems=tuple(problems))


def outline_png(labels: UInt8, *, several: bool, colour: Colour, dashed: bool = False) -> bytes:
    """The outlines of a label map (H, W): in ``colour``, or where there are several labels each in its own one."""
    width = max(THINNEST, round(min(labels.shape) / PIXELS_PER_LINE_WIDTH))
    lines = np.where(contour(labels, width), labels, 0).astype(np.uint8)
    if dashed:
        rows_H1, columns_1W = np.ogrid[: labels.shape[0], : labels.shape[1]]
        lines[(rows_H1 + columns_1W) // DASH % 2 == 0] = 0
    colours = [label_colour(label) if several else colour for label in range(1, int(labels.max()) + 1)]
    return layer_png(np.array([(0, 0, 0), *colours], dtype=np.uint8), lines, 1.0)


def layer_png(colours_K3: UInt8, numbers_HW: UInt8, opacity: float) -> bytes:
    """The colours of these numbers as a PNG that is clear where they are 0."""
    picture = Image.fromarray(numbers_HW)
    picture.putpalette(colours_K3.ravel().tolist())
    alpha = [0, *[round(255 * opacity)] * (len(colours_K3) - 1)]
    stream = io.BytesIO()
    picture.save(stream, format="PNG", transparency=bytes(alpha))
    return stream.getvalue()


def uncertainty_png(levels_HW: UInt8, size: tuple[int, int]) -> bytes:
    """Levels 0..255 as a PNG in one colour that is clear at 0, half as wide and high as ``size``."""
    picture = Image.fromarray(_scaled(levels_HW, (max(1, size[0] // 2), max(1, size[1] // 2))))
    picture.putpalette(list(UNCERTAINTY) * 256)
    stream = io.BytesIO()
    picture.save(
        stream, format="PNG", transparency=bytes(round(0.85 * level) for level in range(256)), compress_level=6
    )
    return stream.getvalue()


def _scaled(mask: UInt8, size: tuple[int, int]) -> UInt8:
    """Label map at (width, height)."""
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
