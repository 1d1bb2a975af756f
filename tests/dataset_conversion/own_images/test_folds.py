"""Official folds and pixel sizes from tables, through to what a plan and an evaluation use."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from builders.own import build_own

from dataset_conversion.common import ConversionReport
from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from htunet.data.measured_case import MeasuredCases
from htunet.data.raw import RawDataset, read_raw
from htunet.data.split_files import save_splits, settle_splits
from htunet.data.verification import verify
from htunet.errors import HtunetError, UsageError
from htunet.paths import DatasetPaths
from htunet.planning.fingerprint import take_fingerprint

NAMES = tuple(f"c{index}" for index in range(6))
CASES = list(NAMES)


def convert(home: Path, values: list[str], header: str = "fold", **changes: Any) -> tuple[ConversionReport, RawDataset]:
    images, masks = build_own(home / "mine", NAMES)
    table = home / "table.csv"
    rows = [f"us\\{name}.PNG;{value}" for name, value in zip(NAMES, values, strict=True)]
    table.write_text("\n".join([f"image;{header}", *rows]) + "\n", encoding="utf-8")
    option = {"spacing_mm": "spacing"}.get(header, "folds")
    report = convert_own(OwnData(**({"name": "Mine", "images": images, "masks": masks, option: str(table)} | changes)))
    return report, read_raw(DatasetPaths(report.dataset))


def folds(raw: RawDataset) -> list[dict[str, list[str]]]:
    return [dict(fold) for fold in settle_splits(raw).splits.folds]


def test_a_split_in_words_becomes_the_split_of_the_plan(home: Path) -> None:
    report, raw = convert(home, ["Training", "train", "validation", "VAL", "test", ""])
    expected = {"train": ["c0", "c1"], "val": ["c2", "c3"], "test": ["c4"]}
    assert folds(raw) == [expected]
    assert [case.id for case in raw.cases if case.split == "test"] == ["c4"]
    assert "1 official fold, which a plan takes: fold 0 has 2 for train, 2 for val, 1 for test" in report.notes
    assert "in no fold, because --folds does not name them: c5" in report.notes


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("Train ", "111001"),
        ("is_test", ["no", "No", "no", "yes", "YES", "no"]),
        ("test", ["False"] * 3 + ["True"] * 2 + ["False"]),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_column_may_say_yes_or_no_of_a_split(home: Path, header: str, values: Sequence[str], named: bool) -> None:
    images, masks = build_own(home / "mine", NAMES)
    table = home / "table.csv"
    rows = [f"{name},{value}" for name, value in zip(NAMES, values, strict=True)]
    table.write_text("\n".join([f"image,{header}", *rows]) + "\n", encoding="utf-8")
    convert_own(OwnData(name="Mine", images=images, masks=masks, folds=f"{table}{f':{header.strip()}' * named}"))
    cases = read_raw(DatasetPaths("Dataset600_Mine")).cases
    assert [case.id for case in cases if case.split == "test"] == ["c3", "c4"]


def test_columns_may_say_yes_or_no_of_each_split(home: Path) -> None:
    images, masks = build_own(home / "mine", NAMES)
    rows = ["c0,1,0,0", "c1,1,0,0", "c2,0,1,0", "c3,0,0,1", "c4,0,0,0"]
    (home / "table.csv").write_text("\n".join(["image,Train,is_val,test", *rows]) + "\n", encoding="utf-8")
    report = convert_own(OwnData(name="Mine", images=images, masks=masks, folds=str(home / "table.csv")))
    assert folds(read_raw(DatasetPaths("Dataset600_Mine"))) == [{"train": ["c0", "c1"], "val": ["c2"], "test": ["c3"]}]
    assert "in no fold, because --folds does not name them: c4, c5" in report.notes


def test_folders_that_are_called_as_splits_are_not_mixed_in_silence(home: Path) -> None:
    names = [f"{part}/{part}{number}" for part in ("Train", "val", "test") for number in range(2)]
    images, masks = build_own(home / "mine", names)
    report = convert_own(OwnData(name="Mine", images=images, masks=masks))
    (note,) = (note for note in report.notes if "folders are called Train, test, val" in note)
    rule = re.search("--folds '(.*)'", note)
    assert rule
    report = convert_own(OwnData(name="Mine", images=images, masks=masks, folds=rule[1]))
    expected = {part.lower(): [f"{part}{number}" for number in range(2)] for part in ("Train", "val", "test")}
    assert folds(read_raw(DatasetPaths("Dataset600_Mine"))) == [expected]
    assert not any("folders are called" in note for note in report.notes)


@pytest.mark.parametrize("values", [["1", "1", "2", "2", "3", "3"], ["0.0", "0.0", "1.0", "1.0", "2.0", "2.0"]])
def test_numbers_become_folds_that_test_each_image_once(home: Path, values: list[str]) -> None:
    _, raw = convert(home, values)
    assert folds(raw) == [
        {"train": ["c4", "c5"], "val": ["c2", "c3"], "test": ["c0", "c1"]},
        {"train": ["c0", "c1"], "val": ["c4", "c5"], "test": ["c2", "c3"]},
        {"train": ["c2", "c3"], "val": ["c0", "c1"], "test": ["c4", "c5"]},
    ]


def test_numbers_beside_a_test_split_validate(home: Path) -> None:
    _, raw = convert(home, ["fold10", "fold10", "fold2", "fold2", "test", "test"])
    assert folds(raw) == [
        {"train": ["c0", "c1"], "val": ["c2", "c3"], "test": ["c4", "c5"]},
        {"train": ["c2", "c3"], "val": ["c0", "c1"], "test": ["c4", "c5"]},
    ]


def test_training_and_test_alone_are_the_data_sets_own_test_split(home: Path) -> None:
    report, raw = convert(home, ["train", "train", "train", "train", "train", "test"])
    assert (folds(raw)[0]["test"], len(folds(raw)), raw.info.split_rule) == (["c5"], 5, "8:2")
    assert not raw.paths.paper_splits_json.exists()
    assert any("names no images for validation" in note for note in report.notes)


def test_a_split_that_is_there_is_kept_and_said(home: Path) -> None:
    paths = DatasetPaths("Dataset600_Mine")
    own = [{"train": ["c0"], "val": ["c1"], "test": ["c2"]}]
    save_splits(paths.splits_json, own)
    report, raw = convert(home, ["train", "train", "val", "val", "test", "test"])
    assert any("has other folds and is kept" in note and "--splits" in note for note in report.notes)
    assert folds(raw) == own


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "1", "2", "2", "val", "train"], "has numbers and also train, val. Write one of both"),
        (["-1", "0", "0", "1", "1", "2"], "has the values -1. Write train, val, test, or numbers"),
        (["1", "1", "x", "y", "2", "2"], "has the values x, y. Write train, val, test, or numbers"),
        (["1", "1", "1", "2", "2", "2"], "leaves fold 0 without images for train: 0 for train, 3 for val, 3 for test"),
        (["val", "val", "val", "val", "test", "test"], "leaves fold 0 without images for train"),
    ],
)
def test_folds_that_cannot_be_meant_leave_no_half_data_set(home: Path, values: list[str], message: str) -> None:
    with pytest.raises(HtunetError, match=message):
        convert(home, values)
    assert not DatasetPaths("Dataset600_Mine").raw.exists()


def test_a_table_gives_each_image_its_pixel_size(home: Path) -> None:
    values = ["0.1", "0,12", "0.1 0.1", "[0.2, 0.2]", "0.1x0.3", "nan"]
    report, raw = convert(home, values, "spacing_mm")
    assert [case.spacing_mm for case in raw.cases] == [0.1, 0.12, 0.1, 0.2, (0.1, 0.3), None]
    assert "pixel sizes from 0.1 to 0.3 mm" in report.notes
    assert any("not square" in note and note.endswith(": 1 image, c4.png") for note in report.notes)
    assert "c4,train,,,c4.png,0.1 0.3" in raw.paths.cases_csv.read_text(encoding="utf-8")
    verify(raw, measured := MeasuredCases(raw.info.channels))
    found = take_fingerprint(raw, "", measured)
    assert (found.spacings[4], found.spacing_mm) == ([999, 0.1, 0.3], {"min": 0.1, "median": 0.12, "max": 0.2})


@pytest.mark.parametrize("value", ["0", "-1", "inf", "x", "0.1 0.1 0.1", "1e999"])
def test_a_pixel_size_that_is_none_is_refused(home: Path, value: str) -> None:
    with pytest.raises(HtunetError, match=r"gives c0\.png the pixel size"):
        convert(home, [value, *["0.1"] * 5], "spacing_mm")
    with pytest.raises(UsageError, match="--spacing is the side of a pixel in millimetres, above 0, or a table; got"):
        convert(home, ["1"] * 6, spacing=value)
