"""Which post-processing of masks to use: what gains on the tested folds of a cross-validation, and nothing else.

Steps are added one by one, the one with the largest gain first, as long as the gain is more than one standard error of
the paired differences between groups of cases (nnU-Net keeps any gain). What is to be expected afterwards is estimated
as for methods: each fold is judged with the steps that the other folds choose, on masks of the method that they choose.
Where that does not gain, nothing is done.

Dimension key: N cases, S sets of steps, H W pixels.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.image_io import read_labels
from htunet.data.postprocessing import EIGHT_NEIGHBOURS, STEPS, postprocess
from htunet.evaluation.model_choice import paired_difference
from htunet.evaluation.statistics import Mean, bootstrap_means

SMALLEST_GAIN = 0.001
"""Of the mean Dice; less is not worth a step that may harm a kind of lesion that no fold has."""
Floats = NDArray[np.float64]
SETS = list(product((False, True), repeat=len(STEPS)))
"""Which of the steps are done."""


@dataclass(frozen=True, kw_only=True)
class PostprocessingChoice:
    """The chosen steps, and the Dice at the original size without and with them."""

    steps: dict[str, Any]
    """Arguments of ``postprocess``; empty: nothing gains."""
    before: Mean
    """Each case by the method that the other folds choose."""
    expected: Mean
    """As ``before``, with the steps and the smallest size that the other folds choose for that method."""


def choose_postprocessing(
    files: Sequence[tuple[Path, Path]],
    groups: Sequence[str],
    folds: Sequence[int],
    without: Mapping[int, Sequence[tuple[Path, Path]]] | None = None,
) -> PostprocessingChoice:
    """Choose on masks of the original size.

    Args:
        files: Prediction and reference of each tested case of all folds.
        groups: Of each case; empty: the case alone.
        folds: That tested each of them.
        without: For a fold, ``files`` of the method that the other folds choose, where that is another one.
    """
    references = [read_labels(reference) for _, reference in files]
    counted = {label for true in references for label in np.unique(true).tolist() if label}
    smallest_N = np.array([_smallest_share(true) for true in references])
    of_fold = np.asarray(folds)

    @cache
    def scored(predictions: tuple[Path, ...], smallest: float) -> Floats:
        arguments = [_arguments(one, smallest) for one in SETS]
        pairs = zip(map(read_labels, predictions), references, strict=True)
        return np.array([[_dice(postprocess(found, **steps), true, counted) for steps in arguments]
                         for found, true in pairs])  # fmt: skip

    smallest = _half_the_smallest(smallest_N)
    dice_NS = scored(tuple(prediction for prediction, _ in files), smallest)
    chosen = _chosen(dice_NS, groups)
    before_N, judged_N = dice_NS[:, 0].copy(), dice_NS[:, chosen].copy()
    for fold in sorted(set(folds)):
        others = of_fold != fold
        if others.any():
            kept = [group for group, other in zip(groups, others, strict=True) if other]
            predictions = tuple(prediction for prediction, _ in (without or {}).get(fold, files))
            of_others_NS = scored(predictions, _half_the_smallest(smallest_N[others]))
            before_N[~others] = of_others_NS[~others, 0]
            judged_N[~others] = of_others_NS[~others, _chosen(of_others_NS[others], kept)]
    before, expected = bootstrap_means(np.column_stack([before_N, judged_N]), groups)
    if (expected.mean or 0.0) - (before.mean or 0.0) <= SMALLEST_GAIN:  # what the folds choose helps no other fold
        return PostprocessingChoice(steps={}, before=before, expected=before)
    return PostprocessingChoice(steps=_arguments(SETS[chosen], smallest), before=before, expected=expected)


def _arguments(done: tuple[bool, ...], smallest: float) -> dict[str, Any]:
    values = {"smallest_share": smallest, "largest_component": True, "fill_holes": True}
    return {name: values[name] for name, is_done in zip(STEPS, done, strict=True) if is_done}


def _chosen(dice_NS: Floats, groups: Sequence[str]) -> int:
    """The position in SETS. Who rightly has nothing left has a Dice of 1 beside those with a false alarm."""
    rightly_empty_NS = np.isnan(dice_NS) & ~np.isnan(dice_NS).all(axis=1, keepdims=True)
    dice_NS = np.where(rightly_empty_NS, 1.0, dice_NS)
    best = (False,) * len(STEPS)
    while True:
        gains = {}
        for step in range(len(STEPS)):
            more = tuple(done or position == step for position, done in enumerate(best))
            if more != best:
                mean, error = paired_difference(dice_NS[:, SETS.index(more)] - dice_NS[:, SETS.index(best)], groups)
                if mean > max(error, SMALLEST_GAIN):
                    gains[more] = mean
        if not gains:
            return SETS.index(best)
        best = max(gains, key=gains.__getitem__)


def _dice(found_HW: NDArray[np.uint8], true_HW: NDArray[np.uint8], counted: Collection[int]) -> float:
    """The mean over the labels that either mask has; NaN where neither has any.

    As in the evaluation (``Summary.case_values``), a label that is not ``counted``, which no reference has, is in no
    mean, unless there is no other.
    """
    values = []
    for label in np.union1d(np.unique(found_HW), np.unique(true_HW)).tolist():
        if label and (label in counted or not counted):
            one_HW, other_HW = found_HW == label, true_HW == label
            values.append(2 * (one_HW & other_HW).sum() / (one_HW.sum() + other_HW.sum()))
    return float(np.mean(values)) if values else float("nan")


def _smallest_share(true_HW: NDArray[np.uint8]) -> float:
    """Of the smallest component of a label, as a share of the image; infinite where there is none."""
    from scipy import ndimage

    sizes = list[int]()
    for label in np.unique(true_HW[true_HW > 0]).tolist():
        areas_HW, _ = ndimage.label(true_HW == label, EIGHT_NEIGHBOURS)
        sizes += np.bincount(areas_HW.ravel())[1:].tolist()
    return min(sizes, default=np.inf) / true_HW.size


def _half_the_smallest(smallest_N: Floats) -> float:
    """0 where no case has a component."""
    smallest = float(smallest_N.min(initial=np.inf))
    return 0.5 * smallest if np.isfinite(smallest) else 0.0
