"""All metrics of one predicted label map, and what an empty mask means for them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from htunet.errors import UsageError
from htunet.evaluation.distances import surface_distances
from htunet.evaluation.overlap import Counts, count

PENALISE, EXCLUDE = "penalise", "exclude"
POLICIES = {
    PENALISE: "one mask empty: Dice and IoU 0, distances the image diagonal; both empty: Dice and IoU 1, distances 0",
    EXCLUDE: "as the paper's public code: prediction empty: Dice and IoU 0, no distances; reference empty: no value",
}
METRICS = ("dice", "iou", "hd95", "asd", "hd95_max", "asd_directed")
DISTANCES = METRICS[2:]

NOT_MISSED, EMPTY_PREDICTION, EMPTY_REFERENCE, BOTH_EMPTY = "", "prediction", "reference", "both"


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """One label of one image. Distances are in pixels of the compared arrays; NaN where a mask is empty."""

    counts: Counts
    diagonal: float
    """Length of the image's diagonal, pixels: no distance can be larger."""
    hd95: float = math.nan
    asd: float = math.nan
    hd95_max: float = math.nan
    asd_directed: float = math.nan

    @property
    def empty(self) -> str:
        """Which mask is empty: ``prediction``, ``reference``, ``both``, or nothing."""
        if self.counts.n_pred == 0:
            return EMPTY_PREDICTION if self.counts.n_ref else BOTH_EMPTY
        return NOT_MISSED if self.counts.n_ref else EMPTY_REFERENCE

    def values(self, policy: str) -> dict[str, float]:
        """The metrics of ``METRICS`` under a policy of ``POLICIES``; NaN marks what the policy leaves out of a mean.

        Raises UsageError for an unknown policy.
        """
        check_policy(policy)
        measured = {name: float(getattr(self, name)) for name in DISTANCES}
        overlap = {"dice": self.counts.dice, "iou": self.counts.iou}
        if not self.empty:
            return overlap | measured
        if policy == PENALISE:
            return overlap | dict.fromkeys(DISTANCES, 0.0 if self.empty == BOTH_EMPTY else self.diagonal)
        if self.empty == EMPTY_PREDICTION:
            return overlap | measured
        return dict.fromkeys(METRICS, math.nan)


def check_policy(policy: str) -> None:
    """Raise UsageError unless ``policy`` is one of ``POLICIES``."""
    if policy not in POLICIES:
        raise UsageError(f"The policy for empty masks is one of {', '.join(POLICIES)}; got {policy!r}.")


def score(prediction: NDArray[np.uint8], reference: NDArray[np.uint8], labels: list[int]) -> dict[int, LabelScore]:
    """Score each label of (H, W) label maps on its own; a pixel of another label counts as background.

    Raises ValueError for shapes that differ.
    """
    return {label: score_mask(prediction == label, reference == label) for label in labels}


def score_mask(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> LabelScore:
    """Score one binary (H, W) mask; raises ValueError for shapes that differ."""
    counts = count(prediction, reference)
    diagonal = math.hypot(*prediction.shape)
    if counts.n_pred == 0 or counts.n_ref == 0:
        return LabelScore(counts=counts, diagonal=diagonal)
    found = surface_distances(prediction, reference)
    return LabelScore(
        counts=counts,
        diagonal=diagonal,
        hd95=found.hd95,
        asd=found.asd,
        hd95_max=found.hd95_max,
        asd_directed=found.asd_directed,
    )
