"""What the attack on converters looks at: each of the harms that it should see is done once."""

from pathlib import Path

import pytest
from builders.busi import build_busi
from builders.fuzz.subjects import OWN, SUBJECTS

from attack import converters
from dataset_conversion import CONVERTERS
from htunet.cli.convert import main
from htunet.paths import DatasetPaths


def test_every_converter_is_damaged() -> None:
    """Also one without a line in ``builders.fuzz.subjects``, over the download of another data set."""
    assert {subject.converter for subject in SUBJECTS.values()} == {*CONVERTERS.names(), OWN}


@pytest.fixture
def converted(home: Path) -> tuple[converters.Home, DatasetPaths]:
    build_busi(home / "busi", quirks=False)
    assert main(["BUSI", str(home / "busi"), "--workers", "1"]) == 0
    return converters.Home(home), DatasetPaths("Dataset503_BUSI")


def test_a_whole_raw_folder_has_no_problem(converted: tuple[converters.Home, DatasetPaths]) -> None:
    home, dataset = converted
    assert converters.raw_problems(home, dataset, 0, {}) == []
    assert converters.raw_problems(home, dataset, 1, converters.tree(home.raw)) == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("labelsTr/benign_0002.png", "cannot be read"),
        ("imagesTr/benign_0002_0000.png", "cannot be read"),
        ("cases.csv", "cannot be read"),
        ("dataset.json", "cannot be read"),
        ("excluded.csv", "missing"),
    ],
)
def test_half_a_data_set_is_seen(converted: tuple[converters.Home, DatasetPaths], name: str, problem: str) -> None:
    home, dataset = converted
    (dataset.raw / name).unlink()
    assert problem in str(converters.raw_problems(home, dataset, 0, {}))


@pytest.mark.parametrize("name", [".part-new-Dataset503_BUSI/x", "Dataset503_BUSI/.part-x", "elsewhere/x"])
def test_what_is_left_behind_is_seen(converted: tuple[converters.Home, DatasetPaths], name: str) -> None:
    home, dataset = converted
    before = converters.tree(home.base, home.raw)
    (home.raw / name).parent.mkdir(exist_ok=True)
    (home.raw / name).write_text("x")
    assert converters.raw_problems(home, dataset, 0, {})
    assert not converters.changed(before, converters.tree(home.base, home.raw))


def test_a_failure_that_changes_the_raw_folder_or_anything_else_is_seen(
    converted: tuple[converters.Home, DatasetPaths],
) -> None:
    home, dataset = converted
    raw, outside = converters.tree(home.raw), converters.tree(home.base, home.raw)
    dataset.cases_csv.write_text("changed")
    (home.base / "busi" / "benign" / "benign (1).png").write_bytes(b"changed")
    (home.base / "new.txt").write_text("x")
    assert "cases.csv" in str(converters.raw_problems(home, dataset, 1, raw))
    assert len(converters.changed(outside, converters.tree(home.base, home.raw))) == 2


@pytest.mark.parametrize(
    ("code", "printed", "errors"),
    [
        (1, "", "htunet_convert: error: unexpected KeyError: 'x'. This is a bug; --debug shows where it happened."),
        (1, "", "Traceback (most recent call last)"),
        (1, "done", ""),
        (130, "", "htunet_convert: error: interrupted."),
        (0, "wrote \x1b[31m", ""),
    ],
)
def test_words_that_no_user_should_see_are_seen(code: int, printed: str, errors: str) -> None:
    assert converters.spoken_problems(code, printed, errors)
    assert not converters.spoken_problems(1, "found 3 images\n", "htunet_convert: error: The zip is refused.\n")
