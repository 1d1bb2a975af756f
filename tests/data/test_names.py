"""Ids from names as people have them: safe, and the same on every machine and for every run."""

import re

import pytest

from htunet.data.names import LONGEST_ID, cleaned, name_finder, printable, unique_ids


@pytest.mark.parametrize(
    ("name", "expected"),
    [("benign (3)", "benign_3"), ("a..b", "a_b"), ("  x  ", "x"), ("Ärztin", "Arztin"), ("a__b", "a_b"), ("-x-", "x")],
)
def test_what_can_be_spelled_is_spelled(name: str, expected: str) -> None:
    assert cleaned(name) == expected


@pytest.mark.parametrize("name", ["乳腺 1", "..", "", "\n", "x" * 300, "a\udcff", "患者/甲"])
def test_any_name_becomes_a_safe_id(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", cleaned(name))
    assert len(cleaned(name)) <= LONGEST_ID
    assert cleaned(name) == cleaned(name)


def test_names_that_lose_their_letters_stay_different() -> None:
    assert cleaned("乳腺 1") != cleaned("甲状 1")


def test_equal_stems_are_told_apart_by_their_folders_and_else_numbered() -> None:
    names = ["a/1.png", "b/1.png", "x.png", "X.jpg", "a_1.png", "only.png"]
    ids, renamed = unique_ids(names, [""] * 6)
    assert ids == ["a_1", "b_1", "x", "X_2", "a_1_2", "only"]
    assert [name for name, _ in renamed] == ["a/1.png", "b/1.png", "X.jpg", "a_1.png"]


def test_a_test_split_with_the_names_of_the_training_split_has_its_own_ids() -> None:
    assert unique_ids(["1.png", "1.png"], ["", "test"])[0] == ["1", "test_1"]


def test_a_printed_name_is_one_line_of_valid_text() -> None:
    text = printable("a\nb\tc\udcff乳")
    assert text == "a\\nb\\tc\\udcff乳"
    text.encode("utf-8")


def test_an_image_of_another_folder_is_another_image() -> None:
    """The image that is meant was left out; the one of the same name is not its."""
    find = name_finder(["malignant/7.png", "malignant/8.png", "benign/9.png", "benign/10.png"])
    assert [find(text) for text in ("benign/7.png", "data\\Benign\\7", "malignant/9.png", "7.png")] == [
        *(None, None, None),
        "malignant/7.png",
    ]
    for text in ("malignant/7.png", "D:\\benign\\set\\Malignant\\7", "renamed/7.PNG", "x/malignant/7", "7"):
        assert find(text) == "malignant/7.png"
    find = name_finder(["malignant/7.png", "benign/7.png", "benign/v.1.png"])
    for text in ("malignant/7", "malignant/7.JPG", "D:\\set\\Malignant\\7.bmp"):
        assert find(text) == "malignant/7.png"
    assert [find(text) for text in ("7", "7.png", "other/7", "benign/v.1")] == [None, None, None, "benign/v.1.png"]
    find = name_finder(["benign/images/1.png", "malignant/images/2.png"])
    assert [find(text) for text in ("benign/1.png", "images/benign/1.png", "benign/2.png")] == [
        *["benign/images/1.png"] * 2,
        None,
    ]
