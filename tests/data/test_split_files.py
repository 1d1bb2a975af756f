"""Split files as people edit them."""

from pathlib import Path
from typing import Any

import pytest
from builders.raw import build_raw

from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits, settle_splits
from htunet.errors import HtunetError
from htunet.files import write_json

FOLD = {"train": ["a"], "val": ["b"], "test": ["c"]}


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("value", [3, None, "a", {"a": 1}, [None], [["a"]]])
def test_a_split_that_is_no_list_of_ids_is_refused(tmp_path: Path, split: str, value: Any) -> None:
    write_json(tmp_path / "splits.json", [FOLD, FOLD | {split: value}])
    with pytest.raises(HtunetError, match=f"fold 1: '{split}' must be a list of ids"):
        load_splits(tmp_path / "splits.json")


@pytest.mark.parametrize("record", [{}, {"format": 1}])
def test_a_record_that_lacks_something_is_named_with_the_way_out(home: Path, record: object) -> None:
    raw = read_raw(build_raw(20))
    settle_splits(raw)
    write_json(raw.paths.splits_made_json, record)
    with pytest.raises(HtunetError, match=r"splits_made\.json lacks .*split_by.*Delete it"):
        settle_splits(raw)


def test_a_cross_validation_is_kept_until_another_one_is_asked_for(home: Path) -> None:
    raw = read_raw(build_raw(20))
    assert len(settle_splits(raw).splits.folds) == 10
    assert (len(settle_splits(raw, num_folds=5).splits.folds), settle_splits(raw).status) == (5, "kept")
    assert settle_splits(raw, num_folds=5).status == "kept"
    assert settle_splits(raw, num_folds=4).reason == "its rule was 5 folds, now 4 folds"
