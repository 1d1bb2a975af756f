"""How sure a figure is: bootstrap intervals over cases, or over groups of cases that belong together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from htunet.reproducibility import generator

RESAMPLES = 10_000
LEVEL = 0.95
CHUNK = 500

Weights = NDArray[np.float64]
"""(R, N): how often each of N cases counts, in each of R resamples."""


@dataclass(frozen=True)
class Figure:
    """A figure of all cases with its interval. None: there is no such number."""

    value: float | None
    low: float | None
    high: float | None


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


def bootstrap_figures(
    figures: Callable[[Weights], Mapping[str, NDArray[np.float64]]],
    n: int,
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Figure]:
    """Figures that are no means, such as the AUC, with their percentile bootstrap 95 % intervals.

    ``figures`` takes (R, N) weights and returns (R,) values by name, NaN where there is none; a resample without a
    value is left out of the interval. ``groups`` and ``seed`` as in ``bootstrap_means``.
    """
    values = figures(np.ones((1, n)))
    members = _group_numbers(groups, n)
    n_groups = int(members.max(initial=-1)) + 1
    drawn = [figures(counts[:, members]) for counts in _draws(n_groups, seed, resamples)] if n_groups > 1 else []
    found = {}
    for name, value in values.items():
        edges = _edges(np.concatenate([part[name] for part in drawn])) if drawn else (None, None)
        found[name] = Figure(None, None, None) if np.isnan(value[0]) else Figure(float(value[0]), *edges)
    return found


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
    parts = []
    for weights in _draws(len(sums), seed, resamples):
        totals = weights @ counts
        parts.append(np.divide(weights @ sums, totals, out=np.full(totals.shape, np.nan), where=totals > 0))
    return np.concatenate(parts)


def _draws(n: int, seed: int, resamples: int) -> Iterator[Weights]:
    """How often each of ``n`` groups is drawn; in chunks, because all draws at once would be a large table."""
    random = generator(seed, "bootstrap")
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        draws = random.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(draws.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _edges(drawn: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    """The interval that holds ``LEVEL`` of the drawn values; none where no resample has a value."""
    if np.isnan(drawn).all():
        return None, None
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _mean(column: NDArray[np.float64], drawn: NDArray[np.float64] | None) -> Mean:
    known = column[~np.isnan(column)]
    if len(known) == 0:
        return Mean(None, None, None, 0, len(column))
    low, high = (None, None) if drawn is None else _edges(drawn)
    return Mean(float(known.mean()), low, high, len(known), len(column))
