"""The arrays of one plan, as preprocessing writes them and training, inference and evaluation read them.

PLAN/  images.npy (N, C, H, W) uint8   masks.npy (N, H, W) uint8, 0..K   cases.csv   preprocessed.json
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from htunet.errors import HtunetError
from htunet.files import read_csv

COLUMNS = ("id", "class", "group", "height", "width", "top", "left", "crop_height", "crop_width")


@dataclass(frozen=True)
class CaseGeometry:
    """How one original image became one array row: cropped to (top, left, crop_height, crop_width), then resized."""

    id: str
    class_name: str
    group: str
    original_hw: tuple[int, int]
    top: int
    left: int
    crop_hw: tuple[int, int]


class PreprocessedDataset:
    """Read-only view of one plan's arrays; opening costs nothing, pages are read when touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "preprocessed.json").exists():
            raise HtunetError(f"{folder} is not preprocessed: run htunet_plan_and_preprocess -d NAME first.")
        self.cases = [_geometry(row) for row in read_csv(folder / "cases.csv", COLUMNS)]
        self.index = {case.id: row for row, case in enumerate(self.cases)}

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """(N, C, H, W), memory-mapped."""
        return np.load(self.folder / "images.npy", mmap_mode="r")

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """(N, H, W), memory-mapped."""
        return np.load(self.folder / "masks.npy", mmap_mode="r")

    def rows(self, ids: list[str]) -> list[int]:
        """Array rows of the cases; an id that is not there raises HtunetError."""
        if missing := [case for case in ids if case not in self.index]:
            raise HtunetError(f"{self.folder} lacks the cases {missing[:5]}: preprocess the data set again.")
        return [self.index[case] for case in ids]


def _geometry(row: dict[str, str]) -> CaseGeometry:
    number = {key: int(row[key]) for key in COLUMNS[3:]}
    return CaseGeometry(
        id=row["id"],
        class_name=row["class"],
        group=row["group"],
        original_hw=(number["height"], number["width"]),
        top=number["top"],
        left=number["left"],
        crop_hw=(number["crop_height"], number["crop_width"]),
    )
