"""A raw folder's index as people edit it: one HtunetError that names the file, the key and the value."""

import re
from pathlib import Path
from typing import Any

import pytest
from builders.raw import build_raw

from htunet.data.raw import Excluded, read_excluded, read_raw
from htunet.errors import HtunetError
from htunet.files import read_json, write_json
from htunet.paths import DatasetPaths


@pytest.fixture
def dataset(home: Path) -> DatasetPaths:
    return build_raw(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foo": 1}, "the key 'foo' is not known"),
        ({"labels": [0, 1]}, "labels must be an object {...}, got [0, 1]"),
        ({"labels": {"background": 0}}, "labels must be numbered 0 (background), 1, 2"),
        ({"labels": {"background": 0, "lesion": 255}}, "labels must be numbered 0 (background), 1, 2"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "labels.whole must be a whole number, got [1, 2]"),
        ({"channels": "x"}, "channels must be a whole number, got 'x'"),
        ({"channels": 2}, "channels must be 1 (gray) or 3 (RGB), got 2"),
        ({"classes": ["benign"]}, "classes must be an object"),
    ],
)
def test_our_block_of_dataset_json_is_checked(dataset: DatasetPaths, change: dict[str, Any], message: str) -> None:
    content = read_json(dataset.dataset_json)
    write_json(dataset.dataset_json, content | {"htunet": content["htunet"] | change})
    with pytest.raises(HtunetError, match=re.escape(message)) as caught:
        read_raw(dataset)
    assert str(dataset.dataset_json) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must hold a JSON object"),
        ({}, "lacks the object 'channel_names'"),
        ({"channel_names": {"0": "US"}, "labels": []}, "lacks the object 'labels'"),
        ({"htunet": None}, "must be a JSON object"),
    ],
)
def test_a_dataset_json_of_another_shape_is_refused(dataset: DatasetPaths, content: object, message: str) -> None:
    write_json(dataset.dataset_json, content)
    with pytest.raises(HtunetError, match=message):
        read_raw(dataset)


def test_nnunets_own_dataset_json_is_read_as_it_is(dataset: DatasetPaths) -> None:
    content = read_json(dataset.dataset_json)
    del content["htunet"]
    write_json(dataset.dataset_json, content)
    info = read_raw(dataset).info
    assert (info.channels, info.labels) == (1, {"background": 0, "lesion": 1})


@pytest.mark.parametrize("value", ["abc", "-1", "0", "nan", "inf", "0.1 0.2 0.3", "0.1 0"])
def test_a_pixel_size_is_a_number_above_zero(dataset: DatasetPaths, value: str) -> None:
    text = dataset.cases_csv.read_text(encoding="utf-8")
    dataset.cases_csv.write_text(text.replace(",0.png,\n", f",0.png,{value}\n"), encoding="utf-8")
    with pytest.raises(
        HtunetError,
        match=rf"case_0000: spacing_mm must be empty .* above 0 .*, got '{value}'",
    ):
        read_raw(dataset)


@pytest.mark.parametrize("name", ["excluded.csv", "left_out.csv"])
def test_the_table_of_excluded_files_is_read_under_its_present_and_its_former_name(
    dataset: DatasetPaths, name: str
) -> None:
    dataset.excluded_csv.unlink(missing_ok=True)
    (dataset.raw / name).write_text("source,class,reason\na.png,benign,broken\n", encoding="utf-8")
    assert read_excluded(dataset) == [Excluded(source="a.png", class_name="benign", reason="broken")]
