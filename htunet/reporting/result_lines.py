"""The result of one evaluation as lines for a terminal."""

from collections.abc import Iterator

from htunet.data.names import listed
from htunet.errors import counted
from htunet.evaluation.class_summary import ClassSummary
from htunet.evaluation.metrics import (
    BOTH_EMPTY,
    EMPTY_PREDICTION,
    EMPTY_REFERENCE,
    METRICS,
    MILLIMETRES,
    PENALISE,
    Kind,
    Level,
    mask_metrics,
    metrics_of,
)
from htunet.evaluation.statistics import estimate_text, few_cases, percent_text, rounded
from htunet.evaluation.summary import Summary


def mask_lines(summary: Summary) -> Iterator[str]:
    """Dice, IoU, HD95 and ASD with their intervals for each image size; empty masks once where both sizes agree.

    A mean over fewer cases than there are says over how many.
    """
    printed = set[str]()
    for resolution in summary.resolutions:
        parts, means, n_cases = [], summary.means(resolution), len({row.case for row in summary.at(resolution)})
        for metric in mask_metrics((Level.OVERVIEW, Level.TABLE)):
            mean = means[metric.name]
            if mean.mean is not None:
                text = estimate_text(mean.mean, mean.low, mean.high, scale=metric.scale, unit=metric.unit)
                parts.append(f"{metric.label} {text}" + f" (of {mean.n_used} of them)" * (mean.n_used < n_cases))
            elif not metric.name.endswith(MILLIMETRES):
                parts.append(f"{metric.label} has no value in any of them")
        yield f"  {resolution.replace('_', ' ')}, {counted(n_cases, 'case')}: {' · '.join(parts)}"
        yield from _label_lines(summary, resolution)
        empty = [line for line in _empty_lines(summary, resolution) if line not in printed]
        printed.update(empty)
        yield from empty
    for note in (*summary.notes, few_cases(len({row.case for row in summary.scores}), {})):
        if note:
            yield f"  Note: {note}"


def class_lines(summary: ClassSummary) -> Iterator[str]:
    """AUC, the figures of each decision with their intervals, and the calibration."""
    by_class = {name: summary.test.truth.count(name) for name in summary.test.classes}
    counts = ", ".join(f"{number} {name}" for name, number in by_class.items())
    auc = "-" if any(note.startswith("no AUC") for note in summary.notes) else summary.auc.percent()
    yield f"  classes: AUC {auc} · {counted(len(summary.test.cases), 'case')}: {counts}"
    positive = summary.positive or "each class, their mean"
    of_class = [m.short_label for m in metrics_of(Kind.DECISION) if m.of_class]
    yield f"    positive class of {', '.join(of_class)}: {positive}"
    for decision in summary.decisions.values():
        values = [f"{METRICS[name].short_label} {value.percent()}" for name, value in decision.estimates.items()]
        at = "" if decision.threshold is None else f"threshold {decision.threshold:.3f}, "
        yield f"    {at}{decision.chosen}: {' · '.join(values)}"
    before, after = summary.before.values, ""
    if summary.after is not None:
        after = f", {percent_text(summary.after.values['ece'], 2)} at temperature {summary.temperature:.2f}"
    yield f"    calibration: ECE {percent_text(before['ece'], 2)}{after} · Brier {rounded(before['brier'], 4)}"
    for note in (*summary.notes, few_cases(len(summary.test.cases), by_class)):
        if note:
            yield f"    Note: {note}"


def _label_lines(summary: Summary, resolution: str) -> Iterator[str]:
    """Dice and HD95 of each label, where there are several; the line above is their mean in each case."""
    labels = sorted({row.label for row in summary.scores})
    for label in labels if len(labels) > 1 else ():
        means, without = summary.means(resolution, label), summary.without_label(resolution, label)
        dice, hd95, of = means["dice"], means["hd95"].mean, counted(means["dice"].n_cases, "case")
        figures = "no Dice" if dice.mean is None else f"Dice {percent_text(dice.mean, 2)} of {dice.n_used} of {of}"
        if without["references_without"] == means["dice"].n_cases:
            figures = f"in no reference and so in no mean; predicted in {without['false_alarms']} of {of}"
            hd95 = None
        yield f"    {summary.label_name(label)}: {figures}" + ("" if hd95 is None else f" · HD95 {rounded(hd95)} px")


def _empty_lines(summary: Summary, resolution: str) -> Iterator[str]:
    n_cases = len(summary.at(resolution))
    distances = "distances: the image diagonal" if summary.policy == PENALISE else "in no mean of distances"
    of = f"{counted(n_cases, 'label')} of cases"
    if len({row.label for row in summary.scores}) == 1:
        of = counted(n_cases, "case")
    for which, names in summary.empty(resolution).items():
        if names:
            text = {
                EMPTY_PREDICTION: f"the prediction is empty in {len(names)} of {of} ({distances})",
                EMPTY_REFERENCE: f"false alarms where the reference is empty: {len(names)} of {of} ({distances})",
                BOTH_EMPTY: f"nothing to find and nothing found: {len(names)} of {of}, in no mean",
            }
            yield f"    {text[which]}: {listed(names)}"
    found, nothing = summary.detection(resolution).values()
    if found.mean is not None and nothing.mean is not None:
        parts = [
            f"{name} {estimate_text(one.mean, one.low, one.high, scale=100, unit='%')} of {one.n_used} {which}"
            for name, one, which in (("sensitivity", found, "with a label"), ("specificity", nothing, "without"))
            if one.mean is not None
        ]
        yield f"    anything found: {', '.join(parts)}"
