"""Table I: how many images each split of every data set has, ours beside the paper's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from htunet.data.caption_splits import load_caption_split, make_caption_split
from htunet.data.captions import read_captions
from htunet.data.raw import read_raw
from htunet.data.split_files import fold_names, load_splits
from htunet.data.splits import SPLITS, make_splits
from htunet.errors import HtunetError
from htunet.files import read_object
from htunet.paths import PAPER_FOLD, DatasetPaths, all_datasets
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.write import (
    Table,
    as_csv,
    as_markdown,
    data_table,
    number_columns,
    word_columns,
    words,
    write_files,
)

PAPER_TABLE = "table1_datasets"
SPLIT, RULE = "split", "rule"
COLUMNS = (
    *("dataset", "train", "val", "test", "total"),
    *("paper_train", "paper_val", "paper_test", "paper_total"),
    *("same", "from", "note"),
)
SAME = {True: "yes", False: "no", None: "-"}


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


def sizes_data(rows: Sequence[SizesRow]) -> Table:
    """For CSV: all sizes as numbers; a missing side is empty."""
    found = []
    for row in rows:
        ours = (*row.ours, row.ours.total) if row.ours else (None,) * 4
        printed = (*row.paper, row.paper_total) if row.paper else (None,) * 4
        values = (row.dataset, *ours, *printed, SAME[row.same], row.origin, "; ".join(row.notes))
        found.append(dict(zip(COLUMNS, values, strict=True)))
    return data_table(COLUMNS, found)


def sizes_table(rows: Sequence[SizesRow], *, narrow: bool = False) -> Table:
    """For print; ``narrow``: the notes below instead of in a column."""
    columns = (
        *word_columns("data set"),
        *number_columns("train", "val", "test", "total"),
        *word_columns("paper's", "same", "from", *["note"] * (not narrow)),
    )
    found = []
    for row in rows:
        ours = [str(size) for size in (*row.ours, row.ours.total)] if row.ours else ["-"] * 4
        printed = " / ".join(map(str, row.paper)) + f" ({row.paper_total})" if row.paper else "-"
        texts = [row.dataset, *ours, printed, SAME[row.same], row.origin or "-", *["; ".join(row.notes)] * (not narrow)]
        found.append(tuple(map(words, texts)))
    notes = tuple(f"{row.dataset}: {note}" for row in rows for note in row.notes) if narrow else ()
    return Table(columns=columns, rows=tuple(found), notes=notes)


def write_table1(folder: Path, rows: Sequence[SizesRow]) -> list[Path]:
    """Write ``table1.csv`` and ``table1.md`` into ``folder``; return their paths."""
    contents = {"csv": as_csv(sizes_data(rows)), "md": "# Table I\n\n" + as_markdown(sizes_table(rows))}
    return write_files(folder, "table1", contents)


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
        names, origin = fold_names(paths.splits_json), SPLIT
        fold, remark = load_splits(paths.splits_json)[0], "a split of your own"
        if names[0].startswith(PAPER_FOLD):
            remark = f"the authors' own lists{' for masks; those for classes differ' if len(names) > 1 else ''}"
        if paths.splits_made_json.exists():
            remark = _way(str(read_object(paths.splits_made_json).get("split_by")))
    else:
        raw = read_raw(paths)
        fold, origin, remark = make_splits(raw.cases, raw.info.split_rule).folds[0], RULE, ""
    return Sizes(*(len(fold[split]) for split in SPLITS)), origin, remark


def _way(split_by: str) -> str:
    return "" if split_by == "image" else f"split by {split_by}, where the paper splits by image"
