"""What tables are of: where a kind's values are in a summary, how they are printed, and the paper's beside them."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from htunet.evaluation.classification import MOST_PROBABLE, VALIDATION_THRESHOLD
from htunet.evaluation.metrics import METRICS, Kind, Level, Metric, mask_metrics, metrics_of
from htunet.evaluation.statistics import interval_text
from htunet.evaluation.summary import INPUT
from htunet.reporting.tables import paper_figures as paper

Own = Mapping[str, Any]
"""The object ``htunet`` of a summary.json."""


@dataclass(frozen=True)
class PrintedEstimate:
    """A value in the printed unit: fractions in percent. None: there is no such number."""

    mean: float | None = None
    """Over seeds, where there are several."""
    std: float | None = None
    """The sample standard deviation over seeds; None: one seed."""
    low: float | None = None
    high: float | None = None
    """The ends of the interval over cases; where no statistics say it, of all runs' intervals."""
    by_seed: Mapping[Any, float] = field(default_factory=dict)
    """The mean of each seed."""

    @classmethod
    def of(cls, entry: Mapping[str, Any], metric: Metric) -> "PrintedEstimate":
        """From what a summary or a table of the statistics says of a metric, there mostly a fraction."""
        found = {"mean": entry.get("value"), **entry}
        numbers = map(found.get, ("mean", "std", "low", "high"))
        mean, std, low, high = (None if number is None else metric.scale * number for number in numbers)
        return cls(mean, std, low, high)

    def text(self, *, with_interval: bool = False) -> str:
        """``81.19 ± 0.42``, ``81.19 ± 0.42 [75.00, 86.12]``; ``-`` where there is no value."""
        if self.mean is None:
            return "-"
        spread = "" if self.std is None else f" ± {self.std:.2f}"
        return f"{self.mean:.2f}{spread} {interval_text(self.low, self.high) if with_interval else ''}".rstrip()


@dataclass(frozen=True, kw_only=True)
class TestCounts:
    """What a summary says of its test cases."""

    n_cases: int
    n_missed: int | None = None
    """With an empty prediction; None where there is no such thing."""
    n_excluded: int = 0
    """Without the distances of the paper's public code, because a mask is empty."""
    by_class: Mapping[str, int] = field(default_factory=dict)
    positive: str = ""
    """The class that recall and precision are of; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class TableKind:
    """One kind of table."""

    name: str
    """Of its files, and in its caption."""
    key: str
    """What a summary's own object has when it holds values of this kind."""
    metrics: Callable[[], list[str]]
    """All metrics, as the CSV names them; called, because the list may grow after this module is imported."""
    columns: Callable[[Collection[Level]], list[Metric]]
    """The metrics of these levels, in the order of their columns."""
    estimate: Callable[[Own, str], PrintedEstimate]
    """What a summary says of one of ``metrics``, with its interval."""
    paper: Callable[[str, str], paper.Figures]
    """The paper's figures by data set and method."""
    main: str
    """The metric where there is room for one."""
    by_case: str
    """The metric that each case has a value of, by which methods are compared."""
    tested: Callable[[Own], "TestCounts"]
    """The test cases of a summary."""
    note: str
    """How to read a table of this kind."""


def _segmentation_estimate(own: Own, name: str) -> PrintedEstimate:
    return PrintedEstimate.of(own["means"][INPUT].get(METRICS[name].file_key, {}), METRICS[name])


def _masks_tested(own: Own) -> TestCounts:
    n_cases, empty = int(own["n_cases"]), own["empty"][INPUT]
    of_paper = [own["means"][INPUT].get(m.file_key, {}) for m in mask_metrics((Level.PAPER,), millimetres=False)]
    return TestCounts(
        n_cases=n_cases,
        # of several labels each is named: "case (label 2)"
        n_missed=len({name.split(" (label ")[0] for name in empty["prediction"]}),
        n_excluded=max(n_cases - int(mean.get("n_used", n_cases)) for mean in of_paper),
    )


def _classes_tested(own: Own) -> TestCounts:
    found: Any = own["classification"]
    counts = Counter(case["class"] for case in found["cases"])
    return TestCounts(
        n_cases=int(found["n_cases"]),
        by_class={name: counts[name] for name in found["classes"]},
        positive=found.get("positive") or "",
    )


PRINTED = (Level.OVERVIEW, Level.TABLE)
AT_THRESHOLD, AFTER = "_at_validation_threshold", "_after"
CALIBRATION = ("ece", f"ece{AFTER}", "brier", "temperature")


def _classification_estimate(own: Own, name: str) -> PrintedEstimate:
    found: Any = own["classification"]
    if name == "temperature":
        return PrintedEstimate(found["calibration"]["temperature"])
    metric = METRICS[name.removesuffix(AT_THRESHOLD).removesuffix(AFTER)]
    if metric.kind is Kind.CALIBRATION:
        values = found["calibration"]["after" if name.endswith(AFTER) else "before"] or {}
        return PrintedEstimate.of({"mean": values.get(metric.name)}, metric)
    if metric.kind is Kind.DECISION:
        decision = VALIDATION_THRESHOLD if name.endswith(AT_THRESHOLD) else MOST_PROBABLE
        found = found["decisions"].get(decision, {}).get("figures", {})
    return PrintedEstimate.of(found.get(metric.name) or {}, metric)


def _classification_metrics() -> list[str]:
    rankings, decisions = ([metric.name for metric in metrics_of(kind)] for kind in (Kind.RANKING, Kind.DECISION))
    return [*rankings, *decisions, *(f"{name}{AT_THRESHOLD}" for name in decisions), *CALIBRATION]


SEGMENTATION = TableKind(
    name="segmentation",
    key="means",
    metrics=lambda: [metric.name for metric in mask_metrics(millimetres=False)],
    columns=lambda levels: mask_metrics(levels, millimetres=False),
    estimate=_segmentation_estimate,
    paper=paper.segmentation_figures,
    main="dice",
    by_case="dice",
    tested=_masks_tested,
    note="Mean over seeds ± standard deviation over them, at the network's input size. Missed: test cases with an "
    "empty prediction.",
)
CLASSIFICATION = TableKind(
    name="classification",
    key="classification",
    metrics=_classification_metrics,
    columns=lambda levels: metrics_of(Kind.DECISION, levels=levels) + metrics_of(Kind.RANKING, levels=levels),
    estimate=_classification_estimate,
    paper=paper.classification_figures,
    main="auc",
    by_case="correct",
    tested=_classes_tested,
    note="Mean over seeds ± standard deviation over them; the most probable class decides.",
)
KINDS = (SEGMENTATION, CLASSIFICATION)
