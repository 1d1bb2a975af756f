"""The insonified field for run_onnx.py, with numpy and pillow alone: the same box as ``htunet.data.field_of_view``."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

BLACK, CELLS, FILLED, OVERLAY, LEAST = 3, 192, 0.2, 0.05, 0.2
"""As in htunet: gray of the border, cells along the longer side, a cell that shows something, an overlay's part of the
largest area, the smallest part of the image that is taken for a field."""


def field_box(image: Any, margin: float = 0.0) -> tuple[int, int, int, int]:  # noqa: ANN401
    """(left, top, right, bottom) of the large connected areas that are not black; all of it where none is clear.

    ``margin``, a fraction of the longer side, is added on each side.
    """
    gray = np.atleast_3d(image).max(axis=2)
    height, width = gray.shape
    cell = max(1, -(-max(height, width) // CELLS))
    shown = np.asarray(Image.fromarray(np.uint8(gray > BLACK) * 255).reduce(cell)) >= 255 * FILLED
    padded = np.pad(shown, 2, mode="edge")
    eroded = _of_neighbours(np.minimum, np.pad(padded, 1))
    opened = _of_neighbours(np.maximum, np.pad(eroded, 1))[2:-2, 2:-2]
    areas = _areas(opened)
    sizes = np.bincount(areas[opened], minlength=1)
    if not sizes.any():
        return 0, 0, width, height
    field = (sizes >= OVERLAY * sizes.max())[np.minimum(areas, len(sizes) - 1)] & opened
    top, bottom = _extent(field.any(axis=1), cell, height)
    left, right = _extent(field.any(axis=0), cell, width)
    if (bottom - top) * (right - left) < LEAST * height * width:
        return 0, 0, width, height
    more = math.ceil(margin * max(height, width))
    return max(0, left - more), max(0, top - more), min(width, right + more), min(height, bottom + more)


def _of_neighbours(choose: Any, grid: Any) -> Any:  # noqa: ANN401
    """Of each cell but the outermost ones, the least or greatest of the 3 x 3 cells around it."""
    rows = choose(choose(grid[:-2], grid[1:-1]), grid[2:])
    return choose(choose(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _areas(shown: Any) -> Any:  # noqa: ANN401
    """A number for each cell that is shown, equal in connected ones: the largest number spreads to its neighbours."""
    numbers = np.where(shown, np.arange(1, shown.size + 1).reshape(shown.shape), 0)
    while True:
        before = numbers.copy()
        for one in (numbers, numbers[::-1], numbers.T, numbers.T[::-1]):  # down, up, right, left
            for line, following in pairwise(one):
                np.maximum(following, line, out=following, where=following > 0)
        if (numbers == before).all():
            return numbers


def _extent(present: Any, cell: int, length: int) -> tuple[int, int]:  # noqa: ANN401
    found = np.flatnonzero(present)
    return max(0, (int(found[0]) - 1) * cell), min(length, (int(found[-1]) + 2) * cell)
