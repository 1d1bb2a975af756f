"""How good a mask probably is, by the network's own probabilities; ``evaluation.predicted_dice`` calibrates it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("case", "expected_dice")
"""Of ``RunPaths.expected_dice_csv``."""


@dataclass(frozen=True)
class PredictedDice:
    """The Dice to be expected of a mask, with its 90 % interval; all in [0, 1]."""

    value: float
    low: float
    high: float


def expected_dice(probabilities_KHW: NDArray[np.floating]) -> float | None:
    """2 E|A and B| / (|A| + E|B|) of the predicted foreground A and a foreground B drawn from the probabilities.

    Pixels are drawn independently of each other; the labels but the background (index 0) count together. Between 0 and
    1; None where nothing is predicted.
    """
    inside = probabilities_KHW.argmax(axis=0) > 0
    if not inside.any():
        return None
    foreground = 1.0 - probabilities_KHW[0].astype(np.float64)
    return float(2 * foreground[inside].sum() / (inside.sum() + foreground.sum()))
