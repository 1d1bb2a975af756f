"""From masks to polygons that people can edit: few points, never more than a pixel beside the mask's outline."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.formats.shapes import fill_polygon

TOLERANCE = (0.3, 1.0)
"""Pixels that a polygon may leave out of an outline, least and most. An outline runs midway between pixel centres, at
least 0.35 from each: with the least tolerance none changes sides."""
PART = 0.01
"""In between, the tolerance is this fraction of the square root of the area."""
Ring = NDArray[np.float64]
"""(N, 2) points x, y in pixels from the image's upper left corner."""


def polygons_of(mask_HW: NDArray[np.bool_]) -> list[list[list[float]]]:
    """Polygons [[x, y], ...] around each area; holes are joined to the outside by a line that is drawn twice.

    >>> polygons_of(np.ones((2, 3), dtype=bool))[0][:3]
    [[0.0, 0.5], [0.5, 0.0], [2.5, 0.0]]
    """
    return [_joined(rings).tolist() for rings in _rings(mask_HW)]


def fill_polygons(polygons: Sequence[Sequence[Sequence[float]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) the pixels whose centres lie in one of them."""
    result = np.zeros(shape, dtype=bool)
    for polygon in polygons:
        if (part := fill_polygon([value for point in polygon for value in point], shape)) is not None:
            mask, top, left = part
            result[top : top + mask.shape[0], left : left + mask.shape[1]] |= mask
    return result


def _rings(mask_HW: NDArray[np.bool_]) -> list[list[Ring]]:
    """For each area its outer ring, then the rings of its holes."""
    from contourpy import FillType, contour_generator

    padded = np.pad(mask_HW.astype(np.float64), 1)  # so that an area at the border is closed
    points, offsets = contour_generator(z=padded, fill_type=FillType.OuterOffset).filled(0.5, 2.0)[:2]
    return [
        [np.asarray(polygon[start : end - 1], dtype=np.float64) - 0.5 for start, end in pairwise(places.tolist())]
        for polygon, places in zip(points, offsets, strict=True)
        if polygon is not None and places is not None
    ]


def _joined(rings: Sequence[Ring]) -> Ring:
    x, y = rings[0].T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    tolerance = float(np.clip(PART * area**0.5, *TOLERANCE))
    whole, *holes = (_simplified(ring, tolerance) for ring in rings)
    for hole in holes:
        distances = np.linalg.norm(whole[:, None] - hole[None], axis=2)
        at, start = np.unravel_index(int(distances.argmin()), distances.shape)
        whole = np.concatenate([whole[: at + 1], hole[start:], hole[: start + 1], whole[at:]])
    return whole


def _simplified(ring: Ring, tolerance: float) -> Ring:
    """Without the points that lie within ``tolerance`` of the line between those that stay (Douglas and Peucker)."""
    closed = np.concatenate([ring, ring[:1]])
    far = int(np.linalg.norm(ring - ring[0], axis=1).argmax())
    stay, parts = {0, far}, [(0, far), (far, len(ring))]
    while parts:
        start, end = parts.pop()
        if end - start < 2:
            continue
        (x, y), between = closed[end] - closed[start], closed[start + 1 : end] - closed[start]
        distances = np.abs(x * between[:, 1] - y * between[:, 0]) / max(float(np.hypot(x, y)), 1e-9)
        middle = start + 1 + int(distances.argmax())
        if distances.max() > tolerance:
            stay.add(middle)
            parts += [(start, middle), (middle, end)]
    return ring[sorted(stay)]
