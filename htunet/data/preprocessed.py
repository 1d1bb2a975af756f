"""The arrays of one plan, as preprocessing writes them and training, inference and evaluation read them.

PLAN/  images.npy (N, C, H, W) uint8   masks.npy (N, H, W) uint8, 0..K   cases.csv   preprocessed.json
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.errors import HtunetError, counted
from htunet.files import check_file, csv_rows, read_object
from htunet.paths import AS_PUBLISHED, DatasetPaths
from htunet.records import checked_object

COLUMNS = ("id", "class", "group", "height", "width", "top", "left", "crop_height", "crop_width")


@dataclass(frozen=True, slots=True)
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
    """Read-only view of one plan's arrays; opening costs nothing, pages are read when touched.

    ``classes`` (name to index) numbers the classes of the cases for ``class_indices``.
    """

    def __init__(self, folder: Path, classes: Mapping[str, int] | None = None) -> None:
        self.folder, self.masks_npy = folder, folder / "masks.npy"
        self.classes = dict(classes or {})
        if not (folder / "preprocessed.json").exists():
            raise HtunetError(f"{folder} is not preprocessed. {_again(folder)}")
        cases = folder / "cases.csv"
        self.cases = [_geometry(row, cases) for row in csv_rows(cases, COLUMNS)]

    @cached_property
    def index(self) -> dict[str, int]:
        """Id to row."""
        return {case.id: row for row, case in enumerate(self.cases)}

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """(N, C, H, W), memory-mapped."""
        return open_array(self.folder / "images.npy", len(self.cases), 4, _again(self.folder))

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """(N, H, W), memory-mapped."""
        return open_array(self.masks_npy, len(self.cases), 3, _again(self.folder))

    def each_mask(self) -> Iterator[NDArray[np.uint8]]:
        """(H, W) of one case after another; read, because all pages of a map that are touched count as memory."""
        masks: Any = self.masks
        with self.masks_npy.open("rb") as stream:
            stream.seek(masks.offset)
            for _ in self.cases:
                yield np.frombuffer(stream.read(masks[0].nbytes), np.uint8).reshape(masks.shape[1:])

    def check_masks(self, num_labels: int) -> None:
        """Raise HtunetError where a mask holds a value that is no label: a loss would be wrong, or end in CUDA."""
        if (largest := max((int(mask.max()) for mask in self.each_mask()), default=0)) >= num_labels:
            raise HtunetError(
                f"{self.masks_npy} holds the value {largest}; there are "
                f"{counted(num_labels, 'label')}, background included. " + _again(self.folder)
            )

    @cached_property
    def class_indices(self) -> NDArray[np.int64]:
        """(N,), -1 for a case with none of ``classes``."""
        return np.array([self.classes.get(case.class_name, -1) for case in self.cases], dtype=np.int64)

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Array rows of the cases; an id that is not there raises HtunetError."""
        if missing := [case for case in ids if case not in self.index]:
            raise HtunetError(f"{self.folder} lacks the cases {missing[:5]}. {_again(self.folder)}")
        return [self.index[case] for case in ids]


def open_array(path: Path, rows: int, axes: int, way_out: str) -> NDArray[np.uint8]:
    """A memory-mapped array of gray values or labels, (``rows``, ...) with ``axes`` axes.

    Raises HtunetError, which ends with ``way_out``, where the file is missing, broken or another array.
    """
    try:
        check_file(path)
        array: NDArray[np.uint8] = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # its header is Python, and NumPy raises whatever reading broken Python does
        raise HtunetError(f"{path} is missing or broken ({error}). {way_out}") from None
    if array.dtype != np.uint8 or array.ndim != axes or len(array) != rows:
        raise HtunetError(
            f"{path} holds {array.dtype} values of {array.shape}, not {counted(rows, 'row')} of bytes. {way_out}"
        )
    return array


def _again(folder: Path) -> str:
    """The command that makes the arrays of one plan; their place names the data set and the plan."""
    return f"Make the arrays: htunet_plan_and_preprocess -d {folder.parent.name} --plan {folder.name}"


def _geometry(row: dict[str, str], path: Path) -> CaseGeometry:
    try:
        number = {key: int(row[key]) for key in COLUMNS[3:]}
    except ValueError as error:
        raise HtunetError(f"{path}, {row['id']}: {error}. {_again(path.parent)}") from None
    return CaseGeometry(
        id=row["id"],
        class_name=sys.intern(row["class"]),  # one text for all cases that have it
        group=sys.intern(row["group"]),
        original_hw=(number["height"], number["width"]),
        top=number["top"],
        left=number["left"],
        crop_hw=(number["crop_height"], number["crop_width"]),
    )


def planning_warnings(dataset: DatasetPaths, plan: str) -> list[str]:
    """What planning warned of: of the data, the split and this plan; nothing where warnings.json cannot be read."""
    try:
        found = checked_object(read_object(dataset.warnings_json).get("warnings"), str(dataset.warnings_json))
    except HtunetError:  # planned by an earlier version, or not here
        return []
    return [str(text) for kind in ("data", "split", plan.removesuffix(AS_PUBLISHED)) for text in found.get(kind, [])]
