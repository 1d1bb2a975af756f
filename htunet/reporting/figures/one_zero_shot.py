"""One picture of a zero-shot classification: how well each prompt works alone, and what all of them decide."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from htunet.evaluation.statistics import rounded
from htunet.evaluation.zero_shot import PromptResult, ZeroShotResult
from htunet.files import whole_file
from htunet.paths import DatasetPaths
from htunet.reporting.figures.one_classification import draw_confusion
from htunet.reporting.tables.prompt_table import CHOSEN_HERE, best_first, summary_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 74
"""Characters of a prompt in one line."""
HELPS, MISLEADS = "#2a7f9e", "#c8553d"
DOTS = 110


def draw_zero_shot(path: Path, result: ZeroShotResult, about: Mapping[str, Any]) -> None:
    """Write the picture as PNG: the prompts of each class, the best first, and the confusion matrix."""
    from matplotlib.figure import Figure as Canvas

    from htunet.reporting.figures.style import without_formulas

    classes = result.probabilities.classes
    ranked = [one for name in classes for one in best_first(one for one in result.prompts if one.class_name == name)]
    canvas = Canvas(figsize=(14, 2.2 + 0.36 * len(ranked)), layout="constrained")
    title = f"{DatasetPaths(about['dataset']).short_name}, {about['method']}: zero-shot classification"
    canvas.suptitle("\n".join([title, *summary_lines(result, about)]), fontsize=10)
    bars, decisions = canvas.subplots(1, 2, width_ratios=(2.6, 1))
    _draw_prompts(bars, ranked)
    draw_confusion(decisions, result.confusion, classes, "predicted by all prompts together")
    without_formulas(canvas)
    with whole_file(path) as part:
        canvas.savefig(part, format="png", dpi=DOTS)


def _draw_prompts(axes: "Axes", ranked: list[PromptResult]) -> None:
    """Bars from 50 %, where a prompt says nothing; a line between the classes."""
    places = range(len(ranked))
    areas = [50.0 if one.auc is None else 100 * one.auc for one in ranked]
    colours = [HELPS if area >= 50 else MISLEADS for area in areas]
    axes.barh(places, [area - 50 for area in areas], left=50, color=colours, height=0.7)
    for place, (one, area) in enumerate(zip(ranked, areas, strict=True)):
        side = "left" if area >= 50 else "right"
        text = "-" if one.auc is None else rounded(area, 0)
        axes.text(area + (0.6 if area >= 50 else -0.6), place, text, va="center", ha=side, fontsize=8)
    axes.set_yticks(list(places), [_label(one) for one in ranked], fontsize=8)
    for place in places[1:]:
        if ranked[place].class_name != ranked[place - 1].class_name:
            axes.axhline(place - 0.5, color="0.5", linewidth=0.8)
    axes.axvline(50, color="0.3", linewidth=1)
    axes.set(xlim=(0, 104), ylim=(len(ranked) - 0.5, -0.5))
    axes.set_xlabel(
        f"AUC of the prompt alone, %: above 50 it favours its own class, below 50 it misleads.\n{CHOSEN_HERE}"
    )
    axes.spines[["top", "right"]].set_visible(False)


def _label(one: PromptResult) -> str:
    sign = f" ({one.prompt.sign})" if one.prompt.sign else ""
    return "\n".join(textwrap.wrap(f"{one.class_name}{sign}: {one.prompt.text}", WIDTH))
