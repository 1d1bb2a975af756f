"""Every metric of the project: its name, unit, scale, direction, definition and computation, in one place.

Columns, keys, headings, scales and comparisons derive from this list. A new metric is one entry here, or one ``Metric``
in a module of its own with one line ``METRICS.add("name", "module:ATTRIBUTE")``; results from before have no value of
it. What a metric is computed from depends on its kind: see ``Kind``.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.errors import UsageError
from htunet.evaluation import calibration, classification
from htunet.evaluation.distances import UNIT, percentile95, surface_distances
from htunet.evaluation.overlap import Counts, count
from htunet.registry import Registry

HIGHER, LOWER = "higher", "lower"
MILLIMETRES = "_mm"
"""End of the name of a metric's twin in millimetres."""
DEPTHS = (1, 5, 10)
"""The k of recall at k, the metric of a retrieval."""
PENALISE, EXCLUDE = "penalise", "exclude"
POLICIES = {
    PENALISE: "one mask empty: Dice and IoU 0, HD95 and ASD the image diagonal; both empty: no value",
    EXCLUDE: "as the paper's public code: prediction empty: Dice and IoU 0, no distances; reference empty: no value",
}
"""Where prediction and reference are both empty there is no value under either: the image says nothing of the label."""
DIAGONAL = "diagonal"
"""The value of a distance where one mask is empty: no distance in the image can be larger."""
NOT_MISSED, EMPTY_PREDICTION, EMPTY_REFERENCE, BOTH_EMPTY = "", "prediction", "reference", "both"


class Kind(StrEnum):
    """What a metric is computed from, and so the arguments of ``Metric.of``."""

    OVERLAP = "overlap"
    """One mask: ``of(counts)`` of ``overlap.Counts``."""
    DISTANCE = "distance"
    """One mask: ``of(distances)`` of ``distances.SurfaceDistances``, in pixels of the compared masks."""
    CASE = "case"
    """The class of one case: ``of(case)`` of an entry of ``cases`` in the classification of a summary.json."""
    RANKING = "ranking"
    """All cases: ``of(scores_SNK, truth_N, weights_RN)``, the mean over S runs for R rows of weights, (R,)."""
    DECISION = "decision"
    """All cases: ``of(confusion)`` of ``classification.Confusion``, a value for each row of weights, (R,)."""
    PROBABILITY = "probability"
    """All cases: ``of(probabilities_NK, truth_N)``, one value without an interval, or None."""
    CALIBRATION = "calibration"
    """As ``PROBABILITY``, before and after the temperature."""
    RETRIEVAL = "retrieval"
    """All queries: ``of(rank_N)`` of the rank of the best right answer of each, from 1."""


class Level(StrEnum):
    """Where a metric is shown; summaries and CSV files contain all of them."""

    OVERVIEW = "overview"
    """Also in curves, in the overview of a page and where there is room for one or two only."""
    TABLE = "table"
    """In tables, and in comparisons between methods where each case has a value."""
    PAPER = "paper"
    """Beside the paper's figures, and in files: as the paper's public code computes it."""
    FILE = "file"
    """In files only, such as a variant that must not be mistaken for the metric of a similar name."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric."""

    name: str
    """In CSV columns and in the keys of a classification."""
    label: str
    """For people."""
    kind: Kind
    definition: str
    """One sentence."""
    better: str
    """``higher`` or ``lower``; empty where neither is."""
    unit: str = "%"
    """Of the printed value."""
    scale: float = 100.0
    """What a value of the files is multiplied by for print."""
    of: Callable[..., Any]
    """Computes the value; what from, and what it returns, depends on the kind."""
    level: Level = Level.TABLE
    short: str = ""
    """The label where there is little room; the label itself where it is empty."""
    key: str = ""
    """How summary.json spells it; where it is empty the label of a metric of masks, the name of all others."""
    paper: str = ""
    """The column of the paper's tables that it may be compared with, as ``results_template`` spells it; empty: none."""
    when_empty: float | str | None = 0.0
    """Of a mask: the value where either the prediction or the reference is empty, under the policy ``penalise``;
    ``DIAGONAL``: that of the image; None: no value. Where both are empty no metric has a value."""
    of_class: bool = False
    """Of a decision: whether it is the positive class's own; of more than two classes it is the mean over them."""
    millimetres: bool = False
    """Whether it depends on the pixel size, and is given in millimetres too where that is known."""

    @property
    def file_key(self) -> str:
        """How summary.json spells it."""
        return self.key or (self.label if self.kind in (Kind.OVERLAP, Kind.DISTANCE) else self.name)

    @property
    def short_label(self) -> str:
        """For a narrow column."""
        return self.short or self.label

    @property
    def heading(self) -> str:
        """Short label and unit: ``HD95 px``."""
        return f"{self.short_label} {self.unit}".rstrip()

    @property
    def leaves_out(self) -> bool:
        """Whether a case with an empty mask has no value under any policy."""
        return self.when_empty is None

    @property
    def higher_is_better(self) -> bool:
        """For comparisons."""
        return self.better == HIGHER

    @cached_property
    def in_millimetres(self) -> "Metric":
        """Its twin in millimetres, a column of its own."""
        name, key = f"{self.name}{MILLIMETRES}", f"{self.file_key}{MILLIMETRES}"
        return replace(self, name=name, key=key, unit="mm", millimetres=False)


METRICS: Registry[Metric] = Registry("metric", group="htunet.metrics")


def metrics_of(*kinds: Kind, levels: Collection[Level] = tuple(Level)) -> list[Metric]:
    """The metrics of these kinds and levels, in their order."""
    return list(_chosen(tuple(METRICS), kinds, tuple(levels)))


@lru_cache
def _chosen(names: tuple[str, ...], kinds: tuple[Kind, ...], levels: tuple[Level, ...]) -> tuple[Metric, ...]:
    known = (METRICS[name] for name in names)
    return tuple(metric for metric in known if metric.kind in kinds and metric.level in levels)


def mask_metrics(levels: Collection[Level] = tuple(Level), *, millimetres: bool = True) -> list[Metric]:
    """The metrics of one mask in the order of the columns: those in pixels first, then the twins in millimetres."""
    found = metrics_of(Kind.OVERLAP, Kind.DISTANCE, levels=levels)
    return found + [metric.in_millimetres for metric in found if metric.millimetres and millimetres]


def find_metric(name: str) -> Metric:
    """The metric of a column, twins in millimetres included; raises UsageError for an unknown name."""
    in_pixels = name.removesuffix(MILLIMETRES)
    if name not in METRICS and in_pixels in METRICS and METRICS[in_pixels].millimetres:
        return METRICS[in_pixels].in_millimetres
    return METRICS[name]


def label_of(name: str) -> str:
    """The label of a validation metric: of ``dice``, or of a mean of several metrics, such as ``dice_auc``.

    >>> label_of("dice"), label_of("dice_auc")
    ('Dice', 'mean of Dice and AUC')
    """
    parts = [name] if name in METRICS else name.split("_")
    labels = [METRICS[part].label for part in parts if part in METRICS]
    if len(labels) < len(parts):  # a trainer's own, in no list
        return name.replace("_", " ")
    return labels[0] if len(labels) == 1 else f"mean of {' and '.join(labels)}"


_overlap = partial(Metric, kind=Kind.OVERLAP, better=HIGHER)
_distance = partial(Metric, kind=Kind.DISTANCE, better=LOWER, unit="px", scale=1.0, when_empty=DIAGONAL)
_of_the_paper = partial(_distance, level=Level.PAPER, when_empty=None)
_case = partial(Metric, kind=Kind.CASE, better=HIGHER, level=Level.OVERVIEW)
_decision = partial(Metric, kind=Kind.DECISION, better=HIGHER, of_class=True)
_calibration = partial(Metric, kind=Kind.CALIBRATION, better=LOWER, level=Level.FILE)

for _metric in (
    _overlap(
        name="dice",
        label="Dice",
        paper="dice",
        level=Level.OVERVIEW,
        definition="2 TP / (2 TP + FP + FN): twice the pixels in both masks by the sum of the pixels of each.",
        of=lambda counts: 2.0 * counts.tp / (counts.n_pred + counts.n_ref),
    ),
    _overlap(
        name="iou",
        label="IoU",
        paper="iou",
        definition="TP / (TP + FP + FN): intersection over union.",
        of=lambda counts: counts.tp / (counts.tp + counts.fp + counts.fn),
    ),
    _distance(
        name="hd95",
        label="HD95",
        level=Level.OVERVIEW,
        millimetres=True,
        definition="95th percentile of the distances between the outlines, both directions together; as medpy's hd95.",
        of=lambda distances: percentile95(distances.both),
    ),
    _distance(
        name="asd",
        label="ASD",
        millimetres=True,
        definition="Mean of the distances between the outlines, both directions together; as medpy's assd.",
        of=lambda distances: distances.both.mean(),
    ),
    _of_the_paper(
        name="hd95_max",
        label="HD95_max",
        short="HD95 max",
        paper="hd95",
        definition="The larger of the two directed 95th percentiles, cases with an empty mask excluded: what the "
        "paper's public code calls HD95.",
        of=lambda distances: max(percentile95(distances.to_reference), percentile95(distances.to_prediction)),
    ),
    _of_the_paper(
        name="asd_directed",
        label="ASD_directed",
        short="ASD directed",
        paper="asd",
        definition="Mean distance from the prediction to the reference, cases with an empty mask excluded: what the "
        "paper's public code calls ASD.",
        of=lambda distances: distances.to_reference.mean(),
    ),
    _case(
        name="correct",
        label="Accuracy",
        definition="1 where the most probable class is the true one, else 0.",
        of=lambda case: int(case["decided"][classification.MOST_PROBABLE] == case["class"]),
    ),
    _case(
        name="probability_of_truth",
        label="Probability of the true class",
        definition="The probability that is given to the true class.",
        of=lambda case: case["probabilities"][case["class"]],
    ),
    Metric(
        name="auc",
        paper="auc",
        label="AUC",
        kind=Kind.RANKING,
        level=Level.OVERVIEW,
        better=HIGHER,
        definition="Area under the ROC curve: the fraction of (positive, other) pairs in the right order.",
        of=classification.auc,
    ),
    Metric(
        name="average_precision",
        label="Average precision",
        kind=Kind.PROBABILITY,
        level=Level.FILE,
        better=HIGHER,
        definition="Area under the precision-recall curve as scikit-learn sums it.",
        of=classification.average_precision,
    ),
    _decision(
        name="accuracy",
        paper="acc",
        label="Accuracy",
        short="Acc",
        of_class=False,
        definition="Fraction of the cases whose class is decided correctly.",
        of=classification.accuracy,
    ),
    _decision(
        name="recall",
        paper="rec",
        label="Recall",
        short="Rec",
        definition="Fraction of a class's cases that are decided to be of it (sensitivity).",
        of=classification.recall,
    ),
    _decision(
        name="precision",
        paper="pre",
        label="Precision",
        short="Pre",
        definition="Fraction of the cases decided to be of a class that are of it; 0 where none is decided to be.",
        of=classification.precision,
    ),
    _decision(
        name="f1",
        paper="f1",
        label="F1",
        definition="Harmonic mean of recall and precision.",
        of=classification.f1,
    ),
    _decision(
        name="specificity",
        label="Specificity",
        short="Spe",
        level=Level.FILE,
        definition="Fraction of all other cases that are not decided to be of the class.",
        of=classification.specificity,
    ),
    _calibration(
        name="ece",
        label="ECE",
        definition="Expected calibration error: mean over the cases of |accuracy - confidence| of their bins.",
        of=calibration.expected_calibration_error,
    ),
    _calibration(
        name="brier",
        label="Brier",
        unit="",
        scale=1.0,
        definition="Mean squared error of the probabilities: of the positive class, or summed over more than two.",
        of=calibration.brier,
    ),
    _calibration(
        name="nll",
        label="NLL",
        unit="",
        scale=1.0,
        definition="Mean negative natural logarithm of the true class's probability.",
        of=calibration.negative_log_likelihood,
    ),
    *(
        Metric(
            name=f"recall_at_{depth}",
            label=f"R@{depth}",
            kind=Kind.RETRIEVAL,
            better=HIGHER,
            definition=f"Fraction of the queries with a right answer among the first {depth}.",
            of=lambda rank_N, depth=depth: (rank_N <= depth).mean(),
        )
        for depth in DEPTHS
    ),
    Metric(
        name="median_rank",
        label="Median rank",
        kind=Kind.RETRIEVAL,
        better=LOWER,
        unit="",
        scale=1.0,
        definition="Median over the queries of the rank of the best right answer, from 1.",
        of=lambda rank_N: np.median(rank_N),
    ),
):
    METRICS.add(_metric.name, _metric)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelScore:
    """One label of one image."""

    counts: Counts
    diagonal: float
    """Length of the image's diagonal, pixels: no distance can be larger."""
    distances: Mapping[str, float] = field(default_factory=dict)
    """The metrics of kind ``distance`` by name, in pixels of the compared arrays; none where a mask is empty."""

    @property
    def empty(self) -> str:
        """Which mask is empty: ``prediction``, ``reference``, ``both``, or nothing."""
        if self.counts.n_pred == 0:
            return EMPTY_PREDICTION if self.counts.n_ref else BOTH_EMPTY
        return NOT_MISSED if self.counts.n_ref else EMPTY_REFERENCE

    def values(self, policy: str) -> dict[str, float]:
        """The metrics of a mask in pixels under a policy of ``POLICIES``; NaN marks what is excluded from a mean.

        Raises UsageError for an unknown policy.
        """
        check_policy(policy)
        return {metric.name: self._value(metric, policy) for metric in mask_metrics(millimetres=False)}

    def _value(self, metric: Metric, policy: str) -> float:
        if not self.empty:
            known = metric.kind == Kind.OVERLAP
            return float(metric.of(self.counts)) if known else self.distances.get(metric.name, math.nan)
        penalty = self.diagonal if metric.when_empty == DIAGONAL else metric.when_empty
        forgiven = policy == EXCLUDE and (self.empty == EMPTY_REFERENCE or metric.kind == Kind.DISTANCE)
        return math.nan if penalty is None or forgiven or self.empty == BOTH_EMPTY else float(penalty)


def check_policy(policy: str) -> None:
    """Raise UsageError unless ``policy`` is one of ``POLICIES``."""
    if policy not in POLICIES:
        raise UsageError(f"The policy for empty masks is one of {', '.join(POLICIES)}; got {policy!r}.")


def score(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], labels: list[int], spacing: tuple[float, float] = UNIT
) -> dict[int, LabelScore]:
    """Score each label of (H, W) label maps on its own; a pixel of another label counts as background.

    ``spacing`` is the height and width of a pixel; distances are in its unit. Raises ValueError for shapes that differ.
    """
    return {label: score_mask(prediction == label, reference == label, spacing) for label in labels}


def score_mask(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: tuple[float, float] = UNIT
) -> LabelScore:
    """Score one binary (H, W) mask, as ``score``; raises ValueError for shapes that differ."""
    counts = count(prediction, reference)
    measured = {}
    if counts.n_pred and counts.n_ref:
        distances = surface_distances(prediction, reference, spacing)
        measured = {metric.name: float(metric.of(distances)) for metric in metrics_of(Kind.DISTANCE)}
    height, width = (side * length for side, length in zip(spacing, prediction.shape, strict=True))
    return LabelScore(counts=counts, diagonal=math.hypot(height, width), distances=measured)
