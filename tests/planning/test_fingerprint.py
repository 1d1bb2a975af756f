"""The fingerprint of a data set that can be counted by hand, and a content hash that misses no byte."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from builders.raw import build_raw
from PIL import Image

from htunet.data.measured_case import MeasuredCases
from htunet.data.raw import RawDataset, read_raw
from htunet.data.verification import verify
from htunet.errors import HtunetError
from htunet.planning.fingerprint import (
    Fingerprint,
    hash_raw,
    load_fingerprint,
    save_fingerprint,
    take_fingerprint,
)


def write(raw: RawDataset, index: int, image: np.ndarray, mask: np.ndarray) -> None:
    Image.fromarray(image).save(raw.image_path(raw.cases[index]))
    Image.fromarray(mask).save(raw.label_path(raw.cases[index]))


def take(raw: RawDataset) -> Fingerprint:
    verify(raw, measured := MeasuredCases(raw.info.channels))
    return take_fingerprint(raw, "abc", measured)


@pytest.fixture
def counted(home: Path) -> Fingerprint:
    """Three images of 20 x 40: two lesions, none, and one whose lesion is gray 10 beside a border of half the image."""
    raw = read_raw(build_raw(3, classes=("benign", "malignant"), sizes=[(20, 40)], groups=2))
    gray, empty = np.full((20, 40), 100, np.uint8), np.zeros((20, 40), np.uint8)
    two = empty.copy()
    two[0:4, 0:8] = two[10:12, 10:20] = 1
    write(raw, 0, gray, two)
    write(raw, 1, gray, empty)
    half, lesion = gray.copy(), empty.copy()
    half[:, 21:] = 0
    lesion[5:15, 5:10] = 1
    half[lesion > 0] = 10
    write(raw, 2, half, lesion)
    return take(raw)


def test_what_can_be_counted(counted: Fingerprint) -> None:
    assert (counted.num_training, counted.num_test, counted.empty_masks) == (3, 0, 1)
    assert counted.height == {"min": 20, "median": 20, "max": 20}
    assert counted.aspect_ratio["median"] == 0.5
    assert counted.lesions_per_image == {"0": 1, "1": 1, "2": 1}
    assert counted.lesion_area == {"min": 50 / 800, "median": 51 / 800, "max": 52 / 800}
    assert counted.classes == {"benign": 2, "malignant": 1}
    assert counted.groups == {"count": 2, "largest": 2, "cases_without": 0}
    assert counted.spacing_mm is None
    assert counted.shapes_after_crop == [[1, 20, 40], [1, 20, 40], [1, 20, 22]]  # one cell of margin
    assert counted.border == {"median": 0, "max": pytest.approx(18 / 40), "cases_wide": 1}
    assert counted.lesion_smaller_side == {"min": 4 / 40, "median": pytest.approx((4 + 5) / 2 / 40), "max": 5 / 40}
    field = {"min": 4 / 40, "median": pytest.approx((0.1 + 5 / 22) / 2), "max": 5 / 22}
    assert counted.lesion_smaller_side_after_crop == field
    assert counted.spacings == [[999, 999, 999]] * 3


def test_intensities_are_those_of_the_pixels(counted: Fingerprint) -> None:
    foreground = counted.foreground_intensity_properties_per_channel
    assert foreground is not None
    pixels = np.array([100] * 52 + [10] * 50)
    assert foreground["0"]["mean"] == pytest.approx(pixels.mean())
    assert foreground["0"]["std"] == pytest.approx(pixels.std())
    assert (foreground["0"]["min"], foreground["0"]["median"], foreground["0"]["max"]) == (10, 100, 100)
    assert counted.intensities["percentile_00_5"] == 0
    assert set(foreground["0"]) == {"max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"}


def test_a_crop_that_would_cost_lesion_is_counted(home: Path) -> None:
    raw = read_raw(build_raw(2, sizes=[(40, 60)]))
    image, mask = np.zeros((40, 60), np.uint8), np.ones((40, 60), np.uint8)
    image[:, :30] = 90
    write(raw, 0, image, mask)
    assert take(raw).cases_losing_lesion == 1


def test_the_test_split_is_not_looked_at(home: Path) -> None:
    raw = read_raw(build_raw(4, test=3, rule="8:2"))
    for case in raw.cases:
        if case.split == "test":
            raw.image_path(case).unlink()
    fingerprint = take(raw)
    assert (len(fingerprint.shapes_after_crop), fingerprint.num_test) == (4, 3)


def test_it_is_strict_json_and_comes_back_equal(counted: Fingerprint, tmp_path: Path) -> None:
    path = tmp_path / "dataset_fingerprint.json"
    save_fingerprint(path, counted)
    json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert load_fingerprint(path) == counted


def test_an_old_or_absent_fingerprint_is_none(counted: Fingerprint, tmp_path: Path) -> None:
    path = tmp_path / "dataset_fingerprint.json"
    assert load_fingerprint(path) is None
    path.write_text('{"format": 0}')
    assert load_fingerprint(path) is None


def test_the_content_hash_sees_one_bit_and_no_time(home: Path) -> None:
    raw = read_raw(build_raw(5))
    before = hash_raw(raw)[0]
    path = raw.label_path(raw.cases[2])
    content, times = path.read_bytes(), path.stat()
    os.utime(path, (1, 1))
    assert hash_raw(raw)[0] == before
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hash_raw(raw)[0] != before
    path.write_bytes(content)
    assert hash_raw(RawDataset(raw.paths, raw.info, raw.cases[::-1]))[0] == before
    assert hash_raw(RawDataset(raw.paths, raw.info, raw.cases[:-1]))[0] != before
    path.unlink()
    assert hash_raw(raw)[0] != before


def test_no_case_is_an_error(home: Path) -> None:
    with pytest.raises(HtunetError, match="lists no case"):
        take(read_raw(build_raw(0)))


@pytest.mark.parametrize("content", ["", "[]", "null", '{"format": 1}'])
def test_a_broken_fingerprint_is_taken_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "fingerprint.json").write_text(content, encoding="utf-8")
    assert load_fingerprint(tmp_path / "fingerprint.json") is None
