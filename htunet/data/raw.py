"""The raw folder of a data set: nnU-Net's layout, readable by nnU-Net as it is, with ``cases.csv`` beside it.

Dataset503_BUSI/  dataset.json  cases.csv  left_out.csv  imagesTr/ID_0000.png  labelsTr/ID.png  imagesTs/  labelsTs/
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from htunet.errors import HtunetError
from htunet.files import read_csv, read_object, write_csv, write_json
from htunet.paths import DatasetPaths
from htunet.records import checked_object, record_from

FORMAT = 1
CASE_COLUMNS = ("id", "part", "class", "group", "source", "spacing_mm")
LEFT_OUT_COLUMNS = ("source", "class", "reason")
TRAIN, TEST = "train", "test"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image of a data set."""

    id: str
    part: str = TRAIN
    """``train`` (imagesTr, split by htunet) or ``test`` (imagesTs, a test part that the data set defines)."""
    class_name: str = ""
    """The image's class, such as ``benign``; empty where the data set has none."""
    group: str = ""
    """What must stay on one side of a split (patient, case, cluster of duplicates); empty: the image alone."""
    source: str = ""
    """The file that the image came from, relative to the folder that was converted."""
    spacing_mm: float | None = None
    """Pixel size in millimetres (square pixels); None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A source file that did not become a case, and why."""

    source: str
    class_name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The content of ``dataset.json`` that htunet uses; nnU-Net's required keys are made from it."""

    channels: int = 1
    labels: dict[str, int] = field(default_factory=lambda: {"background": 0, "lesion": 1})
    classes: dict[str, int] = field(default_factory=dict)
    """Class name to index for classification; empty where images have no class. The last one is the positive class."""
    split_rule: str = "8:1:1"
    """How the paper splits the cases of part ``train``: ``8:1:1``, ``8:2``, ``9:1``, or ``test only``."""
    reference: str = ""
    licence: str = ""
    description: str = ""

    @property
    def num_labels(self) -> int:
        """Number of mask values, background included."""
        return len(self.labels)


@dataclass(frozen=True)
class RawDataset:
    """A raw folder as read: what it says of itself, and its cases. Pixels are read by the caller, case by case."""

    paths: DatasetPaths
    info: DatasetInfo
    cases: tuple[Case, ...]

    def image_path(self, case: Case) -> Path:
        folder = "imagesTr" if case.part == TRAIN else "imagesTs"
        return self.paths.raw / folder / f"{case.id}_0000.png"

    def label_path(self, case: Case) -> Path:
        folder = "labelsTr" if case.part == TRAIN else "labelsTs"
        return self.paths.raw / folder / f"{case.id}.png"


def read_raw(paths: DatasetPaths) -> RawDataset:
    """Read ``dataset.json`` and ``cases.csv``; raises HtunetError with the file and what is wrong in it."""
    content = read_object(paths.dataset_json)
    return RawDataset(paths, _parse_info(content, paths.dataset_json), tuple(_parse_cases(paths.cases_csv)))


def write_raw_index(
    folder: Path, name: str, info: DatasetInfo, cases: Sequence[Case], left_out: Sequence[LeftOut]
) -> None:
    """Write ``dataset.json``, ``cases.csv`` and ``left_out.csv`` into ``folder`` (the converter's unfinished one)."""
    write_json(folder / "dataset.json", _nnunet_json(name, info, cases))
    write_csv(folder / "cases.csv", CASE_COLUMNS, (_case_row(case) for case in sorted(cases, key=lambda c: c.id)))
    rows = ({"source": item.source, "class": item.class_name, "reason": item.reason} for item in left_out)
    write_csv(folder / "left_out.csv", LEFT_OUT_COLUMNS, rows)


def read_left_out(paths: DatasetPaths) -> list[LeftOut]:
    """The bookkeeping of what the converter left out; empty for folders that did not come from a converter."""
    if not paths.left_out_csv.exists():
        return []
    rows = read_csv(paths.left_out_csv, LEFT_OUT_COLUMNS)
    return [LeftOut(source=row["source"], class_name=row["class"], reason=row["reason"]) for row in rows]


def _nnunet_json(name: str, info: DatasetInfo, cases: Sequence[Case]) -> dict[str, Any]:
    names = ["US"] if info.channels == 1 else ["R", "G", "B"]
    return {
        "name": name,
        "channel_names": {str(index): channel for index, channel in enumerate(names)},
        "labels": info.labels,
        "numTraining": sum(case.part == TRAIN for case in cases),
        "file_ending": ".png",
        "description": info.description,
        "reference": info.reference,
        "licence": info.licence,
        "converted_by": "htunet",
        "htunet": {"format": FORMAT} | asdict(info),
    }


def _parse_info(content: dict[str, Any], path: Path) -> DatasetInfo:
    """Our own block where there is one; else nnU-Net's keys, so that an nnU-Net data set is used as it is."""
    if "htunet" in content:
        own = checked_object(content["htunet"], f"{path}, htunet")
        if (found := own.pop("format", None)) != FORMAT:
            raise HtunetError(f"{path} has format {found}, this version reads {FORMAT}: convert the data set again.")
        info = record_from(DatasetInfo, own, f"{path}, htunet")
    else:
        for key in ("channel_names", "labels"):
            if not isinstance(content.get(key), dict):
                raise HtunetError(f"{path} lacks the object {key!r}, which nnU-Net's format requires. Add it.")
        channels = 3 if len(content["channel_names"]) == 3 else 1
        info = record_from(DatasetInfo, {"channels": channels, "labels": content["labels"]}, str(path))
    if info.channels not in (1, 3):
        raise HtunetError(f"{path}: channels must be 1 (gray) or 3 (RGB), got {info.channels}. Correct it.")
    if sorted(info.labels.values()) != list(range(max(2, len(info.labels)))):
        raise HtunetError(
            f"{path}: labels must be numbered 0 (background), 1, 2, ... at least two; got {info.labels}. "
            "Correct it, and the masks with it."
        )
    return info


def _case_row(case: Case) -> dict[str, Any]:
    spacing = "" if case.spacing_mm is None else repr(case.spacing_mm)
    return {
        "id": case.id,
        "part": case.part,
        "class": case.class_name,
        "group": case.group,
        "source": case.source,
        "spacing_mm": spacing,
    }


def _parse_cases(path: Path) -> list[Case]:
    return [
        Case(
            id=row["id"],
            part=row["part"],
            class_name=row["class"],
            group=row["group"],
            source=row["source"],
            spacing_mm=_spacing(row, path),
        )
        for row in read_csv(path, CASE_COLUMNS)
    ]


def _spacing(row: dict[str, str], path: Path) -> float | None:
    text = row["spacing_mm"]
    try:
        value = float(text) if text else 1.0
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise HtunetError(
            f"{path}, {row['id']}: spacing_mm must be empty or a number above 0, got {text!r}. Correct it."
        )
    return value if text else None
