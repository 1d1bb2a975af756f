"""What tables are of: where a kind's figures stand in a summary, how they are printed, and the paper's beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from htunet.evaluation.classification import MOST_PROBABLE, VALIDATION_THRESHOLD
from htunet.evaluation.metrics import METRICS, Kind, Level, mask_metrics, metrics_of
from htunet.evaluation.summary import INPUT
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.paper_figures import (
    PaperClassification,
    PaperFigures,
    classification_figures,
    segmentation_figures,
)

Own = Mapping[str, Any]
"""The object ``htunet`` of a summary.json."""


@dataclass(frozen=True, kw_only=True)
class TableKind:
    """One kind of table."""

    name: str
    """Of its files, and in its caption."""
    key: str
    """What a summary's own object has when it holds figures of this kind."""
    metrics: tuple[str, ...]
    """All figures, as the CSV names them."""
    headings: Mapping[str, str]
    """Those that are printed, in the paper's order."""
    value: Callable[[Own, str], float | None]
    """A figure of a summary in the printed unit; None where there is no value."""
    paper: Callable[[str, str], PaperFigures | PaperClassification | None]
    """The paper's figures by data set and method, under the same names."""
    paper_few_shot: Callable[[float, str], PaperFigures | PaperClassification | None]
    """The paper's means over its data sets by share of the training images and method."""
    few_shot: str
    """The figure that few-shot runs are drawn by."""
    n_cases: Callable[[Own], int]
    n_missed: Callable[[Own], int] | None
    """Cases with an empty prediction; None where there is no such thing."""
    note: str
    """How to read a table of this kind."""


def _segmentation_value(own: Own, name: str) -> float | None:
    metric = METRICS[name]
    mean = own["means"][INPUT].get(metric.file_key, {}).get("mean")
    return None if mean is None else mean * metric.scale


DECISIONS = tuple(metric.name for metric in metrics_of(Kind.DECISION))
AT_THRESHOLD = "_at_validation_threshold"
CALIBRATION = ("ece", "ece_after", "brier", "temperature")


def _classification_value(own: Own, name: str) -> float | None:
    found = own["classification"]
    calibration = found["calibration"]
    if name == "temperature":
        return calibration["temperature"]
    if name == "brier":
        return calibration["before"]["brier"]
    if name.startswith("ece"):
        share = (calibration["after" if name == "ece_after" else "before"] or {}).get("ece")
    elif name == "auc":
        share = found["auc"]["value"]
    else:
        decision = VALIDATION_THRESHOLD if name.endswith(AT_THRESHOLD) else MOST_PROBABLE
        figures = found["decisions"].get(decision, {}).get("figures", {})
        share = figures.get(name.removesuffix(AT_THRESHOLD), {}).get("value")
    return None if share is None else 100 * share


SEGMENTATION = TableKind(
    name="segmentation",
    key="means",
    metrics=tuple(metric.name for metric in mask_metrics(millimetres=False)),
    headings={m.name: m.heading for m in mask_metrics((Level.OVERVIEW, Level.TABLE), millimetres=False)},
    value=_segmentation_value,
    paper=segmentation_figures,
    paper_few_shot=paper.few_shot_segmentation,
    few_shot="dice",
    n_cases=lambda own: int(own["n_cases"]),
    # of several labels each is named: "case (label 2)"
    n_missed=lambda own: len({name.split(" (label ")[0] for name in own["empty"][INPUT]["prediction"]}),
    note="Mean over seeds ± standard deviation over them, at the network's input size. Missed: test cases with an "
    f"empty prediction. Paper: {paper.PAPER}.",
)
CLASSIFICATION = TableKind(
    name="classification",
    key="classification",
    metrics=("auc", *DECISIONS, *(f"{name}{AT_THRESHOLD}" for name in DECISIONS), *CALIBRATION),
    headings={"accuracy": "Acc %", "recall": "Rec %", "precision": "Pre %", "f1": "F1 %", "auc": "AUC %"},
    value=_classification_value,
    paper=classification_figures,
    paper_few_shot=paper.few_shot_classification,
    few_shot="auc",
    n_cases=lambda own: int(own["classification"]["n_cases"]),
    n_missed=None,
    note="Mean over seeds ± standard deviation over them; the most probable class decides. Recall, precision and F1 "
    f"are those of the last class (malignant), of more than two classes their mean. Paper: {paper.PAPER}, supervised.",
)
KINDS = (SEGMENTATION, CLASSIFICATION)
