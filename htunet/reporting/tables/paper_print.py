"""Tables II to VII for print: the values with the paper's in brackets, what the letters mean, what is missing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from string import ascii_lowercase

from htunet.evaluation.comparisons import p_text
from htunet.evaluation.metrics import METRICS
from htunet.evaluation.statistics import estimate_text, rounded
from htunet.evaluation.study import Statistics, entries
from htunet.evaluation.summary import INPUT
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.paper_layouts import Line, PaperTable
from htunet.reporting.tables.paper_tables import AVERAGE, Cell
from htunet.reporting.tables.rows import metric_notes, parameters_text, with_explanation
from htunet.reporting.tables.write import (
    DASH,
    Column,
    Table,
    TableCell,
    as_csv,
    as_latex,
    as_markdown,
    as_text,
    data_table,
    metric_column,
    number_columns,
    word_columns,
    words,
    write_files,
)

SIDE_BY_SIDE, MOST_COLUMNS = 3, 14
"""Data sets beside each other, as the paper has them, and columns of metrics: where these are more, fewer data sets."""
EXCLUDED = "Excluded"
SHOWN_COMMANDS = 10
COLUMNS = (
    *("table", "group", "name", "method", "dataset", "metric", "value", "std", "low", "high", "seeds", "n_cases"),
    *("n_excluded", "paper", "rank", "trainable_parameters", "marks", "commands"),
)
BEST, BEST_TEXT = "Bold: the best, underlined: the second", "*: the best, +: the second"
NOTE = (
    "Mean over the predictions of all runs (of classes: over the runs) ± sample standard deviation (n - 1) of the "
    f"seeds' means, at the network's input size{{paper}}. {{best}}, of each data set, metric and group of rows. "
    f"{DASH}: no run yet, or no value."
)


def write_paper_table(
    folder: Path, table: PaperTable, cells: Sequence[Cell], found: Statistics | None = None
) -> list[Path]:
    """Write ``table2.csv``, ``table2.md`` and ``table2.tex`` (or another) into ``folder``; return their paths."""
    contents = {
        "csv": as_csv(paper_data(table, cells)),
        "md": paper_markdown(table, cells, found),
        "tex": as_latex(*printed_parts(table, cells)),
    }
    return write_files(folder, table.name, contents)


def paper_data(table: PaperTable, cells: Sequence[Cell]) -> Table:
    """For CSV: one line for each cell."""
    return data_table(
        COLUMNS,
        (
            {
                "table": table.name,
                "group": c.line.group if table.grouped else "",
                "name": c.line.name,
                "method": c.line.method,
                "dataset": c.dataset,
                "metric": c.metric,
                "value": c.estimate.mean,
                "std": c.estimate.std,
                "low": c.estimate.low,
                "high": c.estimate.high,
                "seeds": " ".join(map(str, c.seeds)),
                "n_cases": c.n_cases or "",
                "n_excluded": c.n_excluded if METRICS[c.metric].leaves_out and c.n_cases else "",
                "paper": c.paper,
                "rank": c.rank or "",
                "trainable_parameters": c.trained.trainable_parameters if c.trained else None,
                "marks": "; ".join(filter(None, [*c.marks, c.footnote])),
                "commands": "; ".join(c.commands),
            }
            for c in cells
        ),
    )


def printed_parts(
    table: PaperTable, cells: Sequence[Cell], side_by_side: int = SIDE_BY_SIDE, best: str = BEST
) -> list[Table]:
    """The parts that a table is printed in, at most so many data sets beside each other in each."""
    at = {(cell.line, cell.dataset, cell.metric): cell for cell in cells}
    lines, datasets = list(dict.fromkeys(c.line for c in cells)), list(dict.fromkeys(c.dataset for c in cells))
    letter = letters(cells)
    footnotes = {cell.line: letter[cell.footnote] for cell in cells if cell.footnote}
    caption, notes = f"{table.title}. As Table {table.number} of the paper.", _notes(cells, letter, best)
    columns_of = {dataset: _columns(table, [cell for cell in cells if cell.dataset == dataset]) for dataset in datasets}

    def name_of(line: Line) -> TableCell:
        return TableCell(text=line.name, value=line.name, marks=footnotes.get(line, ""))

    def values(line: Line, dataset: str) -> Iterator[TableCell]:
        for _, metrics in columns_of[dataset]:
            cell = at[line, dataset, metrics[0]]
            if len(metrics) > 1:  # the count belongs to several metrics
                yield words(str(cell.n_excluded) if cell.n_cases else DASH)
                continue
            yield TableCell(
                text=DASH if cell.estimate.mean is None else cell.text,
                rank=cell.rank,
                marks="".join(sorted(letter[mark] for mark in cell.marks)),
                after="" if cell.paper is None else f" ({cell.paper:.2f})",
            )

    if table.datasets_in_rows:
        columns = (*word_columns("Data set", "Method"), *(column for column, _ in columns_of[datasets[0]]))
        columns = tuple(replace(column, group="") for column in columns)
        rows = [(words(dataset), name_of(line), *values(line, dataset)) for dataset in datasets for line in lines]
        return [Table(columns=columns, rows=tuple(rows), caption=caption, notes=notes, rules=_changes(rows))]

    trained = {cell.line: parameters_text(cell.trained) for cell in reversed(cells) if cell.trained}
    with_parameters = bool(trained) and table.average != "only"
    heads = word_columns(*["Group"] * table.grouped, "Method", *["Trained"] * with_parameters)
    size = max(1, min(side_by_side, MOST_COLUMNS // max(len(columns_of[dataset]) for dataset in datasets)))
    parts = []
    for start in range(0, len(datasets), size):
        shown = datasets[start : start + size]
        columns = (*heads, *(column for dataset in shown for column, _ in columns_of[dataset]))
        rows = [
            (
                *[words(line.group)] * table.grouped,
                name_of(line),
                *[words(trained.get(line, "-"))] * with_parameters,
                *(cell for dataset in shown for cell in values(line, dataset)),
            )
            for line in lines
        ]
        groups = dict.fromkeys(column.group for column in columns if column.group)
        parts.append(
            Table(
                title=" and ".join(groups) if side_by_side == 1 else "",
                columns=columns,
                rows=tuple(rows),
                caption=caption,
                notes=notes,
                rules=_changes(rows) if table.grouped else frozenset(),
            )
        )
    return parts


def _columns(table: PaperTable, cells: Sequence[Cell]) -> list[tuple[Column, list[str]]]:
    """The columns of a data set, and the metrics of each; the excluded cases follow the metrics that exclude them."""
    columns: list[tuple[Column, list[str]]] = []
    by_metric = {cell.metric: cell for cell in cells}
    excluded = [name for name in by_metric if METRICS[name].leaves_out]
    for name, cell in by_metric.items():
        average = len(table.parts) > 1 and cell.dataset == AVERAGE
        group = f"{cell.kind.name.capitalize()} {cell.dataset.lower()}" if average else cell.dataset
        columns.append((metric_column(METRICS[name], group), [name]))
        if excluded and name == excluded[-1]:
            columns.append((Column(label=EXCLUDED, numeric=True, group=group), excluded))
    return columns


def _notes(cells: Sequence[Cell], letter: Mapping[str, str], best: str) -> tuple[str, ...]:
    """How to read the table: its metrics' definitions, the positive classes, what the letters mean."""
    metrics = [METRICS[name] for name in dict.fromkeys(cell.metric for cell in cells)]
    rows = [cell.trained for cell in cells if cell.trained and cell.trained.tested.classes]
    legend = "; ".join(f"{letter[mark]}: {with_explanation(mark)}" for mark in letter)
    beside = f", and the value of {paper.PAPER} in brackets" * any(cell.paper is not None for cell in cells)
    how = NOTE.format(best=best, paper=beside)
    return (how, *metric_notes(rows, metrics), *([f"{legend}."] if legend else []))


def _changes(rows: Sequence[tuple[TableCell, ...]]) -> frozenset[int]:
    """The rows that begin with another word than the one before."""
    starts = [next(iter(group))[0] for _, group in groupby(enumerate(rows), key=lambda row: row[1][0].text)]
    return frozenset(starts[1:])


def paper_markdown(table: PaperTable, cells: Sequence[Cell], found: Statistics | None = None) -> str:
    """Best bold, second underlined; what the letters mean, the differences, and the commands for what is missing."""
    parts = [f"# Table {table.number}: {table.title}\n", as_markdown(*printed_parts(table, cells))]
    if found and (differences := _differences(table, cells, found)).rows:
        parts.append(as_markdown(differences))
    if commands := missing(cells):
        listing = "\n".join(commands)
        parts.append(f"## What is missing\n\n```bash\n{listing}\nhtunet_evaluate\n```\n")
    return "\n".join(parts)


def paper_text(table: PaperTable, cells: Sequence[Cell]) -> str:
    """For a terminal: one data set below the other, and the first commands for what is missing."""
    parts = [f"Table {table.number}: {table.title}", as_text(*printed_parts(table, cells, 1, BEST_TEXT))]
    if commands := missing(cells):
        more = [f"... and {len(commands) - SHOWN_COMMANDS} more in {table.name}.md"] * (len(commands) > SHOWN_COMMANDS)
        parts.append("\n".join(["Missing:", *commands[:SHOWN_COMMANDS], *more]))
    return "\n\n".join(parts)


def letters(cells: Sequence[Cell]) -> dict[str, str]:
    """A letter for each mark, in the order of the cells: ``a`` to ``z``, then ``a1`` and on."""
    marks = dict.fromkeys(mark for cell in cells for mark in (*cell.marks, cell.footnote) if mark)
    n = len(ascii_lowercase)
    return {mark: ascii_lowercase[i % n] + (str(i // n) if i >= n else "") for i, mark in enumerate(marks)}


def missing(cells: Sequence[Cell]) -> list[str]:
    """The commands that fill the table, each once; those that train come first."""
    commands = dict.fromkeys(command for cell in cells for command in cell.commands)
    return sorted(commands, key=lambda command: not command.startswith(("htunet_train", "htunet_finetune")))


def _differences(table: PaperTable, cells: Sequence[Cell], found: Statistics) -> Table:
    """HT against its own backbone without it, and with another adapter, on the same cases."""
    means, metrics, rows = entries(found.means), {part.kind.by_case for part in table.parts}, []
    trained = {cell.trained.arm: cell.trained for cell in cells if cell.trained and cell.line.ratio is None}
    # the runs of the table's cells, by what the statistics call them
    methods = {
        (row.dataset, entry["arm"]): row.method
        for arm, row in trained.items()
        for metric in metrics
        if (entry := means.get((*arm, metric)))
    }
    for entry in found.comparisons.to_dict("records"):
        a, b = (methods.get((entry["dataset"], entry[side]), "") for side in ("a", "b"))
        if entry["metric"] not in metrics or entry["resolution"] not in (INPUT, "") or not entry["n_pairs"]:
            continue
        if not (a and b) or a.split("_")[0] != b.split("_")[0] or not (a.endswith("_HT") or b.endswith("_HT")):
            continue
        sign = 1 if a.endswith("_HT") else -1
        better, worse = (a, b) if sign > 0 else (b, a)
        scale = sign * METRICS[entry["metric"]].scale
        low, high = sorted(scale * (math.nan if entry[name] is None else entry[name]) for name in ("low", "high"))
        texts = (
            entry["dataset"],
            f"{better} - {worse}",
            METRICS[entry["metric"]].label,
            estimate_text(scale * entry["mean_difference"], low, high),
            rounded(scale * entry["median_difference"]),
            p_text(entry["p_holm"]),
            rounded(sign * entry["rank_biserial"], most=1.0),
            str(entry["n_pairs"]),
        )
        rows.append(tuple(map(words, texts)))
    numbers = number_columns("Mean % [95 %]", "Median %", "p (Holm)", "Rank-biserial", "Pairs")
    columns = (*word_columns("Data set", "Difference", "Metric"), *numbers)
    return Table(title="Differences on the same cases", columns=columns, rows=tuple(rows))
