"""Arrays that are broken or not there: the error names the command that makes exactly these."""

from pathlib import Path

import numpy as np
import pytest
from builders.run import build_dataset

from htunet.data.preprocessed import PreprocessedDataset
from htunet.errors import HtunetError

COMMAND = "htunet_plan_and_preprocess -d Dataset903_Tiny --plan paper"


@pytest.fixture
def folder(home: Path) -> Path:
    return build_dataset().plan_folder("paper")


def test_a_plan_that_is_not_preprocessed_is_said_with_its_command(folder: Path) -> None:
    (folder / "preprocessed.json").unlink()
    with pytest.raises(HtunetError, match=COMMAND):
        PreprocessedDataset(folder)


@pytest.mark.parametrize("content", [b"", b"no array", None])
@pytest.mark.parametrize("name", ["images", "masks"])
def test_a_broken_array_is_named(folder: Path, name: str, content: bytes | None) -> None:
    path = folder / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(HtunetError, match=f"{name}.npy is missing or broken.*{COMMAND}"):
        getattr(PreprocessedDataset(folder), name)


def test_a_case_list_with_a_value_that_is_no_number_is_named(folder: Path) -> None:
    path = folder / "cases.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",40,50,", ",40,x,", 1), encoding="utf-8")
    with pytest.raises(HtunetError, match=f"cases.csv, case_0000: .*'x'.*{COMMAND}"):
        PreprocessedDataset(folder)


def test_missing_cases_are_named_with_the_command(folder: Path) -> None:
    with pytest.raises(HtunetError, match=rf"lacks the cases \['nobody'\].*{COMMAND}"):
        PreprocessedDataset(folder).rows(["nobody"])


def test_masks_are_read_one_after_another_without_a_map(folder: Path) -> None:
    arrays = PreprocessedDataset(folder)
    assert np.array_equal(list(arrays.each_mask()), arrays.masks)
    with (folder / "masks.npy").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x02")
    arrays.check_masks(3)
    with pytest.raises(HtunetError, match=r"masks\.npy holds the value 2; there are 2 labels"):
        arrays.check_masks(2)
