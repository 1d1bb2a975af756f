"""How good a mask probably is, without the true one: from the network's own probabilities, calibrated on tested images.

The expected Dice of a mask, if each pixel were a lesion with its probability and independently of the others, orders
images well but is too high: networks are too sure of themselves. The tested folds of a cross-validation say what Dice
such masks really had; an isotonic regression on them is the prediction, and the residuals of images that had no part
in the fit give its interval.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from htunet.data.expected_dice import COLUMNS, PredictedDice
from htunet.files import read_csv, read_object
from htunet.paths import RunPaths, find_runs

FEWEST_CASES = 20
"""Fewer tested images calibrate nothing."""
PARTS = 10
LEVEL = 0.9


@dataclass(frozen=True)
class DiceCalibration:
    """From the expected to the real Dice."""

    expected_N: NDArray[np.float64]
    """Of the tested images, rising."""
    fitted_N: NDArray[np.float64]
    low: float
    high: float
    """The interval around a prediction: quantiles of the residuals, real less predicted."""

    def __call__(self, expected: float) -> PredictedDice:
        """The Dice to be expected, with its 90 % interval; all in [0, 1]."""
        value = float(np.interp(expected, self.expected_N, self.fitted_N))
        low, high = np.clip([value + self.low, value + self.high], 0.0, 1.0).tolist()
        return PredictedDice(value, low, high)


def fit_calibration(expected_N: NDArray[np.float64], dice_N: NDArray[np.float64]) -> DiceCalibration | None:
    """Fit on tested images; None where fewer than 20 have both values (NaN: none)."""
    known = ~(np.isnan(expected_N) | np.isnan(dice_N))
    expected, dice = expected_N[known], dice_N[known]
    if len(expected) < FEWEST_CASES:
        return None
    order = np.lexsort((dice, expected))
    expected, dice = expected[order], dice[order]
    residuals = np.empty(len(dice))
    for part in range(PARTS):  # every tenth image is predicted by a fit on the others
        own = np.arange(len(dice)) % PARTS == part
        residuals[own] = dice[own] - np.interp(expected[own], expected[~own], _fit(dice[~own]))
    low, high = np.quantile(residuals, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return DiceCalibration(expected, _fit(dice), float(low), float(high))


def calibration_of(run: RunPaths) -> DiceCalibration | None:
    """From the test images of all folds and seeds that were trained like ``run``; None where they are too few."""
    expected, dice = [], []
    plan = read_object(run.settings_json).get("plan_content")
    for other in find_runs(run.dataset):
        alike = (other.trainer, other.plan, other.method, other.ratio, other.adapter, other.trained_on) == (
            run.trainer, run.plan, run.method, run.ratio, run.adapter, None)  # fmt: skip
        if not alike or not (other.summary_json.exists() and other.expected_dice_csv.exists()):
            continue
        if read_object(other.settings_json).get("plan_content") != plan:
            continue
        of_labels: dict[str, list[float]] = defaultdict(list)
        for row in read_csv(other.test_folder / "per_case.csv", ("case", "resolution", "dice")):
            if row["resolution"] == "original_size" and row["dice"]:
                of_labels[row["case"]].append(float(row["dice"]))
        for row in read_csv(other.expected_dice_csv, COLUMNS):
            expected.append(float(row["expected_dice"] or "nan"))
            dice.append(float(np.mean(of_labels[row["case"]])) if of_labels[row["case"]] else np.nan)
    return fit_calibration(np.array(expected), np.array(dice))


def _fit(dice_N: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import isotonic_regression  # takes a moment, and only here

    return np.asarray(isotonic_regression(dice_N).x)
