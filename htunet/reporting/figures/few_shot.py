"""Figures against the share of the training images: the paper's Table IV from our runs, and a picture of it."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from htunet.data.few_shot import RATIOS
from htunet.files import whole_file
from htunet.paths import DatasetPaths
from htunet.reporting.tables.kinds import TableKind
from htunet.reporting.tables.rows import Row, Spread, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_MM = 66.0
"""Height of one panel; it is as wide as one column of a journal."""
COLUMNS = 2
"""Panels side by side."""


def few_shot_rows(rows: Iterable[Row]) -> list[Row]:
    """The means over data sets, as Table IV has them, of few-shot rows; the paper's beside them.

    Rows of one method, share and plan are averaged where they are of the data sets' own test splits; ``dataset`` names
    which. The standard deviation is the mean of theirs.
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row.ratio is not None and not row.trained_on:
            groups.setdefault((row.method, row.ratio, row.plan, row.trainable_parameters, row.marks), []).append(row)
    averages = [_average(members) for members in groups.values()]
    order = list(dict.fromkeys(row.method for row in averages))
    return sorted(averages, key=lambda row: (row.dataset, row.ratio or 1.0, order.index(row.method)))


def draw_few_shot(path: Path, rows: Sequence[Row], kind: TableKind) -> bool:
    """Write ``few_shot_figure`` as PNG, and return whether there was anything to draw."""
    figure = few_shot_figure(rows, kind)
    if figure is None:
        return False
    from htunet.reporting.figures.style import DOTS_PER_INCH, in_style

    with whole_file(path) as part, in_style():
        figure.savefig(part, format="png", dpi=DOTS_PER_INCH)
    return True


def few_shot_figure(rows: Sequence[Row], kind: TableKind, *notes: str) -> "Figure | None":
    """Dice or AUC against the share, a panel for each data set; None where there is nothing to draw.

    One line a method, mean and standard deviation over the seeds; where there are runs of all images too they are the
    last point. Dotted is the paper's mean over its data sets. ``notes`` stand below.
    """
    from htunet.reporting.figures.style import SINGLE_MM, add_note, in_style, new_figure

    shown = [row for row in rows if not row.trained_on and row.figures[kind.few_shot].mean is not None]
    datasets = sorted({row.dataset for row in shown if row.ratio is not None})
    if not datasets:
        return None
    columns = min(COLUMNS, len(datasets))
    lines = -(-len(datasets) // columns)
    with in_style():
        figure = new_figure(SINGLE_MM * columns, PANEL_MM * lines)
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, dataset in zip(panels, datasets, strict=False):
            _draw_panel(panel, [row for row in shown if row.dataset == dataset], kind)
        for panel in panels[len(datasets) :]:
            panel.set_axis_off()
        add_note(figure, *notes)
    return figure


def _draw_panel(panel: "Axes", rows: Sequence[Row], kind: TableKind) -> None:
    from htunet.reporting.figures.style import look_of, method_name

    ratios = sorted({*(row.ratio or 1.0 for row in rows), *RATIOS})
    for name, members in _lines(rows).items():
        look, method = look_of(members[0].method), members[0].method
        found = [(row.ratio or 1.0, row.figures[kind.few_shot]) for row in members]
        means, stds = [spread.mean or 0.0 for _, spread in found], [spread.std or 0.0 for _, spread in found]
        bars = [[min(std, end) for std, end in zip(stds, ends, strict=True)]
                for ends in (means, [100 - mean for mean in means])]  # fmt: skip
        label = name.replace(method, method_name(method), 1)
        style = {"marker": look.marker, "capsize": 2, "elinewidth": 0.8, **look.line()}
        panel.errorbar([x for x, _ in found], means, bars, label=label, **style)
        paper = [(ratio, kind.paper_few_shot(ratio, method)) for ratio in RATIOS]
        points = [(ratio, getattr(figures, kind.few_shot)) for ratio, figures in paper if figures]
        if points:
            label = f"{method_name(method)}, paper's mean"
            panel.plot(*zip(*points, strict=True), color=look.colour, linestyle=":", marker=".", label=label)
    panel.set_xscale("log")
    panel.set_xticks(ratios, [percent(ratio).removesuffix(" %") for ratio in ratios])
    panel.minorticks_off()
    seeds = sorted({seed for row in rows for seed in row.seeds})
    panel.set(xlabel="Training images, %", ylabel=f"{kind.headings[kind.few_shot]} on the test split")
    panel.set_title(
        f"{DatasetPaths(rows[0].dataset).short_name}, {len(seeds)} seed{'s' * (len(seeds) > 1)}", loc="left"
    )
    panel.grid(axis="y")
    panel.legend()


def _lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each line, by its name: few-shot runs of one method, plan and weights, and those of all images.

    A small share may have had more epochs for the same number of steps: epochs tell lines apart only where one share
    has several.
    """
    few = [row for row in rows if row.ratio is not None]
    one_each = len({(_key(row), row.ratio) for row in few}) == len(few)
    ignored = ("epochs",) if one_each else ()
    keys = dict.fromkeys(_key(row, ignored) for row in few)
    several = {method for method, *_ in keys if sum(key[0] == method for key in keys) > 1}
    lines = {}
    for method, plan, marks in keys:
        members = [row for row in rows if _key(row, ignored) == (method, plan, marks)]
        name = f"{method} ({plan}; {', '.join(marks)})" if method in several else method
        lines[name] = sorted(members, key=lambda row: row.ratio or 1.0)
    return lines


def _key(row: Row, ignored: tuple[str, ...] = ("epochs",)) -> tuple[str, str, tuple[str, ...]]:
    """What tells lines apart: method, plan, and all marks but the share, the number of seeds and ``ignored`` ones."""
    endings = ("of the training images", "seeds", *ignored)
    return row.method, row.plan, tuple(mark for mark in row.marks if not mark.endswith(endings))


def _average(rows: Sequence[Row]) -> Row:
    first = rows[0]
    names = sorted({row.dataset for row in rows})
    assert first.ratio is not None
    missed = [row.n_missed for row in rows if row.n_missed is not None]
    return replace(
        first,
        dataset=f"Few-shot, mean of {', '.join(DatasetPaths(name).short_name for name in names)}",
        seeds=tuple(sorted({seed for row in rows for seed in row.seeds})),
        folds=tuple(sorted({fold for row in rows for fold in row.folds})),
        n_runs=sum(row.n_runs for row in rows),
        n_cases=sum(row.n_cases for row in rows),
        n_missed=sum(missed) if missed else None,
        figures={name: _mean_spread([row.figures[name] for row in rows]) for name in first.kind.metrics},
        paper=first.kind.paper_few_shot(first.ratio, first.method),
    )


def _mean_spread(spreads: Sequence[Spread]) -> Spread:
    means = [spread.mean for spread in spreads if spread.mean is not None]
    stds = [spread.std for spread in spreads if spread.std is not None]
    return Spread(
        statistics.fmean(means) if len(means) == len(spreads) else None,
        statistics.fmean(stds) if len(stds) == len(spreads) else None,
    )
