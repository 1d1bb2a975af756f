"""The page of the benchmarks is what their results say, and a ratio is that of one round."""

import json

from benchmarks.__main__ import PAGE, RESULTS, cells, page
from benchmarks.measure import row_of

ROW = {"what": "a step", "unit": "images/s", "ours": 9.126, "alternative": "a loop", "other": 3.6923}


def test_the_page_is_made_from_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(json.loads(RESULTS.read_text(encoding="utf-8")))


def test_a_row_says_both_speeds_the_ratio_with_its_range_and_the_memory() -> None:
    row = ROW | {"ratios": [2.507, 2.38, 2.61], "memory_gb": 1.254}
    assert cells(row) == ["a step", "9.13 images/s", "3.69 images/s: a loop", "2.51 (2.38-2.61)", "1.25 GB"]
    assert cells(row | {"other_memory_gb": 2.508})[-1] == "1.25 GB, 0.50 times"
    alone = ROW | {"alternative": "", "other": None, "ratios": None, "memory_gb": None}
    assert cells(alone) == ["a step", "9.13 images/s", "", "", ""]
    assert cells(alone | {"alternative": "MONAI: not measured"})[2] == "MONAI: not measured"


def test_ratios_are_taken_within_a_round() -> None:
    row = row_of("x", "images/s", 8, [1.0, 2.0, 4.0], "y", [3.0, 4.0, 4.0])
    assert row.ours == 4.0  # 8 images in the median of 2 s
    assert row.other == 2.0
    assert row.ratios == (2.0, 1.0, 3.0)


def test_a_ratio_is_one_of_equal_times_for_an_image() -> None:
    row = row_of("x", "images/s", 100, [20.0], "y", [1.0], other_amount=10)
    assert (row.ours, row.other) == (5.0, 10.0)
    assert row.ratios == (0.5, 0.5, 0.5)
