"""Whether one method is better than another on the same cases: paired tests, and how large the difference is.

Dimension key: N pairs, C comparisons.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import rankdata

EXACT_UP_TO = 50
"""Pairs that differ; with more of them, or with equal differences, the normal distribution stands for the exact one."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SignedRanks:
    """Wilcoxon's signed-rank test of each of C comparisons, (C,) each."""

    n: NDArray[np.intp]
    """Pairs with a value on both sides."""
    n_different: NDArray[np.intp]
    """Of them those that differ; the others take no part in the test."""
    p: Floats
    """Two-sided; 1 where no pair differs, NaN where there is no pair."""
    rank_biserial: Floats
    """In [-1, 1]: share of the ranks of positive differences, less that of the negative ones. 0 where none differs."""
    median: Floats
    """Of all differences, equal pairs included; NaN where there is no pair."""


def signed_ranks(differences_NC: Floats) -> SignedRanks:
    """Test the columns of differences; NaN marks a pair without a value on one side.

    Differences of zero are left out of the ranks. Up to ``EXACT_UP_TO`` differing pairs without ties have the exact
    distribution, others the normal one with the correction for ties and without that for continuity. Source: Wilcoxon
    1945, Individual comparisons by ranking methods; effect size: Kerby 2014, The simple difference formula.
    """
    known_NC = ~np.isnan(differences_NC)
    moved_NC = known_NC & (differences_NC != 0)
    sizes_NC = np.where(moved_NC, np.abs(differences_NC), np.nan)
    ranks_NC = np.where(moved_NC, rankdata(np.where(moved_NC, sizes_NC, np.inf), axis=0), 0.0)
    positive_C = np.where(differences_NC > 0, ranks_NC, 0.0).sum(axis=0)
    m_C = moved_NC.sum(axis=0)
    all_C = m_C * (m_C + 1) / 2
    ties_C = _tie_term(np.sort(sizes_NC, axis=0))
    spread_C = np.sqrt(np.maximum(m_C * (m_C + 1) * (2 * m_C + 1) / 24 - ties_C / 48, 0))
    z_C = np.divide(positive_C - all_C / 2, spread_C, out=np.zeros(len(m_C)), where=spread_C > 0)
    p_C = 2 * ndtr(-np.abs(z_C))
    for column in np.flatnonzero((m_C > 0) & (m_C <= EXACT_UP_TO) & (ties_C == 0)):
        rank_sum = min(positive_C[column], all_C[column] - positive_C[column])
        p_C[column] = min(1.0, 2 * _exact_shares(int(m_C[column]))[round(rank_sum)])
    n_C = known_NC.sum(axis=0)
    return SignedRanks(
        n=n_C,
        n_different=m_C,
        p=np.where(n_C > 0, p_C, np.nan),
        rank_biserial=np.divide(2 * positive_C - all_C, all_C, out=np.zeros(len(m_C)), where=all_C > 0),
        median=_medians(differences_NC, n_C),
    )


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


@lru_cache(maxsize=EXACT_UP_TO)
def _exact_shares(m: int) -> Floats:
    """The probability that m pairs without ties have a rank sum of at most 0, 1, ..., m (m + 1) / 2 by chance."""
    ways = np.ones(1)  # whole numbers up to 2 to the 50th: exact
    for rank in range(1, m + 1):
        ways = np.concatenate([ways, np.zeros(rank)]) + np.concatenate([np.zeros(rank), ways])
    return np.cumsum(ways) / 2.0**m


def _tie_term(ordered_NC: Floats) -> Floats:
    """Sum of t³ - t over the groups of t equal values of each column; NaN at the end of a column counts for nothing."""
    total_C = np.zeros(ordered_NC.shape[1])
    length_C = np.ones(ordered_NC.shape[1])
    for row in range(1, len(ordered_NC)):
        same_C = ordered_NC[row] == ordered_NC[row - 1]
        total_C += np.where(same_C, 0.0, length_C**3 - length_C)
        length_C = np.where(same_C, length_C + 1, 1.0)
    return total_C + length_C**3 - length_C


def _medians(differences_NC: Floats, n_C: NDArray[np.intp]) -> Floats:
    ordered_NC = np.sort(differences_NC, axis=0)  # NaN comes last
    if len(ordered_NC) == 0:
        return np.full(len(n_C), np.nan)
    columns = np.arange(len(n_C))
    low_C, high_C = (np.maximum(n_C - 1, 0) // 2, np.minimum(n_C // 2, len(ordered_NC) - 1))
    return np.where(n_C > 0, (ordered_NC[low_C, columns] + ordered_NC[high_C, columns]) / 2, np.nan)
