"""A mask's Dice predicted without the true mask, and how far that can be believed."""

import numpy as np
import pytest

from htunet.data.expected_dice import expected_dice
from htunet.evaluation.predicted_dice import fit_calibration


def test_the_expected_dice_is_worked_out_by_hand() -> None:
    lesion = np.array([[0.9, 0.6], [0.2, 0.1]])  # two pixels are predicted
    found = expected_dice(np.stack([1 - lesion, lesion]))
    assert found == pytest.approx(2 * (0.9 + 0.6) / (2 + 1.8))
    assert expected_dice(np.stack([1 - lesion, lesion * 0.5, lesion * 0.5])) is not None
    assert expected_dice(np.stack([np.ones((2, 2)), np.zeros((2, 2))])) is None
    assert expected_dice(np.stack([np.zeros((2, 2)), np.ones((2, 2))])) == 1.0


def test_the_prediction_is_what_such_masks_really_had() -> None:
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.6, 1, 400)
    dice = np.clip(2.5 * (expected - 0.6) + rng.normal(0, 0.05, 400), 0, 1)  # far lower than the network thinks
    calibration = fit_calibration(expected, dice)
    assert calibration is not None
    for value in (0.7, 0.8, 0.9):
        assert calibration(value).value == pytest.approx(2.5 * (value - 0.6), abs=0.05)
    values = [calibration(value).value for value in np.linspace(0, 1, 50)]
    assert values == sorted(values)


def test_the_interval_covers_nine_of_ten_new_images() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(20):
        expected = rng.uniform(0.5, 1, 150)
        dice = np.clip(expected - 0.2 + rng.normal(0, 0.15, 150), 0, 1)
        calibration = fit_calibration(expected[:60], dice[:60])
        assert calibration is not None
        for value, real in zip(expected[60:], dice[60:], strict=True):
            found = calibration(value)
            covered.append(found.low <= real <= found.high)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.04)


def test_few_images_calibrate_nothing_and_missing_values_do_not_count() -> None:
    expected, dice = np.linspace(0.5, 1, 20), np.linspace(0, 1, 20)
    assert fit_calibration(expected, dice) is not None
    dice[3] = np.nan
    assert fit_calibration(expected, dice) is None
