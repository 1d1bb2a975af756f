"""What is already done for a run, so that the same command again does only the rest."""

from pathlib import Path

import htunet
from htunet.data.split_files import load_splits, training_digest
from htunet.evaluation.evaluate import split_part
from htunet.evaluation.summary import FORMAT
from htunet.files import read_object
from htunet.paths import RunPaths


def trained_on_other_images(run: RunPaths) -> bool:
    """True when the split was changed since the training: the test part may now hold images that the run has seen."""
    then = read_object(run.settings_json).get("split_sha256")
    folds = load_splits(run.dataset.splits_json)
    return then is not None and (run.fold >= len(folds) or training_digest(folds[run.fold]) != then)


def needs_prediction(run: RunPaths) -> bool:
    """True when a test prediction is missing or older than the checkpoint that makes it."""
    paths = _predictions(run)
    if not all(path.exists() for path in paths):
        return True
    if not run.checkpoint_best.exists():
        return False
    return min(map(_time, paths)) < _time(run.checkpoint_best)


def is_evaluated(run: RunPaths, policy: str) -> bool:
    """True when summary.json is newer than the predictions and was made with this policy and this version."""
    paths = _predictions(run)
    if not run.summary_json.exists() or not all(path.exists() for path in paths):
        return False
    own = read_object(run.summary_json).get("htunet", {})
    made_with = (own.get("format"), own.get("policy"), own.get("evaluated_with", {}).get("htunet"))
    return made_with == (FORMAT, policy, htunet.__version__) and _time(run.summary_json) >= max(map(_time, paths))


def _predictions(run: RunPaths) -> list[Path]:
    ids = split_part(run.dataset, run.fold, "test")
    return [folder / f"{case}.png" for folder in (run.predictions, run.predictions_at_input) for case in ids]


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns
