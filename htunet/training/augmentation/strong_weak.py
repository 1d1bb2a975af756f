"""Strong changes of gray values and weak changes of geometry, as the public code of arXiv 2506.08849 has them.

Its scheme is that of Zhao et al. 2023, arXiv:2212.04976 (AugSeg): any number of operations, drawn with replacement. The
up-down flip is part of it, though depth has a direction in an ultrasound image.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from htunet.data.image_io import channels_last

Picture = Image.Image
CROP_TRIES = 10
SMALLEST_CROP, LARGEST_CROP = 0.8, 1.2
"""Fractions of the area of the image; a crop that does not fit into the image is drawn again."""


def _enhance(kind: Callable[[Picture], Any]) -> Callable[[Picture], Picture]:
    return lambda image: kind(image).enhance(random.uniform(0.75, 1.25))


STRONG: tuple[Callable[[Picture], Picture], ...] = (
    lambda image: image,
    ImageOps.autocontrast,
    ImageOps.equalize,
    lambda image: image.filter(ImageFilter.GaussianBlur(random.uniform(0.75, 1.25))),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    lambda image: ImageOps.posterize(image, 8 - max(1, math.ceil(4 * random.random()))),
    lambda image: ImageOps.solarize(image, 256 - max(1, math.ceil(255 * random.random()))),
)
"""They change the image alone. Each strength is uniform in its range: 4 to 7 bits, a threshold of 1 to 255."""


def _flip(way: Image.Transpose) -> Callable[[Picture, Picture], tuple[Picture, Picture]]:
    return lambda image, mask: (image.transpose(way), mask.transpose(way))


def _crop(image: Picture, mask: Picture) -> tuple[Picture, Picture]:
    """A part of both with the sides' ratio 1, enlarged to the whole size; all of them where no try has fitted."""
    width, height = image.size
    left, top, crop_width, crop_height = 0, 0, width, height
    for _ in range(CROP_TRIES):
        side = round(math.sqrt(width * height * random.uniform(SMALLEST_CROP, LARGEST_CROP)))
        if 0 < side <= min(width, height):
            left, top = random.randint(0, width - side), random.randint(0, height - side)
            crop_width = crop_height = side
            break
    box = (left, top, left + crop_width, top + crop_height)
    size = (width, height)
    return image.crop(box).resize(size, Image.Resampling.BILINEAR), mask.crop(box).resize(
        size, Image.Resampling.NEAREST
    )


WEAK: tuple[Callable[[Picture, Picture], tuple[Picture, Picture]], ...] = (
    _crop,
    _flip(Image.Transpose.FLIP_LEFT_RIGHT),
    _flip(Image.Transpose.FLIP_TOP_BOTTOM),
    lambda image, mask: (image, mask),
)
"""They change image and mask together."""


class StrongWeak:
    """With ``probability``: 0 to 9 strong operations on the image, then 0 to 4 weak ones on image and mask.

    Each number is drawn evenly, and each operation from all of its kind, so that one may come several times.

    Args:
        input_size: Of the images; not used.
        probability: Of one image.

    Raises:
        ValueError: The probability is not in [0, 1].
    """

    def __init__(self, input_size: tuple[int, int], *, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}.")
        self.probability = probability

    def __call__(self, *, data: np.ndarray, seg: np.ndarray) -> dict[str, Any]:
        """(1, C, H, W) floats 0..1 with C 1 or 3, (1, 1, H, W) labels -> both in the same shapes, 8 bits deep."""
        if random.random() >= self.probability:
            return {"data": data, "seg": seg}
        pixels_CHW = np.clip(np.round(data[0] * 255), 0, 255).astype(np.uint8)
        image = Image.fromarray(channels_last(pixels_CHW))
        mask = Image.fromarray(np.round(seg[0, 0]).astype(np.uint8))
        for strong in random.choices(STRONG, k=random.randint(0, len(STRONG))):
            image = strong(image)
        for weak in random.choices(WEAK, k=random.randint(0, len(WEAK))):
            image, mask = weak(image, mask)
        changed = np.asarray(image, dtype=np.float32) / 255
        changed_CHW = changed[None] if changed.ndim == 2 else np.moveaxis(changed, -1, 0)
        return {"data": changed_CHW[None], "seg": np.asarray(mask, dtype=np.float32)[None, None]}
