"""Tables of Excel: the first sheet of a workbook as rows of text, as a CSV of it would have them."""

import zipfile
from datetime import date, datetime
from pathlib import Path

from htunet.errors import HtunetError, counted
from htunet.files import LARGEST_TEXT, MOST_ROWS, open_file

ENDINGS = (".xlsx", ".xlsm")
OTHERS = (".xls", ".xlsb", ".ods")
"""Endings of spreadsheets that are recognised and not read."""
SHEETS = "xl/worksheets/"
SPREADSHEETS = (*ENDINGS, *OTHERS)


def read_excel(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows below the first one, which names the columns, without empty ones; and a note on further sheets.

    A whole number is written as such (``7``), a date as ``2024-02-01``. Raises HtunetError for a file that is no
    workbook or too large, and for columns of one name.
    """
    if path.suffix.lower() in OTHERS:
        raise HtunetError(f"{path}: of spreadsheets those of Excel are read. Save it as .xlsx or as CSV.")
    from openpyxl import load_workbook

    with open_file(path) as stream:
        try:
            parts = zipfile.ZipFile(stream)
            if sum(part.file_size for part in parts.infolist()) > LARGEST_TEXT:
                raise HtunetError(f"{path} unpacks to more than {LARGEST_TEXT >> 20} MiB. Save the table as CSV.")
            merged = any(b"<mergeCell " in parts.read(name) for name in parts.namelist() if name.startswith(SHEETS))
            book = load_workbook(stream, read_only=True, data_only=True)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # some programs write wrong ones
            lines = [[_text(value) for value in row] for row in sheet.iter_rows(values_only=True, max_row=MOST_ROWS)]
        except HtunetError:
            raise
        except Exception as error:  # openpyxl raises whatever a broken file makes it stumble over
            raise HtunetError(f"{path} is no workbook of Excel that can be read ({error}). Save it as CSV.") from None
    lines = [line for line in lines if any(line)]
    header = lines[0] if lines else []
    if twice := [name for name in dict.fromkeys(header) if name and header.count(name) > 1]:
        raise HtunetError(f"{path} has the columns {twice} twice. Keep one of each.")
    padded = [line + [""] * (len(header) - len(line)) for line in lines[1:]]
    rows = [{name: value for name, value in zip(header, line, strict=False) if name} for line in padded]
    notes = [f"{path.name}: the sheet {sheet.title!r} is read, the first of {counted(len(book.worksheets), 'sheet')}"]
    notes = notes if len(book.worksheets) > 1 else []
    return rows, [*notes, *[f"{path.name} has merged cells, and only the first row of each has its text"] * merged]


def _text(value: object) -> str:
    if isinstance(value, datetime) and not (value.hour or value.minute or value.second):
        value = value.date()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()
