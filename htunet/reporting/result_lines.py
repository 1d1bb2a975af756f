"""The result of one evaluation as lines for a terminal."""

from collections.abc import Iterator

from htunet.evaluation.class_summary import ClassSummary
from htunet.evaluation.metrics import BOTH_EMPTY, EMPTY_PREDICTION, EMPTY_REFERENCE, METRICS, Level, mask_metrics
from htunet.evaluation.statistics import Estimate
from htunet.evaluation.summary import Summary


def mask_lines(summary: Summary) -> Iterator[str]:
    """Dice, IoU, HD95 and ASD with their intervals, and the empty masks, for each image size."""
    for resolution in summary.resolutions:
        parts, means = [], summary.means(resolution)
        for metric in mask_metrics((Level.OVERVIEW, Level.TABLE)):
            mean, scale = means[metric.name], metric.scale
            if mean.mean is None:
                continue
            interval = (
                "" if mean.low is None or mean.high is None else f" [{scale * mean.low:.2f}, {scale * mean.high:.2f}]"
            )
            parts.append(f"{metric.label} {scale * mean.mean:.2f} {metric.unit}{interval}")
        yield f"  {resolution.replace('_', ' ')}: {' · '.join(parts)}"
        yield from _label_lines(summary, resolution)
        yield from _empty_lines(summary, resolution)
    for note in summary.notes:
        yield f"  Note: {note}"


def class_lines(summary: ClassSummary) -> Iterator[str]:
    """AUC, the figures of each decision with their intervals, and the calibration."""
    counts = ", ".join(f"{summary.test.truth.count(name)} {name}" for name in summary.test.classes)
    yield f"  classes: AUC {_percent(summary.auc)} · {len(summary.test.cases)} cases: {counts}"
    for decision in summary.decisions.values():
        values = [f"{METRICS[name].short_label} {_percent(value)}" for name, value in decision.estimates.items()]
        at = "" if decision.threshold is None else f"threshold {decision.threshold:.3f}, "
        yield f"    {at}{decision.chosen}: {' · '.join(values)}"
    before, after = summary.before.values, ""
    if summary.after is not None:
        after = f", {100 * summary.after.values['ece']:.2f} % at temperature {summary.temperature:.2f}"
    yield f"    calibration: ECE {100 * before['ece']:.2f} %{after} · Brier {before['brier']:.4f}"
    for note in summary.notes:
        yield f"    Note: {note}"


def _percent(figure: Estimate) -> str:
    if figure.value is None:
        return "-"
    interval = (
        "" if figure.low is None or figure.high is None else f" [{100 * figure.low:.2f}, {100 * figure.high:.2f}]"
    )
    return f"{100 * figure.value:.2f} %{interval}"


def _label_lines(summary: Summary, resolution: str) -> Iterator[str]:
    """Dice and HD95 of each label, where there are several; the line above is their mean in each case."""
    labels = sorted({row.label for row in summary.scores})
    for label in labels if len(labels) > 1 else ():
        means, without = summary.means(resolution, label), summary.without_label(resolution, label)
        dice, hd95, of = means["dice"], means["hd95"].mean, means["dice"].n_cases
        figures = "no Dice" if dice.mean is None else f"Dice {100 * dice.mean:.2f} % of {dice.n_used} of {of} cases"
        if without["references_without"] == of:
            figures = f"in no reference and so in no mean; predicted in {without['false_alarms']} of {of} cases"
            hd95 = None
        yield f"    {summary.label_name(label)}: {figures}" + ("" if hd95 is None else f" · HD95 {hd95:.2f} px")


def _empty_lines(summary: Summary, resolution: str) -> Iterator[str]:
    n_cases = len(summary.at(resolution))
    unit = "cases" if len({row.label for row in summary.scores}) == 1 else "labels of cases"
    for which, names in summary.empty(resolution).items():
        if names:
            some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            text = {
                EMPTY_PREDICTION: f"the prediction is empty in {len(names)} of {n_cases} {unit} ({summary.policy})",
                EMPTY_REFERENCE: f"false alarms where the reference is empty: {len(names)} of {n_cases} {unit} "
                f"({summary.policy})",
                BOTH_EMPTY: f"nothing to find and nothing found: {len(names)} of {n_cases} {unit}, in no mean",
            }
            yield f"    {text[which]}: {some}"
