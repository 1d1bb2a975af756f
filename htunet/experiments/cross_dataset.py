"""Test the finished runs of one data set on another one, whose images none of them has seen."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from htunet.data.raw import read_raw
from htunet.data.shared_images import shared_images
from htunet.data.splits import Fold
from htunet.data.training_fold import learnt_fold, recorded_fold
from htunet.errors import HtunetError, UsageError, counted, some
from htunet.evaluation.freshness import needs_prediction
from htunet.files import read_object
from htunet.inference.across import cases_of, check_fits, predict_across
from htunet.models.finetuned import trainings_before
from htunet.paths import DatasetPaths, RunPaths
from htunet.planning.arrays import DONE, raw_has_changed, raw_sha256, trained_on_earlier_data
from htunet.schemas import SETTINGS

log = logging.getLogger(__name__)


def run_on(run: RunPaths, tested: DatasetPaths) -> RunPaths:
    """Where the results of a run on another data set's images are; raises UsageError for its own."""
    if tested == run.dataset:
        raise UsageError(
            f"{tested.short_name} is what the runs were trained on: omit --trained-on to score its test split."
        )
    return replace(run, dataset=tested, trained_on=run.dataset.name)


def check_before(run: RunPaths, split: str) -> None:
    """Raise HtunetError, before anything is predicted, where the two data sets cannot be compared."""
    raw = read_raw(run.dataset)
    check_fits(run, raw)
    if not cases_of(raw, split, run.task):
        raise HtunetError(f"{raw.paths.name} contains no case: there is nothing to predict.")


def predict_if_needed(run: RunPaths, split: str | None, *, force: bool = False) -> bool:
    """Predict the other data set's images unless that was done with these weights and for these cases.

    ``split`` None: the split that was predicted before.
    """
    split = split or read_object(run.settings_json, SETTINGS)["trained_on"]["part"]
    assert split is not None
    if not force and _is_of(run, split) and not needs_prediction(run):
        return False
    ids = [case.id for case in cases_of(read_raw(run.dataset), split, run.task)]
    shared, not_compared = images_seen(run.source, run.dataset, ids)
    predict_across(run, split, {"shared_images": shared, "not_compared": not_compared})
    return True


def seen_images(run: RunPaths) -> tuple[dict[DatasetPaths, tuple[str, ...]], list[str]]:
    """By data set the training and validation cases of a run, and of those whose weights or adapter it began with.

    Beside them the names of the trainings whose cases cannot be known: a raw folder no longer exists, a split has
    changed since, or weights do not say what they were trained on.
    """
    seen: dict[DatasetPaths, list[str]] = {}
    unknown: list[str] = []
    learnt: Fold | None = None
    try:
        learnt = learnt_fold(run)
    except HtunetError as error:
        log.warning("%s", error)
    before = trainings_before(read_object(run.settings_json, SETTINGS))
    own = {"dataset": run.dataset.name, "fold": run.fold}
    for training, fold in ((own, learnt), *((one, recorded_fold(one)) for one in before)):
        if fold is None or not (dataset := DatasetPaths(training["dataset"])).dataset_json.exists():
            unknown.append(_name(training))
        else:
            seen.setdefault(dataset, []).extend(fold["train"] + fold["val"])
    return {dataset: tuple(dict.fromkeys(ids)) for dataset, ids in seen.items()}, list(dict.fromkeys(unknown))


def _name(training: Mapping[str, Any]) -> str:
    if not training.get("dataset"):
        return "starting weights that do not say what they were trained on"
    return f"fold{training.get('fold')} of {training['dataset']}"


def images_seen(
    run: RunPaths, tested: DatasetPaths, ids: Sequence[str]
) -> tuple[dict[str, list[str]] | None, list[str]]:
    """Tested case to the training and validation cases of ``seen_images`` that show the same picture.

    Cases of another data set than the run's have its name behind them. None where no training is known. Beside them
    what could not be compared, in words: trainings as there, cases that a data set no longer has, and the images of the
    run where its files or its plan have changed since.
    """
    seen, not_compared = seen_images(run)
    if run.dataset in seen and _has_changed(run):
        not_compared.append(
            f"the images of {run.dataset.name} as they were then (its files or its plan have changed since)"
        )
    found: dict[str, list[str]] = {}
    for dataset, seen_ids in seen.items():
        name, known = "" if dataset == run.dataset else f" of {dataset.short_name}", {*seen_ids}
        if gone := sorted(known - read_raw(dataset).by_id.keys()):
            not_compared.append(f"{counted(len(gone), 'image')} that {dataset.name} no longer has ({some(gone)})")
        state = (raw_sha256(dataset), raw_sha256(tested))
        for case, same in _same_pictures(dataset, tested, tuple(ids), state).items():
            if own := [f"{one}{name}" for one in same if one in known]:
                found.setdefault(case, []).extend(own)
    return dict(sorted(found.items())) if seen else None, not_compared


def _has_changed(run: RunPaths) -> bool:
    """Whether the raw files are others than those that a run was trained on, as far as its arrays tell."""
    folder = run.dataset.plan_folder(run.plan)
    return trained_on_earlier_data(run) or ((folder / DONE).exists() and raw_has_changed(run.dataset, folder))


@cache
def _same_pictures(
    seen: DatasetPaths, tested: DatasetPaths, tested_ids: tuple[str, ...], _state: tuple[str, str]
) -> Mapping[str, list[str]]:
    """Tested case to all cases of ``seen`` that show the same picture; once for all folds, fractions and methods."""
    raw = read_raw(seen)
    return shared_images(raw, sorted(raw.by_id), read_raw(tested), tested_ids)


def shared_of(run: RunPaths) -> tuple[Mapping[str, list[str]] | None, list[str]]:
    """What ``images_seen`` found when the run was predicted; earlier versions did not name what was not compared."""
    found: dict[str, Any] = read_object(run.settings_json, SETTINGS)["trained_on"]
    return found.get("shared_images"), found.get("not_compared", [])


def _is_of(run: RunPaths, split: str) -> bool:
    """Whether the predictions are those of this split as the data set is now."""
    if not run.finished_json.exists():
        return False
    record = read_object(run.settings_json, SETTINGS).get("trained_on") or {}
    expected = [case.id for case in cases_of(read_raw(run.dataset), split, run.task)]
    return (record.get("part"), record.get("cases")) == (split, expected)
