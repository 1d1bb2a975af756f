"""What is already done for a run, so that the same command again does only the rest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import htunet
from htunet.data.class_probabilities import read_class_probabilities
from htunet.data.raw import positive_class, read_raw
from htunet.data.split_files import fold_of
from htunet.errors import HtunetError
from htunet.evaluation import class_summary
from htunet.evaluation.predicted_run import references_digest, split_cases, test_cases
from htunet.evaluation.summary import FORMAT
from htunet.files import read_object
from htunet.paths import ADAPTER, DatasetPaths, FinetuningPaths, RunPaths
from htunet.planning.arrays import images_changed, raw_sha256
from htunet.schemas import SUMMARY


def trained_on_other_images(run: RunPaths) -> bool:
    """True when the split was changed since the training: the test split may now hold images that the run has seen."""
    return run.trained_on is None and fold_of(run) is None  # else no image of this data set was trained on


def needs_prediction(run: RunPaths) -> bool:
    """True when a prediction is missing, of other cases or images, or older than the checkpoint that makes it."""
    tested = test_cases(run)
    paths = _predictions(run, tested)
    if not all(path.exists() for path in paths):
        return True
    if "cls" in run.tasks:
        val = split_cases(run.source.dataset, run.fold, "val")
        try:
            for path, cases in ((run.classes_csv, tested), (run.val_classes_csv, val)):
                if set(read_class_probabilities(path).cases) != set(cases):
                    return True
        except HtunetError:  # a file that somebody has changed is made again
            return True
    if images_changed(run, tested):
        return True
    weights = run.source.checkpoint_best
    return weights.exists() and min(map(_time, paths)) < _time(weights)


def is_evaluated(run: RunPaths, policy: str, positive: str = "") -> bool:
    """True when summary.json is newer than the predictions and was made with this policy and this version.

    And of the masks, classes and groups that the data set has now, with this ``positive`` class; empty: the one that
    was chosen then, or that the data set names.
    """
    paths = _predictions(run, test_cases(run))
    if not run.summary_json.exists() or not all(path.exists() for path in paths):
        return False
    own = read_object(run.summary_json, SUMMARY).get("htunet", {})
    expected = {"format": FORMAT} | ({"policy": policy} if "seg" in run.tasks else {})
    if {name: own.get(name) for name in expected} != expected:
        return False
    classes = own.get("classification", {})
    if "cls" in run.tasks and classes.get("format") != class_summary.FORMAT:
        return False
    by_data_set = classes.get("positive_from") == class_summary.BY_DATA_SET
    expected_class = positive or (positive_class(read_raw(run.dataset).info) if by_data_set else "")
    if expected_class and classes.get("positive") != expected_class:
        return False
    if (then := own.get("references_sha256")) and references_digest(run) not in ("", then):
        return False
    same_version = own.get("evaluated_with", {}).get("htunet") == htunet.__version__
    return same_version and _time(run.summary_json) >= max(map(_time, paths))


def is_of_earlier_training(run: RunPaths) -> bool:
    """Whether the run that was tested on another data set is trained again since, or is being so."""
    if run.trained_on is None or not run.source.settings_json.exists():  # a run that is trained again loses its results
        return False
    try:
        then, now = (read_object(one.finished_json) if one.finished_json.exists() else {} for one in (run, run.source))
    except HtunetError:  # reported by the code that needs the run
        return False
    return then != now


def are_of_earlier_files(run: RunPaths, own: Mapping[str, Any]) -> bool:
    """Whether the images or references that the results of a run rest on have changed since; of its summary's object.

    They are read only where the raw folder has changed; of a summary of an earlier version, references alone. False
    where it cannot be known, such as for a data set that cannot be read.
    """
    try:
        then, now = own.get("raw_sha256"), raw_sha256(run.dataset)
        if now in ("", then):
            return False
        if not then:  # of an earlier version
            return own.get("references_sha256", "") not in ("", references_digest(run))
        return own["references_sha256"] != references_digest(run) or images_changed(run, test_cases(run))
    except HtunetError:  # reported by the code that needs the data set
        return False


def earlier_zero_shot(content: Mapping[str, Any], written: Path) -> str:
    """Of what earlier files a zero-shot classification is, from its summary and the file of it; empty: of these.

    Or where it cannot be known, such as for a data set that cannot be read.
    """
    try:
        now = raw_sha256(DatasetPaths(content["dataset"]))
    except HtunetError:  # reported by the code that needs the data set
        now = ""
    if now and content.get("raw_sha256") not in (None, now):
        return "of earlier images or masks"
    about = found if isinstance(found := content.get("adapter"), Mapping) else {}
    if "run" in about or None in (about.get("datasets"), about.get("seed")):  # no fine-tuning
        return ""
    plan = "paper" if (about.get("plan_content") or {}).get("normalise", True) else "public"
    shuffled, names = bool(about.get("shuffled_captions")), tuple(about["datasets"])
    run = FinetuningPaths(names, content["method"], about["seed"], shuffled, plan)
    if f"__{ADAPTER}{run.label_for()}__" not in f"{written.parents[1].name}__":  # of a checkpoint elsewhere
        return ""
    path = run.checkpoint_best
    return "of an earlier fine-tuning" if path.exists() and _time(path) > _time(written) else ""


def _predictions(run: RunPaths, tested: Sequence[str]) -> list[Path]:
    """What the prediction of a run's task writes."""
    folders = [run.predictions, run.predictions_at_input, *([run.references_at_input] if run.trained_on else [])]
    masks = [folder / f"{case}.png" for folder in folders for case in tested]
    classes = [run.classes_csv, run.val_classes_csv]
    return masks * ("seg" in run.tasks) + classes * ("cls" in run.tasks)


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns
