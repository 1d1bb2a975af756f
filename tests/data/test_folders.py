"""Which files of a folder are found, at any depth."""

import os
from pathlib import Path

import pytest

from htunet.data.folders import files_in, walk
from htunet.errors import HtunetError, UsageError


def test_values_beside_the_header_of_an_image_are_no_file_of_their_own(tmp_path: Path) -> None:
    for name in ("a.mhd", "a.raw", "b.nhdr", "b.raw.gz", "c.raw", "s/a.zraw"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = files_in(tmp_path, lambda path: path.suffix in (".mhd", ".nhdr"))
    assert found == (["a.mhd", "b.nhdr"], ["c.raw", "s/a.zraw"])


def test_hidden_files_and_another_tree_are_passed_over(tmp_path: Path) -> None:
    passed_over = ("a/.1.png", ".git/x.png", "__MACOSX/1.png", "@eaDir/1.png/THUMB.png", "$RECYCLE.BIN/1.png")
    for name in ("a/1.png", *passed_over, "masks/1.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    found = files_in(tmp_path, lambda path: path.suffix == ".png", without=[tmp_path / "masks"])
    assert found == (["a/1.png"], ["notes.txt"])
    around = files_in(tmp_path / "masks", lambda path: path.suffix == ".png", without=[tmp_path, tmp_path / "masks"])
    assert around == (["1.png"], [])
    with pytest.raises(UsageError, match="is not a folder"):
        files_in(tmp_path / "nowhere", lambda _: True)


def test_linked_folders_are_followed_and_a_circle_ends(tmp_path: Path) -> None:
    images, store = tmp_path / "images", tmp_path / "store"
    for place in (images / "benign", store):
        place.mkdir(parents=True)
    (images / "benign" / "a.png").touch()
    (store / "b.png").touch()
    (images / "malignant").symlink_to(store)
    (store / "round").symlink_to(images)
    assert files_in(images, lambda path: path.suffix == ".png") == (["benign/a.png", "malignant/b.png"], [])


def test_the_folder_of_the_masks_is_passed_over_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "masks").mkdir()
    for name in ("a.png", "masks/a.png"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    for without in (Path("masks"), tmp_path / "masks"):
        assert files_in(Path(), lambda path: path.suffix == ".png", without=[without])[0] == ["a.png"]


def test_a_walk_goes_through_links_and_never_in_a_circle(tmp_path: Path) -> None:
    for place in ("a/b", "c", ".hidden", "__MACOSX"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "a" / "c").symlink_to(tmp_path / "c")
    (tmp_path / "c" / "a").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "b" / "gone").symlink_to(tmp_path / "nowhere")
    found = {place.relative_to(tmp_path).as_posix(): files for place, _, files in walk(tmp_path)}
    assert found == {".": [], "a": [], "a/b": ["gone"], "a/c": [], "c": [], "c/a": [], "c/a/b": ["gone"]}


def test_folders_may_be_as_deep_as_the_system_allows(tmp_path: Path) -> None:
    """Deeper than Python's own calls may be; the way above each folder was once looked up anew in each."""
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.symlink("itself", "itself", dir_fd=place)
    os.close(place)
    places = list(walk(tmp_path))
    assert len(places) == 1201
    assert places[-1][2] == ["itself"]
    for folder, _, names in reversed(places):  # pytest's own removal calls itself for each
        for name in names:
            (folder / name).unlink()
        folder.rmdir()


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").touch()
    scandir = os.scandir

    def refused(place: Path) -> object:
        if Path(place).name == "closed":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(HtunetError, match=r"closed cannot be read \(Permission denied\).* Change its permissions"):
        files_in(tmp_path, lambda _: True)
