"""Ids from names as people have them: safe, and the same on every machine and for every run."""

import re

import pytest

from htunet.data.names import LONGEST_ID, cleaned, printable, unique_ids


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
