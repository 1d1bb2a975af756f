"""The tables of a small study stay the same cell by cell, in every format; words may differ.

The CSV files were made by commit 4fe71f3. The printed ones are younger: since then the paper's figures stand beside the
metrics that its public code computes, and these have columns of their own. The page and the tables
say the same since, which they did not of distances where one seed leaves out other cases than another one (one counted
each case once, the other each seed), nor of classes, as the summaries here say something else than their cases.
Two comparisons have other ranks since: some of their differences are equal, but for the last bit of a mean over seeds.
The page's comparisons say their pairs since, and p has three decimals everywhere.
"""

import csv
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from builders.metrics import without_new_metrics
from builders.small_study import PAPER_TABLES, ZERO_SHOT, by_run, contents

from htunet.evaluation import statistics
from htunet.evaluation.study import entries
from htunet.reporting.report.collect import collect
from htunet.reporting.report.page import render
from htunet.reporting.report.study_results import study_of
from htunet.reporting.tables.kinds import KINDS
from htunet.reporting.tables.paper_layouts import TABLES, chosen
from htunet.reporting.tables.paper_print import paper_text
from htunet.reporting.tables.paper_tables import fill
from htunet.reporting.tables.rows import row_tables, table_rows, write_tables
from htunet.reporting.tables.study_files import write_paper_tables, write_statistics
from htunet.reporting.tables.write import as_text

EXPECTED = Path(__file__).with_name("expected")
WORDS = {"Rightly decided %": "Accuracy %", "Figure": "Metric", " dice ": " Dice "}
"""Words of before, and those of today."""
OF_PAPER = {"hd95": "hd95_max", "asd": "asd_directed"}
"""Where the paper's figure of a metric stood, and stands."""


@pytest.fixture(autouse=True, scope="module")
def _no_number_is_small() -> Iterator[None]:
    """Its few cases stand for many."""
    with pytest.MonkeyPatch.context() as patch:
        without_new_metrics(patch)
        patch.setattr(statistics, "FEW_CASES", 0)
        patch.setattr(statistics, "FEW_OF_A_CLASS", 0)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    found = contents()
    statistics, _ = write_statistics(folder, found)
    for kind in KINDS:
        rows = table_rows(found, kind=kind, means=entries(statistics.means))
        write_tables(folder, rows, kind)
        (folder / f"{kind.name}.txt").write_text(as_text(*row_tables(rows, kind, narrow=True)), encoding="utf-8")
    for name, (datasets, methods) in PAPER_TABLES.items():
        table = chosen(TABLES[name], datasets, methods)
        write_paper_tables(folder, found, statistics, zero_shot=[ZERO_SHOT], tables=[table])
        cells = fill(table, found, statistics.means, (1, 2, 3), [ZERO_SHOT])
        (folder / f"{name}.txt").write_text(paper_text(table, cells), encoding="utf-8")
    return folder


NAMES = [*(kind.name for kind in KINDS), *PAPER_TABLES]


@pytest.mark.parametrize("name", NAMES)
def test_csv_holds_the_same_values_under_the_same_names(written: Path, name: str) -> None:
    before, now = (rows_of_csv(folder / f"{name}.csv") for folder in (EXPECTED, written))
    keys = [key for key in ("group", "dataset", "method", "metric", "ratio", "plan") if key in before[0]]
    found = {tuple(row[key] for key in keys): row for row in now}
    of_metrics = "metric" in keys
    assert len(found) == len(now) >= len(before) > 0
    for old in before:
        new = found[tuple(old[key] for key in keys)]
        if of_metrics and old["metric"] in OF_PAPER:
            beside = found[tuple(OF_PAPER.get(old[key], old[key]) for key in keys)]
            assert (beside["paper"], new["paper"]) == (old["paper"], "")
            new |= {"paper": old["paper"]}
        # cases with an empty mask are left out of these today; the paper's columns are there where they hold something
        same = [column for column in old if not column.startswith(tuple(OF_PAPER.values()))]
        assert {column: new.get(column, "") for column in same} == {column: old[column] for column in same}


@pytest.mark.parametrize("ending", ["md", "tex", "txt"])
@pytest.mark.parametrize("name", NAMES)
def test_print_has_the_same_cells(written: Path, name: str, ending: str) -> None:
    cells = {"md": cells_of_markdown, "tex": cells_of_latex, "txt": cells_of_text}[ending]
    before, now = (cells((folder / f"{name}.{ending}").read_text(encoding="utf-8")) for folder in (EXPECTED, written))
    assert before == now
    assert sum(map(len, now)) > 20


def test_the_page_has_the_same_tables() -> None:
    page = render(collect(study_of(by_run(contents()), zero_shot=[ZERO_SHOT])))
    before, now = Cells(), Cells()
    before.feed((EXPECTED / "page_tables.html").read_text(encoding="utf-8"))
    now.feed(page)
    assert len(before.rows) > 30
    assert before.rows == now.rows


def rows_of_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def today(text: str) -> str:
    for old, new in WORDS.items():
        text = text.replace(old, new)
    return text.replace(r"\_", "_").strip()


def cells_of_markdown(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[today(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def cells_of_latex(text: str) -> list[list[str]]:
    """The rows of all tables, the rules between them, and what is above the columns."""
    found = re.findall(r"\\toprule\n(.*?)\\bottomrule", text, flags=re.DOTALL)
    return [[today(cell) for cell in line.split(" & ")] for part in found for line in part.splitlines()]


def cells_of_text(text: str) -> list[list[str]]:
    """Lines that have columns; those of notes and commands are words."""
    lines = [line for line in text.splitlines() if re.search(r"\S  +\S", line)]
    return [[today(cell) for cell in re.split(r"  +", line)] for line in lines if not line.startswith("Notes ")]


class Cells(HTMLParser):
    """Text, sorted value and emphasis of each cell of each row, by the table's id."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, ...]]] = []
        self.cell: list[str] | None = None
        self.about: tuple[str, ...] = ()
        self.table = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "table":
            self.table = values["id"]
        if tag == "tr":
            self.rows.append([(self.table, values.get("data-dataset", ""))])
        if tag in ("td", "th"):
            self.cell = []
            order = values.get("data-sort", "")  # without the last digits, which depend on the order of a sum
            order = f"{float(order):.10g}" if re.fullmatch(r"[\d.e+-]+", order) else today(order)
            self.about = (tag, values.get("class", ""), order)
        if tag == "small":
            self.handle_data(" / ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            assert self.cell is not None
            self.rows[-1].append((today("".join(self.cell)), *self.about))
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)
