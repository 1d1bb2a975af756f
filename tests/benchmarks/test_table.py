"""The page of the benchmarks is what their results say, a ratio is that of one round, and nothing measured is lost."""

import json
import mmap
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import __main__ as table
from benchmarks import rows
from benchmarks.__main__ import PAGE, RESULTS, cells, page
from benchmarks.measure import Row, compared, peak_gb, row_of, with_ceiling

ROW = {"what": "a step", "unit": "images/s", "ours": 9.126, "alternative": "a loop", "other": 3.6923}


def test_the_page_is_made_from_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(json.loads(RESULTS.read_text(encoding="utf-8")))


def test_a_row_says_both_speeds_the_ratio_with_its_range_and_the_memory() -> None:
    row = ROW | {"ratios": [2.507, 2.38, 2.61], "memory_gb": 1.254}
    assert cells(row) == ["a step", "9.13 images/s", "3.69 images/s: a loop", "2.51 (2.38-2.61)", "", "1.25 GB"]
    with_ceiling = row | {"ceiling": 13.04, "shares": (0.7, 0.684, 0.71)}
    assert cells(with_ceiling)[4] == "13 images/s, reached: 70% (68%-71%)"
    assert cells(row | {"other_memory_gb": 2.508})[-1] == "1.25 GB, 0.50 times"
    alone = ROW | {"alternative": "", "other": None, "ratios": None, "memory_gb": None}
    assert cells(alone) == ["a step", "9.13 images/s", "", "", "", ""]
    assert cells(alone | {"alternative": "MONAI: not measured"})[2] == "MONAI: not measured"


def test_ratios_are_taken_within_a_round() -> None:
    row = row_of("x", "images/s", 8, [1.0, 2.0, 4.0], "y", [3.0, 4.0, 4.0])
    assert row.ours == 4.0  # 8 images in the median of 2 s
    assert row.other == 2.0
    assert row.ratios == (2.0, 1.0, 3.0)
    assert (row.ceiling, row.shares) == (None, None)


def test_a_share_of_the_ceiling_is_taken_within_a_round_too() -> None:
    ours = [1.0, 2.0, 4.0]
    row = with_ceiling(row_of("x", "images/s", 8, ours, "y", [3.0] * 3), ours, [0.9, 1.0, 1.0])
    assert row.ceiling == 8.0  # 8 images in the median of 1 s
    assert row.shares == (0.5, 0.25, 0.9)
    products = iter([1.0, 2.0])
    assert compared("x", "images/s", 8, 2, int, "y", int, ceiling=lambda: next(products)).ceiling == 8 / 1.5


def test_a_ratio_is_one_of_equal_times_for_an_image() -> None:
    row = row_of("x", "images/s", 100, [20.0], "y", [1.0], other_amount=10)
    assert (row.ours, row.other) == (5.0, 10.0)
    assert row.ratios == (0.5, 0.5, 0.5)


def hold() -> None:
    """200 MB that are no part of what the process has freed and kept."""
    with mmap.mmap(-1, 200_000_000) as memory:
        for place in range(0, len(memory), mmap.PAGESIZE):
            memory[place] = 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has held at most")
def test_the_peak_is_that_of_the_action_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    before, much = peak_gb(int), peak_gb(hold)
    assert before is not None
    assert much is not None
    assert 0.19 < much - before < 0.25
    with pytest.raises(RuntimeError, match="failed"):
        peak_gb(lambda: 1 // 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert peak_gb(int) is None


def section(*found: dict[str, Any]) -> dict[str, Any]:
    return {"steps": {"title": "Steps", "rows": list(found)}}


def measured(what: str, day: str = "2026-01-02", other: float | None = 2.0) -> dict[str, Any]:
    about = {"machine": "a machine, 3 rounds", "measured": f"{day} 09:30", "part": "UNet", "memory_gb": None}
    return ROW | about | {"what": what, "other": other, "ratios": (2.0, 2.0, 2.0) if other else None}


def test_rows_of_another_date_or_machine_stand_under_their_own() -> None:
    old, new = measured("a step"), measured("another", "2026-03-04")
    text = page(section(old, measured("a second"), new, new | {"machine": "b machine"}))
    assert [line for line in text.splitlines() if "machine, " in line or line == "b machine, 2026-03-04."] == [
        "a machine, 3 rounds, 2026-01-02.",
        "a machine, 3 rounds, 2026-03-04.",
        "b machine, 2026-03-04.",
    ]
    assert text.count("| what | htunet | otherwise | ratio |\n|") == 3  # no column without a value


def test_what_was_not_measured_again_stays() -> None:
    before = [measured("a") | {"part": "another"}, measured("b"), measured("b", other=1.0), measured("c"),
              measured("d", other=None), measured("e")]  # fmt: skip
    absent = measured("c", "2026-03-04", other=None) | {"alternative": "MONAI: not measured"}
    after = table.merged(before, [measured("b", "2026-03-04"), absent, measured("d", "2026-03-04")])
    found = [(row["what"], row["measured"][:10], row["other"]) for row in after]
    assert found == [
        ("a", "2026-01-02", 2.0),
        ("c", "2026-01-02", 2.0),  # its alternative is not here now
        ("b", "2026-03-04", 2.0),  # "e" was of the same part, which has no such row any more
        ("d", "2026-03-04", 2.0),
    ]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """Runs the command with two parts of one section, and returns the parts that it measured."""
    done = list[str]()

    def part(name: str) -> Callable[[int], Iterator[Row]]:
        def measure(rounds: int) -> Iterator[Row]:
            done.append(name)
            if name == "broken":
                raise RuntimeError("no memory left")
            yield Row(what=f"a step of {name}", unit="images/s", ours=float(len(done)), alternative="a loop", other=1.0,
                      ratios=(1.0, 1.0, 1.0))  # fmt: skip

        return measure

    def run(*options: str, parts: tuple[str, ...] = ("UNet", "CLIP")) -> list[str]:
        done.clear()
        monkeypatch.setattr(rows, "SECTIONS", {"steps": {name: part(name) for name in parts}})
        monkeypatch.setattr(sys, "argv", ["benchmarks", *options])
        table.main()
        return list(done)

    monkeypatch.setattr(table, "RESULTS", tmp_path / "performance.json")
    monkeypatch.setattr(table, "PAGE", tmp_path / "performance.md")
    return run


def test_a_run_that_was_cut_short_goes_on_after_the_last_part(bench: Callable[..., list[str]]) -> None:
    with pytest.raises(RuntimeError, match="no memory left"):
        bench("--write", parts=("UNet", "broken"))
    assert bench("--write", "--resume", parts=("UNet", "CLIP")) == ["CLIP"]
    assert bench("--write", "--resume", "--rounds", "2") == ["UNet", "CLIP"]  # another number of rounds
    stored = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    assert [row["what"] for row in stored["steps"]["rows"]] == ["a step of UNet", "a step of CLIP"]
    assert table.PAGE.read_text(encoding="utf-8") == page(stored)
    for row in stored["steps"]["rows"]:
        row["measured"] = str(datetime.now() - timedelta(hours=table.RESUMED_HOURS, minutes=2))
    table.RESULTS.write_text(json.dumps(stored), encoding="utf-8")
    assert bench("--write", "--resume", "--rounds", "2") == ["UNet", "CLIP"]  # of another day


def test_parts_can_be_measured_alone(bench: Callable[..., list[str]]) -> None:
    assert bench("--parts", "CLIP") == ["CLIP"]


def test_nothing_is_written_unless_it_is_asked_for(bench: Callable[..., list[str]]) -> None:
    assert bench() == ["UNet", "CLIP"]
    assert not table.RESULTS.exists()
    assert not table.PAGE.exists()


def test_each_stored_row_is_of_a_part_that_can_be_measured_again() -> None:
    for name, stored in json.loads(RESULTS.read_text(encoding="utf-8")).items():
        assert {row["part"] for row in stored["rows"]} <= rows.SECTIONS[name].keys()
