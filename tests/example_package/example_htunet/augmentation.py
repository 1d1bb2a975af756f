"""A transform of training images: a square becomes black; the mask does not change."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.training.augmentation import Transform

Floats = NDArray[np.float32]


def cutout(input_size: tuple[int, int], *, probability: float = 0.5, side: int = 8) -> Transform:
    """``side`` is that of the square, in pixels. Source: DeVries and Taylor 2017, arXiv:1708.04552."""
    if not 0 < side <= min(input_size):
        raise ValueError(f"side must be in 1..{min(input_size)}, got {side}.")

    def transform(data: Floats, seg: Floats) -> dict[str, Any]:
        if np.random.uniform() < probability:
            top, left = (np.random.randint(0, length - side + 1) for length in input_size)
            data = data.copy()
            data[..., top : top + side, left : left + side] = 0
        return {"data": data, "seg": seg}

    return transform
