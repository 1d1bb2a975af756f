"""A trained run whose test cases are predicted, with what it is scored against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from htunet.data.raw import RawDataset, read_raw
from htunet.data.split_files import load_splits
from htunet.data.splits import Fold
from htunet.errors import HtunetError
from htunet.files import file_hash, json_hash, read_object
from htunet.paths import DatasetPaths, RunPaths, checked_name
from htunet.planning.arrays import check_arrays, raw_sha256
from htunet.planning.plans import plan_from
from htunet.reproducibility import training_command
from htunet.schemas import FINISHED, SETTINGS

RECORDED = ("task", "num_epochs", "trainable_parameters", "weights")


@dataclass(frozen=True, kw_only=True)
class PredictedRun:
    """What the evaluation of a run needs, read once."""

    run: RunPaths
    raw: RawDataset
    """The data set whose images are predicted."""
    cases: tuple[str, ...]
    """The ids of the test cases."""
    identity: dict[str, Any]
    """Which run it is and what its results rest on: what its summary says of it."""


def open_predicted(run: RunPaths) -> PredictedRun:
    """Read what a run is scored against, and which run it is.

    Raises HtunetError where the data set or the test split is missing, or is not that which the run was trained with,
    and when settings.json lacks something.
    """
    raw, settings, source = read_raw(run.dataset), read_object(run.settings_json, SETTINGS), run.source.dataset
    if missing := [name for name in RECORDED if name not in settings]:
        raise HtunetError(f"{run.settings_json} lacks {missing}: the run was made by another version. Train it again.")
    needed = run.trained_on is None or source.splits_json.exists()
    folds = load_splits(source.splits_json) if needed else []
    cases = _cases_of(folds, source, run.fold, "test") if run.trained_on is None else _cases_across(run, settings)
    sizes = {split: len(found) for fold in folds[run.fold : run.fold + 1] for split, found in fold.items()}
    finished = read_object(run.finished_json, FINISHED) if run.finished_json.exists() else {}
    raw_hash = raw_sha256(run.dataset)
    identity = {
        "dataset": run.dataset.name,
        **{name: getattr(run, name) for name in ("trainer", "method", "plan", "fold", "seed", "ratio")},
        "trained_on": settings.get("trained_on"),
        **{name: settings[name] for name in RECORDED},
        "split_sizes": sizes | ({"test": len(cases)} if run.trained_on else {}),
        "epochs": finished.get("epochs"),
        "references_sha256": _digest(run, raw, cases),
        "raw_sha256": raw_hash,
        "settings": settings,
    }
    if "seg" in run.tasks:
        _check_learnt(run, settings.get("plan_content"), raw)
    return PredictedRun(run=run, raw=raw, cases=tuple(cases), identity=identity)


def references_digest(run: RunPaths) -> str:
    """SHA-256 of what a run is scored against: the true masks, classes, groups and spacings of its test cases.

    Empty where the data set is not there any more.
    """
    if not run.dataset.dataset_json.exists():
        return ""
    return _digest(run, read_raw(run.dataset), test_cases(run))


def _digest(run: RunPaths, raw: RawDataset, ids: Sequence[str]) -> str:
    tested, with_masks = {*ids}, "seg" in run.tasks
    cases = sorted((case for case in raw.cases if case.id in tested), key=lambda case: case.id)
    labels = [raw.label_path(case) if with_masks else None for case in cases]
    masks = [file_hash(path) if path and path.exists() else "" for path in labels]
    rows = [
        [case.id, case.class_name, case.group, str(case.spacing_mm), mask]
        for case, mask in zip(cases, masks, strict=True)
    ]
    return json_hash(rows)


def split_cases(dataset: DatasetPaths, fold: int, split: str) -> list[str]:
    """The case ids of ``train``, ``val`` or ``test`` of one fold; raises HtunetError when there are none."""
    return _cases_of(load_splits(dataset.splits_json), dataset, fold, split)


def _cases_of(folds: Sequence[Fold], dataset: DatasetPaths, fold: int, split: str) -> list[str]:
    if not 0 <= fold < len(folds):
        raise HtunetError(f"{dataset.splits_json} has the folds 0..{len(folds) - 1}, not {fold}.")
    if not folds[fold].get(split):
        raise HtunetError(
            f"Fold {fold} of {dataset.splits_json} has no {split} cases. Plan the data set again with "
            f"htunet_plan_and_preprocess -d {dataset.short_name}."
        )
    return folds[fold][split]


def test_cases(run: RunPaths) -> list[str]:
    """The cases that a run is scored on: the test split of its fold, or those that it predicted of another data set."""
    if run.trained_on is None:
        return split_cases(run.dataset, run.fold, "test")
    return _cases_across(run, read_object(run.settings_json, SETTINGS))


def _cases_across(run: RunPaths, settings: Mapping[str, Any]) -> list[str]:
    cases = (settings.get("trained_on") or {}).get("cases", [])
    return [checked_name(str(case), "the id", run.settings_json) for case in cases]


def _check_learnt(run: RunPaths, content: object, raw: RawDataset) -> None:
    """Raise HtunetError where the labels or the arrays are not those that the run was trained with; by its plan."""
    if content is None:  # of an early version
        return
    plan = plan_from(content, f"{run.settings_json}, plan_content")
    ours, now = ({name: value for name, value in of.items() if value} for of in (plan.labels, raw.info.labels))
    if len(ours) != len(now) or any(ours.get(name, value) != value for name, value in now.items()):
        then, words = (", ".join(f"{name} {value}" for name, value in of.items()) for of in (ours, now))
        raise HtunetError(
            f"{run.label} has learnt the labels {then}; {raw.paths.dataset_json} has {words} now. Put the earlier ones "
            f"back, or train again: {training_command(run)} --restart"
        )
    if run.trained_on is None:
        check_arrays(run.dataset, plan)
