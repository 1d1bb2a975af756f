"""Workbooks of Excel as the tables that they are."""

import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from openpyxl import Workbook

from htunet.data.formats.excel import read_excel
from htunet.data.tables import read_tags
from htunet.errors import HtunetError, UsageError

ROWS = [
    ["CaseID", "Image_filename", "Pixel size", None, "Class"],
    [1, "case001.png", 0.07, None, "benign"],
    [None, None, None, None, None],
    [2.0, "case002.png", 1, "x", " malignant "],
    [3, datetime(2024, 2, 1), None, None, None],
]


def workbook(path: Path, rows: list[list[object]], sheets: int = 1) -> Path:
    book = Workbook()
    for row in rows:
        book.active.append(row)
    for _ in range(sheets - 1):
        book.create_sheet("notes")
    book.save(path)
    return path


def test_a_sheet_has_the_rows_that_its_csv_would_have(tmp_path: Path) -> None:
    rows, notes = read_excel(workbook(tmp_path / "t.xlsx", ROWS))
    assert rows == [
        {"CaseID": "1", "Image_filename": "case001.png", "Pixel size": "0.07", "Class": "benign"},
        {"CaseID": "2", "Image_filename": "case002.png", "Pixel size": "1", "Class": "malignant"},
        {"CaseID": "3", "Image_filename": "2024-02-01", "Pixel size": "", "Class": ""},
    ]
    assert notes == []
    assert read_excel(workbook(tmp_path / "t.xlsx", ROWS, sheets=2))[1] == [
        "t.xlsx: the sheet 'Sheet' is read, the first of 2 sheets"
    ]


def test_merged_cells_are_named(tmp_path: Path) -> None:
    """A patient over three rows: the images of the second and the third have none."""
    book = Workbook()
    for row in (["image", "patient"], ["1.png", "A"], ["2.png", None], ["3.png", "B"]):
        book.active.append(row)
    book.active.merge_cells("B2:B3")
    book.save(tmp_path / "t.xlsx")
    rows, notes = read_excel(tmp_path / "t.xlsx")
    assert [row["patient"] for row in rows] == ["A", "", "B"]
    assert notes == ["t.xlsx has merged cells, and only the first row of each has its text"]


def test_options_take_a_column_of_a_workbook(tmp_path: Path) -> None:
    path, names = workbook(tmp_path / "t.xlsx", ROWS), ["case001.png", "case002.png"]
    for rule in (f"{path}", f"{path}:Class", f"{path}:Image_filename:Class"):
        tags = read_tags(rule, names, option="--classes", columns=("class",))
        assert tags.of == {"case001.png": "benign", "case002.png": "malignant"}


def test_what_is_no_workbook_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04 and no more")
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as archive:
        archive.writestr("x", "x")
    (tmp_path / "c.xls").touch()
    workbook(tmp_path / "d.xlsx", [["image", "class", "class"], ["a", "b", "c"]])
    reasons = ("no workbook", "no workbook", "Save it as .xlsx or as CSV", "has the columns \\['class'\\] twice")
    for name, reason in zip(("a.xlsx", "b.xlsx", "c.xls", "d.xlsx"), reasons, strict=True):
        with pytest.raises(HtunetError, match=reason):
            read_excel(tmp_path / name)
    with pytest.raises((HtunetError, UsageError), match=r"nowhere\.xlsx"):
        read_tags(f"{tmp_path}/nowhere.xlsx:Class", ["a.png"], option="--classes", columns=("class",))


def test_ids_that_became_dates_are_named(tmp_path: Path) -> None:
    """Typed as 3-4 and 4-3; a text that looks like a date in a CSV is one."""
    rows: list[list[object]] = [["image", "patient"], ["a.png", datetime(2026, 3, 4)], ["b.png", datetime(2026, 4, 3)]]
    path, names = workbook(tmp_path / "t.xlsx", rows), ["a.png", "b.png"]
    tags = read_tags(str(path), names, option="--groups", columns=("patient",))
    assert tags.of == {"a.png": "2026-03-04", "b.png": "2026-04-03"}
    assert any("seems to have made of others, 2026-03-04, 2026-04-03" in note for note in tags.notes)
    (tmp_path / "t.csv").write_text("image,patient\na.png,2026-03-04\nb.png,2026-04-03\n")
    assert not read_tags(str(tmp_path / "t.csv"), names, option="--groups", columns=("patient",)).notes
