"""Test the finished runs of one data set on another one, whose images none of them has seen."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from htunet.data.raw import read_raw
from htunet.data.shared_images import shared_images
from htunet.data.training_fold import learnt_fold
from htunet.errors import HtunetError, UsageError
from htunet.evaluation.freshness import needs_prediction
from htunet.files import read_object
from htunet.inference.across import cases_of, check_fits, predict_across
from htunet.paths import DatasetPaths, RunPaths
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
    predict_across(run, split, {"shared_images": _images_in_both(run, split)})
    return True


def _images_in_both(run: RunPaths, split: str) -> Mapping[str, list[str]] | None:
    """Tested case to the training and validation cases of the run that show the same picture.

    None where this cannot be known: the raw folder of its data set no longer exists, or its split has changed since.
    """
    if not run.source.dataset.dataset_json.exists():
        return None
    try:
        learnt = learnt_fold(run.source)
    except HtunetError as error:
        log.warning("%s", error)
        return None
    seen = (*learnt["train"], *learnt["val"])
    return images_in_both(run.source.dataset, seen, run.dataset, split, run.task)


@cache
def images_in_both(
    seen: DatasetPaths, seen_ids: tuple[str, ...], tested: DatasetPaths, split: str, task: str
) -> Mapping[str, list[str]]:
    """Tested case to the cases among ``seen_ids`` of ``seen`` that show the same picture."""
    raw = read_raw(tested)
    return shared_images(read_raw(seen), seen_ids, raw, [case.id for case in cases_of(raw, split, task)])


def shared_of(run: RunPaths) -> Mapping[str, list[str]] | None:
    """What ``_images_in_both`` found when the run was predicted."""
    found: dict[str, Any] = read_object(run.settings_json, SETTINGS)["trained_on"]
    return found.get("shared_images")


def _is_of(run: RunPaths, split: str) -> bool:
    """Whether the predictions are those of this split as the data set is now."""
    if not run.finished_json.exists():
        return False
    record = read_object(run.settings_json, SETTINGS).get("trained_on") or {}
    expected = [case.id for case in cases_of(read_raw(run.dataset), split, run.task)]
    return (record.get("part"), record.get("cases")) == (split, expected)
