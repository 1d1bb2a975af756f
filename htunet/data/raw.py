"""The raw folder of a data set: nnU-Net's layout, readable by nnU-Net as it is, with ``cases.csv`` beside it.

Dataset503_BUSI/  dataset.json  cases.csv  excluded.csv  imagesTr/ID_0000.png  labelsTr/ID.png  imagesTs/  labelsTs/

A folder that nnU-Net's users made has no ``cases.csv``: its cases are those of imagesTr, and of imagesTs where labelsTs
has their labels. Images with classes and without masks (``DatasetInfo.has_masks``) have no labelsTr.
"""

import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import normalize

from htunet.data.formats.medical_file import Spacing
from htunet.data.image_io import MOST_LABELS
from htunet.errors import HtunetError, counted
from htunet.files import csv_rows, read_object, write_csv, write_json
from htunet.paths import DatasetPaths, checked_name, checked_text
from htunet.records import checked_object, of_format, record_from

FORMAT = 1
CASE_COLUMNS = ("id", "split", "class", "group", "source", "spacing_mm")
OLDER_COLUMNS = {"part": "split"}
"""Names that columns had before, to their present ones; both are read."""
EXCLUDED_COLUMNS = ("source", "class", "reason")
IMAGE_FOLDERS = {"train": "imagesTr", "test": "imagesTs"}
LABEL_FOLDERS = {"train": "labelsTr", "test": "labelsTs"}
ENDINGS = (".png", ".bmp", ".tif", ".tiff")
"""File endings of nnU-Net folders that are read in place; all keep exact values."""
RULE_WITH_TEST = "8:2"
"""The split rule of a data set that defines its test split but no rule."""
TRAIN, TEST = "train", "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One image of a data set."""

    id: str
    split: str = TRAIN
    """``train`` (imagesTr, split by htunet) or ``test`` (imagesTs, a test split that the data set defines)."""
    class_name: str = ""
    """The image's class, such as ``benign``; empty where the data set has none."""
    group: str = ""
    """What must stay in one split (patient, case, cluster of duplicates); empty: the image alone."""
    source: str = ""
    """The file that the image came from, relative to the folder that was converted."""
    spacing_mm: Spacing | None = None
    """Side of a pixel in millimetres, or height and width of one that is not square; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Excluded:
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
    """Class name to index for classification; empty where images have no class."""
    positive: str = ""
    """The positive class of two, for recall, precision and F1; empty: see ``positive_class``."""
    split_rule: str = "8:1:1"
    """How the paper splits the cases of split ``train``: ``8:1:1``, ``8:2``, ``9:1``, or ``test only``."""
    reference: str = ""
    licence: str = ""
    description: str = ""
    has_masks: bool = True
    """False: images with classes alone; there is no labelsTr, and nothing can be segmented."""
    gray_values: str = ""
    """How values of more than 8 bits became 0..255, in words; empty: there were none that anybody knows of."""

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
    file_ending: str = ".png"
    unlabelled: tuple[Path, ...] = ()
    """Images of imagesTs without a label: they can be predicted, but neither trained on nor scored."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the folder is read."""

    @cached_property
    def folder(self) -> Path:
        """The raw folder."""
        return self.paths.raw

    @cached_property
    def by_id(self) -> dict[str, Case]:
        """The cases by their ids."""
        return {case.id: case for case in self.cases}

    def image_path(self, case: Case) -> Path:
        """Path of the case's image, in ``imagesTr`` or ``imagesTs``, with nnU-Net's channel suffix ``_0000``."""
        name = IMAGE_FOLDERS[TRAIN if case.split == TRAIN else TEST]
        return in_any_case(self.folder / name / f"{case.id}_0000{self.file_ending}")

    def label_path(self, case: Case) -> Path:
        """Path of the case's mask; in a data set without masks there is no such file."""
        name = LABEL_FOLDERS[TRAIN if case.split == TRAIN else TEST]
        return in_any_case(self.folder / name / f"{case.id}{self.file_ending}")


def label_names(labels: Mapping[str, int]) -> list[str]:
    """All but the background, in the order of their values."""
    return sorted((name for name, value in labels.items() if value), key=labels.__getitem__)


NEGATIVE = (
    ("normal", "negative", "healthy", "control", "none", "no", "absent", "0", "negativ", "gesund", "sano", "sain"),
    ("benign", "gutartig", "benigne", "benigno", "bénin", "良性"),
)
"""Names of classes without a finding, and of findings that are no disease to be found where another one is."""
WITHOUT = re.compile(r"(?:non[ _-]?|(?:no|not|without|kein\w*|ohne|sans|sin|senza)[ _-])(.+)")
"""Names of classes that deny another one, which is the disease unless it is one of ``NEGATIVE``: ``not benign``."""


def positive_class(info: DatasetInfo) -> str:
    """The positive class of two, for recall, precision and F1; empty for another number of classes.

    The one that dataset.json names; else the other one where one has a name of ``NEGATIVE`` or denies a finding; else
    the last one.
    """
    classes = sorted(info.classes, key=info.classes.__getitem__)
    if len(classes) != 2:
        return ""
    without = {name: found[1] for name in map(str.casefold, classes) if (found := WITHOUT.fullmatch(name))}
    denying = [name for name, what in without.items() if not any(what in names for names in NEGATIVE)]
    for names in (NEGATIVE[0], denying, NEGATIVE[1]):
        negative = [name.casefold() in names for name in classes]
        if not info.positive and sum(negative) == 1:
            return classes[negative.index(False)]
    return info.positive or classes[-1]


def read_raw(paths: DatasetPaths) -> RawDataset:
    """Read ``dataset.json`` and the cases; raises HtunetError with the file and what is wrong in it.

    The cases are those of ``cases.csv``; where nnU-Net's users made the folder and there is none, the image files.
    """
    if paths.captions_json.exists() and not paths.dataset_json.exists():
        raise HtunetError(f"{paths.name} holds images with captions, no masks or classes. Name another data set.")
    content = read_object(paths.dataset_json)
    if "htunet" in content:
        where = f"{paths.dataset_json}, htunet"
        own = checked_object(content["htunet"], where)
        own = of_format(own, FORMAT, paths.dataset_json, ": convert the data set again.")
        info = _checked_info(record_from(DatasetInfo, own, where), paths.dataset_json)
        return RawDataset(paths, info, tuple(_parse_cases(paths.cases_csv)))
    return _read_nnunet(paths, content)


def write_raw_index(
    folder: Path, name: str, info: DatasetInfo, cases: Sequence[Case], excluded: Sequence[Excluded]
) -> None:
    """Write ``dataset.json``, ``cases.csv`` and ``excluded.csv`` into ``folder`` (the converter's unfinished one)."""
    channels = ["US"] if info.channels == 1 else ["R", "G", "B"]
    content = {
        "name": name,
        "channel_names": {str(index): channel for index, channel in enumerate(channels)},
        "labels": info.labels,
        "numTraining": sum(case.split == TRAIN for case in cases),
        "file_ending": ".png",
        "description": info.description,
        "reference": info.reference,
        "licence": info.licence,
        "converted_by": "htunet",
        "htunet": {"format": FORMAT} | asdict(info),
    }
    write_json(folder / "dataset.json", content)
    rows = (
        (case.id, case.split, case.class_name, case.group, case.source, spacing_text(case.spacing_mm))
        for case in sorted(cases, key=lambda case: case.id)
    )
    write_csv(folder / "cases.csv", CASE_COLUMNS, (dict(zip(CASE_COLUMNS, row, strict=True)) for row in rows))
    write_excluded(folder, excluded)


def write_excluded(folder: Path, excluded: Sequence[Excluded]) -> None:
    """Write ``excluded.csv``: each source file that did not become a case, and why."""
    rows = ({"source": item.source, "class": item.class_name, "reason": item.reason} for item in excluded)
    write_csv(folder / "excluded.csv", EXCLUDED_COLUMNS, rows)


def read_excluded(paths: DatasetPaths) -> list[Excluded]:
    """What the converter excluded, and why; empty for folders that did not come from a converter."""
    path = next((path for path in (paths.excluded_csv, paths.raw / "left_out.csv") if path.exists()), None)
    if path is None:  # the second is the table of earlier versions
        return []
    rows = csv_rows(path, EXCLUDED_COLUMNS)
    return [Excluded(source=row["source"], class_name=row["class"], reason=row["reason"]) for row in rows]


def _checked_info(info: DatasetInfo, path: Path) -> DatasetInfo:
    for what, names in (("the label", info.labels), ("the class", info.classes)):
        for name in names:
            checked_text(name, what, path)
    if info.channels not in (1, 3):
        raise HtunetError(f"{path}: channels must be 1 (gray) or 3 (RGB), got {info.channels}. Correct it.")
    check_positive(info.positive, info.classes, f"{path}, positive")
    least = 2 if info.has_masks else 1
    if sorted(info.labels.values()) != list(range(max(least, len(info.labels)))):
        raise HtunetError(
            f"{path}: labels must be numbered 0 (background), 1, 2, ... at least two; got {info.labels}. "
            "Correct it, and the masks with it."
        )
    if len(info.labels) > MOST_LABELS + 1:
        raise HtunetError(
            f"{path} has {counted(len(info.labels), 'label')}; a mask holds at most {MOST_LABELS} and background."
        )
    return info


def check_positive(name: str, classes: Collection[str], where: str) -> None:
    """Raise HtunetError that names ``where`` the positive class comes from, unless it is one of two, or empty."""
    if name and (name not in classes or len(classes) != 2):
        known = ", ".join(classes) or "none"
        raise HtunetError(f"{where}: {name!r} must be one of two classes; the classes are {known}. Correct it.")


def _read_nnunet(paths: DatasetPaths, content: dict[str, Any]) -> RawDataset:
    """A folder without our block in ``dataset.json``: nnU-Net's keys, and ``cases.csv`` where someone added one.

    In that ``nan`` and the like are empty cells, as in all tables that people make.
    """
    labels, ending = nnunet_labels(content, paths.dataset_json), str(content.get("file_ending", ".png"))
    _refuse_unreadable_nnunet(paths, content, ending)
    cases, unlabelled, missing = list[Case](), list[Path](), list[str]()
    if paths.cases_csv.exists():
        from htunet.data.tables import is_missing

        for case in _parse_cases(paths.cases_csv):
            class_name, group = ("" if is_missing(text.strip()) else text for text in (case.class_name, case.group))
            missing += {case.class_name, case.group} - {class_name, group, ""}
            cases.append(replace(case, class_name=class_name, group=group))
    for split, name in IMAGE_FOLDERS.items() if not paths.cases_csv.exists() else ():
        for path, case_id in ending_with(paths.raw / name, f"_0000{ending}"):
            if split == TEST and not in_any_case(paths.raw / LABEL_FOLDERS[TEST] / f"{case_id}{ending}").exists():
                unlabelled.append(path)
            else:
                cases.append(Case(id=case_id, split=split, source=f"{name}/{path.name}"))
    classes = sorted({case.class_name for case in cases} - {""})
    info = DatasetInfo(
        channels=3 if len(content["channel_names"]) == 3 else 1,
        labels=labels,
        classes={name: index for index, name in enumerate(classes)},
        split_rule=RULE_WITH_TEST if any(case.split == TEST for case in cases) else "8:1:1",
    )
    notes = [f"an nnU-Net folder, used as it is; split rule {info.split_rule}"]
    words = f"in cases.csv {counted(len(missing), 'class')} or groups are {', '.join(map(repr, sorted({*missing})))}"
    notes += [f"{words}: nothing is known there"] * bool(missing)
    if unlabelled:
        notes.append(f"not used, without a label in labelsTs: {counted(len(unlabelled), 'image')} of imagesTs")
    return RawDataset(
        paths, _checked_info(info, paths.dataset_json), tuple(cases), ending, tuple(unlabelled), tuple(notes)
    )


def ending_with(folder: Path, ending: str) -> list[tuple[Path, str]]:
    """The files of a folder that end so in any letter case, hidden ones apart, with what stands before; sorted."""
    found = [path for path in folder.glob("[!.]*") if path.name.lower().endswith(ending.lower())]
    return [(path, path.name[: -len(ending)]) for path in sorted(found)]


def in_any_case(path: Path) -> Path:
    """``path``, or one beside it with an ending in other letter case (Windows) or a name in another form (macOS)."""
    if path.exists():
        return path
    names = [f"{path.stem}{change(path.suffix)}" for change in (str, str.upper, str.lower)]
    others = (path.with_name(normalize(form, name)) for name in names for form in ("NFC", "NFD"))
    return next((other for other in others if other.exists()), path)


def nnunet_labels(content: dict[str, Any], path: Path) -> dict[str, int]:
    """The labels of nnU-Net's dataset.json; raises HtunetError for regions, an ignore label and missing keys."""
    for key in ("channel_names", "labels"):
        if not isinstance(content.get(key), dict):
            raise HtunetError(f"{path} lacks the object {key!r}, which nnU-Net's format requires. Add it.")
    labels = content["labels"]
    if regions := [name for name, value in labels.items() if isinstance(value, list)]:
        raise HtunetError(
            f"{path}: the labels {regions} are regions (lists of values), which htunet does not train. Give each value "
            "its own label; regions can be added up from the predictions."
        )
    if "ignore" in labels:
        raise HtunetError(
            f"{path} has nnU-Net's 'ignore' label; htunet learns from whole masks alone. Leave out the images with "
            "such pixels, or set them to a label, and remove 'ignore' from labels."
        )
    return dict(record_from(DatasetInfo, {"labels": labels}, str(path)).labels)


def _refuse_unreadable_nnunet(paths: DatasetPaths, content: dict[str, Any], ending: str) -> None:
    """Raise HtunetError, with the way out, for what nnU-Net reads and htunet does not read in place."""
    channels = len(content["channel_names"])
    found = ""
    if "dataset" in content:
        found = "names its files one by one in 'dataset'"
    elif ending.lower() not in ENDINGS:
        found = f"has files that end in {ending!r} ({', '.join(ENDINGS)} are read in place)"
    elif channels not in (1, 3):
        found = f"has {channels} channels (1 and RGB are read in place)"
    elif any(ending_with(paths.raw / "imagesTr", f"_0001{ending}")):
        found = "has a file for each channel (one gray or RGB file for each image is read in place)"
    if found:
        raise HtunetError(
            f"The nnU-Net folder {paths.raw} {found}. Convert it: htunet_convert --nnunet {paths.raw} --name NAME"
        )


def _parse_cases(path: Path) -> list[Case]:
    return [
        Case(
            id=checked_name(row["id"], "the id", path),
            split=sys.intern(row["split"]),  # one text for all cases that have it
            class_name=sys.intern(row["class"]),
            group=sys.intern(row["group"]),
            source=row["source"],
            spacing_mm=spacing_of(row["spacing_mm"], f"{path}, {row['id']}"),
        )
        for row in csv_rows(path, CASE_COLUMNS, OLDER_COLUMNS, any_delimiter=True)
    ]


def spacing_text(spacing: Spacing | None) -> str:
    """For a cell of a table: one number, or two where pixels are not square; empty where the size is not known."""
    sides = spacing if isinstance(spacing, tuple) else (spacing,)
    return " ".join(repr(side) for side in sides if side is not None)


def spacing_of(text: str, where: str) -> Spacing | None:
    """What ``spacing_text`` has written; raises HtunetError that begins with ``where`` for anything else."""
    try:
        sides = tuple(map(float, text.split()))
    except ValueError:
        sides = (math.nan,)
    if len(sides) > 2 or not all(0 < side < math.inf for side in sides):
        raise HtunetError(
            f"{where}: spacing_mm must be empty or a number above 0 (or two: height and width), got "
            f"{text!r}. Correct it."
        )
    return (sides[0], sides[1]) if len(sides) == 2 else next(iter(sides), None)
