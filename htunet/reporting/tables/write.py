"""The rows of ``tables`` as Markdown, LaTeX (booktabs) and text for a terminal."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from htunet.files import write_text
from htunet.reporting.tables.kinds import SEGMENTATION, TableKind
from htunet.reporting.tables.rows import EXPLANATIONS, Row, as_csv, by_dataset, cells, headings, notes

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
}


def write_tables(
    folder: Path, rows: Sequence[Row], kind: TableKind = SEGMENTATION, *, name: str | None = None
) -> list[Path]:
    """Write NAME.csv, NAME.md and NAME.tex into ``folder``; return their paths. NAME: the kind's, ``segmentation``."""
    contents = {"csv": as_csv(rows, kind), "md": as_markdown(rows, kind), "tex": as_latex(rows, kind)}
    paths = [folder / f"{name or kind.name}.{ending}" for ending in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        write_text(path, text)
    return paths


def as_markdown(rows: Sequence[Row], kind: TableKind = SEGMENTATION) -> str:
    """One table per data set under a heading, the notes at the end."""
    parts = []
    for dataset, members in by_dataset(rows).items():
        lines = [headings(kind), _markdown_rule(kind), *(cells(row) for row in members)]
        table = "\n".join("| " + " | ".join(_markdown(cell) for cell in line) + " |" for line in lines)
        parts.append(f"## {dataset}\n\n{table}\n")
    return "\n".join([*parts, *(f"{_markdown(note)}\n" for note in notes(rows, kind))])


def _markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("_", r"\_")


def _markdown_rule(kind: TableKind) -> list[str]:
    return ["---:" if column in _right_aligned(kind) else "---" for column in range(len(headings(kind)))]


def _right_aligned(kind: TableKind) -> range:
    """The columns of numbers: trained parameters, and each figure with the paper's."""
    return range(1, 2 + 2 * len(kind.headings))


def as_latex(rows: Sequence[Row], kind: TableKind = SEGMENTATION) -> str:
    """A ``table*`` per data set for a document that loads booktabs; every special character is escaped."""
    parts = ["% needs \\usepackage{booktabs}"]
    columns = "".join("r" if column in _right_aligned(kind) else "l" for column in range(len(headings(kind))))
    number, explained = _numbered(rows)
    below = r" \\ ".join(escape_latex(note) for note in [*explained, *notes(rows, kind)])
    for dataset, members in by_dataset(rows).items():
        body = "\n".join(" & ".join(map(escape_latex, _short_cells(row, number))) + r" \\" for row in members)
        head = " & ".join(escape_latex(cell) for cell in headings(kind)) + r" \\"
        parts.append(
            "\n".join(
                [
                    r"\begin{table*}",
                    r"\centering\scriptsize\setlength{\tabcolsep}{1.5pt}",
                    rf"\caption{{{kind.name.capitalize()}, {escape_latex(dataset)}.}}",
                    rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
                    rf"\toprule{chr(10)}{head}{chr(10)}\midrule",
                    body,
                    r"\bottomrule",
                    r"\end{tabular}",
                    rf"\par\smallskip\parbox{{\textwidth}}{{\raggedright {below}}}",
                    r"\end{table*}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def escape_latex(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    >>> print(escape_latex("CLIP_HT 50 %"))
    CLIP\_HT 50 \%
    """
    return re.sub("|".join(map(re.escape, LATEX_SPECIAL)), lambda match: LATEX_SPECIAL[match.group()], text)


def as_text(rows: Sequence[Row], kind: TableKind = SEGMENTATION) -> str:
    """Aligned columns for a terminal: the gravest marks as words, the others as numbers explained below the table."""
    number, explained = _numbered(rows)
    parts = []
    for dataset, members in by_dataset(rows).items():
        lines = [headings(kind), *(_short_cells(row, number) for row in members)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        table = "\n".join(_aligned(line, widths, _right_aligned(kind)) for line in lines)
        parts.append(f"{dataset}\n{table}")
    return "\n\n".join([*parts, "\n".join([*explained, *notes(rows, kind)])])


def _numbered(rows: Sequence[Row]) -> tuple[dict[str, str], list[str]]:
    """What stands for each mark in a narrow table (the gravest keep their words), and the line that explains it."""
    marks = list(dict.fromkeys(mark for row in rows for mark in row.marks if mark not in EXPLANATIONS))
    number = {mark: str(index) for index, mark in enumerate(marks, start=1)}
    explained = " · ".join(f"{number[mark]}: {mark}" for mark in marks)
    return number | {mark: mark for mark in EXPLANATIONS}, [f"Notes  {explained}"] if marks else []


def _short_cells(row: Row, number: Mapping[str, str]) -> list[str]:
    return [*cells(row)[:-1], ", ".join(number[mark] for mark in row.marks)]


def _aligned(line: Sequence[str], widths: Sequence[int], right: range) -> str:
    padded = [
        text.rjust(width) if column in right else text.ljust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
