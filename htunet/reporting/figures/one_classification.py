"""One picture of a classification: ROC curve, precision-recall curve, confusion matrix, reliability diagram."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from htunet.evaluation.calibration import Bin
from htunet.evaluation.class_summary import Calibration, ClassSummary
from htunet.evaluation.classification import MOST_PROBABLE, VALIDATION_THRESHOLD, curves
from htunet.evaluation.statistics import Estimate, estimate_text, percent_text, rounded
from htunet.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

CHANCE: dict[str, Any] = {"color": "0.6", "linestyle": "--", "linewidth": 1}
DOTS = 110


def draw_classification(path: Path, summary: ClassSummary, title: str) -> None:
    """Write the picture as PNG. The threshold that the validation split chose is a cross on both curves."""
    from matplotlib.figure import Figure as Canvas

    from htunet.reporting.figures.style import without_formulas

    canvas = Canvas(figsize=(11, 9.6), layout="constrained")
    canvas.suptitle(title, fontsize=11)
    roc, precision_recall, confusion, calibration = canvas.subplots(2, 2).ravel()
    points = curves(summary.test.values_NK, summary.test.truth_indices, summary.test.classes)
    _draw_roc(roc, summary, points["roc"])
    _draw_precision_recall(precision_recall, summary, points["precision_recall"])
    decision = summary.decisions[MOST_PROBABLE]
    draw_confusion(confusion, decision.confusion, summary.test.classes, "predicted class")
    at = "" if decision.threshold is None else f" (threshold {decision.threshold:.3f})"
    confusion.set_title(f"Most probable class{at}, accuracy {_text(decision.estimates['accuracy'])}", fontsize=10)
    _draw_reliability(calibration, summary)
    without_formulas(canvas)
    with whole_file(path) as part:
        canvas.savefig(part, format="png", dpi=DOTS)


def _draw_roc(axes: "Axes", summary: ClassSummary, points: dict[str, dict[str, list[float]]]) -> None:
    axes.plot([0, 1], [0, 1], **CHANCE)
    for name, curve in points.items():
        axes.plot(curve["false_positive_rate"], curve["recall"], label=name, linewidth=2)
    for label, marker, figures in _operating_points(summary):
        place = (1 - figures["specificity"], figures["recall"])
        axes.plot(*place, marker, color="black", label=label, markersize=8)
    axes.set(xlabel="1 - specificity", ylabel=f"recall (sensitivity){_of(summary)}")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(f"ROC curve, AUC {_text(summary.auc)}", fontsize=10)
    axes.set_aspect("equal")
    _add_key(axes)


def _draw_precision_recall(axes: "Axes", summary: ClassSummary, points: dict[str, dict[str, list[float]]]) -> None:
    truth = summary.test.truth
    for index, (name, curve) in enumerate(points.items()):
        share = truth.count(name) / len(truth)
        axes.axhline(share, **CHANCE)
        axes.step(curve["recall"], curve["precision"], where="post", label=name, linewidth=2, color=f"C{index}")
    for label, marker, figures in _operating_points(summary):
        axes.plot(figures["recall"], figures["precision"], marker, color="black", label=label, markersize=8)
    axes.set(xlabel=f"recall{_of(summary)}", ylabel=f"precision{_of(summary)}", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    area = summary.probabilities["average_precision"]
    axes.set_title("Precision-recall curve" + ("" if area is None else f", area {rounded(area, 3, 1.0)}"), fontsize=10)
    axes.set_aspect("equal")
    _add_key(axes)


def _operating_points(summary: ClassSummary) -> list[tuple[str, str, dict[str, float]]]:
    """Label, marker and figures of each decision with a threshold and with values of them all."""
    markers = {MOST_PROBABLE: "o", VALIDATION_THRESHOLD: "X"}
    found = []
    for name, decision in summary.decisions.items():
        if decision.threshold is not None:
            source = " (validation)" if name == VALIDATION_THRESHOLD else ""
            figures = {key: figure.value for key, figure in decision.estimates.items() if figure.value is not None}
            if not {"recall", "precision", "specificity"} <= figures.keys():
                continue
            found.append((f"threshold {decision.threshold:.3f}{source}", markers[name], figures))
    return found


def _add_key(axes: "Axes") -> "Legend":
    """Below the axes, where no curve is."""
    return axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=9, frameon=False)


def _of(summary: ClassSummary) -> str:
    return f" of {summary.positive}" if summary.positive else ""


def draw_confusion(axes: "Axes", confusion: Sequence[Sequence[int]], classes: Sequence[str], below: str) -> None:
    """Counts; rows are true, columns predicted classes (``below``); shades are fractions of the true class."""
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = f"{count}\n{percent_text(shares[row, column], 0)}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=12)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes, rotation=90, va="center")
    axes.set(xlabel=below, ylabel="true class")


def _draw_reliability(axes: "Axes", summary: ClassSummary) -> None:
    low = 1 / len(summary.test.classes)
    axes.plot([low, 1], [low, 1], **CHANCE)
    drawn: list[tuple[str, Calibration | None, str]] = [("as predicted", summary.before, "C0")]
    if summary.temperature is not None:
        drawn.append((f"temperature {summary.temperature:.2f}", summary.after, "C1"))
    for label, found, colour in drawn:
        if found is None:
            continue
        bins = [b for b in found.bins if b.n]
        sizes = [20 + 380 * b.n / len(summary.test.cases) for b in bins]
        axes.plot(*_coordinates(bins), color=colour, linewidth=1)
        text = f"{label}: ECE {percent_text(found.values['ece'])}"
        axes.scatter(*_coordinates(bins), s=sizes, color=colour, alpha=0.6, label=text)
    axes.set(xlabel="highest probability", ylabel="accuracy", xlim=(low - 0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title("Reliability; larger dots hold more cases", fontsize=10)
    legend = _add_key(axes)
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([40])


def _coordinates(bins: list[Bin]) -> tuple[list[float], list[float]]:
    return [b.confidence or 0.0 for b in bins], [b.accuracy or 0.0 for b in bins]


def _text(figure: Estimate) -> str:
    text = estimate_text(figure.value, figure.low, figure.high, decimals=3, most=1.0)
    return "not defined" if figure.value is None else text
