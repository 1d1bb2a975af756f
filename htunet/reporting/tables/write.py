"""One table, written as CSV, Markdown, LaTeX (booktabs), text for a terminal and HTML, by one function a format."""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from htunet.evaluation.metrics import Metric
from htunet.files import escape_markdown, safe_cell, write_text

if TYPE_CHECKING:
    from jinja2 import Environment

LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\u2013": "--",
    "\n": " ",
}
UNUSUAL = re.compile(r"[^\x00-\u024f\u2013-\u2026]")
"""Characters that pdfLaTeX stops at, or that its fonts lack: those of other scripts, and signs such as the Greek mu."""
DASH = "\u2013"
"""Where there is no value, as long as one."""
TERMINAL = 120
"""Characters of a note in one line."""
TEMPLATES = Path(__file__).parents[1] / "report"


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column holds."""

    label: str
    unit: str = ""
    better: str = ""
    """Which values are better, as ``Metric.better``; empty where none are."""
    numeric: bool = False
    """Aligned at the right, and sorted as numbers."""
    group: str = ""
    """What it has in common with its neighbours, such as the data set; printed once above them."""

    @property
    def heading(self) -> str:
        """Label and unit: ``HD95 px``."""
        return f"{self.label} {self.unit}".rstrip()


def metric_column(metric: Metric, group: str = "") -> Column:
    """The column of a metric: its short label, unit and direction."""
    return Column(label=metric.short_label, unit=metric.unit, better=metric.better, numeric=True, group=group)


def number_columns(*labels: str) -> tuple[Column, ...]:
    """Columns of numbers that are no metrics."""
    return tuple(Column(label=label, numeric=True) for label in labels)


def word_columns(*labels: str) -> tuple[Column, ...]:
    """Columns of text."""
    return tuple(Column(label=label) for label in labels)


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One cell: what is printed, and the value behind it."""

    text: str = ""
    value: object = None
    """In CSV, and what HTML is sorted by; None: nothing, and the last row whichever way."""
    below: str = ""
    """In HTML in small letters on a second line, such as an interval."""
    strong: bool = False
    """HTML: set off from the others of its column or row."""
    rank: int = 0
    """1: the best, 2: the second; 0: any other."""
    marks: str = ""
    """Letters that refer to notes."""
    after: str = ""
    """Follows the marks, such as a reference value in brackets."""


def words(text: str, *, strong: bool = False) -> TableCell:
    """A cell with text, printed on one line."""
    return TableCell(text=" ".join(text.splitlines()), value=text, strong=strong)


def number_cell(value: float | None, text: str = "{:,}") -> TableCell:
    """A cell with a number that is no metric, in the format ``text``."""
    if value is None or math.isnan(value):
        return TableCell(text=DASH)
    return TableCell(text=text.format(value), value=float(value))


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that fits on a page."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    title: str = ""
    """Above the table."""
    caption: str = ""
    """Of LaTeX."""
    notes: tuple[str, ...] = ()
    rules: frozenset[int] = frozenset()
    """Rows before which LaTeX draws a line."""
    id: str = ""
    """Of the HTML element."""


def data_table(names: Sequence[str], records: Iterable[Mapping[str, object]]) -> Table:
    """Values in full precision, for CSV; a record without a name has an empty cell."""
    rows = (tuple(TableCell(value=record.get(name)) for name in names) for record in records)
    return Table(columns=word_columns(*names), rows=tuple(rows))


def as_csv(table: Table) -> str:
    """The values, as ``safe_cell`` has them; None is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.label for column in table.columns])
    writer.writerows([safe_cell(cell.value) for cell in row] for row in table.rows)
    return stream.getvalue()


def as_markdown(*tables: Table) -> str:
    """Tables below each other, then their notes, each once. The best value is bold, the second one underlined."""

    def print_cell(cell: TableCell) -> str:
        text = {1: "**{}**", 2: "<u>{}</u>"}.get(cell.rank, "{}").format(escape_markdown(cell.text))
        return text + (f"<sup>{cell.marks}</sup>" if cell.marks else "") + cell.after

    parts = []
    for table in tables:
        lines = [
            [escape_markdown(f"{column.group} {column.heading}".strip()) for column in table.columns],
            ["---:" if column.numeric else "---" for column in table.columns],
            *([print_cell(cell) for cell in row] for row in table.rows),
        ]
        title = f"## {table.title}\n\n" if table.title else ""
        parts.append(title + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    return "\n".join([*parts, *(f"{escape_markdown(note)}\n" for note in shared_notes(tables))])


def as_latex(*tables: Table) -> str:
    """A ``table*`` each, no wider than the text, for a document that loads booktabs and graphicx.

    Every special character is escaped; a line names those that the standard fonts do not have.
    """

    def print_cell(cell: TableCell) -> str:
        text = escape_latex(cell.text)
        text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.rank, text)
        return text + (rf"\textsuperscript{{{cell.marks}}}" if cell.marks else "") + cell.after

    parts = []
    for table in tables:
        body = []
        for number, row in enumerate(table.rows):
            body += [r"\midrule"] * (number in table.rules)
            body.append(" & ".join(map(print_cell, row)) + r" \\")
        alignment = "".join("r" if column.numeric else "l" for column in table.columns)
        note = r" \\ ".join(map(escape_latex, table.notes))
        lines = [
            r"\begin{table*}",
            r"\centering\scriptsize\setlength{\tabcolsep}{1.5pt}",
            rf"\caption{{{escape_latex(table.caption)}}}",
            r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
            r"\toprule",
            *_latex_groups(table.columns),
            " & ".join(escape_latex(column.heading) for column in table.columns) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            rf"\par\smallskip\parbox{{\textwidth}}{{\raggedright {note}}}",
            r"\end{table*}",
        ]
        parts.append("\n".join(lines))
    needs = r"% needs \usepackage{booktabs,graphicx}"
    if rare := sorted({*UNUSUAL.findall("".join(parts))}):
        needs += f", XeLaTeX or LuaLaTeX, and a font that has {' '.join(rare)}"
    return "\n\n".join([needs, *parts]) + "\n"


def _latex_groups(columns: Sequence[Column]) -> list[str]:
    """The groups of columns in a line of their own, with a rule below each; nothing where there are none."""
    if not any(column.group for column in columns):
        return []
    heads, rules, start = [], [], 1
    for group, members in groupby(columns, key=lambda column: column.group):
        n = len(list(members))
        heads += [rf"\multicolumn{{{n}}}{{c}}{{{escape_latex(group)}}}"] if group else [""] * n
        rules += [rf"\cmidrule(lr){{{start}-{start + n - 1}}}"] if group else []
        start += n
    return [" & ".join(heads) + r" \\", "".join(rules)]


def escape_latex(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    >>> print(escape_latex("CLIP_HT 50 %"))
    CLIP\_HT 50 \%
    """
    text = re.sub("|".join(map(re.escape, LATEX_SPECIAL)), lambda match: LATEX_SPECIAL[match.group()], text)
    return re.sub(r"^[\[*]", r"{\g<0>}", text)  # which would belong to the end of the row above


def as_text(*tables: Table) -> str:
    """Aligned columns for a terminal, then the notes. The best value is followed by ``*``, the second one by ``+``."""
    parts = []
    for table in tables:
        lines = [[column.heading for column in table.columns]]
        lines += [[cell.text + ("", "*", "+")[cell.rank] + cell.marks + cell.after for cell in row]
                  for row in table.rows]  # fmt: skip
        widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
        align: list[Callable[[str, int], str]] = [str.rjust if c.numeric else str.ljust for c in table.columns]
        aligned = ["  ".join(pad(text, n) for pad, text, n in zip(align, line, widths, strict=True)).rstrip()
                   for line in lines]  # fmt: skip
        parts.append("\n".join([*filter(None, [table.title]), *aligned]))
    notes = [fill(note, TERMINAL) for note in shared_notes(tables)]
    return "\n\n".join([*parts, *filter(None, ["\n".join(notes)])])


@cache
def templates() -> "Environment":
    """Those of HTML; they escape every text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def shared_notes(tables: Sequence[Table]) -> list[str]:
    """The notes of all tables, each once."""
    return list(dict.fromkeys(note for table in tables for note in table.notes))


def write_files(folder: Path, name: str, contents: Mapping[str, str]) -> list[Path]:
    """Write NAME.csv, NAME.md and so on, by their endings; return their paths."""
    paths = [folder / f"{name}.{ending}" for ending in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        write_text(path, text)
    return paths
