"""How sure an estimate is: bootstrap intervals over cases, or over groups of cases that belong together.

The intervals are bias-corrected and accelerated (BCa), with levels widened as Student's t asks for few groups. Sources:
Efron 1987, Better bootstrap confidence intervals; Hesterberg 2015, What teachers should know about the bootstrap (the
widening, there for percentile intervals). ``benchmarks/coverage.py`` measures how often they include the true mean.
``scipy.stats.bootstrap`` has BCa intervals too, but knows neither groups nor the widening, and takes a call for each
column with values missing.

Dimension key: N cases, G groups, M columns, R resamples.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from htunet.reproducibility import generator

RESAMPLES = 10_000
LEVEL = 0.95
NOISE = 1e-12
"""Of rounding: numbers that differ by less are equal."""
CHUNK, DRAWN_AT_ONCE = 500, 2**18
"""Resamples and numbers that are drawn at a time."""
KEPT = 2**23
"""Numbers of all resamples together that are kept to be used again; those of more cases than 838 are drawn again."""
FEW_CASES, FEW_OF_A_CLASS = 20, 5
"""Fewer test cases, or fewer of a class, carry no headline."""

Name = TypeVar("Name")
Weights = NDArray[np.float64]
"""(R, N): how often each of N cases counts, in each of R resamples."""


@dataclass(frozen=True)
class Estimate:
    """A value of all cases with its interval. None: there is no such number."""

    value: float | None
    low: float | None
    high: float | None

    def percent(self) -> str:
        """``75.00 % [50.00, 90.00]``; ``-`` where there is no value."""
        return estimate_text(self.value, self.low, self.high, scale=100, unit="%")


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
    """Mean and bootstrap 95 % interval of each column of (N cases, M metrics).

    NaN marks a value that a policy excludes; an infinity raises ValueError. Whole groups are drawn where ``groups``
    (one name per case) says that cases belong together, because images of one patient are not independent; an empty
    name means that the case is a group of its own. Fewer than two groups give no interval. The result depends on
    ``values``, ``groups`` and ``seed`` alone.
    """
    if np.isinf(values).any():
        raise ValueError(f"Rows {np.flatnonzero(np.isinf(values).any(axis=1)).tolist()} have an infinite value.")
    known = ~np.isnan(values)
    n_used = known.sum(axis=0)
    sums, counts = group_sums(values, groups)
    n_groups = len(sums)
    total, number = sums.sum(axis=0), counts.sum(axis=0)
    means = ratio(total, number)
    low, high = np.full((2, values.shape[1]), np.nan)
    used = number > 0
    if n_groups > 1 and used.any():
        sums, counts = sums[:, used], counts[:, used]
        drawn_RM = _drawn_means(sums, counts, _draws(n_groups, seed, resamples))
        without_one_GM = np.where(counts > 0, ratio(total[used] - sums, number[used] - counts), np.nan)
        low[used], high[used] = intervals(drawn_RM, means[used], without_one_GM)
    columns = zip(means, low, high, n_used.tolist(), strict=True)
    return [Mean(_number(mean), _number(lower), _number(upper), n, len(values)) for mean, lower, upper, n in columns]


def bootstrap_estimates(
    estimates: Callable[[Weights], Mapping[Name, NDArray[np.float64]]],
    n: int,
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[Name, Estimate]:
    """Estimates that are no means, such as the AUC, with their bootstrap 95 % intervals.

    ``estimates`` takes (R, N) weights and returns (R,) values by name, NaN where there is none; a resample without a
    value is excluded from the interval. ``groups`` and ``seed`` as in ``bootstrap_means``.
    """
    members = group_numbers(groups, n)
    n_groups = int(members.max(initial=-1)) + 1
    values = {name: float(value[0]) for name, value in estimates(np.ones((1, n))).items()}
    if n_groups < 2:
        return {name: Estimate(_number(value), None, None) for name, value in values.items()}
    drawn = _joined(estimates(counts[:, members]) for counts in _draws(n_groups, seed, resamples))
    without_one = _joined(estimates(weights[:, members]) for weights in _without_one(n_groups))
    found = {}
    for name, value in values.items():
        low, high = intervals(drawn[name][:, None], np.array([value]), without_one[name][:, None])
        found[name] = Estimate(_number(value), _number(low[0]), _number(high[0]))
    return found


def intervals(
    drawn_RM: NDArray[np.float64], value_M: NDArray[np.float64], without_one_GM: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The edges of the 95 % interval of each column, (M,) and (M,); NaN where a column has no value to draw.

    ``drawn_RM`` are the values of the resamples, ``value_M`` that of all cases, ``without_one_GM`` those without each
    of the groups; NaN marks a resample without a value and a group without a value in a column.
    """
    ordered_MR = np.sort(drawn_RM.T, axis=1)
    n_drawn_M = np.count_nonzero(~np.isnan(ordered_MR), axis=1)
    n_groups_M = np.count_nonzero(~np.isnan(without_one_GM), axis=0)
    usable_M = (n_drawn_M > 0) & (n_groups_M > 1) & ~np.isnan(value_M)
    near_M = 1e-12 * np.maximum(np.abs(value_M), 1e-12)
    below_M = np.count_nonzero(drawn_RM < value_M - near_M, axis=0)
    level_M = (below_M + np.count_nonzero(drawn_RM <= value_M + near_M, axis=0)) / 2 / np.maximum(n_drawn_M, 1)
    smallest_M = 0.5 / np.maximum(n_drawn_M, 1)
    bias_M = ndtri(np.clip(level_M, smallest_M, 1 - smallest_M))
    acceleration_M = _acceleration(without_one_GM)
    degrees_M = np.maximum(n_groups_M - 1, 1)
    wide_M = stdtrit(degrees_M, (1 + LEVEL) / 2) * np.sqrt((degrees_M + 1) / degrees_M)
    edges = []
    for sign in (-1, 1):
        shifted_M = bias_M + sign * wide_M
        share_M = ndtr(bias_M + shifted_M / np.maximum(1 - acceleration_M * shifted_M, 1e-9))
        edges.append(np.where(usable_M, _quantiles(ordered_MR, n_drawn_M, share_M), np.nan))
    return edges[0], edges[1]


def estimate_text(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    scale: float = 1.0,
    unit: str = "",
    decimals: int = 2,
    most: float = 100.0,
) -> str:
    """A value with its unit and its interval, all as ``rounded``; ``-`` where there is no value.

    >>> estimate_text(0.75, 0.5, 0.9, scale=100, unit="%"), estimate_text(0.5, None, None), estimate_text(None, 0, 1)
    ('75.00 % [50.00, 90.00]', '0.50', '-')
    """
    if value is None or value != value:
        return "-"
    number, interval = rounded(scale * value, decimals, most), interval_text(low, high, scale, decimals, most)
    return " ".join(filter(None, [number, unit, interval]))


def interval_text(
    low: float | None, high: float | None, scale: float = 1.0, decimals: int = 2, most: float = 100.0
) -> str:
    """``[78.02, 84.11]``; empty where there is no interval, and where all resamples are alike, which is none either.

    >>> interval_text(0.5, 0.75, 100), interval_text(0.9, 0.99996, 100), interval_text(0, 0), interval_text(None, 1)
    ('[50.00, 75.00]', '[90.00, > 99.99]', '', '')
    """
    if low is None or high is None or not high - low > NOISE:
        return ""
    return f"[{rounded(scale * low, decimals, most)}, {rounded(scale * high, decimals, most)}]"


def interval_words(low: float | None, high: float | None, scale: float = 1.0) -> str:
    """For a sentence, with one decimal.

    >>> interval_words(0.5, 0.75, 100), interval_words(0, 0)
    ('50.0 to 75.0', '')
    """
    return interval_text(low, high, scale, 1).strip("[]").replace(", ", " to ")


def rounded(value: float, decimals: int = 2, most: float = 100.0) -> str:
    """A number with so many decimals; nothing but 0 is printed as 0, and nothing below ``most`` as that.

    >>> rounded(81.499), rounded(99.996), rounded(0.004), rounded(-0.004), rounded(100.0), rounded(-1e-15)
    ('81.50', '> 99.99', '< 0.01', '> -0.01', '100.00', '0.00')
    """
    nearest = round(value, decimals)
    if abs(value - nearest) > NOISE and (nearest == 0 or value < nearest == most):
        beyond = nearest + math.copysign(10.0**-decimals, value - nearest)
        return f"{'<' if value > nearest else '>'} {beyond:.{decimals}f}"
    return f"{nearest + 0.0:.{decimals}f}"  # + 0.0: there is no -0.00


def percent_text(fraction: float, decimals: int = 1) -> str:
    """A fraction in percent; what is rounded is never printed as nothing or all.

    >>> percent_text(0.8149), percent_text(0.99999), percent_text(0.0002), percent_text(1.0), percent_text(0.0)
    ('81.5 %', '> 99.9 %', '< 0.1 %', '100.0 %', '0.0 %')
    """
    return f"{rounded(100 * fraction, decimals)} %"


def few_cases(n_cases: int, by_class: Mapping[str, int]) -> str:
    """A plain warning where results rest on so few test cases that chance decides; else empty.

    >>> few_cases(64, {"benign": 43, "malignant": 21}), few_cases(64, {"benign": 61, "malignant": 3}), few_cases(9, {})
    ('', 'few test cases: 64 (3 malignant)', 'few test cases: 9')
    """
    rare = [f"{n} {name}" for name, n in by_class.items() if n < FEW_OF_A_CLASS]
    if n_cases >= FEW_CASES and not rare:
        return ""
    return f"few test cases: {n_cases}" + (f" ({', '.join(rare)})" if rare else "")


def group_numbers(groups: Sequence[str] | None, n: int) -> NDArray[np.intp]:
    """(N,) number of the group of each case, counted from 0; an empty name is a group of its own.

    Raises ValueError unless there are ``n`` names.
    """
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise ValueError(f"There are {n} cases but {len(groups)} group names.")
    names = [("group", name) if name else ("case", str(row)) for row, name in enumerate(groups)]
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], dtype=np.intp)


def group_sums(
    values_NM: NDArray[np.float64], groups: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(G, M) sums over the cases of each group that have a value, and (G, M) numbers of these cases."""
    members, known_NM = group_numbers(groups, len(values_NM)), ~np.isnan(values_NM)
    sums_GM, counts_GM = np.zeros((2, int(members.max(initial=-1)) + 1, values_NM.shape[1]))
    np.add.at(sums_GM, members, np.where(known_NM, values_NM, 0.0))
    np.add.at(counts_GM, members, known_NM)
    return sums_GM, counts_GM


def ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], otherwise: float = np.nan
) -> NDArray[np.float64]:
    """The quotient, elementwise with broadcasting; ``otherwise`` where the denominator is not above 0."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, otherwise), where=denominator > 0)


def _draws(n: int, seed: int, resamples: int) -> Iterator[Weights]:
    """How often each of ``n`` groups is drawn, in chunks."""
    few = n * resamples <= KEPT
    for counts_RG in _kept_counts(n, seed, resamples) if few else _counts(n, seed, resamples):
        yield counts_RG.astype(np.float64)


@lru_cache(maxsize=4)
def _kept_counts(n: int, seed: int, resamples: int) -> tuple[NDArray[np.uint16], ...]:
    """Kept, because all methods of a data set are drawn alike."""
    return tuple(_counts(n, seed, resamples))


def _counts(n: int, seed: int, resamples: int) -> Iterator[NDArray[np.uint16]]:
    """(at most CHUNK, n), fewer at a time of very many groups; the draws are the same."""
    random, at_once = generator(seed, "bootstrap"), max(1, min(CHUNK, DRAWN_AT_ONCE // n))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        draws = random.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(draws.ravel(), minlength=size * n).reshape(size, n).astype(np.uint16)


def _without_one(n: int) -> Iterator[Weights]:
    """Weights that exclude one of ``n`` groups each, in chunks."""
    at_once = max(1, min(CHUNK, DRAWN_AT_ONCE // n))
    for start in range(0, n, at_once):
        size = min(at_once, n - start)
        weights = np.ones((size, n))
        weights[np.arange(size), start + np.arange(size)] = 0
        yield weights


def _joined(parts: Iterator[Mapping[Name, NDArray[np.float64]]]) -> dict[Name, NDArray[np.float64]]:
    found = list(parts)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _acceleration(without_one_GM: NDArray[np.float64]) -> NDArray[np.float64]:
    """How fast the spread changes with the value, from the jackknife; 0 where nothing changes."""
    known = ~np.isnan(without_one_GM)
    mean_M = ratio(np.where(known, without_one_GM, 0.0).sum(axis=0), known.sum(axis=0).astype(float))
    influence_GM = np.where(known, mean_M - without_one_GM, 0.0)
    squares_M, cubes_M = (influence_GM**2).sum(axis=0), (influence_GM**3).sum(axis=0)
    moves_M = squares_M > 1e-24 * np.maximum(mean_M**2, 1e-300)
    return np.divide(cubes_M, 6 * squares_M**1.5, out=np.zeros_like(cubes_M), where=moves_M)


def _quantiles(
    ordered_MR: NDArray[np.float64], n_drawn_M: NDArray[np.intp], share_M: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each row the quantile at its own fraction of its first ``n_drawn_M`` values, linearly between neighbours."""
    place_M = share_M * np.maximum(n_drawn_M - 1, 0)
    lower_M = np.floor(place_M).astype(np.intp)
    upper_M = np.minimum(lower_M + 1, np.maximum(n_drawn_M - 1, 0))
    rows = np.arange(len(ordered_MR))
    below_M, above_M = ordered_MR[rows, lower_M], ordered_MR[rows, upper_M]
    return below_M + (place_M - lower_M) * (above_M - below_M)


def _drawn_means(sums_GM: NDArray[np.float64], counts_GM: NDArray[np.float64], draws: Iterator[Weights]) -> Weights:
    """(R, M) means of each resample; columns that rest on the same cases have their counts drawn once."""
    distinct, place_M = np.unique(counts_GM, axis=1, return_inverse=True)
    place_M = place_M.reshape(-1)
    return np.concatenate([ratio(w @ sums_GM, (w @ distinct)[:, place_M]) for w in draws])


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
