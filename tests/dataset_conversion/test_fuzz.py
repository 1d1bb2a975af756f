"""Damaged and hostile downloads over all converters: an error of ours or a whole data set, and nothing else.

``HTUNET_FUZZ=2000 pytest tests/dataset_conversion/test_fuzz.py`` takes more inputs; ``builders.fuzz.run`` repeats one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders.busi import build_busi
from builders.fuzz import run
from builders.fuzz.subjects import OWN, SUBJECTS

from dataset_conversion import CONVERTERS
from htunet.cli.convert import main
from htunet.paths import DatasetPaths

INPUTS = int(os.environ.get("HTUNET_FUZZ", "150"))
PEAK_MB = 1500
"""Several times what the largest image that is read takes up; a bomb that is unpacked in memory takes more."""
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What a process of its own saw, which may take 4 GiB of addresses and no more."""
    command = [sys.executable, "-m", "builders.fuzz.run", "0", str(INPUTS)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def test_every_converter_is_damaged() -> None:
    """Also one without a line in ``builders.fuzz.subjects``, over the download of another data set."""
    assert {subject.converter for subject in SUBJECTS.values()} == {*CONVERTERS.names(), OWN}


def test_no_damaged_download_gives_a_traceback_or_half_a_data_set(found: dict[str, Any]) -> None:
    failed = [f"{one['number']} {one['subject']}, {one['done']}: {one['problems']}" for one in found["failed"]]
    assert not failed, f"{len(failed)} of {found['inputs']}:\n" + "\n".join(failed)


def test_the_memory_that_a_download_takes_is_bounded(found: dict[str, Any]) -> None:
    assert found["peak_mb"] < PEAK_MB, found["largest"]


def test_the_damage_is_neither_harmless_nor_always_deadly(found: dict[str, Any]) -> None:
    """Else the inputs would say little of the converters."""
    codes = [code for counts in found["codes"].values() for code, number in counts.items() for _ in range(number)]
    assert 0.3 < codes.count("0") / len(codes) < 0.9
    assert set(found["sound"].values()) == {0}


@pytest.fixture
def converted(home: Path) -> tuple[run.Home, DatasetPaths]:
    build_busi(home / "busi", quirks=False)
    assert main(["BUSI", str(home / "busi"), "--workers", "1"]) == 0
    return run.Home(home), DatasetPaths("Dataset503_BUSI")


def test_a_whole_raw_folder_has_no_problem(converted: tuple[run.Home, DatasetPaths]) -> None:
    home, dataset = converted
    assert run.raw_problems(home, dataset, 0, {}) == []
    assert run.raw_problems(home, dataset, 1, run.tree(home.raw)) == []


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
def test_half_a_data_set_is_seen(converted: tuple[run.Home, DatasetPaths], name: str, problem: str) -> None:
    home, dataset = converted
    (dataset.raw / name).unlink()
    assert problem in str(run.raw_problems(home, dataset, 0, {}))


@pytest.mark.parametrize("name", [".part-new-Dataset503_BUSI/x", "Dataset503_BUSI/.part-x", "elsewhere/x"])
def test_what_is_left_behind_is_seen(converted: tuple[run.Home, DatasetPaths], name: str) -> None:
    home, dataset = converted
    before = run.tree(home.base, home.raw)
    (home.raw / name).parent.mkdir(exist_ok=True)
    (home.raw / name).write_text("x")
    assert run.raw_problems(home, dataset, 0, {})
    assert not run.changed(before, run.tree(home.base, home.raw))


def test_a_failure_that_changes_the_raw_folder_or_anything_else_is_seen(
    converted: tuple[run.Home, DatasetPaths],
) -> None:
    home, dataset = converted
    raw, outside = run.tree(home.raw), run.tree(home.base, home.raw)
    dataset.cases_csv.write_text("changed")
    (home.base / "busi" / "benign" / "benign (1).png").write_bytes(b"changed")
    (home.base / "new.txt").write_text("x")
    assert "cases.csv" in str(run.raw_problems(home, dataset, 1, raw))
    assert len(run.changed(outside, run.tree(home.base, home.raw))) == 2


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
    assert run.spoken_problems(code, printed, errors)
    assert not run.spoken_problems(1, "found 3 images\n", "htunet_convert: error: The zip is refused.\n")
