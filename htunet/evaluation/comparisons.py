"""Whether one method is better than another on the same cases: paired tests, and how large the difference is.

Dimension key: N pairs, C comparisons.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from htunet.evaluation.statistics import RESAMPLES, bootstrap_means, group_sums, ratio, rounded

SIGNIFICANT = 0.05
DECIMALS = 12
"""Of differences: 1 - 2/3 and 2/3 - 1/3, from three seeds, are equal but for the last bit, and must have one rank."""
EXACT_UP_TO = 50
"""Pairs that differ; with more, or with equal differences, the normal distribution approximates the exact one."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SignedRanks:
    """Wilcoxon's signed-rank test of each of C comparisons, (C,) each."""

    n: NDArray[np.intp]
    """Pairs with a value on both sides."""
    n_different: NDArray[np.intp]
    """Of them those that differ; the others are not tested."""
    p: Floats
    """Two-sided; 1 where no pair differs, NaN where there is no pair."""
    rank_biserial: Floats
    """In [-1, 1]: fraction of the ranks of positive differences, less that of negative ones; 0 where none differs."""
    median: Floats
    """Of all differences, equal pairs included; NaN where there is no pair."""


def signed_ranks(differences_NC: Floats) -> SignedRanks:
    """Test the columns of differences; NaN marks a pair without a value on one side.

    Differences of zero are excluded from the ranks. Up to ``EXACT_UP_TO`` differing pairs without ties have the exact
    distribution, others the normal one with the correction for ties and without that for continuity. All columns of the
    latter are one call of SciPy, which takes as long for one. Source: Wilcoxon 1945, Individual comparisons by ranking
    methods; effect size: Kerby 2014, The simple difference formula.
    """
    known_NC = ~np.isnan(differences_NC)
    moved_NC = np.where(known_NC, differences_NC, 0.0).round(DECIMALS)  # the test ignores zeros
    n_C, m_C = known_NC.sum(axis=0), (moved_NC != 0).sum(axis=0)
    p_C, rank_biserial_C = np.where(n_C > 0, 1.0, np.nan), np.zeros(len(m_C))
    if (tested := m_C > 0).any():
        settings = {"axis": 0, "correction": False, "method": "asymptotic"}
        p_C[tested] = wilcoxon(moved_NC[:, tested], **settings).pvalue
        positive_C = wilcoxon(moved_NC[:, tested], alternative="greater", **settings).statistic
        all_C = m_C[tested] * (m_C[tested] + 1) / 2
        rank_biserial_C[tested] = (2 * positive_C - all_C) / all_C
    for column in np.flatnonzero(tested & (m_C <= EXACT_UP_TO)):
        moved = moved_NC[moved_NC[:, column] != 0, column]
        if len(np.unique(np.abs(moved))) == len(moved):
            p_C[column] = wilcoxon(moved, method="exact").pvalue
    median_C = pd.DataFrame(differences_NC).median().to_numpy()
    return SignedRanks(n=n_C, n_different=m_C, p=p_C, rank_biserial=rank_biserial_C, median=median_C)


def holm(p: Floats) -> Floats:
    """p-values adjusted for having made all these tests; NaN (no test) stays and does not count.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def paired_tests(
    differences_NC: Floats, groups: Sequence[str], *, resamples: int = RESAMPLES
) -> list[dict[str, float | int | None]]:
    """For each column of differences between two methods on N cases: test, effect size and the mean with its interval.

    Cases of one group (one name per case, see ``bootstrap_means``) are one pair of the test, the mean of its cases: the
    test takes its pairs as independent.
    """
    tests = signed_ranks(by_group(differences_NC, groups))
    means = bootstrap_means(differences_NC, groups, resamples=resamples)
    return [
        {
            "mean_difference": mean.mean,
            "low": mean.low,
            "high": mean.high,
            "median_difference": float(tests.median[c]),
            "rank_biserial": float(tests.rank_biserial[c]),
            "p": float(tests.p[c]),
            "n_cases": mean.n_used,
            "n_pairs": int(tests.n[c]),
            "n_different": int(tests.n_different[c]),
        }
        for c, mean in enumerate(means)
    ]


def corrected(
    rows: Sequence[Mapping[str, Any]], *, higher_is_better: bool
) -> Iterator[tuple[Mapping[str, Any], float, str]]:
    """Each row of tests between methods ``a`` and ``b`` with its p corrected over all rows, and the better method.

    The better method is empty unless the corrected test says so.
    """
    for row, p in zip(rows, holm(np.array([row["p"] for row in rows], dtype=float)).tolist(), strict=True):
        effect = row["rank_biserial"]
        clear = p < SIGNIFICANT and effect != 0
        yield row, p, (row["a"] if (effect > 0) == higher_is_better else row["b"]) if clear else ""


def opposes_mean(row: Mapping[str, Any], better: str, *, higher_is_better: bool) -> bool:
    """Whether the ranks say that a method is ``better``, and the mean difference of a and b says the opposite.

    >>> [opposes_mean({"a": "A", "mean_difference": -1.0}, better, higher_is_better=True) for better in ("A", "B", "")]
    [True, False, False]
    """
    return bool(better) and (row["mean_difference"] > 0) != ((better == row["a"]) == higher_is_better)


def p_text(p: float) -> str:
    """A p-value with three decimals; one below ``SIGNIFICANT`` never looks as if it were not.

    >>> p_text(0.0321), p_text(0.00001), p_text(0.0497), p_text(0.9999)
    ('0.032', '< 0.001', '< 0.05', '> 0.999')
    """
    edge = 0.001 if p < 0.001 else SIGNIFICANT if SIGNIFICANT - 0.0005 <= p < SIGNIFICANT else None
    return rounded(p, 3, 1.0) if edge is None else f"< {edge}"


def by_group(differences_NC: Floats, groups: Sequence[str]) -> Floats:
    """(G, C) means over the cases of each group; NaN where a group has no value."""
    return ratio(*group_sums(differences_NC, groups))
