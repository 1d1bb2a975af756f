"""What a run learns from: a fold of the split, or as much of its training part as a few-shot run takes."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from htunet.data.class_checks import check_classes
from htunet.data.class_probabilities import class_order
from htunet.data.few_shot import few_shot_subset
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import is_split_by_group, load_splits, training_digest
from htunet.data.splits import Fold
from htunet.errors import HtunetError, UsageError
from htunet.paths import RunPaths


@dataclass(frozen=True)
class TrainingFold:
    """The images of one run."""

    preprocessed: PreprocessedDataset
    whole: Fold
    """As the split has it."""
    chosen: Fold
    """The same with the training part that the run learns from; the validation part is always whole."""
    ratio: float | None

    def rows(self, part: str) -> list[int]:
        """Array rows of the chosen ``train`` or ``val`` part."""
        return self.preprocessed.rows(self.chosen[part])

    def record(self) -> dict[str, Any]:
        """What settings.json says of the images, as part of the run's identity."""
        marker = (self.preprocessed.folder / "preprocessed.json").read_bytes()
        few_shot = None
        if self.ratio is not None:
            ids = self.chosen["train"]
            digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
            few_shot = {"ratio": self.ratio, "training_images": len(ids), "training_images_sha256": digest}
        return {
            "split_sha256": training_digest(self.whole),
            "few_shot": few_shot,
            "data_sha256": hashlib.sha256(marker).hexdigest(),
        }


def training_fold(run: RunPaths, preprocessed: PreprocessedDataset, ratio: float | None) -> TrainingFold:
    """The fold of a run; the order in which a few-shot run takes images is written to disk where it is not there.

    Raises UsageError for a fold that does not exist and a ratio that leaves no image, HtunetError when there is no
    split or what the task learns is not in the images.
    """
    whole = _read_split(run.dataset.splits_json, run.fold)
    chosen = whole
    if ratio is not None:
        subset = few_shot_subset(
            run.dataset.few_shot_json(run.fold, run.seed),
            whole,
            [preprocessed.cases[row] for row in preprocessed.rows(whole["train"])],
            ratio=ratio,
            seed=run.seed,
            by_group=is_split_by_group(run.dataset),
        )
        chosen = {**whole, "train": subset}
    _check_data(preprocessed, chosen, run.task)
    return TrainingFold(preprocessed, whole, chosen, ratio)


def _read_split(path: Path, fold: int) -> Fold:
    if not path.exists():
        raise HtunetError(f"{path} is missing: run htunet_plan_and_preprocess -d {path.parent.name} first.")
    splits = load_splits(path)
    if not 0 <= fold < len(splits):
        raise UsageError(f"fold{fold} does not exist: {path} has fold0 to fold{len(splits) - 1}.")
    for part in ("train", "val"):
        if not splits[fold][part]:
            raise HtunetError(f"fold{fold} of {path} has no images in {part!r}: there is nothing to train on.")
    return splits[fold]


def _check_data(preprocessed: PreprocessedDataset, split: Fold, task: str) -> None:
    """Raise HtunetError when what the task learns is not in the images of the fold."""
    parts = task.split("+")
    if "cls" in parts:
        class_of = {case.id: case.class_name for case in preprocessed.cases}
        check_classes(split, class_of, class_order(preprocessed.classes))
    if "seg" in parts and not any(preprocessed.masks[row].any() for row in preprocessed.rows(split["train"])):
        raise HtunetError(
            f"None of the {len(split['train'])} training masks has a labelled pixel: there is nothing to segment."
        )
