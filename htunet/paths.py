"""Every folder and file name of the project, each spelled once and read when used.

Data flow: raw -> preprocessed (fingerprint, plans, splits, arrays) -> results (weights, predictions, summaries).
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from htunet.errors import HtunetError, UsageError, did_you_mean

ROOTS = {
    "htunet_raw": "raw",
    "htunet_preprocessed": "preprocessed",
    "htunet_results": "results",
    "htunet_weights": "weights",
}
DEFAULT_HOME = "htunet_data"
TASK_OF_TRAINER = {
    "SegmentationTrainer": "seg",
    "ClassificationTrainer": "cls",
    "SegmentationClassificationTrainer": "seg+cls",
}
"""What is learnt, by the name of the trainer that a run's folder begins with."""
TRAINER_OF_TASK = {task: trainer for trainer, task in TASK_OF_TRAINER.items()}
FINETUNING, SHUFFLED = "finetuning", "__shuffled"
"""The folder of the results in which fine-tunings on captions lie, and what marks their controls."""
LONGEST_NAME = 200
"""Bytes; file systems take 255, with an ending."""
DATASET_NAME = re.compile(r"Dataset(\d{3})_([A-Za-z0-9][A-Za-z0-9_-]*)")
PAPER_FOLD = "paper"
"""The name of the fold that has the lists of the paper's authors, where they were imported."""
AS_PUBLISHED = "+as-published-defects"
"""What marks the plan of a run with the defects of the paper's public code (``Plan.as_published_defects``)."""
IMPORTED_WEIGHTS = "imported"
"""Name, before ``.safetensors`` or ``.pt``, of a file that a user imported and whose hash nobody published."""
PHANTOM = "phantom"
"""Weights pre-trained on simulated images, and the run or model that starts from them."""
RATIO, ADAPTER, TRAINED_ON = "ratio_", "adapter_", "trained_on_"
"""What a run's folder says after the method, each after two underscores, in this order: few-shot, where its adapter
started, and a training on other data."""


def root(variable: str) -> Path:
    """Folder named by an environment variable, else its place in ``htunet_data/`` of the working directory."""
    value = os.environ.get(variable)
    return Path(value) if value else Path.cwd() / DEFAULT_HOME / ROOTS[variable]


def checked_text(name: str, what: str, where: object) -> str:
    """The name of a class or a label from a file; raises HtunetError for one without a text that can be shown."""
    if not name.strip() or any(not char.isprintable() and ord(char) < 0xA0 for char in name):
        raise HtunetError(f"{where}: {what} {name[:100]!r} is empty or has a control character. Correct it.")
    if len(name.encode(errors="surrogateescape")) > LONGEST_NAME:
        raise HtunetError(f"{where}: {what} {name[:100]!r}... has more than {LONGEST_NAME} bytes. Shorten it.")
    return name


def checked_name(name: str, what: str, where: object) -> str:
    """The name of a case, a method, a data set or the like from a file, as outputs may be named after it.

    Raises HtunetError for one that is empty, longer than 200 bytes, hidden or one of htunet's unfinished files (a dot
    in front), or that has a slash, a backslash or a control character: it could be a place outside the folder.
    """
    if any(char in "/\\" or (not char.isprintable() and ord(char) < 0xA0) for char in name):
        reason = "has a slash, a backslash or a control character"
    elif not name or name[0] == "." or len(name.encode(errors="surrogateescape")) > LONGEST_NAME:
        reason = "is empty, begins with a dot or is too long"
    else:
        return name
    raise HtunetError(f"{where}: {what} {name[:100]!r} {reason}; files are named after it. Correct it.")


def unset_roots() -> list[str]:
    """The environment variables that are not set, so that a command can say where it works instead."""
    return [variable for variable in ROOTS if not os.environ.get(variable)]


FIRST_OWN = 600
"""Number of the first data set that is a user's own."""


class PathBelow:
    """A file or a folder below another one: ``PathBelow("raw", "cases.csv")`` is ``self.raw / "cases.csv"``."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder, self.name = folder, name

    def __get__(self, paths: Any, owner: type | None = None) -> Path:  # noqa: ANN401
        return Path(getattr(paths, self.folder), self.name)


@dataclass(frozen=True)
class DatasetPaths:
    """Where the files of one data set are. ``name`` is the full name, such as ``Dataset503_BUSI``."""

    name: str
    planned_in: Path | None = None
    """The folder in place of htunet_preprocessed; None: that one."""

    def __post_init__(self) -> None:
        if not DATASET_NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot name a data set: DatasetNNN_NAME, as Dataset503_BUSI, where NAME has only the "
                "letters a to z in upper or lower case, digits, - and _."
            )

    @property
    def short_name(self) -> str:
        """The name without its number: ``BUSI``."""
        return self.name.split("_", 1)[1]

    @property
    def unique_name(self) -> str:
        """As ``short_name``, but the full name if another data set on this machine has the same short one."""
        alike = [full for full in all_datasets() if full.split("_", 1)[1] == self.short_name]
        return self.name if len(alike) > 1 else self.short_name

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own: its number is one that no published data set has."""
        return int(self.name.partition("_")[0].removeprefix("Dataset")) >= FIRST_OWN

    @property
    def raw(self) -> Path:
        """The converted data set, in nnU-Net's layout."""
        return root("htunet_raw") / self.name

    dataset_json = PathBelow("raw", "dataset.json")
    """What the data set says of itself: nnU-Net's fields, and classes, licence and so on."""
    cases_csv = PathBelow("raw", "cases.csv")
    """A row for each case: split, class, group, the file that it was made from, millimetres a pixel where known."""
    conversion_json = PathBelow("preprocessed", "conversion.json")
    """The command that converted it, as typed; see ``reproducibility.record_command``."""
    excluded_csv = PathBelow("raw", "excluded.csv")
    """What of the download did not become a case, and why."""
    paper_splits_json = PathBelow("raw", "paper_splits.json")
    """The lists of the paper's authors as folds, where the images came with them; the first split is theirs."""
    captions_json = PathBelow("raw", "captions.json")
    """What a data set of captions says of itself; one of images with masks has ``dataset.json`` instead."""
    captions_jsonl = PathBelow("raw", "captions.jsonl")
    """A line for each pair of an image and its caption."""
    shards = PathBelow("raw", "shards")
    """In place of ``captions.jsonl`` and images: tars of pairs, and what is in them."""

    @property
    def preprocessed(self) -> Path:
        return (self.planned_in or root("htunet_preprocessed")) / self.name

    caption_split_json = PathBelow("preprocessed", "caption_split.json")
    """Which pairs of a caption data set are for fine-tuning, and which watch it."""
    text_embeddings = PathBelow("preprocessed", "text_embeddings")
    """Captions as frozen text towers embed them, a file for each tower."""
    warnings_json = PathBelow("preprocessed", "warnings.json")
    """What planning warned of."""
    measured_npz = PathBelow("preprocessed", "measured.npz")
    """What was measured of each image and mask, by the content of their files."""
    raw_files_json = PathBelow("preprocessed", "raw_files.json")
    """The hash of the raw folder, and of the sizes and times that its files had then."""
    fingerprint_json = PathBelow("preprocessed", "dataset_fingerprint.json")
    """What the planner looks at: sizes, intensities, lesions, classes, groups."""
    plans_json = PathBelow("preprocessed", "plans.json")
    """All plans of the data set by their names, each decision with its reason."""
    splits_json = PathBelow("preprocessed", "splits_final.json")
    """The folds, as nnU-Net writes them, with a test split each."""
    planning_json = PathBelow("preprocessed", "planning.json")
    """The commands that planned it, as typed."""
    run_json = PathBelow("results", "run/commands.json")
    """The commands of ``htunet_run`` that chose a method on it, as typed."""
    schedule_json = PathBelow("results", "run/schedule.json")
    """What ``htunet_run`` was asked for, and what it trains in the time there is."""
    choice_json = PathBelow("results", "run/choice.json")
    """The method and the post-processing that it chose, and of which runs."""
    splits_made_json = PathBelow("preprocessed", "splits_made.json")
    """How ``splits_final.json`` was made, to tell it from one that the user wrote."""

    def few_shot_json(self, fold: int, seed: int) -> Path:
        """The order in which the training images of a fold are taken when only some of them are."""
        return self.preprocessed / "few_shot" / f"fold_{fold}_seed_{seed}.json"

    def plan_folder(self, plan: str) -> Path:
        """Arrays of one plan: ``images.npy``, ``masks.npy``, ``cases.csv``; published defects change none of them."""
        return self.preprocessed / plan.removesuffix(AS_PUBLISHED)

    @property
    def results(self) -> Path:
        """The runs of the data set, a folder for each, and what was found in other ways."""
        return root("htunet_results") / self.name

    def robustness(self, source: str) -> Path:
        """The runs of this data set beside each other on images with artefacts; see ``RunPaths.robustness``."""
        return self.results / "robustness" / source

    def text_side(self, what: str, towers: str, split: str) -> Path:
        """What ``zero_shot`` or ``retrieval`` found with some towers (see ``inference.text_side``) on a split."""
        return self.results / what / towers / split


class RunFolder:
    """The files that every kind of run has."""

    @property
    def folder(self) -> Path:
        """Spells the run's identity."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """How messages name the run."""
        raise NotImplementedError

    settings_json = PathBelow("folder", "settings.json")
    """What the run was started with: the settings, the plan, the weights and their hash, the versions."""
    finished_json = PathBelow("folder", "finished.json")
    """Written last; a run without it is not finished."""
    checkpoint_best = PathBelow("folder", "checkpoint_best.safetensors")
    """Trained weights of the epoch with the best validation, without the frozen ones."""
    checkpoint_before = PathBelow("folder", "checkpoint_before.safetensors")
    """The ``checkpoint_best`` that belongs to ``checkpoint_latest``, as long as that is older than the best epoch."""
    checkpoint_latest = PathBelow("folder", "checkpoint_latest.safetensors")
    """Trained weights, optimiser and progress, from which the run continues."""
    progress_csv = PathBelow("folder", "progress.csv")
    """A row for each epoch: learning rate, losses, validation."""
    progress_png = PathBelow("folder", "progress.png")
    training_log = PathBelow("folder", "training.log")
    """What the run has said, of all its continuations."""


@dataclass(frozen=True)
class RunPaths(RunFolder):
    """Where the files of one training run are; the folders spell the run's identity.

    Where another data set's images are predicted with the run, that one is ``dataset``, and its results folder holds
    the predictions and figures; weights are only in ``source``.
    """

    dataset: DatasetPaths
    trainer: str
    plan: str
    method: str
    fold: int
    seed: int
    ratio: float | None = None
    """Share of the training images that the run learns from; None: all."""
    trained_on: str | None = None
    """Full name of the data set that the run was trained on, where it is not ``dataset``."""
    adapter: str = ""
    """Where the adapter started (see ``models.finetuned``); empty: from scratch. Of a network without an adapter
    ``phantom``, where it started from weights pre-trained on simulation."""

    @property
    def folder(self) -> Path:
        ratio = [] if self.ratio is None else [f"{RATIO}{self.ratio!r}"]
        trained_on = [] if self.trained_on is None else [f"{TRAINED_ON}{self.trained_on}"]
        adapter = [f"{ADAPTER}{self.adapter}"] if self.adapter else []
        group = "__".join([self.trainer, self.plan, self.method, *ratio, *adapter, *trained_on])
        return self.dataset.results / group / f"fold_{self.fold}" / f"seed_{self.seed}"

    @property
    def source(self) -> "RunPaths":
        """The run that was trained: itself, or that of the other data set."""
        if self.trained_on is None:
            return self
        return replace(self, dataset=DatasetPaths(self.trained_on), trained_on=None)

    test_folder = PathBelow("folder", "test")
    predictions = PathBelow("test_folder", "predictions")
    """Predicted masks of the test split in the original sizes, ``CASE.png``, values 0..K."""
    predictions_at_input = PathBelow("test_folder", "predictions_at_input_size")
    """The same masks at the network's input size, on which the paper's figures are defined."""
    references_at_input = PathBelow("test_folder", "references_at_input_size")
    """The true masks at that size, of another data set's images; those of the run's own are in the arrays."""
    uncertainty = PathBelow("test_folder", "uncertainty")
    """Where the network is undecided, ``CASE.png`` in the original sizes: entropy 0..1 as 0..255, in 16 steps."""
    classes_csv = PathBelow("test_folder", "classes.csv")
    """Probabilities of the classes for the test split, where classes are learnt."""
    expected_dice_csv = PathBelow("test_folder", "expected_dice.csv")
    """The Dice that the network expects of each test image by its own probabilities; see ``predicted_dice``."""
    predicted_json = PathBelow("test_folder", "predicted.json")
    """Of which images the predictions are; see ``arrays.predicted_of``."""
    familiar_json = PathBelow("test_folder", "familiar.json")
    """Statistics of the images that the run has learnt from; see ``inference.unlike_images``."""
    val_classes_csv = PathBelow("folder", "val/classes.csv")
    """The same for the validation split, which chooses the threshold and the temperature."""
    classification_png = PathBelow("test_folder", "classification.png")
    """The curves, the confusion matrix and the reliability diagram."""
    summary_json = PathBelow("test_folder", "summary.json")
    """All figures of the test split, as nnU-Net's and ours; written last."""

    def measurement(self, what: str) -> Path:
        """Arrays that were measured with the trained network, from which figures are drawn: ``features`` and so on."""
        return self.folder / "measurements" / f"{what}.npz"

    def robustness(self, source: str) -> Path:
        """How the run does on test images with artefacts, ``altered``, or ``rendered`` again."""
        return self.folder / "robustness" / source

    overlays = PathBelow("test_folder", "overlays")
    """A picture for each test image: prediction and truth on the image."""

    @property
    def below_results(self) -> str:
        """The folder below the results of its data set, with slashes."""
        return self.folder.relative_to(self.dataset.results).as_posix()

    @property
    def task(self) -> str:
        """``seg``, ``cls`` or ``seg+cls``; of a trainer that is not known, its name."""
        return TASK_OF_TRAINER.get(self.trainer, self.trainer)

    @property
    def tasks(self) -> list[str]:
        """What is learnt: ``seg``, ``cls``, or both."""
        return self.task.split("+")

    @property
    def label(self) -> str:
        """How messages name the run: ``BUSI CLIP_HT fold0 seed1 (plan paper)``; another task than ``seg`` is said."""
        task = "" if self.task == "seg" else f", task {self.task}"
        ratio = "" if self.ratio is None else f", ratio {self.ratio!r}"
        other = "" if self.trained_on is None else f", trained on {self.source.dataset.short_name}"
        adapter = f", adapter of {self.adapter}" if self.adapter else ""
        adapter = ", pre-trained on simulation" if self.adapter == PHANTOM else adapter
        about = f"plan {self.plan}{task}{ratio}{adapter}{other}"
        return f"{self.dataset.short_name} {self.method} fold{self.fold} seed{self.seed} ({about})"


def reproduced(table: str) -> Path:
    """Where ``htunet_reproduce`` writes a table of the paper, and the logs of its jobs."""
    return root("htunet_results") / "reproduce" / table


def figures_folder() -> Path:
    """Where the figures of all runs together go."""
    return root("htunet_results") / "figures"


def imported_models() -> Path:
    """Where models from elsewhere are, a folder each."""
    return root("htunet_results") / "models"


@dataclass(frozen=True)
class FinetuningPaths(RunFolder):
    """Where the files of one fine-tuning on captions (stage 1) are."""

    datasets: tuple[str, ...]
    """Full names of the caption data sets, sorted."""
    method: str
    seed: int
    shuffled: bool = False
    """Whether each image has the caption of another one: a control, from which nothing can be learnt."""
    plan: str = "paper"
    """``paper`` or ``public``."""

    @property
    def name(self) -> str:
        """The data sets by their short names, such as ``PMC-OA+CURD``."""
        return "+".join(DatasetPaths(name).short_name for name in self.datasets)

    @property
    def folder(self) -> Path:
        plan = "" if self.plan == "paper" else f"__{self.plan}"
        group = f"{self.method}{plan}{SHUFFLED if self.shuffled else ''}"
        return root("htunet_results") / FINETUNING / self.name / group / f"seed_{self.seed}"

    def label_for(self, seed: int = 1) -> str:
        """What the folder of a run with ``seed`` says of the adapter that it starts from; another seed is said."""
        parts = {f"-{self.plan}": self.plan != "paper", f"-seed{self.seed}": self.seed != seed}
        parts["-shuffled"] = self.shuffled
        return self.name + "".join(part for part, named in parts.items() if named)

    @property
    def label(self) -> str:
        plan = "" if self.plan == "paper" else f" (plan {self.plan})"
        shuffled = " (shuffled captions)" if self.shuffled else ""
        return f"{self.method} on {self.name} seed{self.seed}{plan}{shuffled}"


def all_datasets() -> list[str]:
    """Full names of the data sets that have a raw or a preprocessed folder."""
    folders = (root(variable) for variable in ("htunet_raw", "htunet_preprocessed"))
    names = {child.name for folder in folders if folder.is_dir() for child in folder.iterdir() if child.is_dir()}
    return sorted(name for name in names if DATASET_NAME.fullmatch(name))


def find_dataset(name: str) -> DatasetPaths:
    """Resolve ``BUSI``, ``503`` or ``Dataset503_BUSI``; raises UsageError with the known names and the nearest."""
    known = all_datasets()
    matches = [full for full in known if is_name_of(name, full)]
    if len(matches) == 1:
        return DatasetPaths(matches[0])
    if matches:
        raise UsageError(f"The data set name {name!r} fits several: {', '.join(matches)}. Type the full name.")
    short = [full.split("_", 1)[1] for full in known]
    listing = ", ".join(known) if known else "none yet"
    raise UsageError(
        f"No data set is called {name!r} in {root('htunet_raw')}; known: {listing}."
        + (
            did_you_mean(name, [*short, *known])
            or " Convert it first: htunet_convert NAME SOURCE, or with --images, --masks and --name images of your own."
        )
    )


def is_name_of(name: str, full: str) -> bool:
    """Whether ``BUSI``, ``503`` or ``Dataset503_BUSI`` means the data set with this full name."""
    return name in (full, full.split("_", 1)[1], str(int(full[7:10])), full[7:10])


def find_runs(dataset: DatasetPaths | None = None) -> Iterator[RunPaths]:
    """Every run folder that has a ``settings.json``, in a stable order; of one data set or of all."""
    base = root("htunet_results")
    pattern = "*__*__*/fold_*/seed_*/settings.json"
    for path in sorted(base.glob(f"{dataset.name if dataset else 'Dataset*'}/{pattern}")):
        seed, fold, group, name = (path.parents[i].name for i in range(4))
        with suppress(ValueError):  # a folder that somebody else called so, such as seed_1_backup
            trainer, plan, method, more = _group_parts(group)
            run = RunPaths(DatasetPaths(name), trainer, plan, method, int(fold[5:]), int(seed[5:]), **more)
            if run.settings_json == path:
                yield run


def _group_parts(group: str) -> tuple[str, str, str, dict[str, Any]]:
    """Trainer, plan, method and the other fields of ``RunPaths`` that a group folder's name spells."""
    group, _, trained_on = group.partition(f"__{TRAINED_ON}")  # a data set's name may hold two underscores
    group, _, adapter = group.partition(f"__{ADAPTER}")
    trainer, plan, method, *more = group.split("__")
    ratios = [float(part.removeprefix(RATIO)) for part in more if part.startswith(RATIO)]
    others = {"ratio": ratios[0] if ratios else None, "trained_on": trained_on or None, "adapter": adapter}
    return trainer, plan, method, others
