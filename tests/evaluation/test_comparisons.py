"""Wilcoxon's test and Holm's correction beside scipy, and by hand."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from htunet.evaluation.comparisons import holm, signed_ranks


def columns(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=float).T


def test_ranks_are_those_that_a_hand_counts() -> None:
    # sizes 1, 2, 3, 4 have the ranks 1 to 4; the differences of 2 is the negative one: (8 - 2) / 10
    found = signed_ranks(columns([1.0, -2.0, 3.0, 4.0, 0.0]))
    assert found.rank_biserial[0] == pytest.approx(0.6)
    assert (found.n[0], found.n_different[0], found.median[0]) == (5, 4, 1.0)
    assert found.p[0] == pytest.approx(6 / 16)  # of 16 signs, 3 give a sum of the smaller side of 2 or less, twice


@pytest.mark.parametrize("n", [8, 50, 64, 300])
def test_p_is_scipys_without_ties(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.2, 1, (n, 4))
    found = signed_ranks(differences)
    method = "exact" if n <= 50 else "approx"
    expected = [wilcoxon(column, method=method, correction=False).pvalue for column in differences.T]
    assert found.p == pytest.approx(expected, rel=1e-10)


def test_a_rank_sum_in_the_middle_has_a_p_of_1() -> None:
    assert signed_ranks(columns([3.0, -1.0, -2.0])).p[0] == 1  # 5 of 8 signs give a sum of 3 or less, twice


@pytest.mark.parametrize("n", [12, 64])
def test_p_is_scipys_with_ties_and_zeros(n: int) -> None:
    differences = np.random.default_rng(0).integers(-4, 6, (n, 5)).astype(float)
    expected = [
        wilcoxon(column, method="approx", correction=False, zero_method="wilcox").pvalue for column in differences.T
    ]
    assert signed_ranks(differences).p == pytest.approx(expected, rel=1e-10)


def test_a_pair_without_a_value_takes_no_part() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 70)
    with_gaps = np.append(values, [np.nan] * 9)
    alone, gaps = signed_ranks(values[:, None]), signed_ranks(with_gaps[:, None])
    assert (gaps.p[0], gaps.rank_biserial[0], gaps.median[0]) == pytest.approx(
        (alone.p[0], alone.rank_biserial[0], np.median(values))
    )
    assert gaps.n[0] == 70


def test_equal_methods_and_missing_ones_are_told_apart() -> None:
    found = signed_ranks(columns([0.0, 0.0, 0.0], [np.nan] * 3))
    assert (found.p[0], found.rank_biserial[0], found.median[0]) == (1.0, 0.0, 0.0)
    assert np.isnan(found.p[1])
    assert np.isnan(found.median[1])


def test_always_better_is_one_and_always_worse_minus_one() -> None:
    found = signed_ranks(columns([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]))
    assert found.rank_biserial.tolist() == [1.0, -1.0]


def test_holm_is_the_one_of_a_sheet_of_paper() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never below the one before
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


def test_holm_does_not_count_what_was_not_tested() -> None:
    found = holm(np.array([0.02, np.nan, 0.03]))
    assert found[[0, 2]].tolist() == pytest.approx([0.04, 0.04])
    assert np.isnan(found[1])


def test_holm_equals_statsmodels_where_that_is_installed() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(2).random(40) ** 3
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_means_over_three_seeds_have_the_ranks_of_their_numerators() -> None:
    # in thirds: 1, 1, 1, -1, 2, -2. The four 1 share the rank 2.5, both 2 the rank 5.5: (13 - 8) / 21; and two
    # methods whose seeds were summed in another order do not differ
    a, b = columns([1, 2, 3, 0, 2, 1, 1]) / 3, columns([0, 1, 2, 1, 0, 3, 1]) / 3
    differences = a - b
    differences[-1] = (0.1 + 0.2 + 0.3) - (0.3 + 0.2 + 0.1)
    found = signed_ranks(differences)
    assert found.rank_biserial[0] == pytest.approx(5 / 21)
    assert (found.n[0], found.n_different[0]) == (7, 6)
    assert found.p == pytest.approx(signed_ranks(columns([1, 1, 1, -1, 2, -2])).p)
