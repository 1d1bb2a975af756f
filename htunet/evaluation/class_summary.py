"""The results of a classification: the object ``classification`` of a run's summary.json.

Thresholds and the temperature come from the validation split; all metrics are of the test split.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from htunet.data.class_probabilities import ClassProbabilities, class_order, read_class_probabilities
from htunet.data.raw import RawDataset, check_positive, positive_class, read_raw
from htunet.errors import HtunetError
from htunet.evaluation.calibration import Bin, fit_temperature, reliability, tempered
from htunet.evaluation.classification import (
    HALF,
    MOST_PROBABLE,
    VALIDATION_THRESHOLD,
    Confusion,
    Floats,
    Indices,
    choose_threshold,
    confusion_counts,
    confusion_matrix,
    curves,
    decide,
)
from htunet.evaluation.metrics import METRICS, Kind, metrics_of
from htunet.evaluation.predicted_run import PredictedRun, split_cases
from htunet.evaluation.statistics import Estimate, Weights, bootstrap_estimates, few_cases

FORMAT = 2
BY_OPTION, BY_DATA_SET = "--positive", "dataset.json"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One way to turn probabilities into a class, and how it did on the test split."""

    threshold: float | None
    """Of the positive class's probability; None for more than two classes."""
    chosen: str
    """Where the threshold comes from, in words."""
    estimates: dict[str, Estimate]
    """The metrics of a decision by name."""
    confusion: list[list[int]]
    """Rows are true classes, columns decided ones."""
    decided: list[str]
    """The class of each test case."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far probabilities are from frequencies."""

    values: dict[str, float]
    """The metrics of calibration by name."""
    bins: tuple[Bin, ...]

    def content(self) -> dict[str, Any]:
        """For a JSON file."""
        return self.values | {"bins": [asdict(one) for one in self.bins]}


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """All that is known of one classification of a test split."""

    test: ClassProbabilities
    """Of two classes the last one is the positive one."""
    positive_from: str = ""
    """Who named the positive class: ``BY_OPTION`` or ``BY_DATA_SET``."""
    groups: tuple[str, ...]
    """Of each test case; empty where there is none."""
    validation_cases: int
    rankings: dict[str, Estimate]
    """The metrics of a ranking by name, such as ``auc``."""
    probabilities: dict[str, float | None]
    """The metrics of probabilities by name, such as ``average_precision``."""
    decisions: dict[str, Decision]
    before: Calibration
    temperature: float | None
    """Fitted on the validation split; None where there is none."""
    after: Calibration | None
    """With the temperature."""
    notes: tuple[str, ...]

    @property
    def auc(self) -> Estimate:
        """Area under the ROC curve."""
        return self.rankings["auc"]

    @property
    def positive(self) -> str | None:
        """The class that recall and precision are of; None for more than two classes, which are averaged."""
        return self.test.classes[1] if len(self.test.classes) == 2 else None


def evaluate_classes(predicted: PredictedRun, positive: str = "") -> ClassSummary:
    """Evaluate ``test/classes.csv`` of a run with the threshold and the temperature of ``val/classes.csv``.

    True classes and groups are those of the raw folder, as is the ``positive`` class unless it is given. Raises
    HtunetError when a file, a case or a class is missing.
    """
    run, info, source = predicted.run, predicted.raw.info, predicted.run.source.dataset
    check_positive(positive, info.classes, BY_OPTION)
    learnt = predicted.raw if run.trained_on is None else read_raw(source)
    splits = {
        "test": (run.classes_csv, predicted.raw, predicted.cases),
        "val": (run.val_classes_csv, learnt, split_cases(source, run.fold, "val")),
    }
    known = {}
    for split, (path, raw, cases) in splits.items():
        found = read_class_probabilities(path)
        if set(found.cases) != set(cases):
            raise HtunetError(
                f"{path} does not hold the {split} split of fold {run.fold}. Predict it again: htunet_evaluate "
                f"{run.dataset.short_name} {run.method} --force"
            )
        known[split] = with_known_classes(found, raw, in_order=raw is learnt)
    test = known["test"]
    summary = summarise(test[0], test[1], known["val"][0], positive=positive or positive_class(info))
    return replace(summary, positive_from=BY_OPTION if positive else BY_DATA_SET)


def with_known_classes(
    found: ClassProbabilities, raw: RawDataset, *, in_order: bool = True
) -> tuple[ClassProbabilities, list[str]]:
    """The probabilities with the true classes of the raw folder, and the cases' groups.

    ``in_order``: the classes have the run's names and order; another data set may number the same names otherwise.
    Raises HtunetError where it has other classes, and for a case that it lacks.
    """
    if (class_order if in_order else set)(raw.info.classes) != (found.classes if in_order else set(found.classes)):
        raise HtunetError(
            f"The run knows the classes {', '.join(found.classes)}, {raw.paths.dataset_json} has the classes "
            f"{', '.join(class_order(raw.info.classes)) or '(none)'}. Train again with --restart, or put them back."
        )
    if missing := [case for case in found.cases if case not in raw.by_id]:
        raise HtunetError(f"{raw.paths.cases_csv} lacks the cases {', '.join(missing[:5])}. Plan the data set again.")
    cases = [raw.by_id[case] for case in found.cases]
    return replace(found, truth=tuple(case.class_name for case in cases)), [case.group for case in cases]


def summarise(
    test: ClassProbabilities, groups: Sequence[str], val: ClassProbabilities | None = None, *, positive: str = ""
) -> ClassSummary:
    """All metrics of some test cases; without validation cases there is neither a threshold of them nor a temperature.

    ``positive`` names the positive one of two classes; empty: the last one.

    Cases without a class are excluded, and a note says how many. Raises HtunetError for a case whose true class is none
    of the classes, and when no test case has one.
    """
    total = len(test.cases)
    test, groups = _with_class(test.with_last(positive), groups)
    if not test.cases:
        raise HtunetError(f"None of the {total} test cases has a class: there is nothing to score. See cases.csv.")
    truth_N = test.truth_indices
    threshold = HALF if len(test.classes) == 2 else None
    decisions = {MOST_PROBABLE: _decision(test, groups, threshold, "the most probable class")}
    temperature = after = None
    notes = []
    if absent := [name for index, name in enumerate(test.classes) if index not in truth_N]:
        what = "there is no AUC" if len(set(truth_N.tolist())) < 2 else "excluded from every mean over the classes"
        notes.append(f"no test case of {', '.join(absent)}: {what}")
    if total > len(test.cases):
        notes.append(f"{total - len(test.cases)} of {total} test cases have no class and are not scored")
    if val is not None:
        val, _ = _with_class(val.with_last(positive), [""] * len(val.cases))
        val_truth = val.truth_indices
        if threshold is not None and len(set(val_truth.tolist())) == 2:
            chosen, youden = choose_threshold(val.values_NK[:, 1], val_truth)
            text = f"largest Youden index, {youden:.4f}, of {len(val.cases)} validation cases"
            decisions[VALIDATION_THRESHOLD] = _decision(test, groups, chosen, text)
        temperature = fit_temperature(val.values_NK, val_truth)
        if temperature is None:
            notes.append(
                "no temperature: the validation cases have no best one (all are classified correctly, or no better "
                "than by chance)"
            )
        else:
            after = calibration(tempered(test.values_NK, temperature), truth_N)
    by_class = {name: test.truth.count(name) for name in test.classes}
    rankings, few = ranking_estimates(test.values_NK, truth_N, groups), few_cases(len(test.cases), by_class)
    for name, found in rankings.items():
        if few and found.value is not None and found.low == found.high:  # no resample differs: nothing is known
            rankings[name] = Estimate(found.value, None, None)
            notes.append(f"no {METRICS[name].label} and no interval, {few}: chance alone gives the same order")
    return ClassSummary(
        test=test,
        groups=tuple(groups),
        validation_cases=len(val.cases) if val else 0,
        rankings=rankings,
        probabilities={m.name: m.of(test.values_NK, truth_N) for m in metrics_of(Kind.PROBABILITY)},
        decisions=decisions,
        before=calibration(test.values_NK, truth_N),
        temperature=temperature,
        after=after,
        notes=tuple(notes),
    )


def calibration(probabilities_NK: Floats, truth_N: Indices) -> Calibration:
    """How well the probabilities of some cases are calibrated, in bins of equal width."""
    values = {metric.name: float(metric.of(probabilities_NK, truth_N)) for metric in metrics_of(Kind.CALIBRATION)}
    return Calibration(values=values, bins=tuple(reliability(probabilities_NK, truth_N)))


def decision_estimates(
    truth_N: Indices, decided_N: Indices, num_classes: int, groups: Sequence[str] | None = None
) -> dict[str, Estimate]:
    """The metrics of one decision for every case, with bootstrap intervals over cases or groups."""

    def values(weights_RN: Weights) -> dict[str, Floats]:
        confusion = Confusion.of(confusion_matrix(truth_N, decided_N, num_classes, weights_RN))
        return {metric.name: metric.of(confusion) for metric in metrics_of(Kind.DECISION)}

    return bootstrap_estimates(values, len(truth_N), groups)


def ranking_estimates(
    probabilities_NK: Floats, truth_N: Indices, groups: Sequence[str] | None = None
) -> dict[str, Estimate]:
    """The metrics of a ranking, such as the AUC, with bootstrap intervals over cases or groups."""

    def values(weights_RN: Weights) -> dict[str, Floats]:
        return {m.name: m.of(probabilities_NK[None], truth_N, weights_RN) for m in metrics_of(Kind.RANKING)}

    return bootstrap_estimates(values, len(truth_N), groups)


def class_content(summary: ClassSummary) -> dict[str, Any]:
    """The object ``classification`` of summary.json: strict JSON, null where there is no value."""
    test, decisions = summary.test, summary.decisions
    cases = [
        {
            "case": case,
            "class": test.truth[n],
            "group": summary.groups[n],
            "probabilities": dict(zip(test.classes, test.values_NK[n].tolist(), strict=True)),
            "decided": {name: decision.decided[n] for name, decision in decisions.items()},
        }
        for n, case in enumerate(test.cases)
    ]
    return {
        "format": FORMAT,
        "classes": list(test.classes),
        "positive": summary.positive,
        "positive_from": summary.positive_from or None,
        "averaging": "the positive class" if summary.positive else "macro: mean over the classes that have cases",
        "n_cases": len(test.cases),
        "cases_by_class": {name: test.truth.count(name) for name in test.classes},
        "validation_cases": summary.validation_cases,
        **{name: asdict(estimate) for name, estimate in summary.rankings.items()},
        **summary.probabilities,
        "decisions": {
            name: {
                "threshold": decision.threshold,
                "chosen": decision.chosen,
                "figures": {key: asdict(estimate) for key, estimate in decision.estimates.items()},
                "confusion": decision.confusion,
            }
            for name, decision in decisions.items()
        },
        "calibration": {
            "before": summary.before.content(),
            "temperature": summary.temperature,
            "after": summary.after.content() if summary.after else None,
        },
        "curves": curves(test.values_NK, test.truth_indices, test.classes),
        "cases": cases,
        "notes": list(summary.notes),
    }


def _with_class(found: ClassProbabilities, groups: Sequence[str]) -> tuple[ClassProbabilities, list[str]]:
    """The cases that have a class, and their groups."""
    having = [n for n, name in enumerate(found.truth) if name]
    cases, truth = (tuple(column[n] for n in having) for column in (found.cases, found.truth))
    return replace(found, cases=cases, truth=truth, values_NK=found.values_NK[having]), [groups[n] for n in having]


def _decision(test: ClassProbabilities, groups: Sequence[str], threshold: float | None, chosen: str) -> Decision:
    truth_N, num_classes = test.truth_indices, len(test.classes)
    # at one half the most probable class decides, of equal ones the first: the rule of classes.csv
    decided_N = decide(test.values_NK, None if threshold == HALF else threshold)
    return Decision(
        threshold=threshold,
        chosen=chosen,
        estimates=decision_estimates(truth_N, decided_N, num_classes, groups),
        confusion=confusion_counts(truth_N, decided_N, num_classes),
        decided=[test.classes[index] for index in decided_N],
    )
