"""Dice and AUC against the fraction of the training images: a line a method, with the paper's Table IV."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from htunet.data.few_shot import RATIOS
from htunet.errors import counted
from htunet.evaluation.metrics import METRICS
from htunet.files import whole_file
from htunet.paths import DatasetPaths
from htunet.reporting.figures.base import Drawing, NotYetError, Results, random_weights_note
from htunet.reporting.figures.style import (
    DOTS_PER_INCH,
    SINGLE_MM,
    add_note,
    in_style,
    looks_of,
    method_name,
    new_figure,
    panel_grid,
)
from htunet.reporting.tables.kinds import KINDS, TableKind
from htunet.reporting.tables.paper_figures import few_shot_figures, footnote
from htunet.reporting.tables.rows import Row, percent, table_rows

PANEL_MM = 66.0
"""Height of one panel; it is as wide as one column of a journal."""
COLUMNS = 2
"""Panels side by side."""
POINTS = "Points: means over the predictions of all runs (AUC: over the runs); bars: ± the deviation of the seeds."
PAPER = "Dotted: the paper's Table IV, the mean of its data sets."


def few_shot(results: Results) -> list[Drawing]:
    """Dice and AUC against the fraction of the training images, with the paper's Table IV.

    Raises NotYetError where there is no such run.
    """
    drawings = []
    for kind in KINDS:
        members = {run: content for run, content in results.contents.items() if kind.key in content["htunet"]}
        few = [run for run in members if run.ratio is not None]
        rows = table_rows(members.values(), kind=kind)
        known = any(row.ratio and few_shot_figures(row.ratio, row.method) and not row.other_images for row in rows)
        figure = few_shot_figure(rows, kind, POINTS, PAPER * known, random_weights_note(few))
        if figure is not None:
            drawings.append(Drawing(f"few_shot_{kind.name}", figure))
    if not drawings:
        raise NotYetError(
            "no few-shot run is evaluated. Provide one: htunet_train BUSI PhantomCLIP_HT fold0 --ratio 0.05, then "
            "htunet_evaluate."
        )
    return drawings


def draw_few_shot(path: Path, rows: Sequence[Row], kind: TableKind) -> bool:
    """Write ``few_shot_figure`` as PNG, and return whether there was anything to draw."""
    figure = few_shot_figure(rows, kind)
    if figure is None:
        return False
    with whole_file(path) as part, in_style():
        figure.savefig(part, format="png", dpi=DOTS_PER_INCH)
    return True


def few_shot_figure(rows: Sequence[Row], kind: TableKind, *notes: str) -> Figure | None:
    """Dice or AUC against the fraction, a panel for each data set; None where there is nothing to draw.

    One line a method, mean and standard deviation over the seeds; where there are runs of all images too they are the
    last point. Dotted is the paper's mean over its data sets. ``notes`` are printed below.
    """
    shown = [row for row in rows if not row.trained_on and row.values[kind.main].mean is not None]
    datasets = sorted({row.dataset for row in shown if row.ratio is not None})
    if not datasets:
        return None
    columns = min(COLUMNS, len(datasets))
    with in_style():
        figure = new_figure(SINGLE_MM * columns, PANEL_MM * -(-len(datasets) // columns))
        panels = panel_grid(figure, len(datasets), columns).ravel()
        for panel, dataset in zip(panels, datasets, strict=False):
            _draw_panel(panel, [row for row in shown if row.dataset == dataset], kind)
        add_note(figure, *notes, *_unlike_full_runs(shown))
    return figure


def _draw_panel(panel: Axes, rows: Sequence[Row], kind: TableKind) -> None:
    ratios = sorted({*(row.ratio or 1.0 for row in rows), *RATIOS})
    lines = _lines(rows)
    looks = looks_of([members[0].method for members in lines.values()])
    for (name, members), look in zip(lines.items(), looks, strict=True):
        method = members[0].method
        found = [(row.ratio or 1.0, row.values[kind.main]) for row in members]
        means, stds = [spread.mean or 0.0 for _, spread in found], [spread.std or 0.0 for _, spread in found]
        bars = [[min(std, end) for std, end in zip(stds, ends, strict=True)]
                for ends in (means, [100 - mean for mean in means])]  # fmt: skip
        label = name.replace(method, method_name(method), 1)
        style = {"marker": look.marker, "capsize": 2, "elinewidth": 0.8, **look.line()}
        panel.errorbar([x for x, _ in found], means, bars, label=label, **style)
        theirs = {ratio: few_shot_figures(ratio, method).get(kind.main) for ratio in RATIOS}
        points = [(ratio, value) for ratio, value in theirs.items() if value is not None]
        if points and not members[0].other_images:
            label = f"{method_name(method)}, paper's mean"
            panel.plot(*zip(*points, strict=True), color=look.colour, linestyle=":", marker=".", label=label)
    panel.set_xscale("log")
    panel.set_xticks(ratios, [percent(ratio).removesuffix(" %") for ratio in ratios])
    panel.minorticks_off()
    seeds = sorted({len(row.seeds) for row in rows})
    of_seeds = counted(seeds[-1], "seed") if len(seeds) == 1 else f"{seeds[0]} to {counted(seeds[-1], 'seed')} a point"
    panel.set(xlabel="Training images, %", ylabel=f"{METRICS[kind.main].heading} on the test split")
    panel.set_title(f"{DatasetPaths(rows[0].dataset).unique_name}, {of_seeds}", loc="left")
    panel.grid(axis="y")
    panel.legend()


def _unlike_full_runs(rows: Sequence[Row]) -> list[str]:
    """What is said of runs with all images that differ from those with few, so that they are no line's last point."""
    names = set[str]()
    for dataset in {row.dataset for row in rows}:
        own = [row for row in rows if row.dataset == dataset]
        lines = _lines(own).values()
        shown = {id(row) for members in lines for row in members}
        names |= {method_name(row.method) for row in own if row.ratio is None and id(row) not in shown
                  and any(row.method == members[0].method for members in lines)}  # fmt: skip
    text = "runs with all images are no point at 100 %, since their folds or settings differ from those with few"
    return [f"{', '.join(sorted(names))}: {text}."] if names else []


def _lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each line, by its name: few-shot runs of one method, plan and weights, and those of all images.

    A small fraction may have had more epochs for the same number of steps: epochs separate lines only where one
    fraction has several.
    """
    few = [row for row in rows if row.ratio is not None]
    one_each = len({(_key(row), row.ratio) for row in few}) == len(few)
    ignored = ("epochs", "epoch") if one_each else ()
    keys = dict.fromkeys(_key(row, ignored) for row in few)
    several = {method for method, *_ in keys if sum(key[0] == method for key in keys) > 1}
    lines = {}
    for key in keys:
        method, plan, marks, configuration = key
        members = [row for row in rows if _key(row, ignored) == key]
        alike = sum(other[:3] == key[:3] for other in keys) > 1
        about = "; ".join(filter(None, [plan, ", ".join(marks), configuration[:4] if alike else ""]))
        lines[f"{method} ({about})" if method in several else method] = sorted(
            members, key=lambda row: row.ratio or 1.0
        )
    return lines


def _key(row: Row, ignored: tuple[str, ...] = ("epochs", "epoch")) -> tuple[str, str, tuple[str, ...], str]:
    """What separates lines: method, plan, configuration, and marks but the fraction, the seeds and ``ignored`` ones."""
    endings = ("of the training images", "seeds", *ignored)
    marks = (mark for mark in row.marks if not mark.endswith(endings) and mark != footnote(row.method))
    return row.method, row.plan, tuple(marks), row.configuration
