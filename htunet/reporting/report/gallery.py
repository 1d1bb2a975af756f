"""The cases of the page: chosen from the case table, described, and with their pictures."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from htunet.evaluation.study import arm_names
from htunet.paths import RunPaths
from htunet.reporting.report.arms import Arm, of_kind
from htunet.reporting.report.content import Gallery, GalleryItem
from htunet.reporting.report.pictures import Pictures, longer_side
from htunet.reporting.report.selection import CLASSES, MASKS, Chosen, choose, class_cases, mask_cases, per_group
from htunet.reporting.table_kinds import CLASSIFICATION, SEGMENTATION

EMPTY = {"prediction": "nothing found", "reference": "no lesion there", "both": "rightly nothing found"}
Part = tuple[Arm, str, pd.DataFrame, Chosen]
"""A method, masks or classes, its cases, and those to show."""


def collect_gallery(arms: Sequence[Arm], table: pd.DataFrame, n: int | None = None) -> Gallery:
    """The cases of each method that a reader should see; ``n`` in each group, None: as many as the page can bear."""
    parts = list(_parts(list(arms), table, n))
    wanted = {(arm.dataset, case) for arm, _, _, chosen in parts for some in chosen.groups.values() for case in some}
    pictures = Pictures(longer_side(len(wanted)))
    items = [item for part in parts for item in _items(part, pictures)]
    shown = max((len(some) for *_, chosen in parts for some in chosen.groups.values()), default=0)
    return Gallery(
        items=tuple(items),
        pictures=tuple(pictures.images),
        layers=tuple(pictures.layers),
        legends={arm.short_dataset: pictures.legend(arm.dataset) for arm, task, *_ in parts if task == MASKS},
        notes=tuple(_notes(parts, shown, pictures)),
    )


def _parts(arms: list[Arm], table: pd.DataFrame, n: int | None) -> list[Part]:
    masks, classes = of_kind(arms, SEGMENTATION), of_kind(arms, CLASSIFICATION)
    n = n or per_group(len(masks) + len(classes))
    if table.empty:
        return []
    keys = [table["dataset"], arm_names(table), table["task"], table["seed"]]
    rows = dict(iter(table.groupby(keys, sort=False)))
    sizes = _sizes(table)
    found: list[Part] = []
    for arm in arms:
        own = rows[arm.dataset, arm.name, arm.task, next(iter(arm.runs)).seed]
        if arm in masks:
            cases = mask_cases(own)
            found.append((arm, MASKS, cases, choose(cases, n)))
        if arm in classes:
            cases = class_cases(own, sizes.get(arm.dataset, pd.Series(dtype=object)))
            found.append((arm, CLASSES, cases, choose(cases, n)))
    return found


def _sizes(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Tercile of each case, by data set."""
    known = table.loc[table["tercile"] != "", ["dataset", "case", "tercile"]].drop_duplicates(["dataset", "case"])
    return {str(name): part.set_index("case")["tercile"] for name, part in known.groupby("dataset")}


def _items(part: Part, pictures: Pictures) -> list[GalleryItem]:
    arm, task, cases, chosen = part
    predictions = _prediction_files(arm) if task == MASKS else {}
    found = []
    for group, names in chosen.groups.items():
        for name in names:
            row = cases.loc[name]
            picture = pictures.image(arm.dataset, name)
            fold = predictions.get(name)
            found.append(
                GalleryItem(
                    dataset=arm.short_dataset,
                    task=task,
                    method=arm.name,
                    case=name,
                    class_name=str(row["class"] or ""),
                    size=str(row["tercile"]),
                    group=group,
                    facts=_mask_facts(row) if task == MASKS else _class_facts(row),
                    picture=picture,
                    layer=pictures.layer(arm.dataset, name, fold.predictions / f"{name}.png") if fold else None,
                )
            )
    return found


def _prediction_files(arm: Arm) -> Mapping[str, RunPaths]:
    """The run that each case's picture is of: that of the first fold that tests it."""
    found: dict[str, RunPaths] = {}
    for run, content in arm.shown.items():
        for case in content["metric_per_case"]:
            found.setdefault(case["htunet"]["case"], run)
    return found


def _mask_facts(row: pd.Series) -> tuple[str, ...]:
    dice, hd95 = float(row["value"]), float(row["second"])
    return tuple(
        text
        for text in (
            "no Dice" if math.isnan(dice) else f"Dice {100 * dice:.1f} %",
            "no HD95" if math.isnan(hd95) else f"HD95 {hd95:.1f} px",
            EMPTY.get(str(row["empty"]), ""),
        )
        if text
    )


def _class_facts(row: pd.Series) -> tuple[str, ...]:
    decided = f"decided {row['predicted']}" + (", wrong" if row["missed"] else "")
    return decided, f"probability of the truth {100 * float(row['value']):.1f} %"


def _notes(parts: Sequence[Part], shown: int, pictures: Pictures) -> list[str]:
    cases = sum(len(cases) for _, _, cases, _ in parts)
    items = sum(len(some) for *_, chosen in parts for some in chosen.groups.values())
    without = sum(chosen.n_without for *_, chosen in parts)
    notes = [
        f"{items:,} of {cases:,} test cases over all methods: of each method at most {shown} in each group, so that "
        "the page stays small. Pictures, Dice and HD95 are those of each method's first seed, at the images' own size; "
        f"pictures are at most {pictures.side} pixels wide or high. All cases stand in tables/cases.csv, all overlays "
        "in each run's test folder."
    ]
    if without:
        notes.append(f"{without:,} cases have no value and are in no group (both masks empty).")
    return notes + [f"Pictures are missing: {text}" for text in dict.fromkeys(pictures.problems.values())]
