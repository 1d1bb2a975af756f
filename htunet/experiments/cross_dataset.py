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
from htunet.errors import HtunetError, UsageError
from htunet.evaluation.freshness import needs_prediction
from htunet.files import read_object
from htunet.inference.across import cases_of, check_fits, predict_across
from htunet.models.finetuned import trainings_before
from htunet.paths import DatasetPaths, RunPaths
from htunet.planning.arrays import raw_sha256
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
    predict_across(run, split, {"shared_images": images_seen(run.source, run.dataset, ids)})
    return True


def seen_images(run: RunPaths) -> dict[DatasetPaths, tuple[str, ...]] | None:
    """By data set the training and validation cases of a run, and of those whose weights or adapter it began with.

    None where this cannot be known: a raw folder no longer exists, or a split has changed since.
    """
    seen: dict[DatasetPaths, list[str]] = {}
    try:
        learnt: Fold | None = learnt_fold(run)
    except HtunetError as error:
        log.warning("%s", error)
        return None
    settings = read_object(run.settings_json, SETTINGS)
    for training, fold in (({"dataset": run.dataset.name}, learnt),
                           *((one, recorded_fold(one)) for one in trainings_before(settings))):  # fmt: skip
        dataset = DatasetPaths(str(training.get("dataset")))
        if fold is None or not dataset.dataset_json.exists():
            return None
        seen.setdefault(dataset, []).extend(fold["train"] + fold["val"])
    return {dataset: tuple(dict.fromkeys(ids)) for dataset, ids in seen.items()}


def images_seen(run: RunPaths, tested: DatasetPaths, ids: Sequence[str]) -> dict[str, list[str]] | None:
    """Tested case to the training and validation cases of ``seen_images`` that show the same picture; None as there.

    Cases of another data set than the run's have its name behind them.
    """
    if (seen := seen_images(run)) is None:
        return None
    found: dict[str, list[str]] = {}
    for dataset, seen_ids in seen.items():
        name = "" if dataset == run.dataset else f" of {dataset.short_name}"
        state = (raw_sha256(dataset), raw_sha256(tested))
        for case, own in _same_pictures(dataset, seen_ids, tested, tuple(ids), state).items():
            found.setdefault(case, []).extend(f"{one}{name}" for one in own)
    return dict(sorted(found.items()))


@cache
def _same_pictures(
    seen: DatasetPaths,
    seen_ids: tuple[str, ...],
    tested: DatasetPaths,
    tested_ids: tuple[str, ...],
    _state: tuple[str, str],
) -> Mapping[str, list[str]]:
    """Tested case to the cases among ``seen_ids`` that show the same picture; once for all methods and seeds."""
    return shared_images(read_raw(seen), seen_ids, read_raw(tested), tested_ids)


def shared_of(run: RunPaths) -> Mapping[str, list[str]] | None:
    """What ``images_seen`` found when the run was predicted."""
    found: dict[str, Any] = read_object(run.settings_json, SETTINGS)["trained_on"]
    return found.get("shared_images")


def _is_of(run: RunPaths, split: str) -> bool:
    """Whether the predictions are those of this split as the data set is now."""
    if not run.finished_json.exists():
        return False
    record = read_object(run.settings_json, SETTINGS).get("trained_on") or {}
    expected = [case.id for case in cases_of(read_raw(run.dataset), split, run.task)]
    return (record.get("part"), record.get("cases")) == (split, expected)
