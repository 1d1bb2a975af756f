"""The images and overlays of the cases on the page: small, each image once however many methods show it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.image_io import read_image, read_labels
from htunet.errors import HtunetError
from htunet.parallel import parallel_map, suitable_workers
from htunet.reporting.overlays.draw import OPACITY, paint

UInt8 = NDArray[np.uint8]
SIDES = ((150, 512), (400, 384), (900, 288))
"""Up to so many images on a page, the longer side of each in pixels."""
SMALLEST_SIDE = 224
QUALITY = 80
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
    side: int
    """Longer side of the pictures at most, pixels."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What became of it."""

    picture: bytes | None = None
    """JPEG; None where the image cannot be read."""
    layers: tuple[bytes | None, ...] = ()
    """PNG of each prediction; None where it or the true mask cannot be read."""
    problems: tuple[str, ...] = ()


def longer_side(n_images: int) -> int:
    """Pixels, so that a page with many images stays small."""
    return next((side for most, side in SIDES if n_images <= most), SMALLEST_SIDE)


def draw_all(request: Sequence[PictureRequest], workers: int | None = None) -> list[Drawn]:
    """All pictures in the order of ``request``; ``workers`` None: processes where there are many, else none."""
    count = suitable_workers(len(request), workers)
    return list(parallel_map(draw, request, workers=count, name=lambda one: str(one.image)))


def draw(request: PictureRequest) -> Drawn:
    """The picture and the layers of one image; what cannot be read is told in ``problems``."""
    try:
        values = read_image(request.image, request.channels)
    except HtunetError as error:
        return Drawn(layers=(None,) * len(request.predictions), problems=(str(error),))
    picture = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
    picture.thumbnail((request.side, request.side), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=QUALITY)
    layers, problems = _layers(request, picture.size)
    return Drawn(picture=stream.getvalue(), layers=tuple(layers), problems=tuple(problems))


def _layers(request: PictureRequest, size: tuple[int, int]) -> tuple[list[bytes | None], list[str]]:
    nothing: list[bytes | None] = [None] * len(request.predictions)
    if not request.predictions:
        return nothing, []
    try:
        true = read_labels(request.label)
    except HtunetError as error:
        return nothing, [str(error)]
    layers: list[bytes | None] = []
    problems = []
    for path in request.predictions:
        layer = None
        try:
            predicted = read_labels(path)
            if predicted.shape != true.shape:
                raise HtunetError(f"{path} has the shape {predicted.shape}, its mask {true.shape}. Predict it again.")
            layer = layer_png(_scaled(predicted, size), _scaled(true, size), num_labels=request.num_labels)
        except HtunetError as error:
            problems.append(str(error))
        layers.append(layer)
    return layers, problems


def layer_png(prediction: UInt8, reference: UInt8, *, num_labels: int = 1) -> bytes:
    """What ``overlays.overlay`` paints, as a PNG with transparency that lies over an image of the same shape.

    ``prediction`` and ``reference`` are (H, W) label maps of the same shape.
    """
    table, areas, lines = paint(prediction, reference, num_labels)
    colours = len(table) - 1
    picture = Image.fromarray(np.where(lines > 0, lines + np.uint8(colours), areas))
    picture.putpalette([*table.ravel().tolist(), *table[1:].ravel().tolist()])
    alpha = [0, *[round(255 * OPACITY)] * colours, *[255] * colours]
    stream = io.BytesIO()
    picture.save(stream, format="PNG", transparency=bytes(alpha), compress_level=6)
    return stream.getvalue()


def _scaled(mask: UInt8, size: tuple[int, int]) -> UInt8:
    """Label map at (width, height)."""
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
