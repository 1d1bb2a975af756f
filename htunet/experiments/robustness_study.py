"""How well finished runs work on test images with artefacts, measured artefact by artefact; resumes after a stop.

Each run has a table of every case (``robustness.csv``) and beside it what it was measured with (``made_of.json``).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from tqdm import tqdm

from htunet.data.artefacts import ARTEFACTS, STRENGTHS
from htunet.data.artefacts.alter import apply_all, physical_value
from htunet.data.artefacts.base import DYNAMIC_RANGE_DB
from htunet.data.image_io import UInt8, read_image, read_labels
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import Case, RawDataset, read_raw
from htunet.data.split_files import trained_fold
from htunet.errors import HtunetError, UsageError
from htunet.evaluation.case_table import PROBABILITY, read_table, write_table
from htunet.evaluation.metrics import BOTH_EMPTY, PENALISE, Level, mask_metrics, score
from htunet.evaluation.predicted_run import references_digest, split_cases
from htunet.evaluation.robustness import CLASS_COLUMNS, COLUMNS, NONE
from htunet.evaluation.summary import mean_over_labels
from htunet.files import as_read, exclusive, file_hash, read_object, write_json
from htunet.inference.predictor import Predictor
from htunet.inference.trained import TrainedModel
from htunet.inference.versions import predict_versions
from htunet.paths import RunPaths
from htunet.planning.arrays import check_arrays, predicted_of
from htunet.reproducibility import training_command
from htunet.schemas import SETTINGS

FORMAT = 1
TABLE, MADE_OF = "robustness.csv", "made_of.json"
TEXTS = dict.fromkeys(("artefact", "unit", "case", "group", "class", "empty"), str)

Alter = Callable[[Case, UInt8, str, Sequence[float]], Sequence[UInt8]]
"""From a case, its image (C, H, W), an artefact and strengths to the images with it."""
ALTERED, RENDERED = "altered", "rendered"
"""Where the images come from: the artefact is computed in the image, or the scene is simulated with it."""


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig:
    """What is measured."""

    artefacts: tuple[str, ...]
    strengths: tuple[float, ...] = STRENGTHS
    """Above 0; the unchanged images are always measured."""
    seed: int = 0
    """Of the artefacts' random parts."""

    def __post_init__(self) -> None:
        for artefact in self.artefacts:
            for strength in self.strengths:
                physical_value(artefact, strength)
        if 0 in self.strengths or len(set(self.strengths)) < len(self.strengths) or not self.strengths:
            listing = " ".join(f"{strength:g}" for strength in self.strengths)
            raise UsageError(
                f"Strengths are different numbers above 0 (the unchanged images are always there), got: {listing}."
            )


def alter_images(seed: int) -> Alter:
    """The artefacts of ``htunet.data.artefacts``, the same for every method."""

    def alter(case: Case, image_CHW: UInt8, artefact: str, strengths: Sequence[float]) -> Sequence[UInt8]:
        return apply_all(image_CHW, artefact, strengths, case=case.id, seed=seed)

    return alter


def measure(
    run: RunPaths,
    config: RobustnessConfig,
    *,
    source: str = ALTERED,
    alter: Alter | None = None,
    device: str = "auto",
    force: bool = False,
) -> tuple[pd.DataFrame, bool]:
    """The table of a run, and whether anything had to be measured for it.

    What an earlier call has measured with the same weights, images and artefacts is used again unless ``force``.
    ``alter`` None: the artefacts are computed in the images. Raises HtunetError for a run that is not finished, or
    whose test split may hold images that it was trained on, or when another process measures it.
    """
    check_finished(run)
    folder = run.robustness(source)
    table: pd.DataFrame | None = None
    with exclusive(folder, f"The robustness of {run.label}"):
        made_of = _made_of(run, config, source)
        before = read_object(folder / MADE_OF) if (folder / MADE_OF).exists() else {}
        if before:  # an earlier version did not say which files it had measured
            before = {name: made_of[name] for name in ("images_sha256", "references_sha256")} | before
        known = before.get("artefacts", {})
        same = before | {"artefacts": made_of["artefacts"] | known} == made_of | {
            "artefacts": known | made_of["artefacts"]
        }
        if same and (folder / TABLE).exists():
            table = read_measured(folder)
        if force and table is not None:
            requested = table["artefact"].isin(config.artefacts) & table["strength"].isin(config.strengths)
            table = table[~requested & (table["artefact"] != NONE)]
            table = table if len(table) else None
        done = set() if table is None else set(zip(table["artefact"], table["strength"], strict=True))
        requests = [(NONE, [0.0]), *((artefact, list(config.strengths)) for artefact in config.artefacts)]
        left = [
            (artefact, [one for one in strengths if (artefact, one) not in done]) for artefact, strengths in requests
        ]
        if new := any(strengths for _, strengths in left):
            if table is None:
                (folder / TABLE).unlink(missing_ok=True)
            else:
                made_of["artefacts"] = known | made_of["artefacts"]
            write_json(folder / MADE_OF, made_of)
            predictor, raw = Predictor.from_run(run, device=device), read_raw(run.dataset)
            data = PreprocessedDataset(run.dataset.plan_folder(run.plan))
            check_arrays(run.dataset, predictor.plan)
            for artefact, strengths in ((artefact, strengths) for artefact, strengths in left if strengths):
                change = alter or alter_images(config.seed)
                rows = measure_artefact(run, predictor, raw, data, change, artefact, strengths)
                table = rows if table is None else pd.concat([table, rows], ignore_index=True)
                write_table(folder / TABLE, table)
    assert table is not None
    parts = [table[table["artefact"] == name] for name in (NONE, *config.artefacts)]
    chosen = pd.concat(parts, ignore_index=True)
    return chosen[chosen["strength"].isin([0.0, *config.strengths])].reset_index(drop=True), new


def check_finished(run: RunPaths) -> None:
    """Raise HtunetError for a run that is not finished, or whose split was changed after the training."""
    if not run.finished_json.exists():
        raise HtunetError(f"{run.label} is not finished. Continue it: {training_command(run)}")
    if run.trained_on is None:  # else no image of this data set was trained on
        trained_fold(run)


def measure_artefact(
    run: RunPaths,
    predictor: Predictor,
    raw: RawDataset,
    data: PreprocessedDataset,
    alter: Alter,
    artefact: str,
    strengths: Sequence[float],
) -> pd.DataFrame:
    """A row for each test case and strength of one artefact; the artefact ``none`` is the unchanged images.

    Mask metrics are those of the tables, at the network's input size, as means over the labels.
    """
    ids = split_cases(run.dataset, run.fold, "test")
    unchanged = artefact == NONE
    values = [0.0 if unchanged else physical_value(artefact, strength) for strength in strengths]
    unit = "" if unchanged else ARTEFACTS[artefact].unit
    labels = sorted(set(raw.info.labels.values()) - {0})
    if "seg" in run.tasks and len(labels) > 1:  # a label that no reference has is in no mean, as in the evaluation
        in_reference = set[int]().union(*(np.unique(data.masks[data.index[case]]).tolist() for case in ids))
        labels = [label for label in labels if label in in_reference] or labels
    names = [metric.name for metric in mask_metrics((Level.OVERVIEW, Level.TABLE), millimetres=False)]

    def versions(case: Case, image_CHW: UInt8) -> Sequence[UInt8]:
        return [image_CHW] if unchanged else alter(case, image_CHW, artefact, strengths)

    predicted = predict_versions(predictor, raw, data, ids, versions)
    rows = []
    for one in tqdm(predicted, total=len(ids) * len(strengths), desc=artefact, unit="image", disable=None):
        case = (one.case.id, one.case.group, one.case.class_name)
        known = (artefact, strengths[one.version], values[one.version], unit, *case)
        row: dict[str, Any] = dict(zip(COLUMNS, known, strict=True))
        if one.labels_HW is not None:
            scores = score(one.labels_HW, np.asarray(data.masks[data.index[one.case.id]]), labels)
            values_LM = [[found.values(PENALISE)[name] for name in names] for found in scores.values()]
            row |= dict(zip(names, mean_over_labels(np.array(values_LM)).tolist(), strict=True))
            row["empty"] = "+".join(sorted({found.empty for found in scores.values()} - {""}))
        if one.classes_N is not None:
            by_name = dict(zip(predictor.classes, one.classes_N.tolist(), strict=True))
            positive = float(one.classes_N[1]) if len(by_name) == 2 else math.nan
            of_true_class = by_name.get(one.case.class_name, math.nan)
            row |= dict(zip(CLASS_COLUMNS, (positive, of_true_class), strict=True))
            row |= {f"{PROBABILITY}{name}": value for name, value in by_name.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _made_of(run: RunPaths, config: RobustnessConfig, source: str) -> dict[str, Any]:
    """Everything that the measurements depend on; of the artefacts only those that are measured now."""
    artefacts = {name: asdict(cast("Any", ARTEFACTS[name])) for name in config.artefacts}
    cases = split_cases(run.dataset, run.fold, "test")
    several = "seg" in run.tasks and len({*read_raw(run.dataset).info.labels.values()} - {0}) > 1
    return {
        "format": FORMAT,
        **({"labels": "those in a reference"} if several else {}),  # an earlier version took all
        "source": source,
        "checkpoint_sha256": file_hash(run.checkpoint_best),
        "weights": read_object(run.settings_json, SETTINGS).get("weights"),
        "seed": config.seed,
        "dynamic_range_db": DYNAMIC_RANGE_DB,
        "artefacts": as_read(artefacts),
        "cases": cases,
        "images_sha256": predicted_of(run, cases)["images_sha256"],
        "references_sha256": references_digest(run),
    }


def read_measured(folder: Path) -> pd.DataFrame:
    """The table in a folder that ``measure`` has filled."""
    table = read_table(folder / TABLE, ("artefact", "strength", "case"), TEXTS)
    if "empty" in table:  # tables of earlier versions have values there
        table.loc[table["empty"] == BOTH_EMPTY, [m.name for m in mask_metrics() if m.name in table]] = math.nan
    return table


@dataclass(frozen=True, kw_only=True)
class Example:
    """One test case to look at."""

    case: str
    images: dict[str, list[UInt8]]
    """Artefact to its pictures (H, W): unchanged, then each strength."""
    values: dict[str, list[float]]
    """The physical value of each."""
    mask_HW: UInt8 | None

    @property
    def squares(self) -> dict[str, list[UInt8]]:
        """``images``, cut to the largest square with the lesion as near to its middle as the picture allows."""
        height, width = next(iter(self.images.values()))[0].shape
        side = min(height, width)
        shown = np.ones((height, width)) if self.mask_HW is None else self.mask_HW > 0
        middles = [int(np.mean(places)) for places in np.nonzero(shown)]
        top, left = (
            min(max(middle - side // 2, 0), length - side)
            for middle, length in zip(middles, (height, width), strict=True)
        )
        part = np.s_[top : top + side, left : left + side]
        return {artefact: [image[part] for image in images] for artefact, images in self.images.items()}


def example(run: RunPaths, config: RobustnessConfig, alter: Alter) -> Example:
    """The first test case that has a lesion, the first of all where none has, with every artefact."""
    raw = read_raw(run.dataset)
    cases = [raw.by_id[name] for name in split_cases(run.dataset, run.fold, "test")]
    masks = ((case, read_labels(raw.label_path(case))) for case in cases) if raw.info.has_masks else iter(())
    case, mask_HW = next(((case, mask) for case, mask in masks if mask.any()), (cases[0], None))
    image_CHW = read_image(raw.image_path(case), raw.info.channels)
    images, values = {}, {}
    for artefact in config.artefacts:
        altered = [image_CHW, *alter(case, image_CHW, artefact, config.strengths)]
        images[artefact] = [one.mean(axis=0).round().astype(np.uint8) for one in altered]
        values[artefact] = [physical_value(artefact, strength) for strength in (0.0, *config.strengths)]
    return Example(case=case.id, images=images, values=values, mask_HW=mask_HW)


def unlike_sizes(runs: Mapping[str, RunPaths]) -> str:
    """A remark on methods whose networks see images of different sizes, at which their masks are scored; else empty."""
    segment = {method: TrainedModel.of_run(run) for method, run in runs.items() if "seg" in run.tasks}
    sizes = {method: " x ".join(map(str, trained.plan.input_size)) for method, trained in segment.items()}
    if len(set(sizes.values())) < 2:
        return ""
    listing = ", ".join(f"{method} {size}" for method, size in sizes.items())
    return f"Masks are scored at the input size of each network, and these differ: {listing}"


def identity(run: RunPaths, config: RobustnessConfig, source: str) -> dict[str, Any]:
    """Which run it is, what its images were made with, and whether its frozen weights are random."""
    made_of = _made_of(run, config, source)
    names = ("dataset", "trainer", "plan", "method", "fold", "seed", "ratio", "adapter")
    about = {name: getattr(run, name) for name in names} | {"dataset": run.dataset.name}
    random = (made_of["weights"] or {}).get("source") == "random"
    return {**about, "random_weights": random, "measured_with": made_of}
