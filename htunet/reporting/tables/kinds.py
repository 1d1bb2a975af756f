"""What tables are of: where a kind's values are in a summary, how they are printed, and the paper's beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from htunet.evaluation.classification import MOST_PROBABLE, VALIDATION_THRESHOLD
from htunet.evaluation.metrics import METRICS, Kind, Level, Metric, mask_metrics, metrics_of
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
    """What a summary's own object has when it holds values of this kind."""
    all_metrics: Callable[[], list[str]]
    """What ``metrics`` calls: the list of metrics may grow after this module is imported."""
    printed_metrics: Callable[[], list[Metric]]
    """What ``printed`` calls."""
    value: Callable[[Own, str], float | None]
    """A value of a summary in the printed unit; None where there is no value."""
    paper: Callable[[str, str], PaperFigures | PaperClassification | None]
    """The paper's figures by data set and method, under the same names."""
    paper_few_shot: Callable[[float, str], PaperFigures | PaperClassification | None]
    """The paper's means over its data sets by fraction of the training images and method."""
    main: str
    """The metric where there is room for one."""
    by_case: str
    """The metric that each case has a value of, by which methods are compared."""
    n_cases: Callable[[Own], int]
    n_missed: Callable[[Own], int] | None
    """Cases with an empty prediction; None where there is no such thing."""
    note: str
    """How to read a table of this kind."""

    @property
    def metrics(self) -> list[str]:
        """All metrics, as the CSV names them."""
        return self.all_metrics()

    @property
    def printed(self) -> list[Metric]:
        """Those that have a column in print, in the paper's order."""
        return self.printed_metrics()


def _segmentation_value(own: Own, name: str) -> float | None:
    metric = METRICS[name]
    mean = own["means"][INPUT].get(metric.file_key, {}).get("mean")
    return None if mean is None else mean * metric.scale


PRINTED = (Level.OVERVIEW, Level.TABLE)
AT_THRESHOLD, AFTER = "_at_validation_threshold", "_after"
CALIBRATION = ("ece", f"ece{AFTER}", "brier", "temperature")


def _classification_value(own: Own, name: str) -> float | None:
    found: Any = own["classification"]
    if name == "temperature":
        temperature: float | None = found["calibration"]["temperature"]
        return temperature
    metric = METRICS[name.removesuffix(AT_THRESHOLD).removesuffix(AFTER)]
    if metric.kind is Kind.CALIBRATION:
        value = (found["calibration"]["after" if name.endswith(AFTER) else "before"] or {}).get(metric.name)
    elif metric.kind is Kind.DECISION:
        decision = VALIDATION_THRESHOLD if name.endswith(AT_THRESHOLD) else MOST_PROBABLE
        value = found["decisions"].get(decision, {}).get("figures", {}).get(metric.name, {}).get("value")
    else:
        value = (found.get(metric.name) or {}).get("value")
    return None if value is None else value * metric.scale


def _classification_metrics() -> list[str]:
    rankings, decisions = ([metric.name for metric in metrics_of(kind)] for kind in (Kind.RANKING, Kind.DECISION))
    return [*rankings, *decisions, *(f"{name}{AT_THRESHOLD}" for name in decisions), *CALIBRATION]


SEGMENTATION = TableKind(
    name="segmentation",
    key="means",
    all_metrics=lambda: [metric.name for metric in mask_metrics(millimetres=False)],
    printed_metrics=lambda: mask_metrics(PRINTED, millimetres=False),
    value=_segmentation_value,
    paper=segmentation_figures,
    paper_few_shot=paper.few_shot_segmentation,
    main="dice",
    by_case="dice",
    n_cases=lambda own: int(own["n_cases"]),
    # of several labels each is named: "case (label 2)"
    n_missed=lambda own: len({name.split(" (label ")[0] for name in own["empty"][INPUT]["prediction"]}),
    note="Mean over seeds ± standard deviation over them, at the network's input size. Missed: test cases with an "
    f"empty prediction. Paper: {paper.PAPER}.",
)
CLASSIFICATION = TableKind(
    name="classification",
    key="classification",
    all_metrics=_classification_metrics,
    printed_metrics=lambda: metrics_of(Kind.DECISION, levels=PRINTED) + metrics_of(Kind.RANKING, levels=PRINTED),
    value=_classification_value,
    paper=classification_figures,
    paper_few_shot=paper.few_shot_classification,
    main="auc",
    by_case="correct",
    n_cases=lambda own: int(own["classification"]["n_cases"]),
    n_missed=None,
    note="Mean over seeds ± standard deviation over them; the most probable class decides. Recall, precision and F1 "
    f"are those of the last class (malignant), of more than two classes their mean. Paper: {paper.PAPER}, supervised.",
)
KINDS = (SEGMENTATION, CLASSIFICATION)
