"""CURD as distributed, with every oddity that is known: three JSON files with a byte order mark, Chinese texts."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders.captions import write_image

NAMES = {"mammary": "Mammary", "thyroid": "Thyroid", "liver": "Liver"}
FULL = {"mammary": 3521, "thyroid": 2474, "liver": 1395}
"""Patients of the real data set; with one view fewer for 52 of them, these are the paper's 14728 pairs."""
FULL_WITH_ONE_VIEW = 52


@dataclass(frozen=True)
class BuiltCurd:
    """What was built, and what a conversion has to make of it."""

    folder: Path
    pairs: int
    patients: dict[str, int]
    drops: dict[str, int] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    """uid to its text as distributed, of the sound reports."""


def finding(index: int) -> str:
    """A Chinese finding with placeholders, at least 20 signs long once they are gone."""
    return (
        f"双侧乳腺体表面光滑,层次清晰,于_Loc_可见第{index}个低回声结节,大小约_2DS_,边界清,"
        "形态规则。_LocR_未见明显异常。\n"
    )


def build_curd(
    folder: Path, *, patients: dict[str, int] | None = None, one_view: int = 1, quirks: bool = True, side: int = 8
) -> BuiltCurd:
    """Write ``patients`` by organ (None: 4, 3, 2) with two views each, the first ``one_view`` with one; then quirks.

    Uids repeat between organs and so do file names, as nothing excludes in the real data set.
    """
    counts = {"mammary": 4, "thyroid": 3, "liver": 2} if patients is None else patients
    drops: dict[str, int] = {}
    findings: dict[str, str] = {}
    pairs = 0
    for organ, count in counts.items():
        records = []
        for index in range(count):
            views = 1 if one_view > 0 else 2
            one_view -= 1
            pairs += views
            records.append(_record(folder, organ, 100 + index, views, side))
            findings[str(100 + index)] = records[-1]["finding"]
        if quirks and organ == "mammary":
            pairs += _add_quirks(folder, records, drops, side)
        _write(folder / f"new_{NAMES[organ]}2.json", records)
    found = {organ: count + (5 if quirks and organ == "mammary" else 0) for organ, count in counts.items()}
    return BuiltCurd(folder, pairs, found, drops, findings)


def _record(folder: Path, organ: str, uid: int, views: int, side: int) -> dict[str, Any]:
    names = [f"{uid}_{view + 1}.jpeg" for view in range(views)]
    for view, name in enumerate(names):
        write_image(folder / f"{NAMES[organ]}_report" / name, uid * 3 + view, side)
    return {"uid": uid, "finding": finding(uid), "image_path": names, "labels": uid % 3}


def _add_quirks(folder: Path, records: list[Any], drops: dict[str, int], side: int) -> int:
    """Adds five sound reports and four malformed ones; returns the pairs that they give."""
    three = _record(folder, "mammary", 900, 3, side)
    unknown = _record(folder, "mammary", 901, 1, side) | {"finding": finding(901) + "_XYZ_", "split": "train"}
    english = _record(folder, "mammary", 902, 1, side) | {"finding": "A hypoechoic nodule with a clear margin."}
    short = _record(folder, "mammary", 903, 1, side) | {"finding": "_Loc_未见异常"}
    missing = _record(folder, "mammary", 904, 2, side)
    (folder / "Mammary_report" / "904_2.jpeg").unlink()
    records += [three, unknown, english, short, missing]
    records += [
        {"uid": 905, "finding": None, "image_path": ["905_1.jpeg"], "labels": 1},
        {"uid": 906, "finding": finding(906), "image_path": [], "labels": 1},
        {"finding": finding(907), "image_path": ["907_1.jpeg"], "labels": 1},
        "no record",
    ]
    drops |= {"malformed record": 4, "caption too short": 1, "no image file": 1}
    return 3 + 1 + 1 + 1


def _write(path: Path, records: list[Any]) -> None:
    splits = {"train": records[: len(records) // 2], "val": records[len(records) // 2 : -1], "test": records[-1:]}
    path.write_text(json.dumps(splits, ensure_ascii=False), encoding="utf-8-sig")
