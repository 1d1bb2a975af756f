"""The cases of the page: chosen from the case table, described, and with their pictures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from htunet.data.raw import Case, RawDataset, label_names
from htunet.errors import counted
from htunet.evaluation.statistics import percent_text, rounded
from htunet.evaluation.study import arm_names
from htunet.paths import RunPaths
from htunet.reporting.overlays.draw import label_colour
from htunet.reporting.report.content import GROUPS, Gallery, GalleryItem
from htunet.reporting.report.pictures import BOTH, PREDICTION, REFERENCE, Drawn, PictureRequest, draw_all, longer_side
from htunet.reporting.report.selection import CLASSES, MASKS, Chosen, choose, class_cases, mask_cases, per_group
from htunet.reporting.report.study_results import MethodConfig, Study
from htunet.reporting.tables.kinds import CLASSIFICATION, SEGMENTATION

MOST_PROBLEMS = 5
"""That are named one by one."""
KEY = (
    (REFERENCE, "outline of the reference; filled: missed"),
    (PREDICTION, "outline of the prediction; filled: false positive"),
    (BOTH, "filled: in both"),
)
EMPTY = {"prediction": "nothing found", "reference": "no lesion there", "both": "rightly nothing found"}
Entry = tuple[GalleryItem, str, RunPaths | None]
"""A case without its pictures, the full name of its data set, and the run that predicted its mask."""
Key = tuple[str, str]
"""Data set and case."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is shown of one method."""

    method: MethodConfig
    task: str
    """``masks`` or ``classes``."""
    cases: pd.DataFrame
    """Of ``mask_cases`` or ``class_cases``."""
    chosen: Chosen


def collect_gallery(study: Study) -> Gallery:
    """The cases of each method that a reader should see, with their pictures."""
    shown = list(_shown(study))
    entries = [entry for one in shown for entry in _entries(one)]
    entries.sort(key=lambda entry: list(GROUPS).index(entry[0].group))
    problems = [study.unreadable[name] for name in dict.fromkeys(name for _, name, _ in entries)
                if name in study.unreadable]  # fmt: skip
    side = longer_side(len({(dataset, item.case) for item, dataset, _ in entries}))
    drawn, unknown = _draw(entries, study.raw, side)
    problems += [*unknown, *(text for one in drawn.values() for text in one.problems)]
    items, layers = [], []
    sources = {(name, case.id): case.source for name, raw in study.raw.items() for case in raw.cases}
    places = {key: place for place, key in enumerate(key for key, one in drawn.items() if one.picture is not None)}
    left = {key: iter(one.layers) for key, one in drawn.items()}
    for item, dataset, run in entries:  # in the order in which the layers were drawn
        key = dataset, item.case
        layer = next(left[key]) if run and key in left else None
        layers += [] if layer is None else [layer]
        place = None if layer is None else len(layers) - 1
        items.append(replace(item, picture=places.get(key), layer=place, source=sources.get(key, "")))
    missing = list(dict.fromkeys(problems))
    more = [f"and {len(missing) - MOST_PROBLEMS} more."] * (len(missing) > MOST_PROBLEMS)
    return Gallery(
        items=tuple(items),
        pictures=tuple(drawn[key].picture or b"" for key in places),
        layers=tuple(layer.fill for layer in layers),
        outlines=tuple(layer.prediction for layer in layers),
        uncertainties=tuple(layer.uncertainty for layer in layers),
        references=tuple(drawn[key].reference or b"" for key in places),
        legends={
            one.method.short_dataset: _legend(study.raw.get(one.method.dataset)) for one in shown if one.task == MASKS
        },
        notes=(*_notes(shown, side), *(f"Pictures are missing: {text}" for text in [*missing[:MOST_PROBLEMS], *more])),
    )


def _shown(study: Study) -> Iterator[Shown]:
    masks, classes, table = study.of_kind(SEGMENTATION), study.of_kind(CLASSIFICATION), study.cases
    n = study.per_group or per_group(len(masks) + len(classes))
    if table.empty:
        return
    rows = dict(iter(table.groupby([table["dataset"], arm_names(table), table["task"], table["seed"]], sort=False)))
    known = table.loc[table["tercile"] != "", ["dataset", "case", "tercile"]].drop_duplicates(["dataset", "case"])
    sizes = {str(name): split.set_index("case")["tercile"] for name, split in known.groupby("dataset")}
    for method in study.methods:
        own = rows.get((method.dataset, method.name, method.own["task"], next(iter(method.runs)).seed))
        if own is None:  # the summary has no cases
            continue
        if method in masks:
            cases = mask_cases(own)
            yield Shown(method=method, task=MASKS, cases=cases, chosen=choose(cases, n))
        if method in classes:
            positive = method.rows[CLASSIFICATION.name].tested.positive
            cases = class_cases(own, sizes.get(method.dataset, pd.Series(dtype=object)), positive)
            yield Shown(method=method, task=CLASSES, cases=cases, chosen=choose(cases, n))


def _entries(shown: Shown) -> Iterator[Entry]:
    method = shown.method
    runs: dict[str, RunPaths] = {}
    spacings: dict[str, float | list[float]] = {}
    for run, content in method.shown.items() if shown.task == MASKS else ():
        for case in content["metric_per_case"]:
            runs.setdefault(case["htunet"]["case"], run)  # of the first fold that tests the case
            if case["htunet"].get("spacing_mm"):
                spacings[case["htunet"]["case"]] = case["htunet"]["spacing_mm"]
    for group, names in shown.chosen.groups.items():
        for name in names:
            row = shown.cases.loc[name]
            item = GalleryItem(
                dataset=method.short_dataset,
                task=shown.task,
                method=method.name,
                case=name,
                class_name=str(row["class"] or ""),
                size=str(row["tercile"]),
                group=group,
                facts=_mask_facts(row, spacings.get(name)) if runs else _class_facts(row),
                lesion=lesion_text(row["lesion_px"], row["lesion_share"], spacings.get(name)) if runs else "",
            )
            yield item, method.dataset, runs[name] if runs else None


def _mask_facts(row: pd.Series, spacing_mm: float | list[float] | None) -> tuple[str, ...]:
    """Dice and distance, in millimetres where the side of a square pixel is known."""
    dice, hd95 = float(row["value"]), float(row["second"])
    distance = (
        f"{rounded(hd95 * spacing_mm, 1)} mm" if isinstance(spacing_mm, int | float) else f"{rounded(hd95, 1)} px"
    )
    texts = (
        "no Dice" if math.isnan(dice) else f"Dice {percent_text(dice)}",
        "no HD95" if math.isnan(hd95) else f"HD95 {distance}",
        EMPTY.get(str(row["empty"]), ""),
    )
    return tuple(filter(None, texts))


def lesion_text(pixels: float, fraction: float, spacing_mm: float | list[float] | None) -> str:
    """How large the lesion of a reference is, whose pixels have a side, or a height and width, where that is known.

    >>> lesion_text(1000, 0.05, None), lesion_text(1000, 0.05, 0.1), lesion_text(0, 0, 0.1)
    ('5.0 % of the image', '3.6 mm across, 10 mm\u00b2', '')
    """
    if not pixels > 0:
        return ""
    if spacing_mm is None:
        return f"{percent_text(fraction)} of the image"
    area = pixels * (math.prod(spacing_mm) if isinstance(spacing_mm, list) else spacing_mm**2)
    return f"{2 * math.sqrt(area / math.pi):.1f} mm across, {area:.{0 if area >= 10 else 1}f} mm\u00b2"


def _class_facts(row: pd.Series) -> tuple[str, ...]:
    predicted = f"predicted {row['predicted']}" + (", wrong" if row["error"] else "")
    return predicted, f"probability of the true class {percent_text(float(row['value']))}"


def _draw(entries: Sequence[Entry], raw: Mapping[str, RawDataset], side: int) -> tuple[dict[Key, Drawn], list[str]]:
    """The pictures of each case; and the cases that are not in the raw folders."""
    known: dict[Key, Case] = {}
    runs: dict[Key, list[RunPaths]] = {}
    problems = []
    for item, dataset, run in entries:
        if dataset in raw and item.case in raw[dataset].by_id:
            known[dataset, item.case] = raw[dataset].by_id[item.case]
            runs.setdefault((dataset, item.case), []).extend([run] if run else [])
        elif dataset in raw:
            problems.append(f"{raw[dataset].paths.raw} has no case {item.case}.")
    requests = [
        PictureRequest(
            image=raw[key[0]].image_path(case),
            label=raw[key[0]].label_path(case),
            channels=raw[key[0]].info.channels,
            num_labels=raw[key[0]].info.num_labels - 1,
            predictions=tuple(run.predictions / f"{case.id}.png" for run in runs[key]),
            uncertainties=tuple(run.uncertainty / f"{case.id}.png" for run in runs[key]),
            side=side,
        )
        for key, case in known.items()
    ]
    return dict(zip(known, draw_all(requests), strict=True)), problems


def _legend(raw: RawDataset | None) -> tuple[tuple[str, str], ...]:
    """Colours and what they mean; of several labels the outline of the reference is dashed."""
    labels = label_names(raw.info.labels) if raw else []
    several = [(label_colour(index), name) for index, name in enumerate(labels, start=1)]
    return tuple((f"#{r:02x}{g:02x}{b:02x}", name) for (r, g, b), name in (several if len(labels) > 1 else KEY))


def _notes(shown: Sequence[Shown], side: int) -> list[str]:
    cases = sum(len(one.cases) for one in shown)
    sizes = [len(some) for one in shown for some in one.chosen.groups.values()]
    without = sum(one.chosen.n_without for one in shown)
    notes = [
        f"{sum(sizes):,} of {cases:,} test cases over all methods: of each method at most {max(sizes, default=0)} in "
        "each group, so that the page stays small. Pictures, Dice and HD95 are those of each method's first seed, at "
        f"the images' own size; pictures are at most {side} pixels wide or high. All cases are in tables/cases.csv, "
        "all overlays in each run's test folder. A lesion that is 10 mm across has the area of a circle of 10 mm."
    ]
    if without:
        notes.append(f"In no group, because both masks are empty: {counted(without, 'case')}.")
    return notes
