"""The table of the page about classification by sentences: how far it gets, and which sentence gets furthest."""

from collections.abc import Mapping, Sequence
from typing import Any

from htunet.paths import DatasetPaths
from htunet.reporting.report.content import Table, TableCell
from htunet.reporting.report.tables import NOTHING, interval, number, words
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.paper_tables import zero_shot_row

FIGURES = {"accuracy": "Accuracy %", "auc": "AUC %"}


def zero_shot_table(contents: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each file that ``htunet_zero_shot`` wrote; none: a table without rows."""
    heads = [text for heading in FIGURES.values() for text in (heading, "paper")]
    columns = ("Data set", "Method", *heads, "Images", "Best sentence", "its AUC %", "Notes")
    return Table(
        id="zero_shot",
        title="Without training: classified by sentences",
        columns=columns,
        numeric=(False, False, *[True] * len(heads), True, False, True, False),
        rows=tuple(map(_row, contents)),
        notes=("An image gets the class whose sentences are, on average, most like it. Below each figure: its 95 % "
               "interval over images. AUC of a sentence: how well it puts images of its own class before the others.",),
    )  # fmt: skip


def _row(content: Mapping[str, Any]) -> tuple[TableCell, ...]:
    found, dataset = content["zero_shot"], DatasetPaths(content["dataset"]).short_name
    theirs = paper.classification_figures(dataset, content["method"], paper.ZERO_SHOT)
    cells = [words(dataset), words(content["method"], strong=True)]
    for name in FIGURES:
        printed = getattr(theirs, name, None)
        cells += [_figure(found[name]), number(printed, None if printed is None else f"{printed:.2f}")]
    best = max(found["prompts"], key=lambda prompt: prompt["auc"] or 0.0)
    area = best["auc"]
    return (
        *cells,
        number(found["n_cases"]),
        words(f"{best['text']} ({best['class']})"),
        NOTHING if area is None else number(100 * area, f"{100 * area:.1f}"),
        words("; ".join(zero_shot_row(content).marks)),
    )


def _figure(entry: Mapping[str, float | None]) -> TableCell:
    value = entry["value"]
    if value is None:
        return NOTHING
    return TableCell(text=f"{100 * value:.2f}", below=interval(entry, 100), value=100 * value)
