"""Calibration, by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from htunet.evaluation.calibration import (
    BINS,
    brier,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    tempered,
)
from htunet.evaluation.class_summary import calibration


def drawn(n: int, k: int, temperature: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities with the classes drawn from them, then made too sure (above 1: less sure)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, k)) * 1.5
    honest = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(k, p=row) for row in honest])
    return tempered(honest, temperature), truth


def test_the_error_is_the_gap_of_the_bins_weighted_by_their_cases() -> None:
    # two bins: 0.9 (3 cases, 2 right) and 0.6 (2 cases, none right)
    positive = np.array([0.9, 0.9, 0.1, 0.6, 0.6])
    probabilities = np.stack([1 - positive, positive], axis=1)
    truth = np.array([1, 0, 0, 0, 0])
    found = calibration(probabilities, truth)
    assert found.values["ece"] == pytest.approx((3 * abs(2 / 3 - 0.9) + 2 * abs(0 - 0.6)) / 5)
    assert found.values["brier"] == pytest.approx((0.01 + 0.81 + 0.01 + 0.36 + 0.36) / 5)
    assert found.values["nll"] == pytest.approx(-(2 * np.log(0.9) + np.log(0.1) + 2 * np.log(0.4)) / 5)


def test_bins_are_of_equal_width_and_hold_their_upper_edge() -> None:
    confidence = np.array([0.5, 0.6, 0.6 + 1e-9, 1.0])
    bins = reliability(np.stack([confidence, 1 - confidence], axis=1), np.zeros(4, int))
    assert len(bins) == BINS
    assert [b.n for b in bins] == [0] * 7 + [1, 1, 1, 0, 0, 0, 0, 1]
    assert (bins[8].low, bins[8].high, bins[8].accuracy) == (pytest.approx(8 / 15), pytest.approx(0.6), 1.0)
    assert (bins[0].confidence, bins[0].accuracy) == (None, None)


@pytest.mark.parametrize("k", [2, 3])
def test_brier_and_likelihood_agree_with_scikit_learn(k: int) -> None:
    probabilities, truth = drawn(150, k)
    expected = brier_score_loss(truth, probabilities[:, 1] if k == 2 else probabilities)
    assert brier(probabilities, truth) == pytest.approx(expected)
    assert negative_log_likelihood(probabilities, truth) == pytest.approx(log_loss(truth, probabilities))


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("made_with", [0.1, 0.4, 1.0, 2.5, 8.0])
def test_the_fitted_temperature_undoes_the_one_that_made_the_probabilities_wrong(k: int, made_with: float) -> None:
    probabilities, truth = drawn(4000, k, made_with)
    found = fit_temperature(probabilities, truth)
    assert found is not None
    assert found == pytest.approx(1 / made_with, rel=0.1)
    before, after = calibration(probabilities, truth), calibration(tempered(probabilities, found), truth)
    assert after.values["nll"] <= before.values["nll"] + 1e-12
    assert after.values["ece"] < 0.03


def test_the_fitted_temperature_is_the_best_of_a_fine_grid() -> None:
    probabilities, truth = drawn(60, 2, 0.5)
    grid = np.exp(np.linspace(-3, 3, 6001))
    losses = [negative_log_likelihood(tempered(probabilities, t), truth) for t in grid]
    assert fit_temperature(probabilities, truth) == pytest.approx(grid[int(np.argmin(losses))], rel=2e-3)


def test_a_temperature_changes_no_decision_and_1_changes_nothing() -> None:
    probabilities, _ = drawn(50, 3)
    np.testing.assert_allclose(tempered(probabilities, 1.0), probabilities, atol=1e-12)
    for temperature in (0.1, 7.0):
        changed = tempered(probabilities, temperature)
        np.testing.assert_allclose(changed.sum(axis=1), 1)
        np.testing.assert_array_equal(changed.argmax(axis=1), probabilities.argmax(axis=1))


def test_a_temperature_is_that_of_the_scores_before_the_softmax() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 3)) * 4
    softmax = lambda s: np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)  # noqa: E731
    np.testing.assert_allclose(tempered(softmax(scores), 2.5), softmax(scores / 2.5))


@pytest.mark.parametrize(
    ("positive", "truth"),
    [
        pytest.param([0.1, 0.3, 0.7, 0.9], [0, 0, 1, 1], id="all right: any colder one is better"),
        pytest.param([0.1, 0.3, 0.7, 0.9], [1, 1, 0, 0], id="all wrong: any hotter one is better"),
    ],
)
def test_cases_without_a_best_temperature_have_none(positive: list[float], truth: list[int]) -> None:
    values = np.array(positive)
    assert fit_temperature(np.stack([1 - values, values], axis=1), np.array(truth)) is None


def test_a_best_temperature_beyond_the_scale_is_none() -> None:
    positive = np.full(1000, 0.9999)
    truth = np.arange(1000) < 501  # logarithms of odds of 9.2 should be 0.004: a temperature of 2300
    assert fit_temperature(np.stack([1 - positive, positive], axis=1), truth.astype(int)) is None


def test_a_probability_of_0_is_a_large_loss_and_no_infinity() -> None:
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(708.4, abs=0.1)
