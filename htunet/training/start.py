"""Begin a training with the weights of an earlier one, and never with those of one that has seen the test images."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from htunet.data.split_files import load_splits
from htunet.data.splits import Fold
from htunet.errors import HtunetError, counted
from htunet.files import file_hash
from htunet.models import checkpoint
from htunet.models.network import Network
from htunet.models.weights.load import WeightsRecord
from htunet.paths import DatasetPaths
from htunet.planning.configuration import digest

log = logging.getLogger(__name__)


def load_start(network: Network, weights: WeightsRecord, path: Path, method: str) -> dict[str, Any]:
    """Fill the trainable part of the network; what settings.json says of it: data set, fold, how trained, hash.

    Raises HtunetError where the checkpoint is of another method or does not fit.
    """
    about = checkpoint.read_about(path)
    if about.get("method") != method:
        raise HtunetError(f"{path} is of {about.get('method')}, not of {method}. Name a checkpoint of {method}.")
    checkpoint.restore(network, weights, path)
    settings = about.get("settings") or {}
    trained = {name: settings.get(name) for name in ("dataset", "fold", "num_epochs")}
    return {**trained, "configuration": digest(settings), "sha256": file_hash(path)}


def refuse_seen_images(start: Mapping[str, Any], whole: Fold, fold: int) -> None:
    """Raise HtunetError where what the checkpoint has learnt from is tested or validated now, by the ids of the cases.

    Where the split that it was trained on is not there any more this cannot be known, and is logged.
    """
    dataset, number = start.get("dataset"), start.get("fold")
    path = DatasetPaths(str(dataset)).splits_json if dataset else None
    folds = load_splits(path) if path is not None and path.exists() else []
    if not isinstance(number, int) or not 0 <= number < len(folds):
        log.warning("Whether the starting weights have seen images that fold%d tests cannot be known.", fold)
        return
    held_out = {case for split, cases in whole.items() if split != "train" for case in cases}
    if seen := sorted(set(folds[number]["train"]) & held_out):
        raise HtunetError(
            f"The starting weights (fold{number} of {dataset}) were trained on {counted(len(seen), 'image')} "
            f"that fold{fold} "
            f"validates or tests: {', '.join(seen[:5])}. Start from fold{fold} of the same split."
        )
