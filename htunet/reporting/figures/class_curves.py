"""How well classes are told apart, and whether probabilities mean what they say: all methods of a data set.

Dimension key: S runs, N cases, K classes, P points.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from htunet.errors import counted, some
from htunet.evaluation.calibration import Bin, reliability
from htunet.evaluation.class_summary import calibration
from htunet.evaluation.classification import auc
from htunet.evaluation.statistics import Estimate, bootstrap_estimates, estimate_text, percent_text
from htunet.paths import RunPaths
from htunet.reporting.figures.base import (
    Content,
    Drawing,
    Results,
    by_arm,
    evaluated_drawings,
    random_weights_note,
)
from htunet.reporting.figures.style import (
    DOUBLE_MM,
    REFERENCE,
    SINGLE_MM,
    SMALL,
    Look,
    add_note,
    in_lines,
    in_style,
    look_of,
    looks_of,
    new_figure,
    panel_grid,
)

Floats = NDArray[np.float64]
ROC_MM, PANEL_MM = 150.0, 46.0
BESIDE_PANEL = 34
"""Characters of a line of the key at the right of a panel."""
PANELS = 4
"""Reliability diagrams side by side."""


@dataclass(frozen=True, kw_only=True)
class MethodProbabilities:
    """The probabilities of one method for the test cases of a data set, of all its runs."""

    name: str
    method: str
    classes: tuple[str, ...]
    positive: str
    """Empty where there is none."""
    cases: tuple[str, ...]
    truth_N: NDArray[np.intp]
    groups: tuple[str, ...]
    values_SNK: Floats
    fold: int
    n_other_cases: int = 0
    """Runs on other test cases (other folds) or of other classes, which are not in it."""

    def against_others(self, k: int) -> tuple[Floats, NDArray[np.intp]]:
        """(S, N, 2) probabilities of not being and of being of class k, and the truth as 0 and 1."""
        own_SN = self.values_SNK[:, :, k]
        return np.stack([1 - own_SN, own_SN], axis=2), (self.truth_N == k).astype(np.intp)


def roc(results: Results) -> list[Drawing]:
    """ROC curves of all methods with their AUC and its 95 % interval, for each data set with classes."""
    return evaluated_drawings(results, "classification", "roc", _draw_roc)


def reliability_diagrams(results: Results) -> list[Drawing]:
    """Accuracy against the predicted probability, with the expected calibration error of every method."""
    return evaluated_drawings(results, "classification", "reliability", _draw_reliability)


def method_probabilities(runs: Sequence[RunPaths], contents: Mapping[RunPaths, Content]) -> list[MethodProbabilities]:
    """One entry a method, in the paper's order; runs on other test cases or classes than the first's are counted."""
    found = []
    for name, members in by_arm(runs, contents).items():
        parts = [contents[run]["htunet"]["classification"] for run in members]
        first = {case["case"]: case for case in parts[0]["cases"]}
        classes, ids = tuple(parts[0]["classes"]), sorted(first)
        same = [part for part in parts if {*part["classes"]} == {*classes}
                and {case["case"] for case in part["cases"]} == {*first}]  # fmt: skip
        values = [{case["case"]: case["probabilities"] for case in part["cases"]} for part in same]
        found.append(
            MethodProbabilities(
                name=name,
                method=members[0].method,
                classes=classes,
                positive=parts[0].get("positive") or "",
                cases=tuple(ids),
                truth_N=np.array([classes.index(first[case]["class"]) for case in ids], dtype=np.intp),
                groups=tuple(str(first[case]["group"] or "") for case in ids),
                values_SNK=np.array([[[own[case][name] for name in classes] for case in ids] for own in values]),
                fold=members[0].fold,
                n_other_cases=len(parts) - len(same),
            )
        )
    return found


def mean_roc(scores_SN: Floats, positive_N: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """False and true positive rates, (P,) each: the mean over the runs of the true positive rate at each false one.

    Where a curve rises straight up, its lower and its upper end are averaged each, so that the area below the mean is
    the mean of the areas. Raises ValueError unless there are cases of both kinds.
    """
    if positive_N.all() or not positive_N.any():
        raise ValueError("A ROC curve needs cases of the class and others.")
    curves = [roc_curve(positive_N, scores, drop_intermediate=False)[:2] for scores in scores_SN]
    false_P = np.unique(np.concatenate([false for false, _ in curves]))
    ends = [np.stack([_at(false_P, *curve, last=last) for curve in curves]).mean(axis=0) for last in (False, True)]
    return np.repeat(false_P, 2), np.stack(ends, axis=1).ravel()


def _at(false_P: Floats, false: Floats, true: Floats, *, last: bool) -> Floats:
    """The true positive rate of one curve at each false one; of several at the same the first or the last."""
    place = np.searchsorted(false, false_P, side="right") - 1 if last else np.searchsorted(false, false_P, side="left")
    between_P = np.interp(false_P, false, true)
    return np.where(false[place] == false_P, true[place], between_P)


def mean_ece(one: MethodProbabilities) -> float:
    """Expected calibration error, the mean of those of the runs."""
    return float(np.mean([calibration(values_NK, one.truth_N).values["ece"] for values_NK in one.values_SNK]))


def pooled_bins(one: MethodProbabilities) -> list[Bin]:
    """The bins of the reliability diagram that hold cases, of all runs together."""
    runs, cases, classes = one.values_SNK.shape
    bins = reliability(one.values_SNK.reshape(runs * cases, classes), np.tile(one.truth_N, runs))
    return [b for b in bins if b.n]


def auc_of(one: MethodProbabilities, k: int) -> Estimate:
    """The AUC of class k against the others, the mean of those of the runs, with its interval over cases or groups."""
    values_SN2, truth_N = one.against_others(k)
    figures = bootstrap_estimates(lambda w: {"auc": auc(values_SN2, truth_N, w)}, len(truth_N), one.groups)
    return figures["auc"]


def _draw_roc(dataset: str, runs: Sequence[RunPaths], contents: Mapping[RunPaths, Content]) -> Canvas:
    found = method_probabilities(runs, contents)
    first = found[0]  # the positive class has a curve, of more than two classes each against all others
    drawn = [first.positive] if first.positive else first.classes
    with in_style():
        figure = new_figure(ROC_MM, len(drawn) * SINGLE_MM)
        for panel, name in zip(figure.subplots(len(drawn), 1, squeeze=False).ravel(), drawn, strict=True):
            for one, look in zip(found, looks_of([one.method for one in found]), strict=True):
                if name in one.classes:
                    _add_roc(panel, one, one.classes.index(name), look)
            panel.plot([0, 1], [0, 1], **REFERENCE)
            panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1)
            panel.set(xlabel="1 - specificity", ylabel=f"Sensitivity, {name}")
            positive = int((first.truth_N == first.classes.index(name)).sum())
            others = counted(len(first.truth_N) - positive, "other case")
            panel.set_title(f"{dataset}, {positive} {name}, {others}", loc="left")
            panel.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), alignment="left", title="AUC [95 % interval]")
        several = any(len(one.values_SNK) > 1 for one in found)
        add_note(
            figure,
            "Means over runs; intervals over cases." * several,
            *other_cases(found),
            random_weights_note(runs),
        )
    return figure


def _add_roc(panel: Axes, one: MethodProbabilities, k: int, look: Look) -> None:
    values_SN2, truth_N = one.against_others(k)
    if truth_N.all() or not truth_N.any():
        return
    area = auc_of(one, k)
    label = in_lines(
        f"{one.name}: {estimate_text(area.value, area.low, area.high, decimals=3, most=1.0)}", BESIDE_PANEL
    )
    panel.plot(*mean_roc(values_SN2[:, :, 1], truth_N == 1), label=label, **look.line())


def _draw_reliability(dataset: str, runs: Sequence[RunPaths], contents: Mapping[RunPaths, Content]) -> Canvas:
    found = method_probabilities(runs, contents)
    columns = min(PANELS, len(found))
    lines = -(-len(found) // columns)
    low = 1 / max(len(one.classes) for one in found)
    with in_style():
        figure = new_figure(max(SINGLE_MM, DOUBLE_MM * columns / PANELS), lines * PANEL_MM + 14)
        panels = panel_grid(figure, len(found), columns, shared=True)
        for panel, one in zip(panels.ravel(), found, strict=False):
            _add_reliability(panel, one, low)
        for panel in panels[:, 0]:
            panel.set_ylabel("Accuracy")
        for lowest in panels.ravel()[: len(found)][-columns:]:
            lowest.set_xlabel("Highest probability")
            lowest.tick_params(labelbottom=True)
        figure.suptitle(f"{dataset}, {counted(len(found[0].truth_N), 'test case')}", x=0.01, ha="left")
        several = any(len(one.values_SNK) > 1 for one in found)
        add_note(
            figure,
            "ECE: expected calibration error. Larger dots: more cases. Dashed: no error.",
            "Cases of all runs together; ECE: mean over runs." * several,
            *other_cases(found),
            random_weights_note(runs),
        )
    return figure


def _add_reliability(panel: Axes, one: MethodProbabilities, low: float) -> None:
    look, bins = look_of(one.method), pooled_bins(one)
    x, y = [b.confidence or 0.0 for b in bins], [b.accuracy or 0.0 for b in bins]
    total = sum(b.n for b in bins)
    panel.plot([low, 1], [low, 1], **REFERENCE)
    panel.vlines(x, x, y, color=look.colour, linewidth=0.8, alpha=0.6)
    panel.plot(x, y, linewidth=0.8, color=look.colour)
    panel.scatter(
        x,
        y,
        s=[8 + 90 * b.n / total for b in bins],
        color=look.colour,
        alpha=0.75,
        linewidth=0,
        zorder=3,
        clip_on=False,
    )
    panel.set(xlim=(low - 0.03, 1.03), ylim=(-0.03, 1.03))
    panel.set_title(f"{one.name}\nECE {percent_text(mean_ece(one))}", fontsize=SMALL, loc="left")
    panel.grid()


def other_cases(found: Sequence[MethodProbabilities]) -> Iterator[str]:
    """What is not compared on the same test cases."""
    if number := sum(one.n_other_cases for one in found):
        folds = some(sorted({one.fold for one in found}))
        yield f"Of fold {folds} alone; not shown: {counted(number, 'run')} on other test cases or classes."
    if names := [one.name for one in found if one.cases != found[0].cases]:
        yield f"On other test cases than those in the title: {', '.join(names)}."
    if names := [one.name for one in found if {*one.classes} != {*found[0].classes}]:
        yield f"Of other classes than {', '.join(found[0].classes)}: {', '.join(names)}."
