"""Files that somebody else may have written or cut are named in one HtunetError; ours are whole and on the disk."""

import os
from pathlib import Path

import pytest

from htunet.errors import HtunetError
from htunet.files import read_csv, read_json, read_object, whole_file, whole_folder, write_text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"a": NaN}', b"[Infinity]"])
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns"),
        (b"a,b\n1,2\n3\n", "row 2 below the header, must have 2 values"),
        (b"a,b\n1,2,3\n", "row 1 below the header, must have 2 values"),
        (b"a,b\n\xe9,2\n", "is not a CSV in UTF-8"),
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
    with pytest.raises(HtunetError, match="is a folder; a CSV file is needed"):
        read_csv(tmp_path, ("a",))
    with pytest.raises(HtunetError, match="is a folder; a JSON file is needed"):
        read_json(tmp_path)


@pytest.fixture
def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were waited for until they were on the disk, in order."""
    names: list[str] = []

    def note(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which file a descriptor is of")
    monkeypatch.setattr(os, "fsync", note)
    return names


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, waited_for: list[str]) -> None:
    write_text(tmp_path / "a.txt", "a")
    assert waited_for == [".part-a.txt"]


def test_a_folder_gets_its_name_when_all_of_its_files_are_on_the_disk_once(
    tmp_path: Path, waited_for: list[str]
) -> None:
    with whole_folder(tmp_path / "whole") as folder:
        for name in ("a.txt", "deep/b.txt"):
            write_text(folder / name, name)
        (folder / "c.txt").write_text("written by another library")
        assert waited_for == []
    assert sorted(waited_for) == ["a.txt", "b.txt", "c.txt"]


def test_a_folder_in_an_unfinished_folder_is_waited_for_with_that_one(tmp_path: Path, waited_for: list[str]) -> None:
    with whole_folder(tmp_path / "outer") as outer, whole_folder(outer / "inner") as inner:
        write_text(inner / "a.txt", "a")
    assert waited_for == ["a.txt"]


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
