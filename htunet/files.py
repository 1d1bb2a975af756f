"""Files that exist whole or not at all: a killed process, a full disk or a bad value leaves the old file as it was.

Unfinished files and folders lie beside their target under a name that begins with ``.part-`` and says which process
writes them. What a killed process left behind is removed by the next process of the same user that writes into the
same folder. What has its final name is on the disk, not only on its way there: a file is synchronised before it gets
its name and its folder after it; the files of an unfinished folder all together before the folder gets its own.
"""

import codecs
import csv
import errno
import hashlib
import io
import json
import logging
import math
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from htunet.errors import HtunetError, shortened
from htunet.records import JsonObject, Schema, check_schema

PART = ".part-"
NEW_FOLDER, OLD_FOLDER = f"{PART}new-", f"{PART}old-"
OWNER = re.compile(rf"{re.escape(PART)}(?:new-|old-)?([0-9a-f]{{8}})-(\d+)-(\d+)-[0-9a-f]{{8}}-")
"""The process that writes an unfinished file, in its name: machine, process id, start of the process."""
ABANDONED_SECONDS = 24 * 3600.0
"""An unfinished file of another machine that nobody has written to for so long has no writer any more."""
LARGEST_TEXT = 2**28
"""Bytes of a JSON or a CSV; those of large data sets have some ten million."""
LONGEST_LINE = 2**20
"""Bytes of a line of JSON lines."""
MOST_ROWS = 2_000_000
"""Of a CSV."""
LARGEST_NUMBER = 1e38
"""In a JSON, as far as single precision reaches."""
HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
"""Of JSON: what stands for half of a character, to be followed by the other half."""
BUFFERED = 2**20
"""Bytes that any file may be asked for at once."""
LONGEST_FILE_NAME = 255
"""Bytes of a file's name, on the file systems that are in use."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
LONG_WAIT = 3600
"""Seconds that ``exclusive`` waits for what another process makes for both."""
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without locks answers; some network drives are."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet computes a cell that begins so."""
SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""The first line of a table, by which Excel is told the delimiter."""
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

log = logging.getLogger(__name__)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes ``path`` on success and vanishes on any error.

    Inside an unfinished folder it is ``path`` at once: nobody reads there, and the folder comes or goes as a whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_unfinished(path.parent):
        part = path
    else:
        if path.parent not in _swept:
            _remove_abandoned(path.parent)
        part = path.with_name(_part_name(PART, path.name))
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # never follows a link
    try:
        yield part
        if part != path:
            _synchronise(part)
            part.replace(path)
            _synchronise(path.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        _name_target(error, path)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces ``path`` on success and vanishes on any error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = _is_unfinished(path.parent)
    if not inside:
        _remove_abandoned(path.parent)
    part, old = (path.with_name(_part_name(prefix, path.name)) for prefix in (NEW_FOLDER, OLD_FOLDER))
    part.mkdir()
    try:
        yield part
        if not inside:
            for place, _, files in os.walk(part):
                for name in (*files, "."):
                    _synchronise(Path(place, name))
        if path.exists():
            path.rename(old)
        part.rename(path)
        if not inside:
            _synchronise(path.parent)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        _name_target(error, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder within ``folder`` for what is needed inside the block alone.

    What a killed process leaves there is removed as the rest of its unfinished files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    part = folder / _part_name(NEW_FOLDER, "scratch")
    part.mkdir(mode=0o700)
    try:
        yield part
    except OSError as error:  # the name of a copy's source, or of what is removed here, would lead astray
        if error.errno in DISK_FULL and (not error.filename or str(part) in f"{error.filename}{error.filename2}"):
            error.filename, error.filename2 = str(folder), None
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _name_target(error: BaseException, path: Path) -> None:
    """A full disk is an error of the file that was to be written, whichever file the system names, if any."""
    if isinstance(error, OSError) and error.errno in DISK_FULL and not _is_unfinished(path.parent):
        error.filename, error.filename2 = str(path), None


def _part_name(prefix: str, name: str) -> str:
    """A name that nobody can foresee and that says who writes; as short as file systems want it."""
    host, pid = _this_machine(), os.getpid()
    owner = f"{prefix}{host}-{pid}-{_start_of(pid)}-{secrets.token_hex(4)}-"
    room = LONGEST_FILE_NAME - len(owner)
    encoded = name.encode(errors="surrogateescape")
    return owner + (name if len(encoded) <= room else encoded[-room:].decode(errors="ignore"))


@cache
def _this_machine() -> str:
    """Eight hexadecimal digits of this machine and, in a container, of its own numbering of processes."""
    with suppress(OSError):
        return hashlib.sha256(f"{socket.gethostname()} {os.stat('/proc/self/ns/pid').st_ino}".encode()).hexdigest()[:8]
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _start_of(pid: int) -> int:
    """When a process began, in the units of its system; 0: it does not say, or the process is gone.

    -1: it has ended, and its parent does not ask how; in a container that may stay so.
    """
    with suppress(OSError, ValueError, IndexError):
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if state in ("Z", "X") else int(facts[18])
    return 0


def _is_running(pid: int, start: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _start_of(pid) in (start, 0)


_swept: set[Path] = set()
"""Folders in which this process has looked for what others left."""


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes of this user left; a folder that was to be replaced gets its name back."""
    _swept.add(folder)
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith(PART) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                owner = OWNER.match(entry.name)
                if owner and owner[1] == _this_machine():
                    abandoned = not _is_running(int(owner[2]), int(owner[3]))
                else:  # of another machine, or of a version that did not name the process
                    abandoned = time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED_SECONDS
                target = folder / entry.name[owner.end() if owner else len(OLD_FOLDER) :]
                if abandoned and entry.name.startswith(OLD_FOLDER) and not target.exists():
                    os.rename(entry.path, target)  # the process was killed between the two renames of ``whole_folder``
                elif abandoned and entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                elif abandoned:
                    os.unlink(entry.path)


def _is_unfinished(folder: Path) -> bool:
    """Is ``folder`` inside one that ``whole_folder`` has yet to finish, and to synchronise?"""
    return any(place.name.startswith(NEW_FOLDER) for place in (folder, *folder.parents))


def _synchronise(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network drives cannot synchronise folders
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(folder: Path, what: str, *, wait: float = 0) -> Iterator[None]:
    """Lock ``folder`` for this process; the lock goes with the process, however it ends.

    Raises HtunetError when another process has the lock, at once or after ``wait`` seconds. ``what`` names the thing
    for the message. A file system without locks gets a lock file instead, and the log a warning.
    """
    lock: FileLock | SoftFileLock = FileLock(folder / ".lock")
    try:
        try:
            _acquire(lock, folder, wait)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, Timeout) or (isinstance(error, OSError) and error.errno not in NO_LOCKS):
                raise
            log.warning("The file system of %s has no locks: a lock file is used, %s.", folder, folder / ".lock-file")
            lock = SoftFileLock(folder / ".lock-file")
            _acquire(lock, folder, wait)
    except Timeout:
        remains = "" if isinstance(lock, FileLock) else f" If none is running, delete {folder / '.lock-file'}."
        raise HtunetError(
            f"{what} is in use by another process ({folder}). Wait until it ends, or end that process.{remains}"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock | SoftFileLock, folder: Path, wait: float) -> None:
    """Again where another process, whose run was refused, removes the folder or the lock file in the meantime."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=wait)
        except FileNotFoundError:
            continue
        except Timeout:
            if os.path.lexists(lock.lock_file):
                raise
            continue
        if os.path.lexists(lock.lock_file):
            return
        lock.release()


def is_writable(folder: Path) -> bool:
    """Whether this process may write into a folder, or make it."""
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return os.access(place, os.W_OK)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes; raises HtunetError as ``open_file``."""
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401
    """Write strict JSON: a NaN or an infinity raises ValueError instead of making a file that others refuse."""
    with whole_file(path) as part, part.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2, allow_nan=False, ensure_ascii=False)
        stream.write("\n")


class BoundedReader(io.BufferedReader):
    """A file that is asked for no more bytes than it has: Python sets aside the memory that a damaged header claims.

    Nor for more than ``most`` at once, where it is not None: ValueError.
    """

    def __init__(self, raw: io.FileIO, most: int | None = None) -> None:
        super().__init__(raw)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        """As a file's; a short file gives what it has. Raises ValueError for more bytes than a header may have."""
        size = -1 if size is None else size
        if self._most is not None and not 0 <= size <= self._most:
            raise ValueError(f"it claims a header of {size} bytes")
        if size > BUFFERED:
            size = max(0, min(size, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


@contextmanager
def open_file(path: Path, most: int | None = None) -> Iterator[BoundedReader]:
    """Open a user's file to read its bytes, ``most`` at once; everything that htunet reads goes through here.

    Raises HtunetError where it is missing, a folder, or no file at all: a device or a pipe may have no end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe must not wait for a writer
    except FileNotFoundError:
        raise HtunetError(f"The file {path} is missing.") from None
    except ValueError as error:  # a NUL in its name
        raise HtunetError(f"{str(path)!r} cannot be a file ({error}).") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise HtunetError(f"{path} is {what}; a file is needed.")
    with BoundedReader(io.FileIO(descriptor), most) as stream:
        yield stream


def as_read(content: Any) -> Any:  # noqa: ANN401
    """What ``read_json`` would give of it: tuples are lists, and all keys text."""
    return json.loads(json.dumps(content))


def json_hash(content: object, *, sort_keys: bool = False) -> str:
    """SHA-256 of it as JSON, hexadecimal."""
    digest = hashlib.sha256()
    for part in json.JSONEncoder(sort_keys=sort_keys).iterencode(content):
        digest.update(part.encode())
    return digest.hexdigest()


def check_file(path: Path) -> None:
    """Raise HtunetError as ``open_file``, for libraries that open files by their names."""
    with open_file(path):
        pass


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """All of a file; raises HtunetError as ``open_file``, and for more bytes than ``most`` unread."""
    with open_file(path) as stream:
        if os.fstat(stream.fileno()).st_size <= most and len(content := stream.read()) <= most:
            return content
    raise HtunetError(f"{path} is larger than {most / 2**20:g} MiB, which no file of its kind should be. Cut it down.")


def read_text(path: Path) -> str:
    """A text in UTF-8, or in UTF-16 with a byte order mark; raises HtunetError as ``read_bytes``."""
    content = read_bytes(path)
    if b"\0" in content and not content.startswith((*UTF16_MARKS, b"PK")):
        raise HtunetError(f"The file {path} is not text in UTF-8 (it has zero bytes, as UTF-16 has). Save it as such.")
    try:
        return content.decode("utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        is_zip = content.startswith(b"PK\3\4")
        reason = (
            "a workbook or an archive, not text. Save the table as CSV (UTF-8)"
            if is_zip
            else (f"not text in UTF-8 ({error}). Save it as such")
        )
        raise HtunetError(f"The file {path} is {reason}.") from None


def parse_json(
    text: str | bytes,
    where: object,
    *,
    any_number: bool = False,
    file: Path | None = None,
    kept: Sequence[str] = (),
) -> Any:  # noqa: ANN401
    """The content of JSON; raises HtunetError that begins with ``where``, also for numbers that nothing measures.

    ``any_number``: NaN and infinities are read, for whoever checks each number. Objects of a ``file`` raise HtunetError
    with its name when a missing key is asked for. ``kept`` names the only keys of each object that are needed: the
    rest takes no memory when the object has been read.
    """
    hook: Callable[[dict[str, Any]], dict[str, Any]] | None = partial(JsonObject.of, str(file)) if file else None
    if kept:
        hook = lambda found: {key: found[key] for key in kept if key in found}  # noqa: E731
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        content = json.loads(
            text,
            parse_constant=float if any_number else _refuse_constant,
            parse_int=_whole_number,
            parse_float=_number,
            object_hook=hook,
        )
        if HALF_CHARACTER.search(text):
            json.dumps(content, ensure_ascii=False).encode()  # half a character cannot be written or shown
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a NaN, or nested without end
        way_out = "Save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "Make it again or repair it"
        raise HtunetError(f"{where} is not valid JSON ({error}). {way_out}.") from None
    return content


def read_json(path: Path, *, any_number: bool = False, kept: Sequence[str] = ()) -> Any:  # noqa: ANN401
    """Read JSON; a missing or broken file raises HtunetError with its name; the options are those of ``parse_json``."""
    return parse_json(read_bytes(path), f"The file {path}", any_number=any_number, file=path, kept=kept)


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of each line that is not empty; raises HtunetError as ``read_object``."""
    for number, line in lines(path):
        content = parse_json(line, f"{path}, line {number}", file=path)
        if not isinstance(content, dict):
            raise HtunetError(f"{path}, line {number} must be a JSON object {{...}}. Correct or remove it.")
        yield number, content


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line) of those that are not empty; of an overlong one only its first 1 MiB are kept."""
    with open_file(path) as stream:
        number, inside = 0, False
        while line := stream.readline(LONGEST_LINE):
            number += not inside
            if not inside and line.strip():
                yield number, line
            inside = not line.endswith(b"\n")


def read_object(path: Path, schema: Schema = None, *, any_number: bool = False) -> dict[str, Any]:
    """Read a JSON object; raises HtunetError as ``read_json``, and for anything else than ``schema``."""
    content = read_json(path, any_number=any_number)
    if not isinstance(content, dict):
        raise HtunetError(f"The file {path} must hold a JSON object {{...}}. Make it again or repair it.")
    if schema is not None:
        check_schema(content, schema, str(path))
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _whole_number(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) >= 2**64:
        raise ValueError(f"the number {text[:20]}... is too large")
    return value


def _number(text: str) -> float:
    if abs(value := float(text)) > LARGEST_NUMBER:
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    r"""Write rows as CSV with a header line, whole or not at all; an unknown key raises ValueError.

    Bytes of a file name that are no UTF-8 are written as the texts ``\udc80`` to ``\udcff``; ``safe_cell`` says what
    becomes of texts that a spreadsheet would compute.
    """
    with (
        whole_file(path) as part,
        part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: safe_cell(value) for key, value in row.items()} for row in rows)


def escape_markdown(text: str) -> str:
    r"""Text on one line that Markdown shows as it is; brackets and ``&`` only where they begin something.

    >>> print(escape_markdown("a_b ~1~ [0.5, 0.9] &amp; R&D [here](http://x.org)"))
    a\_b \~1\~ [0.5, 0.9] \&amp; R&D [here\](http://x.org)
    """
    return re.sub(r"[\\`*_<|~]|\](?=[(\[])|&(?=#?\w+;)", r"\\\g<0>", " ".join(text.splitlines()))


def safe_cell(value: Any) -> Any:  # noqa: ANN401
    """A value as it is written into a table: a text that a spreadsheet would compute begins with an apostrophe.

    Numbers stay as they are, written as texts too. ``plain_cell`` takes the apostrophe away.

    >>> safe_cell("=1+1"), safe_cell("-0.5"), safe_cell("benign"), safe_cell(-3)
    ("'=1+1", '-0.5', 'benign', -3)
    """
    if not isinstance(value, str) or not value.lstrip("'").startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def plain_cell(text: str) -> str:
    """The text that ``safe_cell`` was given.

    >>> [plain_cell(safe_cell(text)) for text in ("=1+1", "'=1+1", "'quoted'", "-0.5")]
    ['=1+1', "'=1+1", "'quoted'", '-0.5']
    """
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text


def read_csv(
    path: Path, columns: Sequence[str], older: Mapping[str, str] | None = None, *, any_delimiter: bool = False
) -> list[dict[str, str]]:
    """All rows of a CSV, as ``csv_rows`` gives them."""
    return list(csv_rows(path, columns, older, any_delimiter=any_delimiter))


def csv_rows(
    path: Path, columns: Sequence[str], older: Mapping[str, str] | None = None, *, any_delimiter: bool = False
) -> Iterator[dict[str, str]]:
    """Rows of a CSV as text; raises HtunetError when the file, one of ``columns`` or a row's value is missing.

    ``older`` gives names that columns had in earlier versions their present ones: ``{"part": "split"}``. With
    ``any_delimiter`` it may be a table as spreadsheets save it: with semicolons or tabs, in UTF-16, with blanks or
    nothing behind a delimiter, with rows that hold nothing, which are left out.
    """
    try:
        # as bytes: a StringIO takes four for each character
        stream = io.TextIOWrapper(io.BytesIO(read_text(path).encode()), "utf-8", newline="")
        delimiter, header = ",", stream.readline() if any_delimiter else ""
        if named := SEPARATOR.match(header):
            delimiter = named[1]
        elif any_delimiter:
            # what cuts the header into most columns
            delimiter = max(",;\t|", key=lambda one: len(next(csv.reader([header], delimiter=one), ())))
            stream.seek(0)
        reader = csv.DictReader(stream, delimiter=delimiter, skipinitialspace=any_delimiter)
        reader.fieldnames = found = [(older or {}).get(name, name) for name in reader.fieldnames or []]
        if twice := [column for column in dict.fromkeys(found) if column and found.count(column) > 1]:
            raise HtunetError(f"{path} has the columns {twice} twice. Keep one of each.")
        if missing := [column for column in columns if column not in found]:
            raise HtunetError(f"{path} lacks the columns {missing}; it has {list(found)}.")
        for number, row in enumerate(reader, start=1):
            if number > MOST_ROWS:
                raise HtunetError(f"{path} has more than {MOST_ROWS} rows. Cut it into several files.")
            beyond = row.pop(None, [])  # the mark for values without a column
            if None in row.values() or (beyond and not any_delimiter) or any(value.strip() for value in beyond):
                way_out = "Correct it" + " (R: row.names = FALSE)" * bool(beyond)
                raise HtunetError(
                    f"{path}, row {number} below the header, must have {len(found)} values, as the header "
                    f"({shortened(', '.join(found))}). {way_out}."
                )
            if not any_delimiter or any(value.strip() for value in row.values()):
                yield {key: plain_cell(value) for key, value in row.items()}
    except csv.Error as error:
        raise HtunetError(f"The file {path} is not a CSV ({error}). Save it as one, in UTF-8.") from None


def read_numbers(path: Path, columns: Sequence[str]) -> dict[str, dict[int, float]]:
    """Of each column of a progress.csv its numbers by ``epoch``; raises HtunetError as ``read_csv``.

    Empty cells are left out, and so are NaN and infinities, which a training may write that diverges.
    """
    found: dict[str, dict[int, float]] = {column: {} for column in columns}
    for row in read_csv(path, ("epoch", *columns)):
        try:
            at = _whole_number(row["epoch"])
            values = {column: float(row[column]) for column in columns if row[column]}
        except ValueError as error:
            raise HtunetError(
                f"{path} holds text where numbers belong ({error}). Make it again or repair it."
            ) from None
        for column, value in values.items():
            if math.isfinite(value):
                found[column][at] = value
    return found
