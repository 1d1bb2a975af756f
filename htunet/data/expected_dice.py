"""How good a mask probably is, by the network's own probabilities; ``evaluation.predicted_dice`` calibrates it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("case", "expected_dice")
"""Of ``RunPaths.expected_dice_csv``."""


@dataclass(frozen=True)
class PredictedDice:
    """The Dice to be expected of a mask of an image like those that were tested; all in [0, 1].

    Nothing follows for images of another kind: see ``Prediction.unlike``.
    """

    value: float
    """Of several networks together the mean of what each alone would reach: 2 to 6 points too low, as measured."""
    low: float
    high: float
    """Between them lies the true Dice of at least 90 % of such images, on average over trainings, where one network
    predicts; of several together no theorem says so: 91 to 99 % as measured."""
    n_tested: int = 0
    """Tested images that this rests on."""


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
