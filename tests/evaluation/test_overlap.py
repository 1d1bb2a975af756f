"""Values that a reader can check on paper."""

import math

import numpy as np
import pytest

from htunet.evaluation.metrics import PENALISE, LabelScore
from htunet.evaluation.overlap import Counts, count

EMPTY = np.zeros((6, 8), dtype=bool)


def square(top: int, left: int, size: int = 2) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + size, left : left + size] = True
    return mask


@pytest.mark.parametrize(
    ("prediction", "reference", "dice", "iou"),
    [
        pytest.param(square(1, 1), square(1, 1), 1.0, 1.0, id="same"),
        pytest.param(square(1, 1), square(1, 2), 0.5, 1 / 3, id="half: 2*2/(4+4) and 2/6"),
        pytest.param(square(1, 1), square(1, 5), 0.0, 0.0, id="apart"),
        pytest.param(EMPTY, square(1, 1), 0.0, 0.0, id="missed"),
        pytest.param(square(1, 1), EMPTY, 0.0, 0.0, id="false alarm"),
        pytest.param(EMPTY, EMPTY, math.nan, math.nan, id="both empty"),
    ],
)
def test_dice_and_iou(prediction: np.ndarray, reference: np.ndarray, dice: float, iou: float) -> None:
    counts = count(prediction, reference)
    values = LabelScore(counts=counts, diagonal=10.0).values(PENALISE)
    assert (values["dice"], values["iou"]) == pytest.approx((dice, iou), nan_ok=True)


def test_counts_are_those_of_the_pixels() -> None:
    counts = count(square(0, 0, 3), square(1, 1, 2))
    assert counts == Counts(tp=4, fp=5, fn=0, tn=39)
    assert (counts.n_pred, counts.n_ref) == (9, 4)


def test_masks_that_are_not_boolean_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8"):
        count(EMPTY.astype(np.uint8), EMPTY)


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(6, 8\).*\(5, 8\)"):
        count(EMPTY, EMPTY[1:])
