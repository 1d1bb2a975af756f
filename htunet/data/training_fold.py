"""The images that a run learns from: a fold of the split; in a few-shot run a fraction of its training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from htunet.data.class_checks import check_classes, with_classes
from htunet.data.class_probabilities import class_order
from htunet.data.few_shot import few_shot_subset
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import is_split_by_group, load_splits, trained_fold, training_digest
from htunet.data.splits import Fold
from htunet.errors import HtunetError, UsageError
from htunet.files import file_hash, json_hash, read_object
from htunet.paths import DatasetPaths, RunPaths
from htunet.schemas import SETTINGS


@dataclass(frozen=True)
class TrainingFold:
    """The images of one run."""

    preprocessed: PreprocessedDataset
    whole: Fold
    """All images of the fold."""
    chosen: Fold
    """The images that the run uses: for a task with classes those that have one, in a few-shot run a fraction of the
    training split."""
    ratio: float | None
    """The fraction of the training split in a few-shot run, between 0 and 1; None: all of it."""
    without_class: dict[str, int]
    """Number of images of each split that a task with classes leaves out."""
    val_without_label: bool = False
    """Whether masks are learnt and no validation mask has a labelled pixel."""

    def rows(self, split: str) -> list[int]:
        """Array rows of the chosen ``train`` or ``val`` split."""
        return self.preprocessed.rows(self.chosen[split])

    def record(self) -> dict[str, Any]:
        """The entries of settings.json about the images; they belong to the run's identity."""
        marker = file_hash(self.preprocessed.folder / "preprocessed.json")
        few_shot = None
        if self.ratio is not None:
            ids = self.chosen["train"]
            few_shot = {"ratio": self.ratio, "training_images": len(ids), "training_images_sha256": json_hash(ids)}
        without = {"images_without_class": self.without_class} if any(self.without_class.values()) else {}
        return {
            "split_sha256": training_digest(self.whole),
            "few_shot": few_shot,
            "data_sha256": marker,
            **without,
        }

    def remarks(self) -> list[str]:
        """What a user should know of the images, a line each."""
        named = [f"{count} of the {split} split" for split, count in self.without_class.items() if count]
        remarks = [f"Excluded, because they have no class: {', '.join(named)}."] if named else []
        if self.val_without_label:
            remarks.append(
                "No validation mask has a labelled pixel: the validation loss alone chooses the epoch, or where "
                "classes are learnt too their AUC (dice_auc is then half of it)."
            )
        return remarks


def training_fold(run: RunPaths, preprocessed: PreprocessedDataset, ratio: float | None) -> TrainingFold:
    """The fold of a run; the order in which few-shot runs take images is written to disk unless it is there.

    Raises UsageError for a fold that does not exist and a ratio that leaves no image, HtunetError when there is no
    split, or when the images lack the masks or classes that the task learns.
    """
    whole = _read_split(run.dataset.splits_json, run.fold)
    usable = _usable(run, preprocessed, whole)
    if "cls" in run.tasks:
        class_of = {case.id: case.class_name for case in preprocessed.cases}
        check_classes(usable, class_of, class_order(preprocessed.classes))
    without_class = {split: len(whole[split]) - len(usable[split]) for split in whole}
    chosen = _chosen(run, preprocessed, whole, usable, ratio)
    val_without_label = False
    if "seg" in run.tasks:
        if not _any_labelled(preprocessed, chosen["train"]):
            raise HtunetError(
                f"None of the {len(chosen['train'])} training masks has a labelled pixel: there is nothing to segment."
            )
        val_without_label = not _any_labelled(preprocessed, chosen["val"])
    return TrainingFold(preprocessed, whole, chosen, ratio, without_class, val_without_label)


def learnt_fold(run: RunPaths) -> Fold:
    """The images that a run was trained on: of a few-shot run its fraction, of a task with classes those that have one.

    Raises HtunetError where the split, or the order in which few-shot runs take images, has changed since.
    """
    whole = trained_fold(run)
    if run.ratio is None and "cls" not in run.tasks:
        return whole
    preprocessed = PreprocessedDataset(run.dataset.plan_folder(run.plan))
    chosen = _chosen(run, preprocessed, whole, _usable(run, preprocessed, whole), run.ratio)
    then = (read_object(run.settings_json, SETTINGS).get("few_shot") or {}).get("training_images_sha256")
    if then not in (None, json_hash(chosen["train"])):
        raise HtunetError(
            f"{run.dataset.few_shot_json(run.fold, run.seed)} has changed since {run.label} was trained: which images "
            "it was trained on cannot be known. Restore that file, or train again with --restart."
        )
    return chosen


def recorded_fold(training: Mapping[str, Any]) -> Fold | None:
    """The fold of a training by its settings, or by what those of a later run say of it.

    None where this cannot be known: it names no data set, or the split is gone, damaged or has changed since.
    """
    number = training.get("fold")
    try:
        folds = load_splits(DatasetPaths(str(training.get("dataset"))).splits_json)
    except HtunetError:
        return None
    if not isinstance(number, int) or not 0 <= number < len(folds):
        return None
    return folds[number] if training.get("split_sha256") in (None, training_digest(folds[number])) else None


def _usable(run: RunPaths, preprocessed: PreprocessedDataset, whole: Fold) -> Fold:
    """The images of a fold that the run's task can learn from."""
    if "cls" not in run.tasks:
        return whole
    return with_classes(whole, {case.id: case.class_name for case in preprocessed.cases})


def _chosen(run: RunPaths, preprocessed: PreprocessedDataset, whole: Fold, usable: Fold, ratio: float | None) -> Fold:
    if ratio is None:
        return usable
    subset = few_shot_subset(
        run.dataset.few_shot_json(run.fold, run.seed),
        whole,
        [preprocessed.cases[row] for row in preprocessed.rows(whole["train"])],
        ratio=ratio,
        seed=run.seed,
        by_group=is_split_by_group(run.dataset),
        usable=usable["train"],
    )
    return {**usable, "train": subset}


def _read_split(path: Path, fold: int) -> Fold:
    if not path.exists():
        raise HtunetError(f"{path} is missing: run htunet_plan_and_preprocess -d {path.parent.name} first.")
    splits = load_splits(path)
    if not 0 <= fold < len(splits):
        raise UsageError(f"fold{fold} does not exist: {path} has fold0 to fold{len(splits) - 1}.")
    for split in ("train", "val"):
        if not splits[fold][split]:
            raise HtunetError(f"fold{fold} of {path} has no images in {split!r}: there is nothing to train on.")
    return splits[fold]


def _any_labelled(preprocessed: PreprocessedDataset, cases: Sequence[str]) -> bool:
    return any(preprocessed.masks[row].any() for row in preprocessed.rows(list(cases)))
