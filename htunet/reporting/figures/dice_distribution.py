"""The Dice of every test case, by method: a box with its median, the cases as points, and how many were missed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from htunet.evaluation.case_table import case_table
from htunet.evaluation.statistics import rounded
from htunet.evaluation.study import over_labels
from htunet.evaluation.summary import INPUT
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
    SMALL,
    add_note,
    in_lines,
    in_style,
    look_of,
    new_figure,
    note_lines,
    paler,
)
from htunet.reporting.tables.kinds import SEGMENTATION
from htunet.reporting.tables.rows import total
from htunet.reproducibility import generator

ROW_MM, MARGIN_MM, NOTE_MM = 6.4, 22.0, 3.4
"""Millimetres: a method, the title with the axis, and a line of the note."""
BOX, SPREAD = 0.56, 0.19
"""Height of a box and of the cloud of its points, as parts of a row."""
NAME_CHARACTERS = 26
"""Of a line of a method's name, two of which a row has room for."""


@dataclass(frozen=True)
class CaseDice:
    """One method on one data set; a value a case, averaged over its runs. Dimension key: N cases."""

    name: str
    method: str
    percent_N: NDArray[np.float64]
    n_missed: float
    """Cases without any predicted pixel although there is a lesion; of a case that several runs test, their mean."""
    tested: frozenset[str] = frozenset()
    """The cases that its runs test, those without a Dice included."""

    @property
    def median(self) -> float:
        """In per cent, over the cases; NaN where none has a Dice."""
        return float(np.median(self.percent_N)) if len(self.percent_N) else math.nan


def dice_distribution(results: Results) -> list[Drawing]:
    """The Dice of every test case by method, the median marked, for each data set."""
    return evaluated_drawings(
        results,
        "means",
        "dice_distribution",
        lambda dataset, runs, contents: draw_distributions(dataset, runs, distributions(runs, contents)),
    )


def distributions(runs: Sequence[RunPaths], contents: Mapping[RunPaths, Content]) -> list[CaseDice]:
    """One entry a method, in the paper's order."""
    found = []
    for name, members in by_arm(runs, contents).items():
        values: dict[str, list[float]] = {}
        for run in members:
            for case, dice in case_dice(contents[run]).items():
                values.setdefault(case, []).append(100 * dice)
        means = np.array([np.mean(values[case]) for case in sorted(values)])
        tested = total([SEGMENTATION.tested(contents[run]) for run in members])
        missed = (tested.n_missed or 0) * len(tested.cases) / tested.n_cases
        found.append(CaseDice(name, members[0].method, means, missed, frozenset(tested.cases)))
    return found


def case_dice(content: Content) -> dict[str, float]:
    """Dice of each case at the network's input size as the tables have it; of several labels their mean, if any."""
    table = case_table([content])
    found = over_labels(table[table["resolution"] == INPUT], ["dice"]).dropna(subset="dice")
    return dict(zip(found["case"].map(str), found["dice"].map(float), strict=True))


def draw_distributions(dataset: str, runs: Sequence[RunPaths], found: Sequence[CaseDice]) -> Figure:
    """A row a method."""
    several = any(len(members) > 1 for members in by_arm(runs).values())
    others = [one.name for one in found if one.tested != found[0].tested]
    notes = (
        "Box: quartiles; line: median; whiskers: to the furthest case within 1.5 box lengths; point: a case"
        + (", averaged over its runs." if several else "."),
        f"Tested on other images than {found[0].name}: {', '.join(others)}." * bool(others),
        random_weights_note(runs),
    )
    with in_style():
        figure = new_figure(DOUBLE_MM, MARGIN_MM + ROW_MM * len(found) + NOTE_MM * len(note_lines(DOUBLE_MM, notes)))
        axes = figure.subplots()
        for row, one in enumerate(found):
            _add_box(axes, row, one)
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_yticks(range(len(found)), [in_lines(one.name, NAME_CHARACTERS) for one in found])
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(-1.5, 101.5), xlabel="Dice of each test case, %")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        cases = sorted({len(one.percent_N) for one in found})
        known = " with a Dice" * any(len(one.percent_N) < len(one.tested) for one in found)
        axes.set_title(f"{dataset}, {' or '.join(map(str, cases))} test cases{known}", loc="left", pad=10)
        for x, text in ((1.02, "median"), (1.11, "missed")):
            axes.text(x, 1.0, text, transform=axes.transAxes, fontsize=SMALL, va="bottom", ha="left", color="0.35")
        add_note(figure, *notes)
    return figure


def _add_box(axes: Axes, row: int, one: CaseDice) -> None:
    look = look_of(one.method)
    axes.boxplot(
        one.percent_N,
        positions=[row],
        orientation="horizontal",
        widths=BOX,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": paler(look.colour, 0.72), "edgecolor": look.colour, "linewidth": 0.7},
        whiskerprops={"color": look.colour, "linewidth": 0.7},
        capprops={"color": look.colour, "linewidth": 0.7},
        medianprops={"color": "black", "linewidth": 1.6},
    )
    offsets = generator(0, "jitter", len(one.percent_N)).uniform(-SPREAD, SPREAD, len(one.percent_N))
    size = 9 if len(one.percent_N) <= 100 else 3
    axes.scatter(one.percent_N, row + offsets, s=size, color=look.colour, alpha=0.65, linewidth=0, zorder=3)
    place = axes.get_yaxis_transform()
    missed = f"{one.n_missed:,.1f}".removesuffix(".0")
    for x, text in (
        (1.02, f"{rounded(one.median, 1)} %" if len(one.percent_N) else "no Dice"),
        (1.11, missed if one.n_missed else "-"),
    ):
        axes.text(x, row, text, transform=place, va="center", ha="left", fontsize=SMALL)
