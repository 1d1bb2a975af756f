"""How good a mask probably is, by the network's own probabilities; ``evaluation.predicted_dice`` calibrates it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("case", "expected_dice")
"""Columns of ``RunPaths.expected_dice_csv``."""


@dataclass(frozen=True)
class PredictedDice:
    """The Dice to be expected of a mask of an image like those that were tested; all in [0, 1].

    Nothing follows for images of another kind: see ``Prediction.unlike``.
    """

    value: float
    low: float
    high: float
    """Between them lies the true Dice of at least 90 % of such images, on average over trainings, where one network
    predicts; of several together no theorem says so: 91 to 99 % as measured."""


def expected_dice(probabilities_KHW: NDArray[np.floating], inside_HW: NDArray[np.bool_] | None = None) -> float | None:
    """2 E|A and B| / (|A| + E|B|) of a foreground A and a foreground B drawn from the probabilities.

    Pixels are drawn independently of each other; the labels but the background (index 0) count together. ``inside_HW``
    is A; None: what the probabilities predict. Between 0 and 1; None where A is empty.
    """
    inside = probabilities_KHW.argmax(axis=0) > 0 if inside_HW is None else inside_HW
    if not inside.any():
        return None
    foreground = 1.0 - probabilities_KHW[0].astype(np.float64)
    return float(2 * foreground[inside].sum() / (inside.sum() + foreground.sum()))


def ensemble_gain(members_MKHW: NDArray[np.floating], mean_KHW: NDArray[np.floating]) -> float:
    """How much better the mask of the mean probabilities is than those of its members, on average over the members.

    In expected Dice, all masks by the mean probabilities; an empty mask of a member counts as 0. 0 where the mean's
    mask is empty, and of one member whose probabilities are the mean. Never below 0: where networks have learnt little
    their mean is so soft that its small mask looks worse than it is.
    """
    together = expected_dice(mean_KHW)
    if together is None:
        return 0.0
    alone = [expected_dice(mean_KHW, member_KHW.argmax(axis=0) > 0) or 0.0 for member_KHW in members_MKHW]
    return max(0.0, together - float(np.mean(alone)))
