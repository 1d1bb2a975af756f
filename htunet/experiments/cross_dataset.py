"""Test the finished runs of one data set on another one, whose images none of them has seen."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from htunet.data.raw import read_raw
from htunet.data.shared_images import shared_images
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError, UsageError
from htunet.evaluation.freshness import needs_prediction
from htunet.files import read_object
from htunet.inference.across import cases_of, check_fits, predict_across
from htunet.paths import DatasetPaths, RunPaths
from htunet.schemas import SETTINGS


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
    shared = images_in_both(run.source.dataset, run.fold, run.dataset, split, run.task)
    predict_across(run, split, {"shared_images": shared})
    return True


@cache
def images_in_both(
    seen: DatasetPaths, fold: int, tested: DatasetPaths, split: str, task: str
) -> Mapping[str, list[str]] | None:
    """Tested case to the training and validation cases of ``seen`` that show the same picture.

    None where the raw folder of ``seen`` no longer exists, so that this cannot be known.
    """
    if not seen.dataset_json.exists():
        return None
    learnt = load_splits(seen.splits_json)[fold]
    raw = read_raw(tested)
    tested_ids = [case.id for case in cases_of(raw, split, task)]
    return shared_images(read_raw(seen), [*learnt["train"], *learnt["val"]], raw, tested_ids)


def shared_of(run: RunPaths) -> Mapping[str, list[str]] | None:
    """What ``images_in_both`` found when the run was predicted."""
    found: dict[str, Any] = read_object(run.settings_json, SETTINGS)["trained_on"]
    return found.get("shared_images")


def _is_of(run: RunPaths, split: str) -> bool:
    """Whether the predictions are those of this split as the data set is now."""
    if not run.finished_json.exists():
        return False
    record = read_object(run.settings_json, SETTINGS).get("trained_on") or {}
    expected = [case.id for case in cases_of(read_raw(run.dataset), split, run.task)]
    return (record.get("part"), record.get("cases")) == (split, expected)
