import errno
import re
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dataset_conversion.source import Layout, open_source
from htunet.archives import open_zip, unpack
from htunet.errors import HtunetError, UsageError

LAYOUT = Layout(
    looked_for="a folder with sought.txt",
    is_here=lambda folder: (folder / "sought.txt").exists(),
    member=re.compile("sought"),
)


def make_zip(path: Path, members: dict[str, str | bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("here")
    return path


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where zips are unpacked to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("htunet_raw", str(folder))
    return folder


def test_the_folder_is_found_at_any_depth(tmp_path: Path) -> None:
    put(tmp_path / "in" / "one" / "two" / "sought.txt")
    with open_source(tmp_path / "in", LAYOUT) as folder:
        assert folder == tmp_path / "in" / "one" / "two"
    with open_source(tmp_path / "in" / "one" / "two", LAYOUT) as folder:
        assert folder == tmp_path / "in" / "one" / "two"


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_zip_is_unpacked_and_removed_afterwards(tmp_path: Path, temporary: Path, as_folder: bool) -> None:
    path = make_zip(tmp_path / "in" / "set.zip", {"deep/er/sought.txt": "content"})
    with open_source(path.parent if as_folder else path, LAYOUT) as folder:
        assert (folder / "sought.txt").read_text() == "content"
        assert temporary in folder.parents
    assert list(temporary.iterdir()) == []


def test_a_zip_in_a_zip_is_unpacked(tmp_path: Path, temporary: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"sought.txt": "content"})
    outer = make_zip(tmp_path / "in" / "outer.zip", {"part/inner.zip": inner.read_bytes()})
    with open_source(outer, LAYOUT) as folder:
        assert (folder / "sought.txt").read_text() == "content"
    assert list(temporary.iterdir()) == []


def test_an_error_while_converting_removes_what_was_unpacked(tmp_path: Path, temporary: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"sought.txt": "content"})
    with pytest.raises(RuntimeError), open_source(path, LAYOUT):
        raise RuntimeError("stop")
    assert list(temporary.iterdir()) == []


def test_the_folder_beside_its_zip_is_taken_and_foreign_zips_are_not_unpacked(tmp_path: Path, temporary: Path) -> None:
    put(tmp_path / "in" / "set" / "sought.txt")
    make_zip(tmp_path / "in" / "set.zip", {"sought.txt": ""})
    with open_source(tmp_path / "in", LAYOUT) as folder:
        assert folder == tmp_path / "in" / "set"
        assert list(temporary.iterdir()) == []
    make_zip(tmp_path / "other" / "photos.zip", {"photo.png": ""})
    make_zip(tmp_path / "other" / "set.zip", {"sought.txt": ""})
    with open_source(tmp_path / "other", LAYOUT):
        assert len(list(temporary.iterdir())) == 1


def test_the_shadow_folder_of_macos_is_no_data_set(tmp_path: Path) -> None:
    put(tmp_path / "in" / "__MACOSX" / "sought.txt")
    put(tmp_path / "in" / "real" / "sought.txt")
    with open_source(tmp_path / "in", LAYOUT) as folder:
        assert folder.name == "real"


def test_two_data_sets_in_one_source_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "one" / "sought.txt")
    put(tmp_path / "two" / "sought.txt")
    with pytest.raises(HtunetError, match="2 times"), open_source(tmp_path, LAYOUT):
        pass


def test_a_linked_data_set_is_found_once(tmp_path: Path) -> None:
    put(tmp_path / "store" / "Dataset" / "sought.txt")
    (tmp_path / "mine").mkdir()
    for name in ("Dataset", "again"):
        (tmp_path / "mine" / name).symlink_to(tmp_path / "store" / "Dataset")
    with open_source(tmp_path / "mine", LAYOUT) as folder:
        assert folder == tmp_path / "mine" / "Dataset"


def test_a_missing_source_and_a_file_that_is_no_zip_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"), open_source(tmp_path / "nowhere", LAYOUT):
        pass
    other = put(tmp_path / "set.rar")
    with pytest.raises(UsageError, match="Unpack a tar, 7z or rar yourself"), open_source(other, LAYOUT):
        pass


def test_a_source_without_the_data_set_says_what_was_looked_for_and_which_zip_is_broken(tmp_path: Path) -> None:
    put(tmp_path / "cut_off.zip")
    words = r"Looked for: a folder with sought\.txt\..*cut_off\.zip"
    with pytest.raises(HtunetError, match=words), open_source(tmp_path, LAYOUT):
        pass


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/abs/out.txt", "C:/out.txt", "..\\out.txt"])
def test_names_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "evil.zip", {"sought.txt": "first", name: "bad"})
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    with pytest.raises(HtunetError, match="outside the folder"):
        unpack(path, target)
    assert [child for child in tmp_path.rglob("*") if child.is_file()] == [path]


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "target").mkdir()
    with pytest.raises(HtunetError, match="'link' is a link"):
        unpack(path, tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_a_bomb_is_refused_by_its_ratio_and_by_its_size(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", {f"zeros{number}": bytes(17 * 2**20) for number in range(4)})
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(HtunetError, match="times its own size"):
        unpack(bomb, target)
    with pytest.raises(HtunetError, match=r"claims 0\.0 GB"):
        unpack(make_zip(tmp_path / "large.zip", {"a": bytes(2000)}), target, max_bytes=1000)
    assert list(target.iterdir()) == []


def test_a_member_larger_than_it_claims_is_not_written_in_full(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "liar.zip", {"a": bytes(100_000)})
    declared = (100_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(declared, (10).to_bytes(4, "little")))
    (tmp_path / "target").mkdir()
    with pytest.raises(HtunetError, match="cannot be unpacked"):
        unpack(path, tmp_path / "target")
    assert (tmp_path / "target" / "a").stat().st_size <= 10


def test_a_password_and_a_damaged_zip_are_named(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a": "content " * 50})
    content = bytearray(path.read_bytes())
    content[40] ^= 0xFF
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(content)
    with pytest.raises(HtunetError, match=r"damaged\.zip cannot be unpacked"):
        unpack(damaged, tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    locked = tmp_path / "locked.zip"
    locked.write_bytes(content)
    with pytest.raises(HtunetError, match="has a password"):
        unpack(locked, tmp_path)


@pytest.mark.parametrize(
    ("mode", "words"), [("w", "is a tar archive"), ("w:gz", "is a gzip"), ("w:bz2", "is a bzip2"), ("w:xz", "is a xz")]
)
def test_another_archive_is_named_with_the_way_out(tmp_path: Path, mode: Any, words: str) -> None:
    (tmp_path / "sought.txt").write_text("x")
    path = tmp_path / "model.zip"  # whatever it is called
    with tarfile.open(path, mode) as archive:
        archive.add(tmp_path / "sought.txt", "sought.txt")
    with pytest.raises(HtunetError, match=f"{words}.*Unpack it yourself and name the folder"):
        unpack(path, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"7z\xbc\xaf\x27\x1c\x00", "is a 7z archive"), (b"<html>404</html>", r"is not a zip.*begins with b'<html>40'")],
)
def test_what_is_no_zip_is_said_by_how_it_begins(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    with pytest.raises(HtunetError, match=words):
        unpack(path, tmp_path)


@pytest.mark.parametrize("names", [("",), ("sought.txt", "sought.txt/below"), ("x" * 300,), (".",)])
def test_names_that_no_folder_can_hold_are_an_error_of_the_zip(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "x")
    (tmp_path / "target").mkdir()
    with pytest.raises(HtunetError, match=r"odd\.zip cannot be unpacked"):
        unpack(path, tmp_path / "target")


@pytest.mark.parametrize("again", ["a/sought.txt", "./a/sought.txt", "a//sought.txt", "a\\sought.txt"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_a_zip_holds_twice_is_refused(tmp_path: Path, again: str) -> None:
    """The second file would replace the first one without a word. Names that differ in case are two files."""
    path, target = tmp_path / "twice.zip", tmp_path / "target"
    target.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/sought.txt", "a/Sought.txt", again):
            archive.writestr(name, "x")
    with pytest.raises(HtunetError, match=r"refused: it holds a/sought\.txt more than once"):
        unpack(path, target)
    assert not [*target.iterdir()]


def test_a_zip_with_a_broken_table_of_contents_is_broken(tmp_path: Path) -> None:
    """It ends like a zip, which is all that ``zipfile.is_zipfile`` looks at."""
    path = make_zip(tmp_path / "in" / "set.zip", {"sought.txt": "content"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))
    assert zipfile.is_zipfile(path)
    with pytest.raises(UsageError, match="neither a folder nor a readable zip"), open_source(path, LAYOUT):
        pass
    with pytest.raises(HtunetError, match=r"download them again: .*set"), open_source(path.parent, LAYOUT):
        pass


def test_an_error_of_the_disk_stays_one(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a": "content"})
    with pytest.raises(OSError, match="full"), open_zip(path):
        raise OSError(errno.ENOSPC, "full")
