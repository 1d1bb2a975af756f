"""Tables II to VII as CSV, Markdown, LaTeX (booktabs) and text for a terminal."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from string import ascii_lowercase

import pandas as pd

from htunet.evaluation.summary import INPUT
from htunet.files import write_text
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import SEGMENTATION
from htunet.reporting.tables.paper_layouts import Line, PaperTable
from htunet.reporting.tables.paper_tables import AVERAGE, Cell
from htunet.reporting.tables.rows import EXPLANATIONS, parameters_text
from htunet.reporting.tables.write import escape_latex

MISSING = "\u2013"
"""A dash as long as a figure, where there is none."""
SIDE_BY_SIDE = 3
"""Data sets beside each other, as the paper has them."""
SHOWN_COMMANDS = 10
COLUMNS = (
    *("table", "group", "name", "method", "dataset", "metric", "value", "std", "low", "high", "seeds", "n_cases"),
    *("paper", "rank", "trainable_parameters", "marks", "commands"),
)
NOTE = (
    "Mean over seeds ± standard deviation over them, at the network's input size, and the figure of "
    f"{paper.PAPER} in brackets. {{best}}, of each data set, figure and group of rows. {MISSING}: no run yet."
)
FIRST = {"masks": "dice", "classes": "correct"}
"""What the differences between methods are told of."""


BlockRow = tuple[tuple[str, ...], tuple[Cell, ...]]
"""Words and cells."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A table that fits on a page: what its columns are, and its rows in groups."""

    heads: tuple[str, ...]
    """Of the columns with words."""
    columns: tuple[tuple[str, str], ...]
    """Of the columns with figures: what several of them have in common, and the metric."""
    groups: tuple[tuple[BlockRow, ...], ...]
    """Rows that a rule parts from the others."""


def write_paper_table(
    folder: Path, table: PaperTable, cells: Sequence[Cell], comparisons: pd.DataFrame | None = None
) -> list[Path]:
    """Write ``table2.csv``, ``table2.md`` and ``table2.tex`` (or another) into ``folder``; return their paths."""
    contents = {
        "csv": as_csv(table, cells),
        "md": as_markdown(table, cells, comparisons),
        "tex": as_latex(table, cells),
    }
    paths = [folder / f"{table.name}.{ending}" for ending in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        write_text(path, text)
    return paths


def blocks(table: PaperTable, cells: Sequence[Cell], side_by_side: int = SIDE_BY_SIDE) -> Iterator[Block]:
    """The parts that a table is printed in."""
    at = {(cell.line, cell.dataset, cell.metric): cell for cell in cells}
    lines, datasets = list(dict.fromkeys(c.line for c in cells)), list(dict.fromkeys(c.dataset for c in cells))
    rows: list[BlockRow]
    if table.datasets_in_rows:
        metrics = list(dict.fromkeys((cell.metric, _heading(cell)) for cell in cells))
        rows = [((dataset, line.name), tuple(at[line, dataset, m] for m, _ in metrics))
                for dataset in datasets for line in lines]  # fmt: skip
        yield Block(heads=("Data set", "Method"), columns=tuple(("", name) for _, name in metrics), groups=_apart(rows))
        return
    trained = any(cell.trained for cell in cells) and table.average != "only"
    heads = (*(["Group"] if table.grouped else []), "Method", *(["Trained"] if trained else []))
    for start in range(0, len(datasets), side_by_side):
        some = datasets[start : start + side_by_side]
        columns = list(
            dict.fromkeys((c.dataset, c.metric, _heading(c), _common(table, c)) for c in cells if c.dataset in some)
        )
        columns.sort(key=lambda column: some.index(column[0]))
        words = {line: _words(table, line, cells, trained=trained) for line in lines}
        rows = [(words[line], tuple(at[line, d, m] for d, m, *_ in columns)) for line in lines]
        yield Block(heads=heads, columns=tuple((common, name) for *_, name, common in columns),
                    groups=_apart(rows) if table.grouped else (tuple(rows),))  # fmt: skip


def as_csv(table: PaperTable, cells: Sequence[Cell]) -> str:
    """One line for each cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for c in cells:
        group = c.line.group if table.grouped else ""
        number = c.trained.trainable_parameters if c.trained else None
        about = (table.name, group, c.line.name, c.line.method, c.dataset, c.metric)
        figures = (c.figure.mean, c.figure.std, c.low, c.high, " ".join(map(str, c.seeds)), c.n_cases or "", c.paper)
        writer.writerow([*about, *figures, c.rank or "", number, "; ".join(c.marks), "; ".join(c.commands)])
    return stream.getvalue()


def as_markdown(table: PaperTable, cells: Sequence[Cell], comparisons: pd.DataFrame | None = None) -> str:
    """Best bold, second underlined; what the letters mean, the differences, and the commands for what is missing."""
    letter = letters(cells)

    def text(cell: Cell) -> str:
        value = _value(cell)
        value = {1: f"**{value}**", 2: f"<u>{value}</u>"}.get(cell.rank, value)
        marks = "".join(sorted(letter[mark] for mark in cell.marks))
        return value + (f"<sup>{marks}</sup>" if marks else "") + _printed(cell)

    parts = [f"# Table {table.number}: {table.title}\n"]
    for block in blocks(table, cells):
        heads = [*block.heads, *(f"{common} {name}".strip() for common, name in block.columns)]
        rule = ["---"] * len(block.heads) + ["---:"] * len(block.columns)
        rows = [[*words, *map(text, row)] for group in block.groups for words, row in group]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *rows]) + "\n")
    parts += [f"{line}\n" for line in notes(cells, "Bold: the best, underlined: the second")]
    if comparisons is not None:
        parts += list(_differences(table, cells, comparisons))
    if commands := missing(cells):
        listing = "\n".join(commands)
        parts.append(f"## What is missing\n\n```bash\n{listing}\nhtunet_evaluate\n```\n")
    return "\n".join(parts)


def as_latex(table: PaperTable, cells: Sequence[Cell]) -> str:
    """``table*`` environments for a document that loads booktabs."""
    letter = letters(cells)

    def text(cell: Cell) -> str:
        value = escape_latex(_value(cell)).replace(MISSING, "--")
        value = {1: rf"\textbf{{{value}}}", 2: rf"\underline{{{value}}}"}.get(cell.rank, value)
        marks = "".join(sorted(letter[mark] for mark in cell.marks))
        return value + (rf"\textsuperscript{{{marks}}}" if marks else "") + _printed(cell)

    below = notes(cells, "Bold: the best, underlined: the second")
    note = r" \\ ".join(escape_latex(line).replace(MISSING, "--") for line in below)
    parts = ["% needs \\usepackage{booktabs}"]
    for block in blocks(table, cells):
        body = "\n\\midrule\n".join(
            "\n".join(" & ".join([*map(escape_latex, words), *map(text, row)]) + r" \\" for words, row in group)
            for group in block.groups
        )
        parts.append(
            "\n".join(
                [
                    r"\begin{table*}",
                    r"\centering\scriptsize\setlength{\tabcolsep}{2pt}",
                    rf"\caption{{{escape_latex(table.title)}. As Table {table.number} of the paper.}}",
                    rf"\begin{{tabular}}{{@{{}}{'l' * len(block.heads)}{'r' * len(block.columns)}@{{}}}}",
                    r"\toprule",
                    *_latex_heads(block),
                    r"\midrule",
                    body,
                    r"\bottomrule",
                    r"\end{tabular}",
                    rf"\par\smallskip\parbox{{\textwidth}}{{\raggedright {note}}}",
                    r"\end{table*}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def as_text(table: PaperTable, cells: Sequence[Cell]) -> str:
    """One data set below the other; the best figure has a ``*``, the second one a ``+``."""
    letter = letters(cells)

    def text(cell: Cell) -> str:
        rank = {1: "*", 2: "+"}.get(cell.rank, "")
        return _value(cell) + rank + "".join(sorted(letter[mark] for mark in cell.marks)) + _printed(cell)

    parts = [f"Table {table.number}: {table.title}"]
    for block in blocks(table, cells, side_by_side=1):
        heads = [*block.heads, *(name for _, name in block.columns)]
        rows = [[*words, *map(text, row)] for group in block.groups for words, row in group]
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        common = " and ".join(dict.fromkeys(name for name, _ in block.columns if name))
        parts.append(
            "\n".join([*([common] if common else []), *(_aligned(r, widths, len(block.heads)) for r in [heads, *rows])])
        )
    parts.append("\n".join(notes(cells, "*: the best, +: the second")))
    if commands := missing(cells):
        more = [f"... and {len(commands) - SHOWN_COMMANDS} more in {table.name}.md"] * (len(commands) > SHOWN_COMMANDS)
        parts.append("\n".join(["Missing:", *commands[:SHOWN_COMMANDS], *more]))
    return "\n\n".join(parts)


def letters(cells: Sequence[Cell]) -> dict[str, str]:
    """A letter for each mark, in the order of the cells: ``a`` to ``z``, then ``a1`` and on."""
    marks = dict.fromkeys(mark for cell in cells for mark in cell.marks)
    n = len(ascii_lowercase)
    return {mark: ascii_lowercase[i % n] + (str(i // n) if i >= n else "") for i, mark in enumerate(marks)}


def notes(cells: Sequence[Cell], best: str) -> list[str]:
    """What stands below a table: how to read it, and what the letters mean."""
    texts = {mark: f"{mark}: {EXPLANATIONS[mark]}" if mark in EXPLANATIONS else mark for mark in letters(cells)}
    legend = "; ".join(f"{letter}: {texts[mark]}" for mark, letter in letters(cells).items())
    return [NOTE.format(best=best), *([f"{legend}."] if legend else [])]


def missing(cells: Sequence[Cell]) -> list[str]:
    """The commands that fill the table, each once; those that train come first."""
    commands = dict.fromkeys(command for cell in cells for command in cell.commands)
    return sorted(commands, key=lambda command: not command.startswith(("htunet_train", "htunet_finetune")))


def _differences(table: PaperTable, cells: Sequence[Cell], comparisons: pd.DataFrame) -> Iterator[str]:
    """HT against its own backbone without it, and with another adapter, on the same cases."""
    methods = dict.fromkeys(cell.line.method for cell in cells if cell.line.ratio is None)
    datasets = dict.fromkeys(cell.trained.dataset for cell in cells if cell.trained)
    metrics = {FIRST["masks" if part.kind is SEGMENTATION else "classes"] for part in table.parts}
    if comparisons.empty or not methods:
        return
    rows = comparisons[
        comparisons["dataset"].isin(datasets) & comparisons["metric"].isin(metrics) & comparisons["ratio"].isna()
        & comparisons["resolution"].isin([INPUT, ""]) & comparisons["a"].isin(methods) & comparisons["b"].isin(methods)
    ]  # fmt: skip
    lines = []
    for entry in rows.to_dict("records"):
        a, b = str(entry["a"]), str(entry["b"])
        if a.split("_")[0] != b.split("_")[0] or not (a.endswith("_HT") or b.endswith("_HT")):
            continue
        sign = 1 if a.endswith("_HT") else -1
        low, high = sorted(100 * sign * float(entry[name]) for name in ("low", "high"))
        better, worse = (a, b) if sign > 0 else (b, a)
        lines.append(
            f"| {entry['dataset']} | {better} - {worse} | {entry['metric']} "
            f"| {100 * sign * entry['mean_difference']:.2f} "
            f"[{low:.2f}, {high:.2f}] | {100 * sign * entry['median_difference']:.2f} | {entry['p_holm']:.2g} | "
            f"{sign * entry['rank_biserial']:.2f} | {entry['n_pairs']} |".replace("_", r"\_")
        )
    if lines:
        heads = ("Data set", "Difference", "Figure", "Mean % [95 %]", "Median %", "p (Holm)", "Rank-biserial", "Pairs")
        rule = "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
        yield "\n".join(["## Differences on the same cases\n", f"| {' | '.join(heads)} |", rule, *lines]) + "\n"


def _words(table: PaperTable, line: Line, cells: Sequence[Cell], *, trained: bool) -> tuple[str, ...]:
    row = next((cell.trained for cell in cells if cell.line == line and cell.trained), None)
    number = parameters_text(row) if row else "-"
    return (*([line.group] if table.grouped else []), line.name, *([number] if trained else []))


def _apart(rows: Sequence[BlockRow]) -> tuple[tuple[BlockRow, ...], ...]:
    """Rows with the same first word together."""
    return tuple(tuple(group) for _, group in groupby(rows, key=lambda row: row[0][0]))


def _heading(cell: Cell) -> str:
    return cell.kind.headings[cell.metric]


def _common(table: PaperTable, cell: Cell) -> str:
    several = len(table.parts) > 1 and cell.dataset == AVERAGE
    return f"{cell.kind.name.capitalize()} {cell.dataset.lower()}" if several else cell.dataset


def _value(cell: Cell) -> str:
    return MISSING if cell.figure.mean is None else cell.figure.text()


def _printed(cell: Cell) -> str:
    return "" if cell.paper is None else f" ({cell.paper:.2f})"


def _latex_heads(block: Block) -> list[str]:
    names = " & ".join(escape_latex(name) for name in [*block.heads, *(name for _, name in block.columns)]) + r" \\"
    if not any(common for common, _ in block.columns):
        return [names]
    spans = [(common, len(list(group))) for common, group in groupby(block.columns, key=lambda column: column[0])]
    above = [rf"\multicolumn{{{n}}}{{c}}{{{escape_latex(common)}}}" for common, n in spans]
    starts = [len(block.heads) + 1 + sum(n for _, n in spans[:place]) for place in range(len(spans))]
    rules = "".join(rf"\cmidrule(lr){{{start}-{start + n - 1}}}" for start, (_, n) in zip(starts, spans, strict=True))
    return [" & ".join([""] * len(block.heads) + above) + r" \\", rules, names]


def _aligned(line: Sequence[str], widths: Sequence[int], words: int) -> str:
    padded = [
        text.ljust(n) if i < words else text.rjust(n) for i, (text, n) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
