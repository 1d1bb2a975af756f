"""The tables of the page: results beside the paper's, by lesion size, by class, and who is better than whom."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from htunet.evaluation.case_table import TERCILES
from htunet.evaluation.study import Statistics
from htunet.evaluation.summary import INPUT
from htunet.paths import DatasetPaths
from htunet.reporting.report.arms import MethodConfig, of_kind
from htunet.reporting.report.content import Table, TableCell
from htunet.reporting.tables.kinds import CLASSIFICATION, KINDS, SEGMENTATION, TableKind
from htunet.reporting.tables.paper_tables import LOWER
from htunet.reporting.tables.rows import notes, parameters_text

Key = tuple[str, str, str]
"""Data set, arm and task."""
Entry = Mapping[str, Any]
TITLES = {SEGMENTATION.name: "Segmentation", CLASSIFICATION.name: "Classification"}
SHARES = ("dice", "iou", "correct", "probability_of_truth")
NAMES = {
    **{"dice": "Dice %", "iou": "IoU %", "hd95": "HD95 px", "asd": "ASD px"},
    **{"correct": "Rightly decided %", "probability_of_truth": "Probability of the true class %"},
}
COMPARED = ("dice", "hd95", "correct")
MOST_COMPARISONS = 300
"""Rows of the table of comparisons; a browser sorts them at once."""
NO_VALUE = "\u2013"
"""A dash as long as a figure."""
NOTHING = TableCell(text=NO_VALUE)


def collect_tables(arms: Sequence[MethodConfig], found: Statistics) -> list[Table]:
    """All tables that have rows."""
    tables = [*(_results(list(arms), found.means, kind) for kind in KINDS)]
    tables += [_by_size(arms, found.by_size), _by_class(arms, found.by_class), _comparisons(found.comparisons)]
    return [table for table in tables if table.rows]


def figures(frame: pd.DataFrame, more: Sequence[str] = ()) -> dict[tuple[Any, ...], Entry]:
    """The rows of a table of the statistics at the network's input size; over all labels, unless ``more`` has them.

    By data set, arm, task, the columns ``more``, and metric.
    """
    if frame.empty:
        return {}
    shown = frame[frame["resolution"].isin([INPUT, ""])]
    if "label" not in more:
        shown = shown[shown["label"] == ""]
    plain = shown.astype(object).where(shown.notna(), None)
    return {tuple(entry[name] for name in ("dataset", "arm", "task", *more, "metric")): entry
            for entry in plain.to_dict("records")}  # fmt: skip


def figure(entry: Entry | None, metric: str) -> TableCell:
    """``81.19 ± 0.42`` and its interval below it; a dash where there is nothing."""
    if not entry or entry["mean"] is None:
        return NOTHING
    scale = scale_of(metric)
    spread = "" if entry.get("std") is None else f" ± {scale * entry['std']:.2f}"
    return TableCell(
        text=f"{scale * entry['mean']:.2f}{spread}",
        below=interval(entry, scale),
        value=scale * entry["mean"],
    )


def interval(entry: Entry, scale: float) -> str:
    """``[78.02, 84.11]``; empty where there is none."""
    low, high = entry["low"], entry["high"]
    return "" if low is None or high is None else f"[{scale * low:.2f}, {scale * high:.2f}]"


def scale_of(metric: str) -> float:
    """Shares are printed in percent, distances as they are."""
    return 1 if metric in ("hd95", "asd") else 100


def number(value: float | None, text: str | None = None) -> TableCell:
    """A cell with a plain number."""
    if value is None or math.isnan(value):
        return NOTHING
    return TableCell(text=f"{value:,}" if text is None else text, value=float(value))


def words(text: str, *, strong: bool = False) -> TableCell:
    """A cell with text."""
    return TableCell(text=text, value=text, strong=strong)


def _results(arms: list[MethodConfig], means: pd.DataFrame, kind: TableKind) -> Table:
    known = figures(means)
    arms = of_kind(arms, kind)
    heads = [text for heading in kind.headings.values() for text in (heading, "paper")]
    count = "Missed" if kind.n_missed else "Cases"
    rows = [arm.rows[kind.name] for arm in arms]
    return Table(
        id=kind.name,
        title=f"{TITLES[kind.name]}: all test cases",
        columns=("Data set", "Method", *heads, count, "Seeds", "Trained", "Notes"),
        numeric=(False, False, *[True] * len(heads), True, True, True, False),
        rows=tuple(_with_best([_result_row(arm, kind, known) for arm in arms], kind)),
        notes=(
            "Bold: the best method of each data set. "
            "Below each figure: its 95 % interval over test cases (bootstrap; over patients where they are known).",
            *notes(rows, kind),
        ),
    )


def _result_row(arm: MethodConfig, kind: TableKind, known: Mapping[tuple[Any, ...], Entry]) -> tuple[TableCell, ...]:
    row = arm.rows[kind.name]
    cells = [words(arm.short_dataset), words(arm.name, strong=True)]
    for metric in kind.headings:
        entry = known.get((arm.dataset, arm.name, arm.task, metric))
        own = row.figures[metric]
        plain = NOTHING if own.mean is None else TableCell(text=own.text(), value=own.mean)
        theirs = getattr(row.paper, metric, None)
        cells += [
            figure(entry, metric) if entry else plain,
            number(theirs, None if theirs is None else f"{theirs:.2f}"),
        ]
    share = None if row.n_missed is None else row.n_missed / row.n_cases
    cells.append(number(row.n_cases) if share is None else number(share, f"{row.n_missed} / {row.n_cases}"))
    cells += [
        TableCell(text=", ".join(map(str, row.seeds)) or NO_VALUE, value=len(row.seeds)),
        number(row.trainable_parameters, parameters_text(row)),
        words("; ".join(row.marks)),
    ]
    return tuple(cells)


def _with_best(rows: list[tuple[TableCell, ...]], kind: TableKind) -> Iterator[tuple[TableCell, ...]]:
    """The rows with the best figure of each data set and metric strong, where there are several methods."""
    places = {metric: 2 + 2 * place for place, metric in enumerate(kind.headings)}
    values: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        for place in places.values():
            if isinstance(row[place].value, float):
                values.setdefault((row[0].text, place), []).append(row[place].value)  # type: ignore[arg-type]
    best = {
        (dataset, place): (min if metric in LOWER else max)(values[dataset, place])
        for metric, place in places.items()
        for dataset, at in values
        if at == place and len(values[dataset, place]) > 1
    }
    for row in rows:
        dataset = row[0].text
        yield tuple(
            replace(cell, strong=True) if cell.value is not None and cell.value == best.get((dataset, place)) else cell
            for place, cell in enumerate(row)
        )


def _by_size(arms: Sequence[MethodConfig], frame: pd.DataFrame) -> Table:
    known = figures(frame, ["label", "tercile"])
    labels: dict[str, list[float]] = {}
    for dataset, _, _, label, *_ in known:
        labels[dataset] = sorted({*labels.get(dataset, []), label})
    rows = []
    for arm in arms:
        for label in labels.get(arm.dataset, []):
            entries = [known.get((arm.dataset, arm.name, arm.task, label, tercile, "dice")) for tercile in TERCILES]
            if any(entries):
                name = arm.name if len(labels[arm.dataset]) == 1 else f"{arm.name}, label {label:g}"
                rows.append((words(arm.short_dataset), words(name, strong=True), *_size_cells(entries)))
    heads = [text for tercile in TERCILES for text in (f"{tercile.capitalize()}: Dice %", "missed")]
    return Table(
        id="by_size",
        title="By size of the lesion",
        columns=("Data set", "Method", *heads, "Largest gap"),
        numeric=(False, False, *[True] * len(heads), True),
        rows=tuple(rows),
        notes=("Thirds of each data set's test cases by the lesion's share of the image, at the network's input size. "
               "Missed: empty predictions / predictions, over all seeds.",),
    )  # fmt: skip


def _size_cells(entries: Sequence[Entry | None]) -> list[TableCell]:
    means = [entry["mean"] for entry in entries if entry and entry["mean"] is not None]
    gap = 100 * (max(means) - min(means)) if len(means) > 1 else None
    cells = [cell for entry in entries for cell in (figure(entry, "dice"), _missed(entry))]
    return [*cells, number(gap, None if gap is None else f"{gap:.1f}")]


def _missed(entry: Entry | None) -> TableCell:
    if not entry or entry.get("n_missed") is None:
        return NOTHING
    total = entry["n_cases"] * (entry.get("n_seeds") or 1)
    return TableCell(text=f"{int(entry['n_missed'])} / {int(total)}", value=entry["n_missed"] / max(1, total))


def _by_class(arms: Sequence[MethodConfig], frame: pd.DataFrame) -> Table:
    known = figures(frame, ["class"])
    shown = [metric for metric in ("dice", "hd95", "correct", "probability_of_truth")
             if any(key[-1] == metric for key in known)]  # fmt: skip
    tasks = {name: place for place, name in enumerate((arm.dataset, arm.name, arm.task) for arm in arms)}
    strata = sorted({key[:4] for key in known if key[3]}, key=lambda key: (tasks.get(key[:3], len(tasks)), key[3]))
    rows = []
    for dataset, arm, task, name in strata:
        entries = {metric: known.get((dataset, arm, task, name, metric)) for metric in shown}
        cases = next((entry["n_cases"] for entry in entries.values() if entry), None)
        cells = [figure(entry, metric) for metric, entry in entries.items()]
        missed = _missed(entries.get("dice"))
        rows.append((words(DatasetPaths(dataset).short_name), words(arm, strong=True), words(name),
                     *cells, missed, number(cases)))  # fmt: skip
    return Table(
        id="by_class",
        title="By class of the image",
        columns=("Data set", "Method", "Class", *(NAMES[metric] for metric in shown), "Missed", "Cases"),
        numeric=(False, False, False, *[True] * len(shown), True, True),
        rows=tuple(rows),
        notes=("At the network's input size. Missed: empty predictions / predictions, over all seeds.",),
    )


def _comparisons(frame: pd.DataFrame) -> Table:
    columns = ("Data set", "Figure", "Method A", "Method B", "A - B", "Effect", "p", "Better")
    rows: tuple[tuple[TableCell, ...], ...] = ()
    left_out = 0
    if not frame.empty:
        shown = frame[frame["resolution"].isin([INPUT, ""]) & frame["metric"].isin(COMPARED)]
        left_out = max(0, len(shown) - MOST_COMPARISONS)
        # the clearest differences of each data set first, so that no data set is left out
        places = shown.groupby(["dataset", "metric"])["p_holm"].rank(method="first")
        kept = shown.assign(_place=places).nsmallest(MOST_COMPARISONS, "_place").sort_index()
        rows = tuple(_comparison(entry) for entry in kept.to_dict("records"))
    text = (
        "Wilcoxon's signed-rank test on the same test cases (patients, where they are known), seeds averaged first; "
        "p after Holm's correction over all pairs of one data set and figure. Effect: rank-biserial, from -1 to 1. "
        "Better: the better method where p < 0.05."
    )
    more = f" {left_out:,} pairs with larger p stand in tables/comparisons.csv." if left_out else ""
    return Table(id="comparisons", title="Is one method better than another?", columns=columns,
                 numeric=(False, False, False, False, True, True, True, False), rows=rows,
                 notes=(text + more,))  # fmt: skip


def _comparison(entry: Mapping[str, Any]) -> tuple[TableCell, ...]:
    metric, scale = str(entry["metric"]), scale_of(str(entry["metric"]))
    edges = {name: _none(entry[name]) for name in ("low", "high")}
    difference, p, effect = (_none(entry[name]) for name in ("mean_difference", "p_holm", "rank_biserial"))
    return (
        words(DatasetPaths(str(entry["dataset"])).short_name),
        words(NAMES[metric]),
        words(str(entry["a"]), strong=entry["favours"] == entry["a"]),
        words(str(entry["b"]), strong=entry["favours"] == entry["b"]),
        NOTHING
        if difference is None
        else TableCell(text=f"{scale * difference:+.2f}", below=interval(edges, scale), value=scale * difference),
        number(effect, None if effect is None else f"{effect:+.2f}"),
        NOTHING if p is None else TableCell(text=p_text(p), value=p),
        words(str(entry["favours"]) or NO_VALUE),
    )


def p_text(p: float) -> str:
    """A p-value as people write it.

    >>> p_text(0.0321), p_text(0.00001)
    ('0.032', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _none(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
