"""The case table, the statistics and the paper's tables as files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from htunet.evaluation.case_table import case_table, write_table
from htunet.evaluation.study import Statistics, study
from htunet.reporting.tables.paper_layouts import TABLES, PaperTable
from htunet.reporting.tables.paper_print import write_paper_table
from htunet.reporting.tables.paper_tables import SEEDS, Cell, fill

STATISTICS = ("means", "by_size", "by_class", "comparisons")


def write_statistics(folder: Path, contents: Iterable[Mapping[str, Any]]) -> tuple[Statistics, list[Path]]:
    """Write ``cases.csv``, from which everything else can be made again, and a file for each of ``STATISTICS``."""
    table = case_table(contents)
    found = study(table)
    files = {"cases": table} | {name: getattr(found, name) for name in STATISTICS}
    paths = [folder / f"{name}.csv" for name in files]
    for path, frame in zip(paths, files.values(), strict=True):
        write_table(path, frame)
    return found, paths


def write_paper_tables(
    folder: Path,
    contents: Sequence[Mapping[str, Any]],
    found: Statistics,
    *,
    zero_shot: Sequence[Mapping[str, Any]] = (),
    tables: Iterable[PaperTable] = TABLES.values(),
    seeds: Sequence[int] = SEEDS,
    only_of_paper: bool = False,
) -> dict[str, tuple[list[Cell], list[Path]]]:
    """Write the tables, each in all formats; the cells and the paths of each by its name.

    ``only_of_paper``: only those with at least one value of ours beside one of the paper, and those that are there.
    """
    written = {}
    for table in tables:
        cells = fill(table, contents, found.means, seeds, zero_shot)
        of_paper = any(cell.trained and cell.paper is not None for cell in cells)
        if only_of_paper and not of_paper and not (folder / f"{table.name}.csv").exists():
            continue
        written[table.name] = cells, write_paper_table(folder, table, cells, found)
    return written
