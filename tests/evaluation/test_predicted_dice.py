"""A mask's Dice predicted without the true mask, and how far that can be believed."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from htunet.data.expected_dice import COLUMNS, ensemble_gain, expected_dice
from htunet.evaluation.predicted_dice import (
    DiceCalibration,
    calibration_of,
    dice_of_cases,
    fit_calibration,
    predicted_dice,
)
from htunet.files import write_csv, write_json
from htunet.paths import DatasetPaths, RunPaths


def test_the_expected_dice_is_worked_out_by_hand() -> None:
    lesion = np.array([[0.9, 0.6], [0.2, 0.1]])  # two pixels are predicted
    found = expected_dice(np.stack([1 - lesion, lesion]))
    assert found == pytest.approx(2 * (0.9 + 0.6) / (2 + 1.8))
    assert expected_dice(np.stack([1 - lesion, lesion * 0.5, lesion * 0.5])) is not None
    assert expected_dice(np.stack([np.ones((2, 2)), np.zeros((2, 2))])) is None
    assert expected_dice(np.stack([np.zeros((2, 2)), np.ones((2, 2))])) == 1.0


def test_what_a_mean_gains_over_its_members_is_worked_out_by_hand() -> None:
    one, other = np.array([[0.9, 0.6, 0.1]]), np.array([[0.7, 0.0, 0.3]])  # the first marks two pixels, the second one
    members = np.stack([np.stack([1 - lesion, lesion]) for lesion in (one, other)])
    mean = members.mean(axis=0)  # 0.8, 0.3, 0.2: one pixel is marked
    together, alone = 2 * 0.8 / (1 + 1.3), (2 * (0.8 + 0.3) / (2 + 1.3), 2 * 0.8 / (1 + 1.3))
    assert ensemble_gain(members, mean) == pytest.approx(together - sum(alone) / 2)
    assert ensemble_gain(members[:1], members[0]) == 0
    nothing = np.stack([np.ones((1, 3)), np.zeros((1, 3))])
    mixed = np.stack([members[0], nothing])
    assert ensemble_gain(mixed, 0.8 * members[0] + 0.2 * nothing) == pytest.approx(
        expected_dice(0.8 * members[0] + 0.2 * nothing) - 2 * (0.72 + 0.48) / (2 + 1.28) / 2  # the second's Dice is 0
    )
    assert ensemble_gain(mixed, nothing) == 0
    soft = np.stack([1 - np.array([[0.51, 0.49, 0.49]]), np.array([[0.51, 0.49, 0.49]])])
    assert ensemble_gain(np.stack([np.stack([np.zeros((1, 3)), np.ones((1, 3))])] * 2), soft) == 0


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


def test_equal_expected_values_predict_the_mean_of_their_images_not_the_best_of_them() -> None:
    all_sure = fit_calibration(np.full(31, 0.9), np.linspace(0.2, 0.8, 31))
    assert all_sure is not None
    assert all_sure(0.9).value == pytest.approx(0.5)
    two = fit_calibration(
        np.repeat([0.6, 0.9], 15), np.concatenate([np.linspace(0.1, 0.3, 15), np.linspace(0.7, 0.9, 15)])
    )
    assert two is not None
    assert [two(value).value for value in (0.6, 0.9)] == pytest.approx([0.2, 0.8])
    assert two(0.9).low < 0.75 < two(0.9).high
    rng = np.random.default_rng(3)  # without equal values nothing changes
    expected, dice = rng.uniform(size=40), rng.uniform(size=40)
    found, order = fit_calibration(expected, dice), np.argsort(expected)
    assert found is not None
    np.testing.assert_allclose(found.fitted_N, isotonic_regression(dice[order]).x)


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


def test_several_networks_are_calibrated_one_by_one_and_averaged() -> None:
    points = np.array([0.5, 1.0])
    steep = DiceCalibration(points, points, np.array([0.2, 0.8]), np.array([0.2, 0.1]), -1.0, 0.5)
    flat = DiceCalibration(points, points, np.array([0.4, 0.6]), np.array([0.1, 0.1]), -2.0, 1.0)
    found = predicted_dice([steep, flat], [0.75, 1.0])
    assert found is not None
    assert found.value == pytest.approx((0.5 + 0.6) / 2)
    assert found.low == pytest.approx(0.55 - (0.15 * 1 + 0.1 * 2) / 2)
    assert found.high == pytest.approx(0.55 + (0.15 * 0.5 + 0.1 * 1) / 2)
    missed = predicted_dice([steep, flat], [None, 1.0])  # a network that finds nothing has a Dice of 0
    assert missed is not None
    assert missed.value == pytest.approx(0.3)
    assert missed.low == pytest.approx(0.1)
    assert predicted_dice([steep, flat], [None, None]) is None
    gained = predicted_dice([steep, flat], [0.75, 1.0], 0.1)
    assert gained is not None
    assert np.subtract((gained.value, gained.low, gained.high), (found.value, found.low, found.high)) == pytest.approx(
        0.1
    )
    best = predicted_dice([steep, flat], [1.0, 1.0], 0.9)
    assert best is not None
    assert best.value == best.high == 1


def test_an_ensemble_is_not_thought_worse_because_it_is_less_sure() -> None:
    """Five networks, each too sure of itself in its own way; their mean is softer, and a little better than each."""
    rng = np.random.default_rng(2)
    biases, covered = [], []
    for _ in range(20):
        quality = rng.uniform(0.3, 0.9, 200)
        own = np.clip(quality[:, None] + rng.normal(0, 0.08, (200, 5)), 0, 1)  # the Dice of each network
        expected = 0.75 + 0.25 * own + rng.normal(0, 0.03, (200, 5))
        together = np.clip(own.mean(axis=1) + 0.02 + rng.normal(0, 0.04, 200), 0, 1)
        calibration = fit_calibration(expected[:60, 0], own[:60, 0])
        assert calibration is not None
        for values, real in zip(expected[60:], together[60:], strict=True):
            found = predicted_dice([calibration] * 5, values.tolist())
            assert found is not None
            biases.append(found.value - real)
            covered.append(found.low <= real <= found.high)
    assert np.mean(biases) == pytest.approx(-0.02, abs=0.015)
    assert np.mean(covered) >= 0.9


def test_the_interval_is_narrow_where_masks_are_good_and_holds_there_too() -> None:
    rng = np.random.default_rng(3)
    covered: dict[bool, list[bool]] = {True: [], False: []}
    widths: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(30):
        expected = rng.uniform(0.5, 1, 160)
        dice = np.clip(expected - 0.1 + (1.05 - expected) * rng.normal(0, 0.4, 160), 0, 1)
        calibration = fit_calibration(expected[:80], dice[:80])
        assert calibration is not None
        for value, real in zip(expected[80:], dice[80:], strict=True):
            found = calibration(value)
            covered[value > 0.75].append(found.low <= real <= found.high)
            widths[value > 0.75].append(found.high - found.low)
    assert np.mean(widths[True]) < 0.7 * np.mean(widths[False])
    assert min(np.mean(covered[True]), np.mean(covered[False])) > 0.87


def test_twenty_images_hold_nine_of_ten_new_ones() -> None:
    """The quantiles of so few residuals themselves would hold fewer."""
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(200):
        expected = rng.uniform(0.5, 1, 30)
        dice = expected - 0.3 + rng.normal(0, 0.05, 30)
        calibration = fit_calibration(expected[:20], dice[:20])
        assert calibration is not None
        covered += [calibration(value).low <= real <= calibration(value).high
                    for value, real in zip(expected[20:], dice[20:], strict=True)]  # fmt: skip
    assert np.mean(covered) >= 0.9


def results_of(run: RunPaths, sha256: str, first: int, dice: float) -> None:
    """What is on the disk of a run that was tested on 20 cases, of which each has this Dice."""
    settings = {"plan_content": {"learning_rate": 1e-4}, "weights": {"source": "file", "sha256": sha256}}
    write_json(run.settings_json, settings)
    write_json(run.summary_json, {})
    cases = [str(first + k) for k in range(20)]
    write_csv(run.expected_dice_csv, COLUMNS, [{"case": case, "expected_dice": "0.9"} for case in cases])
    write_per_case(run, [{"case": case, "dice": str(dice), "missed": ""} for case in cases])


def write_per_case(run: RunPaths, rows: list[dict[str, str]]) -> None:
    rows = [{"label": "1", "resolution": "original_size"} | row for row in rows]
    write_csv(run.test_folder / "per_case.csv", ("case", "label", "resolution", "dice", "missed"), rows)


def test_a_false_alarm_has_the_dice_0_under_any_policy(home: Path) -> None:
    """Of 20 cases with a mask 2 have nothing to find: no value under ``exclude``, 0 under ``penalise``."""
    run = RunPaths(DatasetPaths("Dataset903_Tiny"), "SegmentationTrainer", "paper", "UNet", 0, 1)
    results_of(run, "ab", 0, 0.5)
    found = []
    for of_alarm in ("", "0.0"):
        alarms = [{"case": str(k), "dice": of_alarm, "missed": "reference"} for k in (18, 19)]
        nothing = {"case": "20", "dice": "", "missed": "both"}
        write_per_case(run, [*({"case": str(k), "dice": "0.5", "missed": ""} for k in range(18)), *alarms, nothing])
        calibration = calibration_of(run)
        assert calibration is not None
        found.append(calibration.dice_N.tolist())
    assert found == [[0.0] * 2 + [0.5] * 18] * 2


def test_a_label_that_no_reference_has_does_not_count_as_in_the_evaluation(home: Path) -> None:
    run = RunPaths(DatasetPaths("Dataset903_Tiny"), "SegmentationTrainer", "paper", "UNet", 0, 1)
    alarm = {"case": "a", "label": "2", "dice": "0.0", "missed": "reference"}
    write_per_case(run, [{"case": "a", "dice": "0.75", "missed": ""}, alarm])
    assert dice_of_cases(run.test_folder / "per_case.csv") == {"a": [0.75]}
    write_per_case(run, [{"case": "a", "dice": "", "missed": "both"}, alarm])
    assert dice_of_cases(run.test_folder / "per_case.csv") == {"a": [0.0]}


def test_an_image_that_several_seeds_were_tested_on_counts_once_by_the_seed_of_the_run(home: Path) -> None:
    dataset = DatasetPaths("Dataset903_Tiny")
    runs = [RunPaths(dataset, "SegmentationTrainer", "paper", "UNet", 0, seed) for seed in (1, 2)]
    for run, dice in zip(runs, (0.5, 0.75), strict=True):
        results_of(run, "ab", 0, dice)
    for run, dice in zip(runs, (0.5, 0.75), strict=True):
        found = calibration_of(run)
        assert found is not None
        assert found.dice_N.tolist() == [dice] * 20


@pytest.mark.parametrize(("other", "n"), [("ab", 40), ("cd", 20)])
def test_runs_from_other_weights_in_the_same_folder_do_not_calibrate_this_one(home: Path, other: str, n: int) -> None:
    dataset = DatasetPaths("Dataset903_Tiny")
    runs = [RunPaths(dataset, "SegmentationTrainer", "paper", "UNet", fold, 1) for fold in (0, 1)]
    for run, sha256 in zip(runs, ("ab", other), strict=True):
        results_of(run, sha256, 20 * run.fold, 0.5)
    found = calibration_of(runs[0])
    assert found is not None
    assert len(found.dice_N) == n
