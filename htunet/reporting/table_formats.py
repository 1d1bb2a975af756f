"""The rows of ``tables`` as Markdown, LaTeX (booktabs) and text for a terminal."""

import re
from collections.abc import Sequence
from pathlib import Path

from htunet.files import write_text
from htunet.reporting.tables import Row, as_csv, by_dataset, cells, headings, notes

RIGHT_ALIGNED = range(1, 10)
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
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def write_tables(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Write ``segmentation.csv``, ``segmentation.md`` and ``segmentation.tex`` into ``folder``; return their paths."""
    contents = {"csv": as_csv(rows), "md": as_markdown(rows), "tex": as_latex(rows)}
    paths = [folder / f"segmentation.{ending}" for ending in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        write_text(path, text)
    return paths


def as_markdown(rows: Sequence[Row]) -> str:
    """One table per data set under a heading, the notes at the end."""
    parts = []
    for dataset, members in by_dataset(rows).items():
        lines = [headings(), _markdown_rule(), *(cells(row) for row in members)]
        table = "\n".join("| " + " | ".join(_markdown(cell) for cell in line) + " |" for line in lines)
        parts.append(f"## {dataset}\n\n{table}\n")
    return "\n".join([*parts, *(f"{_markdown(note)}\n" for note in notes(rows))])


def _markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("_", r"\_")


def _markdown_rule() -> list[str]:
    return ["---:" if column in RIGHT_ALIGNED else "---" for column in range(len(headings()))]


def as_latex(rows: Sequence[Row]) -> str:
    """A ``table*`` per data set for a document that loads booktabs; every special character is escaped."""
    parts = ["% needs \\usepackage{booktabs}"]
    columns = "".join("r" if column in RIGHT_ALIGNED else "l" for column in range(len(headings())))
    below = r" \\ ".join(escape_latex(note) for note in notes(rows))
    for dataset, members in by_dataset(rows).items():
        body = "\n".join(" & ".join(escape_latex(cell) for cell in cells(row)) + r" \\" for row in members)
        head = " & ".join(escape_latex(cell) for cell in headings()) + r" \\"
        parts.append(
            "\n".join(
                [
                    r"\begin{table*}",
                    r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
                    rf"\caption{{Segmentation, {escape_latex(dataset)}.}}",
                    rf"\begin{{tabular}}{{{columns}}}",
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


def as_text(rows: Sequence[Row]) -> str:
    """Aligned columns for a terminal; the notes of a row follow it, numbered, below the table."""
    marks = list(dict.fromkeys(mark for row in rows for mark in row.marks))
    number = {mark: str(index) for index, mark in enumerate(marks, start=1)}
    parts = []
    for dataset, members in by_dataset(rows).items():
        lines = [headings()] + [[*cells(row)[:-1], " ".join(number[mark] for mark in row.marks)] for row in members]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        table = "\n".join(_aligned(line, widths) for line in lines)
        parts.append(f"{dataset}\n{table}")
    explained = [f"{number[mark]}: {mark}" for mark in marks]
    return "\n\n".join([*parts, "\n".join([*([f"Notes  {' · '.join(explained)}"] if marks else []), *notes(rows)])])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        text.rjust(width) if column in RIGHT_ALIGNED else text.ljust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
