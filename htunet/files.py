"""Files that exist whole or not at all: a killed process, a full disk or a bad value leaves the old file as it was.

Unfinished files and folders carry the prefix ``.part-`` beside their target; the next writer of the same target
removes what a killed one left behind. What has its final name is on the disk, not only on its way there: a file is
waited for before it gets its name, the files of an unfinished folder all together before the folder gets its own.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from htunet.errors import HtunetError

PART = ".part-"
FOLDER_PART = f"{PART}new-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes ``path`` on success and vanishes on any error.

    Inside an unfinished folder it is ``path`` at once: nobody reads there, and the folder comes or goes as a whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path if _is_unfinished(path.parent) else path.with_name(f"{PART}{path.name}")
    try:
        yield part
        if part != path:
            _wait_for_disk(part)
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces ``path`` on success and vanishes on any error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = (path.with_name(f"{prefix}{path.name}") for prefix in (FOLDER_PART, f"{PART}old-"))
    if old.exists() and not path.exists():  # a process was killed between the two renames below
        old.rename(path)
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        if not _is_unfinished(path.parent):
            for place, _, files in os.walk(part):
                for name in files:
                    _wait_for_disk(Path(place, name))
        if path.exists():
            path.rename(old)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _is_unfinished(folder: Path) -> bool:
    """Is ``folder`` inside one that ``whole_folder`` has yet to finish, and to wait for?"""
    return any(place.name.startswith(FOLDER_PART) for place in (folder, *folder.parents))


def _wait_for_disk(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def exclusive(folder: Path, what: str, *, wait: float = 0) -> Iterator[None]:
    """Hold ``folder`` for this process; the lock goes with the process, however it ends.

    Raises HtunetError when another process holds it, at once or after ``wait`` seconds. ``what`` names the thing for
    the message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise HtunetError(
            f"{what} is in use by another process ({folder}). Wait until it ends, or end that process."
        ) from None
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401
    """Write strict JSON: a NaN or an infinity raises ValueError instead of making a file that others refuse."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read JSON; a missing or broken file raises HtunetError with its name."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise HtunetError(f"The file {path} is missing.") from None
    except IsADirectoryError:
        raise HtunetError(f"{path} is a folder; a JSON file is needed.") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a NaN, or nested without end
        raise HtunetError(f"The file {path} is not valid JSON ({error}). Make it again or repair it.") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises HtunetError as ``read_json``, and when the file holds anything else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise HtunetError(f"The file {path} must hold a JSON object {{...}}. Make it again or repair it.")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    r"""Write rows as CSV with a header line, whole or not at all; an unknown key raises ValueError.

    Bytes of a file name that are no UTF-8 are written as the texts ``\udc80`` to ``\udcff``.
    """
    with (
        whole_file(path) as part,
        part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV as text; raises HtunetError when the file, one of ``columns`` or a row's value is missing."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a mark before the first column
            reader = csv.DictReader(stream)
            rows = list(reader)
            found = reader.fieldnames or []
    except FileNotFoundError:
        raise HtunetError(f"The file {path} is missing.") from None
    except IsADirectoryError:
        raise HtunetError(f"{path} is a folder; a CSV file is needed.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise HtunetError(f"The file {path} is not a CSV in UTF-8 ({error}). Save it as one.") from None
    if missing := [column for column in columns if column not in found]:
        raise HtunetError(f"{path} lacks the columns {missing}; it has {list(found)}.")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():  # the reader's mark for values without a column, or without a value
            raise HtunetError(f"{path}, row {number} below the header, must have {len(found)} values. Correct it.")
    return rows
