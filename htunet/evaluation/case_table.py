"""One tidy table of everything that is known of every test case: what all tables and statistics are made of.

One row per run, case, label and resolution for masks, and one per run and case for classes (no label, no resolution).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from htunet.errors import HtunetError
from htunet.evaluation.classification import MOST_PROBABLE, VALIDATION_THRESHOLD
from htunet.evaluation.metrics import EMPTY_PREDICTION, Kind, mask_metrics, metrics_of
from htunet.evaluation.summary import INPUT, ORIGINAL
from htunet.files import read_csv, write_csv
from htunet.paths import PHANTOM
from htunet.planning.configuration import digest, plan_name

SMALL, MEDIUM, LARGE = "small", "medium", "large"
TERCILES = (SMALL, MEDIUM, LARGE)
POSITIVE = "positive"
"""The column of the class that recall and precision are of, which is chosen when a run is evaluated; empty: none."""
CONFIGURATION = "configuration"
"""The column that tells runs apart whose plans of one name, or whose settings, have unlike contents."""
RUN = (
    *("dataset", "method", "task", "plan", "fold", "seed", "ratio", "trained_on", "tested_part"),
    *("adapter", "weights", "num_epochs", "trainable_parameters", "policy", POSITIVE, CONFIGURATION),
)
"""The columns that say which run a row is of."""
CASE = ("case", "group", "class", "label", "resolution")
MASK = ("empty", "missed", "lesion_px", "lesion_share", "tercile")
CLASS = ("score", "probability_of_truth", "predicted", "correct", "predicted_at_threshold")
PROBABILITY = "probability_"
TEXTS = (
    *("dataset", "method", "task", "plan", "trained_on", "tested_part", "adapter", "weights", "policy", POSITIVE),
    CONFIGURATION,
    *("case", "group", "class", "resolution", "empty", "tercile", "predicted", "predicted_at_threshold"),
)
STARTED = "checkpoint"
"""In the column ``weights``: all of them are those that ``--start-from`` names."""
OTHER_SPLIT = "other_split"
"""Key of a summary's own object: the short hash of a split that is no longer in use."""
EARLIER = "earlier"
"""Key of a summary's own object: of what earlier state of the files the results are, where that is found out."""
ARM = tuple(name for name in RUN if name not in ("dataset", "fold", "seed"))
"""What makes runs of one data set comparable repetitions of each other: they differ in fold and seed alone."""


def case_table(contents: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of these contents of summary.json files; an empty table has all columns too.

    ``missed``: a reference with pixels and an empty prediction. ``lesion_px`` and ``lesion_share`` (of the image) are
    those of the reference at the original size. ``score``: of two classes the last one's probability; of more, none.
    """
    parts: list[dict[str, Any]] = []
    for content in contents:
        own = content["htunet"]
        if "metric_per_case" in content:
            parts.append(run_columns(own) | _mask_columns(content["metric_per_case"]))
        if "classification" in own:
            parts.append(run_columns(own) | _class_columns(own["classification"]))
    of_masks, of_cases = ([m.name for m in found] for found in (mask_metrics(), metrics_of(Kind.CASE)))
    known = [*RUN, *CASE, *of_masks, *MASK, *CLASS, *of_cases]
    columns: dict[str, list[Any]] = {name: [] for name in [*known, *(name for part in parts for name in part)]}
    for name, column in columns.items():
        for part in parts:
            values = part.get(name)
            column.extend(values if isinstance(values, list) else [values] * len(part["case"]))
    table = pd.DataFrame(columns)
    for name in ("ratio", "label", *of_masks, "lesion_px", "lesion_share", "score", "missed", *of_cases):
        table[name] = pd.to_numeric(table[name])
    table["tercile"] = terciles(table)
    return table


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write as CSV, whole or not at all; an empty cell where there is no value, numbers in full precision."""
    columns = [_texts(table[name]) for name in table]
    write_csv(path, list(table), (dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True)))


def read_table(path: Path, columns: Sequence[str] = CASE, texts: Collection[str] = TEXTS) -> pd.DataFrame:
    """A table that ``write_table`` has written; ``texts`` are the columns that hold no numbers.

    Raises HtunetError where one of ``columns`` is missing, or a number is none.
    """
    table = pd.DataFrame(read_csv(path, columns))
    for name in table.columns.difference([*texts]):
        try:
            table[name] = pd.to_numeric(table[name].replace("", None))
        except (ValueError, TypeError) as error:
            raise HtunetError(f"{path}, column {name}: {error}. Delete the file to have it made again.") from None
    for name in {POSITIVE, CONFIGURATION} & {*texts} - {*table}:  # of an earlier version
        table[name] = ""
    return table


def _texts(column: pd.Series) -> list[Any]:
    """The values as Python's own; whole numbers without a point, although a column with gaps holds them as floats."""
    values = column.tolist()
    if column.dtype.kind == "f":
        whole = column.dropna().mod(1).eq(0).all() and column.isna().any()
        return ["" if value != value else int(value) if whole else value for value in values]
    return ["" if value is None or value != value else value for value in values]


def terciles(table: pd.DataFrame) -> pd.Series:
    """``small``, ``medium`` or ``large``: thirds of the cases of a data set by the lesion's fraction of the image.

    Each label on its own, every case once however many runs have it; equal sizes are never parted. Empty where the
    reference is.
    """
    with_lesion = table[(table["resolution"] == ORIGINAL) & (table["lesion_px"] > 0)]
    keys = ["dataset", "label", "case"]
    once = with_lesion.drop_duplicates(keys)[[*keys, "lesion_share"]]
    rank = once.groupby(["dataset", "label"])["lesion_share"].rank(method="min")
    number = once.groupby(["dataset", "label"])["lesion_share"].transform("size")
    place = np.minimum(((rank - 1) * 3 / number).astype(float).to_numpy(), 2).astype(int)
    found = once[keys].assign(tercile=np.array(TERCILES, dtype=object)[place])
    return table[keys].merge(found, on=keys, how="left")["tercile"].fillna("").set_axis(table.index)


def run_columns(own: Mapping[str, Any]) -> dict[str, Any]:
    """The columns ``RUN`` from a summary's own object."""
    across, settings = own.get("trained_on") or {}, own.get("settings") or {}
    about = {name: own.get(name) for name in RUN}
    return about | {
        "adapter": adapter_of(own),
        "weights": weights_source(own),
        "trained_on": across.get("dataset", ""),
        "tested_part": across.get("part", "test"),
        "policy": own.get("policy", ""),
        POSITIVE: positive_of(own),
        "plan": plan_name(settings, str(own.get("plan", ""))) + other_split(own),
        CONFIGURATION: digest(settings) + other_split(own),
    }


def weights_source(own: Mapping[str, Any]) -> str | None:
    """The source of the weights that a run started with; ``checkpoint`` where ``--start-from`` gave all of them.

    A file of ``htunet_pretrain`` that ``--weights`` names is ``phantom``. None: not recorded.
    """
    weights = own.get("weights") or {}
    if weights.get("simulated"):
        return PHANTOM
    source: str | None = weights.get("source")
    if source == "none" and (own.get("settings") or {}).get("start_checkpoint"):  # a network without a frozen part
        return STARTED
    return source


def arm_key(own: Mapping[str, Any]) -> tuple[Any, ...]:
    """Equal for the summaries of runs that are repetitions of each other: nothing else is ever averaged."""
    about = run_columns(own)
    return own["dataset"], own.get("trainer"), *(about[name] for name in ARM)


def positive_of(own: Mapping[str, Any]) -> str:
    """The class that recall and precision of a summary are of; empty where there is none."""
    return str((own.get("classification") or {}).get("positive") or "")


def other_split(own: Mapping[str, Any]) -> str:
    """What the plan's name says of results that are of another split, or of files that are no longer so.

    The reader of results finds that out; such results are never averaged with those of now.
    """
    split = f", split {own[OTHER_SPLIT]}" if own.get(OTHER_SPLIT) else ""
    return split + (f", {own[EARLIER]}" if own.get(EARLIER) else "")


def adapter_of(own: Mapping[str, Any]) -> str:
    """What the adapter that a run started from had learnt, such as ``PMC-OA+MedPix``; else empty."""
    adapter = (own.get("settings") or {}).get("adapter")
    if not isinstance(adapter, dict):
        return ""
    names = [str(name).split("_", 1)[-1] for name in adapter.get("datasets") or ["a checkpoint"]]
    return "+".join(names) + " (shuffled captions)" * bool(adapter.get("shuffled_captions"))


def _mask_columns(cases: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    rows = [
        (case["htunet"], case["metrics"].get(label, {}), resolution, int(label), values)
        for case in cases
        for resolution in (INPUT, ORIGINAL)
        for label, values in case["htunet"].get(resolution, {}).items()
    ]
    sizes = [counts.get("n_ref") for _, counts, *_ in rows]
    pixels = [sum(counts.get(name, 0) for name in ("TP", "FP", "FN", "TN")) for _, counts, *_ in rows]
    empty = [values.get("empty") or "" for *_, values in rows]
    return {
        **{name: [about[name] for about, *_ in rows] for name in ("case", "group", "class")},
        "label": [label for *_, label, _ in rows],
        "resolution": [resolution for _, _, resolution, _, _ in rows],
        **{metric.name: [values.get(metric.file_key) for *_, values in rows] for metric in mask_metrics()},
        "empty": empty,
        "lesion_px": sizes,
        "lesion_share": [
            size / of if size is not None and of else None for size, of in zip(sizes, pixels, strict=True)
        ],
        "missed": [int(which == EMPTY_PREDICTION) for which in empty],
    }


def _class_columns(found: Mapping[str, Any]) -> dict[str, list[Any]]:
    cases, positive = found["cases"], found["positive"]
    decided = [case["decided"] for case in cases]
    return {
        **{name: [case[name] for case in cases] for name in ("case", "group", "class")},
        "score": [case["probabilities"][positive] if positive else None for case in cases],
        "predicted": [names[MOST_PROBABLE] for names in decided],
        **{metric.name: [metric.of(case) for case in cases] for metric in metrics_of(Kind.CASE)},
        "predicted_at_threshold": [names.get(VALIDATION_THRESHOLD, "") for names in decided],
        **{f"{PROBABILITY}{name}": [case["probabilities"][name] for case in cases] for name in found["classes"]},
    }
