"""The cases of the page: chosen from the case table, described, and with their pictures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from htunet.data.raw import Case, RawDataset, read_raw
from htunet.errors import HtunetError
from htunet.evaluation.study import arm_names
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.overlays.draw import legend_of
from htunet.reporting.report.arms import MethodConfig, of_kind
from htunet.reporting.report.content import GROUPS, Gallery, GalleryItem
from htunet.reporting.report.pictures import Drawn, PictureRequest, draw_all, longer_side
from htunet.reporting.report.selection import CLASSES, MASKS, Chosen, choose, class_cases, mask_cases, per_group
from htunet.reporting.tables.kinds import CLASSIFICATION, SEGMENTATION

EMPTY = {"prediction": "nothing found", "reference": "no lesion there", "both": "rightly nothing found"}
Part = tuple[MethodConfig, str, pd.DataFrame, Chosen]
"""A method, masks or classes, its cases, and those to show."""
Entry = tuple[GalleryItem, str, Path | None]
"""A case without its pictures, the full name of its data set, and the predicted mask."""


def collect_gallery(arms: Sequence[MethodConfig], table: pd.DataFrame, n: int | None = None) -> Gallery:
    """The cases of each method that a reader should see; ``n`` in each group, None: as many as the page can bear."""
    parts = list(_parts(list(arms), table, n))
    entries = [entry for part in parts for entry in _entries(part)]
    entries.sort(key=lambda entry: GROUPS.index(entry[0].group))
    raw, problems = _raw_datasets(entries)
    keys = dict.fromkeys((dataset, item.case) for item, dataset, _ in entries)
    side = longer_side(len(keys))
    drawn, unknown = _draw(entries, raw, side)
    items, pictures, layers = _with_pictures(entries, drawn)
    told = [*problems, *unknown, *(text for one in drawn.values() for text in one.problems)]
    return Gallery(
        items=tuple(items),
        pictures=tuple(pictures),
        layers=tuple(layers),
        legends={arm.short_dataset: _legend(raw.get(arm.dataset)) for arm, task, *_ in parts if task == MASKS},
        notes=(*_notes(parts, side), *(f"Pictures are missing: {text}" for text in _some(told))),
    )


def _parts(arms: list[MethodConfig], table: pd.DataFrame, n: int | None) -> Iterator[Part]:
    masks, classes = of_kind(arms, SEGMENTATION), of_kind(arms, CLASSIFICATION)
    n = n or per_group(len(masks) + len(classes))
    if table.empty:
        return
    keys = [table["dataset"], arm_names(table), table["task"], table["seed"]]
    rows = dict(iter(table.groupby(keys, sort=False)))
    sizes = _sizes(table)
    for arm in arms:
        own = rows[arm.dataset, arm.name, arm.task, next(iter(arm.runs)).seed]
        if arm in masks:
            cases = mask_cases(own)
            yield arm, MASKS, cases, choose(cases, n)
        if arm in classes:
            cases = class_cases(own, sizes.get(arm.dataset, pd.Series(dtype=object)))
            yield arm, CLASSES, cases, choose(cases, n)


def _sizes(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Tercile of each case, by data set."""
    known = table.loc[table["tercile"] != "", ["dataset", "case", "tercile"]].drop_duplicates(["dataset", "case"])
    return {str(name): part.set_index("case")["tercile"] for name, part in known.groupby("dataset")}


def _entries(part: Part) -> Iterator[Entry]:
    arm, task, cases, chosen = part
    runs = _runs_of_cases(arm) if task == MASKS else {}
    for group, names in chosen.groups.items():
        for name in names:
            row = cases.loc[name]
            item = GalleryItem(
                dataset=arm.short_dataset,
                task=task,
                method=arm.name,
                case=name,
                class_name=str(row["class"] or ""),
                size=str(row["tercile"]),
                group=group,
                facts=_mask_facts(row) if task == MASKS else _class_facts(row),
            )
            yield item, arm.dataset, runs[name].predictions / f"{name}.png" if task == MASKS else None


def _runs_of_cases(arm: MethodConfig) -> Mapping[str, RunPaths]:
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


def _raw_datasets(entries: Sequence[Entry]) -> tuple[dict[str, RawDataset], list[str]]:
    """The raw folders by the data sets' full names; and why some cannot be read."""
    found, problems = {}, []
    for dataset in dict.fromkeys(dataset for _, dataset, _ in entries):
        try:
            found[dataset] = read_raw(DatasetPaths(dataset))
        except HtunetError as error:
            problems.append(str(error))
    return found, problems


Key = tuple[str, str]
"""Data set and case."""


def _draw(entries: Sequence[Entry], raw: Mapping[str, RawDataset], side: int) -> tuple[dict[Key, Drawn], list[str]]:
    """The pictures of each case; and the cases that are not in the raw folders."""
    cases = {name: {case.id: case for case in dataset.cases} for name, dataset in raw.items()}
    known: dict[Key, Case] = {}
    predictions: dict[Key, list[Path]] = {}
    problems = []
    for item, dataset, prediction in entries:
        if item.case in cases.get(dataset, {}):
            known[dataset, item.case] = cases[dataset][item.case]
            predictions.setdefault((dataset, item.case), []).extend([prediction] if prediction else [])
        elif dataset in raw:
            problems.append(f"{raw[dataset].paths.raw} has no case {item.case}.")
    wanted = [
        PictureRequest(
            image=raw[key[0]].image_path(case),
            label=raw[key[0]].label_path(case),
            channels=raw[key[0]].info.channels,
            num_labels=raw[key[0]].info.num_labels - 1,
            predictions=tuple(predictions[key]),
            side=side,
        )
        for key, case in known.items()
    ]
    return dict(zip(known, draw_all(wanted), strict=True)), problems


def _with_pictures(
    entries: Sequence[Entry], drawn: Mapping[Key, Drawn]
) -> tuple[list[GalleryItem], list[bytes], list[bytes]]:
    """The items with the places of their pictures and layers, in the order in which these were drawn."""
    pictures = {key: one.picture for key, one in drawn.items() if one.picture is not None}
    places = {key: place for place, key in enumerate(pictures)}
    left = {key: iter(one.layers) for key, one in drawn.items()}
    items, layers = [], []
    for item, dataset, prediction in entries:
        key = dataset, item.case
        layer = next(left[key]) if prediction and key in left else None
        if layer is not None:
            layers.append(layer)
        place = None if layer is None else len(layers) - 1
        items.append(replace(item, picture=places.get(key), layer=place))
    return items, list(pictures.values()), layers


def _legend(raw: RawDataset | None) -> tuple[tuple[str, str], ...]:
    """Colours and what they mean."""
    labels = sorted(raw.info.labels, key=raw.info.labels.__getitem__)[1:] if raw else ["lesion"]
    return tuple((f"#{r:02x}{g:02x}{b:02x}", name) for (r, g, b), name in legend_of(labels))


def _notes(parts: Sequence[Part], side: int) -> list[str]:
    cases = sum(len(cases) for _, _, cases, _ in parts)
    sizes = [len(some) for *_, chosen in parts for some in chosen.groups.values()]
    without = sum(chosen.n_without for *_, chosen in parts)
    notes = [
        f"{sum(sizes):,} of {cases:,} test cases over all methods: of each method at most {max(sizes, default=0)} in "
        "each group, so that the page stays small. Pictures, Dice and HD95 are those of each method's first seed, at "
        f"the images' own size; pictures are at most {side} pixels wide or high. All cases stand in tables/cases.csv, "
        "all overlays in each run's test folder."
    ]
    if without:
        notes.append(f"{without:,} cases have no value and are in no group (both masks empty).")
    return notes


def _some(texts: Sequence[str], most: int = 5) -> list[str]:
    """Each once, the first few, and how many more there are."""
    once = list(dict.fromkeys(texts))
    return [*once[:most], *([f"and {len(once) - most} more."] if len(once) > most else [])]
