"""How often the intervals hold the true mean: a small share of what ``benchmarks/coverage.py`` simulates."""

import numpy as np
import pytest
from scipy.special import ndtr, stdtrit
from scipy.stats import bootstrap

from htunet.evaluation.statistics import bootstrap_means

STUDIES = 600


def dice(rng: np.random.Generator, n: int) -> np.ndarray:
    """Skewed as Dice is, with 5 % of the lesions missed."""
    values = rng.beta(9, 1.6, (n, STUDIES))
    values[rng.random((n, STUDIES)) < 0.05] = 0
    return values


TRUE_DICE = 0.95 * 9 / 10.6


def coverage(values: np.ndarray, truth: float, groups: list[str] | None = None) -> float:
    found = bootstrap_means(values, groups, resamples=1000)
    return float(np.mean([one.low <= truth <= one.high for one in found]))  # type: ignore[operator]


@pytest.mark.parametrize("n", [64, 300])
def test_nineteen_of_twenty_intervals_hold_the_true_mean(n: int) -> None:
    # 600 studies: the standard error of the share is 0.9 %
    assert 0.92 <= coverage(dice(np.random.default_rng(n), n), TRUE_DICE) <= 0.975


def test_with_groups_too() -> None:
    rng = np.random.default_rng(3)
    groups = [f"patient {case // 3}" for case in range(300)]
    of_patient = np.repeat(rng.beta(9, 1.6, (100, STUDIES)), 3, axis=0)
    own = rng.beta(9, 1.6, (300, STUDIES))
    values = np.where(rng.random(own.shape) < 0.6, of_patient, own)
    truth = 9 / 10.6
    assert 0.92 <= coverage(values, truth, groups) <= 0.975
    assert coverage(values, truth) < 0.92  # as if images of one patient told as much as others


def test_the_interval_is_scipys_at_the_widened_level() -> None:
    values = np.random.default_rng(4).beta(9, 1.6, 60)
    (found,) = bootstrap_means(values[:, None])
    level = 2 * ndtr(stdtrit(59, 0.975) * np.sqrt(60 / 59)) - 1
    expected = bootstrap((values,), np.mean, n_resamples=10_000, confidence_level=level, method="BCa", rng=5)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval), abs=0.002)
