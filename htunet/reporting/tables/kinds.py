"""The kinds of tables: where the values of a kind are in a summary, how they are printed, and the paper's values."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from htunet.evaluation.classification import MOST_PROBABLE, VALIDATION_THRESHOLD
from htunet.evaluation.metrics import (
    BOTH_EMPTY,
    EMPTY_PREDICTION,
    EMPTY_REFERENCE,
    METRICS,
    Kind,
    Level,
    Metric,
    mask_metrics,
    metrics_of,
)
from htunet.evaluation.statistics import estimate_text, few_cases, rounded
from htunet.evaluation.summary import INPUT
from htunet.reporting.tables import paper_figures as paper

Own = Mapping[str, Any]
"""The object ``htunet`` of a summary.json."""


@dataclass(frozen=True)
class PrintedEstimate:
    """A value in the printed unit: fractions in percent. None: there is no such number."""

    mean: float | None = None
    std: float | None = None
    """The sample standard deviation of the seeds' means; None: one seed."""
    low: float | None = None
    high: float | None = None
    """The ends of the interval of the mean over cases; None: not known."""
    by_seed: Mapping[Any, float] = field(default_factory=dict)
    """The mean of each seed."""
    n_used: int | None = None
    """Cases that a summary's mean rests on; None of what is no mean over cases, such as the AUC."""

    @classmethod
    def of(cls, entry: Mapping[str, Any], metric: Metric) -> "PrintedEstimate":
        """From what a summary or a table of the statistics says of a metric, there mostly a fraction."""
        found = {"mean": entry.get("value"), **entry}
        numbers = map(found.get, ("mean", "std", "low", "high"))
        mean, std, low, high = (None if number is None else metric.scale * number for number in numbers)
        return cls(mean, std, low, high, n_used=entry.get("n_used"))

    def text(self, *, with_interval: bool = False) -> str:
        """``81.19 ± 0.42``, ``81.19 ± 0.42 [75.00, 86.12]``; ``-`` where there is no value."""
        low, high = (self.low, self.high) if with_interval else (None, None)
        return estimate_text(self.mean, low, high, unit="" if self.std is None else f"± {rounded(self.std)}")


@dataclass(frozen=True, kw_only=True)
class TestCounts:
    """What summaries say of their test cases. A case that several runs test counts as a prediction of each."""

    n_cases: int
    """Predictions."""
    n_missed: int | None = None
    """Of them those without a pixel where the reference has some; None where there is no such thing."""
    n_false: int | None = None
    """Of them those with marked pixels where the reference has none; None where there are several labels, or none."""
    n_excluded: int = 0
    """Of them those without the distances of the paper's public code, because a mask is empty."""
    cases: Mapping[str, str] = field(default_factory=dict)
    """The class of each case, which is here once; nothing where there are no classes."""
    classes: tuple[str, ...] = ()
    positive: str = ""
    """The class that recall and precision are of; empty where there is none."""

    @property
    def few(self) -> str:
        """A warning where the cases are few."""
        counts = Counter(self.cases.values())
        return few_cases(len(self.cases), {name: counts[name] for name in self.classes})


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
    tested: Callable[[Mapping[str, Any]], TestCounts]
    """The test cases of a summary."""
    note: str
    """How to read a table of this kind."""


def _masks_tested(content: Mapping[str, Any]) -> TestCounts:
    own = content["htunet"]
    n_cases, labels = int(own["n_cases"]), own.get("means_by_label", {}).get(INPUT, {})
    of_paper = [own["means"][INPUT].get(m.file_key, {}) for m in mask_metrics((Level.PAPER,), millimetres=False)]
    names = [case["htunet"]["case"] for case in content.get("metric_per_case", ())]
    return TestCounts(
        n_cases=n_cases,
        n_missed=_missed(own),
        n_false=None if len(labels) > 1 else len(own["empty"][INPUT][EMPTY_REFERENCE]),
        n_excluded=max(n_cases - int(mean.get("n_used", n_cases)) for mean in of_paper),
        cases=dict.fromkeys(names or [f"fold {own['fold']}, {number}" for number in range(n_cases)], ""),
    )


def _missed(own: Own) -> int:
    """Cases without any predicted pixel, whose reference has some."""
    empty, labels = own["empty"][INPUT], own.get("means_by_label", {}).get(INPUT, {})
    if len(labels) < 2:
        return len(empty[EMPTY_PREDICTION])
    # each label is named: "case (label 2)"
    missed, nothing = (
        [name.rpartition(" (label ")[0] for kind in kinds for name in empty[kind]]
        for kinds in ([EMPTY_PREDICTION], [EMPTY_PREDICTION, BOTH_EMPTY])
    )
    found_nothing = Counter(nothing)
    return sum(found_nothing[case] == len(labels) for case in set(missed))


def _classes_tested(content: Mapping[str, Any]) -> TestCounts:
    found: Any = content["htunet"]["classification"]
    return TestCounts(
        n_cases=int(found["n_cases"]),
        cases={case["case"]: case["class"] for case in found["cases"]},
        classes=tuple(found["classes"]),
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
    estimate=lambda own, name: PrintedEstimate.of(own["means"][INPUT].get(METRICS[name].file_key, {}), METRICS[name]),
    paper=paper.segmentation_figures,
    main="dice",
    by_case="dice",
    tested=_masks_tested,
    note="Mean over the predictions of all runs ± sample standard deviation (n - 1) of the seeds' means, at the "
    "network's input size. Missed: predictions without any pixel where the reference has some.",
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
    note="Mean over the runs ± sample standard deviation (n - 1) of the seeds' means; the most probable class decides.",
)
KINDS = (SEGMENTATION, CLASSIFICATION)
