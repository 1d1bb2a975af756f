"""Table I: how many images each split of every data set has, ours beside the paper's."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from htunet.data.caption_splits import load_caption_split, make_caption_split
from htunet.data.captions import read_captions
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits
from htunet.data.splits import SPLITS, make_splits
from htunet.errors import HtunetError
from htunet.files import read_object, write_text
from htunet.paths import DatasetPaths, all_datasets
from htunet.reporting.tables import paper_figures as paper

PAPER_TABLE = "table1_datasets"
SPLIT, RULE = "split", "rule"
COLUMNS = (
    *("dataset", "train", "val", "test", "total"),
    *("paper_train", "paper_val", "paper_test", "paper_total"),
    *("same", "from", "note"),
)
HEADINGS = ("data set", "train", "val", "test", "total", "paper's", "same", "from", "note")
RIGHT_ALIGNED = range(1, 5)


class Sizes(NamedTuple):
    """Number of images in each split."""

    train: int
    val: int
    test: int

    @property
    def total(self) -> int:
        """Of all splits."""
        return sum(self)


@dataclass(frozen=True, kw_only=True)
class SizesRow:
    """One data set: ours, the paper's, or both."""

    dataset: str
    """Full name, or the paper's where the data set is not here."""
    ours: Sizes | None = None
    origin: str = ""
    """``split``: fold 0 of the split on disk; ``rule``: no split yet, these sizes would come out."""
    paper: Sizes | None = None
    paper_total: int = 0
    """As printed, which for MedPix is not the sum of the splits."""
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool | None:
        """Whether all three splits have the paper's sizes; None where one side is missing."""
        return None if self.ours is None or self.paper is None else self.ours == self.paper


def table1_rows() -> list[SizesRow]:
    """The paper's data sets in its order, each with ours of that name, then all others that exist."""
    here = [DatasetPaths(name) for name in all_datasets()]
    rows: list[SizesRow] = []
    for line in paper.table(PAPER_TABLE):
        members = [paths for paths in here if paths.short_name == line["dataset"]]
        rows += [_row(paths, line) for paths in members] or [_row(None, line)]
    known = {line["dataset"] for line in paper.table(PAPER_TABLE)}
    return rows + [_row(paths, None) for paths in here if paths.short_name not in known]


def current_sizes(paths: DatasetPaths) -> tuple[Sizes, str, str]:
    """Sizes of the splits, where they come from (``split`` or ``rule``), and a remark or nothing.

    Raises HtunetError when the data set cannot be read.
    """
    return _caption_sizes(paths) if paths.captions_json.exists() else _image_sizes(paths)


def as_csv(rows: Sequence[SizesRow]) -> str:
    """All figures as numbers; a missing side is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        ours = (*row.ours, row.ours.total) if row.ours else ("",) * 4
        printed = (*row.paper, row.paper_total) if row.paper else ("",) * 4
        writer.writerow([row.dataset, *ours, *printed, _same(row), row.origin, "; ".join(row.notes)])
    return text.getvalue()


def as_markdown(rows: Sequence[SizesRow]) -> str:
    """One table under a heading."""
    rule = ["---:" if column in RIGHT_ALIGNED else "---" for column in range(len(HEADINGS))]
    lines = [HEADINGS, rule, *([cell.replace("|", r"\|") for cell in _cells(row)] for row in rows)]
    return "# Table I\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def as_text(rows: Sequence[SizesRow]) -> str:
    """Aligned columns for a terminal, the notes below."""
    lines = [HEADINGS[:-1], *(_cells(row)[:-1] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS) - 1)]
    table = [
        "  ".join(
            cell.rjust(width) if column in RIGHT_ALIGNED else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*table, *(f"{row.dataset}: {note}" for row in rows for note in row.notes)])


def write_table1(folder: Path, rows: Sequence[SizesRow]) -> list[Path]:
    """Write ``table1.csv`` and ``table1.md`` into ``folder``; return their paths."""
    contents = {"csv": as_csv(rows), "md": as_markdown(rows)}
    paths = [folder / f"table1.{ending}" for ending in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        write_text(path, text)
    return paths


def _row(paths: DatasetPaths | None, line: dict[str, str] | None) -> SizesRow:
    printed = Sizes(*(int(line[split]) for split in ("training", "validation", "testing"))) if line else None
    paper_total = int(line["total"]) if line else 0
    notes = []
    ours, origin, remark = None, "", "not converted yet"
    if paths is not None:
        try:
            ours, origin, remark = current_sizes(paths)
        except HtunetError as error:
            remark = str(error)
    if printed and printed.total != paper_total:
        notes.append(f"the paper prints the total {paper_total}; its splits add up to {printed.total}")
    return SizesRow(
        dataset=paths.name if paths else line["dataset"] if line else "",
        ours=ours,
        origin=origin,
        paper=printed,
        paper_total=paper_total,
        notes=tuple(filter(None, [remark, *notes])),
    )


def _caption_sizes(paths: DatasetPaths) -> tuple[Sizes, str, str]:
    if paths.caption_split_json.exists():
        split, origin = load_caption_split(paths), SPLIT
    else:
        dataset = read_captions(paths)
        split, origin = make_caption_split(dataset.pairs, dataset.info.published), RULE
    return Sizes(len(split.train), len(split.val), 0), origin, _way(split.split_by)


def _image_sizes(paths: DatasetPaths) -> tuple[Sizes, str, str]:
    if paths.splits_json.exists():
        fold, origin, remark = load_splits(paths.splits_json)[0], SPLIT, "a split of your own"
        if paths.splits_made_json.exists():
            remark = _way(str(read_object(paths.splits_made_json).get("split_by")))
    else:
        raw = read_raw(paths)
        fold, origin, remark = make_splits(raw.cases, raw.info.split_rule).folds[0], RULE, ""
    return Sizes(*(len(fold[split]) for split in SPLITS)), origin, remark


def _way(split_by: str) -> str:
    return "" if split_by == "image" else f"split by {split_by}, where the paper splits by image"


def _same(row: SizesRow) -> str:
    return {True: "yes", False: "no", None: "-"}[row.same]


def _cells(row: SizesRow) -> list[str]:
    ours = [str(size) for size in (*row.ours, row.ours.total)] if row.ours else ["-"] * 4
    printed = " / ".join(map(str, row.paper)) + f" ({row.paper_total})" if row.paper else "-"
    return [row.dataset, *ours, printed, _same(row), row.origin or "-", "; ".join(row.notes)]
