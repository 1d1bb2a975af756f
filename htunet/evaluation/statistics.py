"""How sure a mean is: bootstrap intervals over cases, or over groups of cases that belong together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from htunet.reproducibility import generator

RESAMPLES = 10_000
LEVEL = 0.95
CHUNK = 500


@dataclass(frozen=True)
class Mean:
    """A mean with its interval, and how many cases it rests on. None: there is no such number."""

    mean: float | None
    low: float | None
    high: float | None
    n_used: int
    """Cases with a value."""
    n_cases: int
    """All cases, those without a value included."""


def bootstrap_means(
    values: NDArray[np.float64], groups: Sequence[str] | None = None, *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Mean]:
    """Mean and percentile bootstrap 95 % interval of each column of (N cases, M metrics).

    NaN marks a value that a policy leaves out; an infinity raises ValueError. Whole groups are drawn where ``groups``
    (one name per case) says that cases belong together, because images of one patient are not independent; an empty
    name means that the case stands alone. Fewer than two groups give no interval. The result depends on ``values``,
    ``groups`` and ``seed`` alone.
    """
    if np.isinf(values).any():
        raise ValueError(f"Rows {np.flatnonzero(np.isinf(values).any(axis=1)).tolist()} hold an infinite value.")
    known = ~np.isnan(values)
    members = _group_numbers(groups, len(values))
    n_groups = int(members.max(initial=-1)) + 1
    sums, counts = np.zeros((2, n_groups, values.shape[1]))
    np.add.at(sums, members, np.where(known, values, 0.0))
    np.add.at(counts, members, known)
    drawn = _resampled_means(sums, counts, seed, resamples) if n_groups > 1 else None
    return [_mean(values[:, m], None if drawn is None else drawn[:, m]) for m in range(values.shape[1])]


def _group_numbers(groups: Sequence[str] | None, n: int) -> NDArray[np.intp]:
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise ValueError(f"There are {n} cases but {len(groups)} group names.")
    names = [("group", name) if name else ("case", str(row)) for row, name in enumerate(groups)]
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], dtype=np.intp)


def _resampled_means(
    sums: NDArray[np.float64], counts: NDArray[np.float64], seed: int, resamples: int
) -> NDArray[np.float64]:
    """(resamples, M) means of groups drawn with replacement; NaN where no drawn group has a value."""
    random = generator(seed, "bootstrap")
    n = len(sums)
    parts = []
    for start in range(0, resamples, CHUNK):  # in chunks: all draws at once would be a large table
        size = min(CHUNK, resamples - start)
        draws = random.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(draws.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        totals = weights @ counts
        parts.append(np.divide(weights @ sums, totals, out=np.full(totals.shape, np.nan), where=totals > 0))
    return np.concatenate(parts)


def _mean(column: NDArray[np.float64], drawn: NDArray[np.float64] | None) -> Mean:
    known = column[~np.isnan(column)]
    if len(known) == 0:
        return Mean(None, None, None, 0, len(column))
    low = high = None
    if drawn is not None:
        edges = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = float(edges[0]), float(edges[1])
    return Mean(float(known.mean()), low, high, len(known), len(column))
