"""Files that somebody else may have written or cut are named in one HtunetError; ours are whole and on the disk."""

import csv
import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from dataset_conversion.ddti import read_case
from htunet.archives import unpack
from htunet.data.formats.nifti import open_volume
from htunet.data.image_io import open_image
from htunet.data.measurements import read_measurement
from htunet.data.preprocessed import open_array
from htunet.errors import HtunetError
from htunet.files import (
    PART,
    csv_rows,
    exclusive,
    file_hash,
    open_file,
    read_csv,
    read_json,
    read_json_lines,
    read_object,
    scratch_folder,
    whole_file,
    whole_folder,
    write_csv,
    write_json,
    write_text,
)
from htunet.models.checkpoint import load
from htunet.models.weights.formats import read_state


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[1e999]",
        b"[-1e39]",
        b'["\\ud800"]',
        *(b"1" * n for n in (30, 5000)),
    ],
)
def test_what_is_no_strict_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(HtunetError, match=r"a\.json is not valid JSON"):
        read_json(path)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"'])
def test_json_that_is_no_object_is_refused_where_an_object_is_needed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HtunetError, match=r"a\.json must hold a JSON object"):
        read_object(path)


def test_a_line_that_is_no_object_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n[1]\n', encoding="utf-8")
    with pytest.raises(HtunetError, match=r"a\.jsonl, line 3 must be a JSON object"):
        list(read_json_lines(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns"),
        (b"a,b\n1,2\n3\n", "row 2 below the header, must have 2 values"),
        (b"a,b\n1,2,3\n", "row 1 below the header, must have 2 values"),
        (b"a,b\n\xe9,2\n", "is not text in UTF-8"),
        (b"PK\3\4\x14\0\xe9\0", r"is a workbook or an archive, not text\. Save the table as CSV"),
    ],
)
def test_a_csv_with_missing_or_surplus_values_or_of_another_encoding_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(HtunetError, match=message) as caught:
        read_csv(path, ("a", "b"))
    assert "a.csv" in str(caught.value)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HtunetError, match="is a folder; a file is needed"):
        read_csv(tmp_path, ("a",))
    with pytest.raises(HtunetError, match="is a folder; a file is needed"):
        read_json(tmp_path)


@pytest.fixture
def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was waited for until it was on the disk, in order; ``.part-`` for what is unfinished."""
    names: list[str] = []

    def note(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        names.append(PART if name.startswith(PART) else name)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which file a descriptor is of")
    monkeypatch.setattr(os, "fsync", note)
    return names


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_the_name_after(
    tmp_path: Path, waited_for: list[str]
) -> None:
    write_text(tmp_path / "a.txt", "a")
    assert waited_for == [PART, tmp_path.name]


def test_a_folder_gets_its_name_when_all_of_its_files_are_on_the_disk_once(
    tmp_path: Path, waited_for: list[str]
) -> None:
    with whole_folder(tmp_path / "whole") as folder:
        for name in ("a.txt", "deep/b.txt"):
            write_text(folder / name, name)
        (folder / "c.txt").write_text("written by another library")
        assert waited_for == []
    assert sorted(waited_for[:-1]) == [PART, "a.txt", "b.txt", "c.txt", "deep"]
    assert waited_for[-1] == tmp_path.name


def test_a_folder_in_an_unfinished_folder_is_waited_for_with_that_one(tmp_path: Path, waited_for: list[str]) -> None:
    with whole_folder(tmp_path / "outer") as outer, whole_folder(outer / "inner") as inner:
        write_text(inner / "a.txt", "a")
    assert sorted(waited_for) == sorted([PART, "inner", "a.txt", tmp_path.name])


def test_a_file_that_fails_leaves_nothing_in_an_unfinished_folder_that_goes_on(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "whole") as folder:
        with pytest.raises(TypeError):
            _write_half(folder / "bad.txt")
        write_text(folder / "good.txt", "all of it")
    assert [path.name for path in (tmp_path / "whole").iterdir()] == ["good.txt"]


def _write_half(path: Path) -> None:
    with whole_file(path) as part:
        part.write_text("half")
        raise TypeError


WRITER = """
import sys, time
from pathlib import Path
from htunet.files import whole_file, whole_folder
path = Path(sys.argv[1])
with (whole_folder if sys.argv[2] == "folder" else whole_file)(path) as part:
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not(
    tmp_path: Path, kind: str, *, asked: bool
) -> None:
    """Two processes write; one is killed. The next writer clears after that one alone.

    Not ``asked``: the parent never asks how it ended, so that the system keeps its number.
    """
    processes = []
    for name in ("killed", "running"):
        command = [sys.executable, "-c", WRITER, str(tmp_path / name), kind]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        processes.append(process)
    killed, running = processes
    try:
        killed.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, killed.pid, os.WEXITED | (0 if asked else os.WNOWAIT))
        assert len(list(tmp_path.iterdir())) == 2
        write_text(tmp_path / "next.txt", "next")
        left = sorted(path.name for path in tmp_path.iterdir())
        assert len(left) == 2
        assert left[0].startswith(PART)
        assert left[0].endswith("-running")
        assert left[1] == "next.txt"
    finally:
        running.kill()
        running.wait()


def test_what_an_earlier_version_or_another_machine_left_goes_after_a_day(tmp_path: Path) -> None:
    for name in (".part-a.txt", ".part-new-b", ".part-00000000-1-1-00000000-c.txt", ".part-d.txt"):
        (tmp_path / name).write_text("half")
        old = time.time() - (0 if name == ".part-d.txt" else 25 * 3600)
        os.utime(tmp_path / name, (old, old))
    write_text(tmp_path / "next.txt", "next")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part-d.txt", "next.txt"]


def test_a_folder_that_was_to_be_replaced_gets_its_name_back(tmp_path: Path) -> None:
    """Killed between the two renames: the old folder lies beside its place, the place is empty."""
    old = tmp_path / ".part-old-place"
    old.mkdir()
    (old / "a.txt").write_text("kept")
    os.utime(old, (0, 0))
    with whole_folder(tmp_path / "other") as folder:
        write_text(folder / "b.txt", "b")
    assert (tmp_path / "place" / "a.txt").read_text() == "kept"


@pytest.mark.parametrize("place", [".part-report.html", "report.html"])
def test_a_link_laid_in_the_way_is_not_written_through(tmp_path: Path, place: str) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / place).symlink_to(victim)
    write_text(folder / "report.html", "page")
    assert victim.read_text() == "mine"
    assert (folder / "report.html").read_text() == "page"
    assert not (folder / "report.html").is_symlink()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_lock_file_and_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    import fcntl

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with caplog.at_level(logging.WARNING), exclusive(tmp_path, "The run"):
        assert (tmp_path / ".lock-file").exists()
        with (
            pytest.raises(HtunetError, match=r"The run is in use .* delete .*\.lock-file"),
            exclusive(tmp_path, "The run"),
        ):
            pass
    assert "has no locks" in caplog.text
    assert not (tmp_path / ".lock-file").exists()
    with exclusive(tmp_path, "The run"):
        pass


@pytest.mark.parametrize("moment", ["before the lock file is made", "between its opening and the lock"])
def test_a_folder_that_another_process_removes_meanwhile_is_locked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    import fcntl

    folder, removed = tmp_path / "run", []
    acquire, flock = FileLock.acquire, fcntl.flock

    def remove() -> None:
        if not removed:
            removed.append(True)
            shutil.rmtree(folder)

    def acquiring(*args: object, **options: object) -> object:
        remove()
        return acquire(*args, **options)  # type: ignore[arg-type]

    def locking(*args: object) -> None:
        remove()
        flock(*args)  # type: ignore[arg-type]

    if moment == "before the lock file is made":
        monkeypatch.setattr(FileLock, "acquire", acquiring)
    else:
        monkeypatch.setattr(fcntl, "flock", locking)
    with exclusive(folder, "The run"):
        assert removed
        assert (folder / ".lock").exists()


TEXTS = ["=1+1", "+A1", "-cmd", "@SUM(A1)", "\tx", "'=1", "'quoted'", "plain", "-0.5", "1e-3", "=", ""]


def test_texts_that_a_spreadsheet_would_compute_are_written_as_texts_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, ("name", "value"), [{"name": text, "value": -1.5} for text in TEXTS])
    with path.open(newline="", encoding="utf-8") as stream:
        written = [row["name"] for row in csv.DictReader(stream)]
    computed = [text for text in written if text[:1] in ("=", "+", "-", "@", "\t") and text not in ("-0.5", "1e-3")]
    assert computed == []
    rows = read_csv(path, ("name", "value"))
    assert [row["name"] for row in rows] == TEXTS
    assert {row["value"] for row in rows} == {"-1.5"}


READERS: dict[str, Callable[[Path], object]] = {
    "json": read_json,
    "csv": lambda path: read_csv(path, ()),
    "json lines": lambda path: list(read_json_lines(path)),
    "hash": file_hash,
    "image": open_image,
    "zip": lambda path: unpack(path, path.parent),
    "array": lambda path: open_array(path, 1, 3, ""),
    "measurement": read_measurement,
    "checkpoint": load,
    "weights": read_state,
    "volume": open_volume,
    "xml": read_case,
}


@pytest.mark.parametrize("name", READERS)
def test_a_device_and_a_pipe_are_refused_unread_by_every_reader(name: str, tmp_path: Path) -> None:
    ending = {"image": ".png", "volume": ".nii", "weights": ".safetensors"}.get(name, "")
    endless, pipe = tmp_path / f"endless{ending}", tmp_path / f"pipe{ending}"
    endless.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    for path in (endless, pipe):
        with pytest.raises(HtunetError, match=f"{path.name}.* is a device or a pipe"):
            READERS[name](path)
    with pytest.raises(HtunetError, match="is a folder; a file is needed"):
        READERS[name](tmp_path)


def test_scratch_is_removed_after_use_and_after_a_kill(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as scratch:
        write_text(scratch / "a", "text")
        assert scratch.parent == tmp_path
    assert not list(tmp_path.iterdir())
    code = (
        f"import os, pathlib, htunet.files as f; c = f.scratch_folder(pathlib.Path({str(tmp_path)!r})); c.__enter__()"
    )
    subprocess.run([sys.executable, "-c", f"{code}; os._exit(9)"], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with scratch_folder(tmp_path) as scratch:
        assert list(tmp_path.iterdir()) == [scratch]


def test_a_file_is_asked_for_no_more_bytes_than_it_has(tmp_path: Path) -> None:
    """Python sets aside what is asked for; a header may claim anything."""
    (tmp_path / "a").write_bytes(b"abc" * 2**19)
    tracemalloc.start()
    with open_file(tmp_path / "a") as stream:
        assert (len(stream.read(2**33)), stream.read(2**33), stream.read()) == (3 * 2**19, b"", b"")
        stream.seek(1)
        assert (stream.read(2), stream.read(0), len(stream.read(None))) == (b"bc", b"", 3 * 2**19 - 3)
        stream.seek(2**40)
        assert stream.read(2**33) == b""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24
    with open_file(tmp_path / "a", 8) as stream:
        assert stream.read(8) == b"abcabcab"
        for size in (9, -1, None):
            with pytest.raises(ValueError, match="claims"):
                stream.read(size)


def test_rows_and_objects_of_a_large_file_are_held_one_by_one(tmp_path: Path) -> None:
    table, folds = tmp_path / "cases.csv", tmp_path / "folds.json"
    table.write_text("id,text\n" + "".join(f"case_{number},{'x' * 40}\n" for number in range(5000)), encoding="utf-8")
    write_json(folds, [{"name": str(number), "train": [f"case_{n}" for n in range(2000)]} for number in range(10)])
    tracemalloc.start()
    assert sum(row["text"] == "x" * 40 for row in csv_rows(table, ("id",))) == 5000
    rows = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    assert read_json(folds, kept=("name", "task")) == [{"name": str(number)} for number in range(10)]
    names = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows < 3 * table.stat().st_size  # 7.8 times where all rows are in a list
    assert names < 3 * folds.stat().st_size  # 4.6 times where all ids are held
