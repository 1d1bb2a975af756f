"""Distances between the outlines of two binary masks. NumPy and SciPy.

HD95 is not one number in the literature: what the metrics make of these distances is defined in ``metrics``.

Speed: everything happens inside the box around both masks; an outline is found by shifting slices; and the nearest
pixel is searched only for the pixels of an outline, never for the whole image.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from htunet.data.outlines import bounding_box
from htunet.evaluation.overlap import Mask, check_pair

Values = NDArray[np.float64]
Positions = NDArray[np.intp]
"""Flat indices of pixels in an outline that is padded with REACH empty columns on either side."""

UNIT = (1.0, 1.0)
FEW = 1_600
"""Outline pixels up to which a tree of points beats a sweep over the image (measured, benchmarks/metrics_speed.py)."""
REACH = 12
"""Columns to either side that the sweep looks at before it passes the remaining pixels on."""
SAMPLE = 100
"""Positions that decide whether a sweep is worth it."""
NOWHERE = 1 << 24
"""A distance in rows that is larger than the height of any image."""


@dataclass(frozen=True)
class SurfaceDistances:
    """From every outline pixel of one mask to the nearest outline pixel of the other, in the unit of the spacing."""

    to_reference: Values
    """One value per outline pixel of the prediction."""
    to_prediction: Values
    """One value per outline pixel of the reference."""

    @cached_property
    def both(self) -> Values:
        """(n,) values of both directions, those of the prediction's outline first."""
        return np.concatenate([self.to_reference, self.to_prediction])


def surface_distances(prediction: Mask, reference: Mask, spacing: tuple[float, float] = UNIT) -> SurfaceDistances:
    """Distances between the outlines of two masks that both have at least one pixel.

    ``spacing`` is the (row, column) size of a pixel. A pixel belongs to the outline when one of its four neighbours is
    outside the mask or outside the image. Raises ValueError for an empty mask: it has no outline, and the values of its
    distances are a policy, not a measurement.

    >>> dot = np.zeros((1, 9), dtype=bool)
    >>> left, right = dot.copy(), dot.copy()
    >>> left[0, 1] = right[0, 4] = True
    >>> surface_distances(left, right).both.tolist()
    [3.0, 3.0]
    """
    check_pair(prediction, reference)
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if not mask.any():
            raise ValueError(f"The {name} is empty: it has no outline to measure from.")
    box = bounding_box(prediction | reference)
    outline_p, outline_r = (np.pad(outline(mask[box]), ((0, 0), (REACH, REACH))) for mask in (prediction, reference))
    at_p, at_r = np.flatnonzero(outline_p), np.flatnonzero(outline_r)
    if len(at_p) + len(at_r) <= FEW:
        points_p, points_r = (_points(at, outline_p.shape[1], spacing) for at in (at_p, at_r))
        return SurfaceDistances(_by_tree(points_p, points_r), _by_tree(points_r, points_p))
    return SurfaceDistances(_by_sweep(at_p, outline_r, spacing), _by_sweep(at_r, outline_p, spacing))


def outline(mask: Mask) -> Mask:
    """The pixels of ``mask``, (H, W), that have a 4-neighbour outside it, as a mask; outside the image is outside."""
    inside = np.zeros_like(mask)
    core = inside[1:-1, 1:-1]
    np.logical_and(mask[:-2, 1:-1], mask[2:, 1:-1], out=core)
    core &= mask[1:-1, :-2]
    core &= mask[1:-1, 2:]
    return mask & ~inside


def percentile95(values: Values) -> float:
    """95th percentile of (n,) values, n > 0, linearly interpolated; ``numpy.percentile`` is ten times as slow here."""
    position = 0.95 * (len(values) - 1)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    ordered = np.partition(values, (low, high))
    return float(ordered[low] + (ordered[high] - ordered[low]) * (position - low))


def _points(at: Positions, width: int, spacing: tuple[float, float]) -> Values:
    """(n, 2) coordinates in the unit of the spacing."""
    return np.stack(np.divmod(at, width), axis=1) * np.asarray(spacing, dtype=np.float64)


def _by_tree(points: Values, targets: Values) -> Values:
    return np.asarray(KDTree(targets).query(points)[0], dtype=np.float64)


def _by_sweep(at: Positions, border: Mask, spacing: tuple[float, float]) -> Values:
    """Distance from each position to the nearest True pixel of ``border``, for many positions."""
    along = _rows_away(border).ravel()
    reach = (REACH * spacing[1]) ** 2
    sample = _sweep(along, at[:: 1 + len(at) // SAMPLE], spacing)
    if np.median(sample) > reach:  # most of them are far away: a search nearby would not find them
        return _far_away(at, border, spacing)
    squared = _sweep(along, at, spacing)
    result = np.sqrt(squared)
    far = squared > reach
    if far.any():
        result[far] = _far_away(at[far], border, spacing)
    return result


def _sweep(along: NDArray[np.int32], at: Positions, spacing: tuple[float, float]) -> Values:
    """Squared distance to the nearest pixel; exact where it is at most REACH columns, too large beyond.

    ``along`` holds the distances within each column, in rows. A position is settled once the columns that were not
    looked at yet are farther away than what it has.
    """
    found = (along[at] * np.float64(spacing[0])) ** 2
    result = found.copy()
    unsettled = np.arange(len(at))
    for step in range(1, REACH + 1):
        aside = (step * spacing[1]) ** 2
        still = np.flatnonzero(found > aside)
        if len(still) == 0:
            break
        unsettled, found, at = unsettled[still], found[still], at[still]
        sideways = np.minimum(along[at - step], along[at + step]) * np.float64(spacing[0])
        found = np.minimum(found, sideways**2 + aside)
        result[unsettled] = found
    return result


def _rows_away(border: Mask) -> NDArray[np.int32]:
    """(H, W) rows to the nearest True pixel of the same column; more than any image has where there is none."""
    rows = np.arange(len(border), dtype=np.int32)[:, None]
    above = np.where(border, rows, np.int32(-NOWHERE))
    below = np.where(border, rows, np.int32(NOWHERE))[::-1]
    np.maximum.accumulate(above, axis=0, out=above)
    np.minimum.accumulate(below, axis=0, out=below)
    return np.minimum(rows - above, below[::-1] - rows)


def _far_away(at: Positions, border: Mask, spacing: tuple[float, float]) -> Values:
    """The nearest True pixel wherever it is: by a tree for few pixels, else by SciPy's feature transform."""
    width = border.shape[1]
    targets = np.flatnonzero(border)
    if len(at) + len(targets) <= FEW:
        return _by_tree(_points(at, width, spacing), _points(targets, width, spacing))
    outside = ~border[:, REACH:-REACH]
    nearest = distance_transform_edt(outside, sampling=spacing, return_distances=False, return_indices=True)
    rows, columns = np.divmod(at, width)
    columns -= REACH
    nearest_row, nearest_column = nearest.reshape(2, -1)[:, rows * outside.shape[1] + columns]
    return np.hypot((nearest_row - rows) * spacing[0], (nearest_column - columns) * spacing[1])
