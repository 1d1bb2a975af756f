"""How good a mask probably is, without the true one: from the network's own probabilities, calibrated on tested images.

The expected Dice of a mask, if each pixel were a lesion with its probability and independently of the others, orders
images well but is too high: networks are too sure of themselves. The tested folds of a cross-validation say what Dice
such masks really had; an isotonic regression on them is the prediction. Its interval is a conformal one: residuals of
images that had no part in the fit, in units of their usual size where masks are expected to be that good, and the order
statistics that hold 90 % of new images whatever the distribution (Lei et al. 2018, arXiv:1604.04173; the folds of the
regression as in Barber et al. 2021, arXiv:1905.02928).

Several networks together are surer of less: their mean probabilities are softer, and what calibrates one of them does
not calibrate the mean. Each member is therefore calibrated alone. The mean of their predictions lacks what is gained by
their being together, which no tested image shows, as each is tested by one fold; the mean probabilities say it:
``ensemble_gain``. On 547 images of BUSI three folds together gained 2.5 points of Dice, and 2.3 by their probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from htunet.data.expected_dice import COLUMNS, PredictedDice
from htunet.files import read_csv, read_object
from htunet.paths import RunPaths, find_runs
from htunet.planning.configuration import digest

FEWEST_CASES = 20
"""Fewer tested images calibrate nothing, and hold no 90 % interval: its edges would be beyond all residuals."""
PARTS = 10
LEVEL = 0.9
SMALLEST_SPREAD = 0.05
"""Of the Dice; a few residuals that happen to be small promise nothing narrower."""


@dataclass(frozen=True)
class DiceCalibration:
    """From the expected to the real Dice of one network."""

    expected_N: NDArray[np.float64]
    """Of the tested images, rising; the next three are theirs."""
    dice_N: NDArray[np.float64]
    fitted_N: NDArray[np.float64]
    spread_N: NDArray[np.float64]
    """The usual size of a residual; falling."""
    low: float
    high: float
    """The interval around a prediction in units of the spread: quantiles of the residuals, real less predicted."""

    def __call__(self, expected: float) -> PredictedDice:
        """Of a mask of this network alone."""
        found = predicted_dice([self], [expected])
        assert found is not None  # as there is a mask
        return found


def predicted_dice(
    calibrations: Sequence[DiceCalibration], expected: Sequence[float | None], gain: float = 0.0
) -> PredictedDice | None:
    """The Dice to be expected of the mask of several networks together.

    Args:
        calibrations: Of each network.
        expected: The expected Dice of the mask that each would give alone; None where it finds nothing, which counts as
            a Dice of 0.
        gain: ``ensemble_gain`` of the networks; 0 of one alone.

    Returns:
        None where none of them finds anything.
    """
    found = [(calibration, value) for calibration, value in zip(calibrations, expected, strict=True)
             if value is not None]  # fmt: skip
    if not found:
        return None
    value = gain + sum(float(np.interp(e, c.expected_N, c.fitted_N)) for c, e in found) / len(expected)
    spreads = [float(np.interp(e, c.expected_N, c.spread_N)) for c, e in found]
    low, high = (
        value + float(np.mean([spread * getattr(c, edge) for spread, (c, _) in zip(spreads, found, strict=True)]))
        for edge in ("low", "high")
    )
    return PredictedDice(*np.clip([value, low, high], 0.0, 1.0).tolist())


def fit_calibration(expected_N: NDArray[np.float64], dice_N: NDArray[np.float64]) -> DiceCalibration | None:
    """Fit on tested images; None where fewer than 20 have both values (NaN: none)."""
    known = ~(np.isnan(expected_N) | np.isnan(dice_N))
    expected, dice = expected_N[known], dice_N[known]
    n = len(expected)
    if n < FEWEST_CASES:
        return None
    order = np.lexsort((dice, expected))
    expected, dice = expected[order], dice[order]
    residuals, scaled, part_of = np.empty(n), np.empty(n), np.arange(n) % PARTS
    for part in range(PARTS):  # every tenth image is predicted by a fit on the others
        own = part_of == part
        residuals[own] = dice[own] - np.interp(expected[own], expected[~own], _isotonic(expected[~own], dice[~own]))
    for part in range(PARTS):
        own = part_of == part
        scaled[own] = residuals[own] / np.interp(
            expected[own], expected[~own], _spread(expected[~own], residuals[~own])
        )
    rank = min(n, ceil((n + 1) * (1 + LEVEL) / 2))  # of n + 1 equally probable places that of the new image is below
    ordered = np.sort(scaled)
    low, high = float(ordered[n - rank]), float(ordered[rank - 1])
    fitted, spread = _isotonic(expected, dice), _spread(expected, residuals)
    return DiceCalibration(expected, dice, fitted, spread, low, high)


def dice_of_cases(per_case_csv: Path) -> dict[str, list[float]]:
    """The Dice of each label of each case at the original size, under any policy: of a false alarm it is 0.

    Cases of which neither prediction nor reference shows anything are not there. As in ``Summary.case_values``, a label
    that no reference has does not count, unless there is no other.
    """
    found = dict[str, list[float]]()  # "both" is metrics.BOTH_EMPTY, whose module imports SciPy
    rows = read_csv(per_case_csv, ("case", "label", "resolution", "dice", "missed"))
    rows = [row for row in rows if row["resolution"] == "original_size"]
    true = {row["label"] for row in rows if row["missed"] not in ("reference", "both")}
    for row in rows:
        if row["missed"] != "both" and (not true or row["label"] in true):
            found.setdefault(row["case"], []).append(float(row["dice"] or 0.0))
    return found


def calibration_of(run: RunPaths) -> DiceCalibration | None:
    """From the test images of all folds and seeds that were trained like ``run``; None where they are too few.

    An image counts once, by the run with the same seed where there is one: its results under several seeds are alike,
    and would predict each other (intervals of 90 % held 85 % then).
    """
    found = dict[str, tuple[float, float]]()
    own = digest(read_object(run.settings_json))
    for other in sorted(find_runs(run.dataset), key=lambda other: other.seed != run.seed):
        alike = (other.trainer, other.plan, other.method, other.ratio, other.adapter, other.trained_on) == (
            run.trainer, run.plan, run.method, run.ratio, run.adapter, None)  # fmt: skip
        if not alike or not (other.summary_json.exists() and other.expected_dice_csv.exists()):
            continue
        if digest(read_object(other.settings_json)) != own:  # an edited plan, or other weights in the same folder
            continue
        of_labels = dice_of_cases(other.test_folder / "per_case.csv")
        for row in read_csv(other.expected_dice_csv, COLUMNS):
            if row["expected_dice"] and row["case"] in of_labels:
                values = float(row["expected_dice"]), float(np.mean(of_labels[row["case"]]))
                found.setdefault(row["case"], values)
    expected_N, dice_N = np.array([*found.values()]).reshape(-1, 2).T
    return fit_calibration(expected_N, dice_N)


def _spread(expected_N: NDArray[np.float64], residuals_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(_isotonic(expected_N, np.abs(residuals_N), rising=False), SMALLEST_SPREAD)


def _isotonic(
    expected_N: NDArray[np.float64], values_N: NDArray[np.float64], *, rising: bool = True
) -> NDArray[np.float64]:
    """One value for equal ``expected_N``, such as those of networks that are sure of everything."""
    from scipy.optimize import isotonic_regression  # takes a moment, and only here

    _, place_N, counts = np.unique(expected_N, return_inverse=True, return_counts=True)
    means = np.bincount(place_N, values_N) / counts
    return np.asarray(isotonic_regression(means, weights=counts, increasing=rising).x, dtype=np.float64)[place_N]
