"""One training run: from names to a finished run folder. Calling it again continues where the run was."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from htunet.data.class_checks import check_classes
from htunet.data.class_probabilities import class_order
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits, training_digest
from htunet.errors import HtunetError, UsageError
from htunet.files import exclusive, read_object, write_json
from htunet.models import checkpoint
from htunet.models.build import build_network, check_input_size, check_plan_name
from htunet.models.precision import BF16, FABRIC_PRECISION, keep_frozen_in_bf16, resolve_precision
from htunet.paths import RunPaths, find_dataset
from htunet.planning.plans import Plan, check_task, load_plan
from htunet.preprocessing.preprocess import check_arrays
from htunet.reproducibility import provenance
from htunet.training import state
from htunet.training.augmentation import Augmentation, AugmentationSettings
from htunet.training.loader import TrainingImages
from htunet.training.loop import Data, Events, Loop, finished, fit
from htunet.training.record import Recorder, log_to, write_progress
from htunet.training.settings import TrainSettings
from htunet.training.signals import StopSignals, stop_signals
from htunet.training.state import Progress
from htunet.training.trainer import TRAINERS

SAVE_SECONDS = 30.0
"""checkpoint_latest is written at the end of an epoch when the last one is older: a kill costs about this much work."""
FREE_TO_CHANGE = ("weights_argument", "device", "devices", "workers", "made_by")
"""Settings that a continued run may have otherwise than the run before; they do not belong to its identity."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call of ``train`` ended."""

    run: RunPaths
    metric: str
    """What ``best_metric`` is, for people."""
    status: str
    """``finished``, ``already finished``, or ``stopped`` (by a signal; the same command continues)."""
    best_metric: float
    best_epoch: int
    signal: int | None = None
    rank: int = 0
    """This process's place among those of the run; the first one speaks for all."""


def train(dataset: str, method: str, fold: int, settings: TrainSettings, *, restart: bool = False) -> Outcome:
    """Train, or continue, the run that the arguments name. Everything that can be checked is checked before it starts.

    Raises UsageError for names, folds and settings that do not exist, HtunetError when files are missing, when another
    process holds the run, or when the run was begun with other settings.
    """
    check_plan_name(method, settings.plan)
    paths = find_dataset(dataset)
    plan = load_plan(paths.plans_json, settings.plan)
    check_task(plan, settings.task)
    split = _read_split(paths.splits_json, fold)
    check_input_size(method, plan.input_size, task=settings.task, adapter_settings=plan.adapter)
    preprocessed = PreprocessedDataset(paths.plan_folder(plan.name), plan.classes)
    check_arrays(preprocessed.folder, plan)
    _check_data(preprocessed, split, settings.task)
    rows = {part: preprocessed.rows(split[part]) for part in ("train", "val")}
    trainer_class = TRAINERS[settings.task]
    run = RunPaths(paths, trainer_class.__name__, plan.name, method, fold, settings.seed)
    fabric = _make_fabric(settings)
    with ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(exclusive(run.folder, f"The run {run.label}"))
        images = TrainingImages(preprocessed, _augmentation(plan), settings.seed)
        data = Data(preprocessed=preprocessed, train_rows=rows["train"], val_rows=rows["val"], images=images)
        session = _Session(fabric, run, plan, settings, data, split)
        if restart:  # only now: whatever can be wrong has been found, and the earlier run was not touched
            if fabric.is_global_zero:
                _clear(run)
            fabric.barrier()
        else:
            session.refuse_other_settings()
        if fabric.is_global_zero:
            stack.enter_context(log_to(run.training_log))
        return session.run_to_the_end()


class _Session:
    """The life of one call: what is built once, and where the run stands."""

    def __init__(
        self,
        fabric: Fabric,
        run: RunPaths,
        plan: Plan,
        settings: TrainSettings,
        data: Data,
        split: dict[str, list[str]],
    ) -> None:
        self.fabric, self.run, self.plan, self.settings = fabric, run, plan, settings
        self.num_epochs = settings.num_epochs or plan.num_epochs
        self.precision = resolve_precision(settings.precision, fabric.device.type)
        self.network, self.weights = build_network(
            run.method,
            task=settings.task,
            num_labels=len(plan.labels),
            num_classes=len(plan.classes),
            seed=settings.seed,
            weights=settings.weights,
            adapter_settings=plan.adapter_settings,
            prompts=plan.label_prompts,
        )
        self.about = self._about(split, data.preprocessed)
        self.loop = self._make_loop(data)

    def run_to_the_end(self) -> Outcome:
        """Continue from the last checkpoint, train, and write what a finished run has."""
        progress = self._restore()
        if self.run.finished_json.exists():
            return self._outcome(progress, "already finished")
        if self.fabric.is_global_zero:
            write_json(self.run.settings_json, self.about)
            log.info("%s", self._opening())
        with stop_signals() as stop:
            self._train(progress, stop)
        if not finished(self.loop, progress):
            return self._outcome(progress, "stopped", stop.received)
        if self.fabric.is_global_zero:
            summary = {"epochs": progress.epoch, "best_epoch": progress.best_epoch + 1}
            write_json(self.run.finished_json, summary | {f"best_val_{self.loop.trainer.metric}": progress.best_metric})
        return self._outcome(progress, "finished")

    def _opening(self) -> str:
        """What is about to be trained on what, in one line."""
        loop, data = self.loop, self.loop.data
        weights = "" if self.weights.source == "none" else f", {self.weights.source} weights"
        return (
            f"Training {self.run.label} on {self.fabric.device}, {self.precision}{weights}: {len(data.train_rows)} "
            f"training and {len(data.val_rows)} validation images, {loop.order.per_epoch} steps an epoch, "
            f"{self.num_epochs} epochs."
        )

    def _train(self, progress: Progress, stop: StopSignals) -> None:
        steps = self.loop.order.per_epoch
        recorder = None
        if self.fabric.is_global_zero:
            recorder = Recorder(
                self.run,
                total_steps=self.loop.total_steps,
                done_steps=progress.step(steps),
                num_epochs=self.num_epochs,
                history=progress.history,
                metric=self.loop.trainer.metric,
            )
        saver = _Saver(self)
        try:
            waiting = fit(self.loop, progress, _events(recorder, saver, stop))
            saver.latest(progress)
            log.info("%.1f %% of the time was spent waiting for data.", 100 * waiting.share)
            if recorder and progress.history:
                write_progress(self.run.progress_csv, progress.history)
                recorder.draw(progress)
        finally:
            if recorder:
                recorder.close()

    def _restore(self) -> Progress:
        if not self.run.checkpoint_latest.exists():
            return Progress()
        progress, _ = state.load(self.run.checkpoint_latest, self.network, self.loop.optimizer)
        if self.fabric.is_global_zero and not self.run.finished_json.exists():
            log.info("Continuing %s at epoch %d.", self.run.label, progress.epoch + 1)
        return progress

    def _make_loop(self, data: Data) -> Loop:
        if self.precision == BF16:
            keep_frozen_in_bf16(self.network)
        plan = self.plan
        self.network.to(self.fabric.device)
        optimizer = torch.optim.AdamW(
            self.network.trainable_parameters(),
            lr=plan.learning_rate,
            betas=plan.betas,
            weight_decay=plan.weight_decay,
            fused=True,
        )
        forward, optimizer = self.fabric.setup(self.network, optimizer)
        return Loop(
            fabric=self.fabric,
            trainer=TRAINERS[self.settings.task].from_plan(plan),
            network=self.network,
            forward=forward,
            optimizer=optimizer,
            plan=plan,
            data=data,
            seed=self.settings.seed,
            num_epochs=self.num_epochs,
            workers=self._workers(),
        )

    def _workers(self) -> int:
        """What was asked for, else the plan's; on a CPU none: its cores are busy with the training itself."""
        if self.settings.workers is not None:
            return self.settings.workers
        return 0 if self.fabric.device.type == "cpu" else self.plan.workers

    def _about(self, split: dict[str, list[str]], preprocessed: PreprocessedDataset) -> dict[str, Any]:
        """settings.json: the identity of the run, and what made it."""
        marker = (preprocessed.folder / "preprocessed.json").read_bytes()
        return {
            "format": checkpoint.FORMAT,
            "dataset": self.run.dataset.name,
            "method": self.run.method,
            "task": self.settings.task,
            "trainer": self.run.trainer,
            "plan": self.plan.name,
            "fold": self.run.fold,
            "seed": self.settings.seed,
            "num_epochs": self.num_epochs,
            "precision": self.precision,
            "weights": asdict(self.weights),
            "weights_argument": self.settings.weights,
            "trainable_parameters": sum(p.numel() for p in self.network.trainable_parameters()),
            "plan_content": json.loads(json.dumps(asdict(self.plan) | {"because": {}})),
            "split_sha256": training_digest(split),
            "data_sha256": hashlib.sha256(marker).hexdigest(),
            "device": str(self.fabric.device),
            "devices": self.settings.devices,
            "workers": self.settings.workers,
            "made_by": provenance(),
        }

    def refuse_other_settings(self) -> None:
        """A run is continued with the settings that it was begun with, or not at all."""
        if not self.run.settings_json.exists():
            return
        before = read_object(self.run.settings_json)
        if values := "; ".join(_differences(_identity(before), _identity(self.about))):
            raise HtunetError(
                f"The run {self.run.label} was begun with other settings ({values}). "
                "Type the same settings to continue it, or --restart to begin anew."
            )

    def _outcome(self, progress: Progress, status: str, received: int | None = None) -> Outcome:
        best = {"best_metric": progress.best_metric, "best_epoch": progress.best_epoch + 1}
        rank = self.fabric.global_rank
        title = TRAINERS[self.settings.task].metric_title
        return Outcome(run=self.run, metric=title, status=status, signal=received, rank=rank, **best)  # type: ignore[arg-type]


def _identity(about: dict[str, Any]) -> dict[str, Any]:
    """The settings that must be equal for a run to be continued to the same bits."""
    kept = {key: value for key, value in about.items() if key not in FREE_TO_CHANGE}
    content = about.get("plan_content")
    if isinstance(content, dict):
        kept["plan_content"] = {key: value for key, value in content.items() if key not in FREE_TO_CHANGE}
    return kept


class _Saver:
    """Writes the checkpoints of one run; only the first process of several does."""

    def __init__(self, session: _Session) -> None:
        self.session = session
        self.saved = time.monotonic()
        self.about = checkpoint.describe(session.run.method, session.weights, _identity(session.about))

    def after_epoch(self, progress: Progress, best: bool) -> None:
        """The best weights at once; the state to continue from when the last one is old."""
        if best and self.session.fabric.is_global_zero:
            tensors = {checkpoint.MODEL + k: v for k, v in self.session.network.trainable_state().items()}
            figures = asdict(progress.history[-1])
            checkpoint.save(self.session.run.checkpoint_best, tensors, self.about | {"figures": figures})
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.latest(progress)

    def latest(self, progress: Progress) -> None:
        """The state to continue from."""
        if self.session.fabric.is_global_zero:
            session = self.session
            state.save(session.run.checkpoint_latest, session.network, session.loop.optimizer, progress, self.about)
        self.saved = time.monotonic()


def _events(recorder: Recorder | None, saver: _Saver, stop: StopSignals) -> Events:
    def after_epoch(progress: Progress, best: bool) -> None:
        if recorder:
            recorder.after_epoch(progress, best)
        saver.after_epoch(progress, best)

    def after_step(progress: Progress, loss: float) -> None:
        if recorder:
            recorder.after_step(progress, loss)

    return Events(after_step=after_step, after_epoch=after_epoch, stop_requested=stop.requested)


def _make_fabric(settings: TrainSettings) -> Fabric:
    wanted = settings.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is visible. Take --device cpu, or check the driver and torch.")
    kind = "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
    if kind == "cuda" and settings.devices > torch.cuda.device_count():
        raise UsageError(f"--devices {settings.devices}: this machine has {torch.cuda.device_count()}.")
    precision = FABRIC_PRECISION[resolve_precision(settings.precision, kind)]
    if settings.devices == 1:
        fabric = Fabric(accelerator=kind, devices=1, precision=precision)  # type: ignore[arg-type]
    else:
        from lightning_fabric.strategies import DDPStrategy

        # the adapters of the blocks that a task does not need get no gradient
        strategy = DDPStrategy(find_unused_parameters=True)
        fabric = Fabric(accelerator=kind, devices=settings.devices, strategy=strategy, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def _augmentation(plan: Plan) -> Augmentation:
    return Augmentation(AugmentationSettings.from_plan(plan.augmentation), plan.input_size)


def _read_split(path: Path, fold: int) -> dict[str, list[str]]:
    if not path.exists():
        raise HtunetError(f"{path} is missing: run htunet_plan_and_preprocess -d {path.parent.name} first.")
    splits = load_splits(path)
    if not 0 <= fold < len(splits):
        raise UsageError(f"fold{fold} does not exist: {path} has fold0 to fold{len(splits) - 1}.")
    for part in ("train", "val"):
        if not splits[fold][part]:
            raise HtunetError(f"fold{fold} of {path} has no images in {part!r}: there is nothing to train on.")
    return splits[fold]


def _check_data(preprocessed: PreprocessedDataset, split: dict[str, list[str]], task: str) -> None:
    """Raise HtunetError when what the task learns is not in the images of the fold."""
    parts = task.split("+")
    if "cls" in parts:
        class_of = {case.id: case.class_name for case in preprocessed.cases}
        check_classes(split, class_of, class_order(preprocessed.classes))
    if "seg" in parts and not any(preprocessed.masks[row].any() for row in preprocessed.rows(split["train"])):
        raise HtunetError(
            f"None of the {len(split['train'])} training masks has a labelled pixel: there is nothing to segment."
        )


def _clear(run: RunPaths) -> None:
    """Remove what an earlier run left; the lock, which this process holds, stays.

    The state to continue from goes first: a run that is killed in between never goes on with the rest of the old one.
    """
    for path in (run.finished_json, run.checkpoint_latest):
        path.unlink(missing_ok=True)
    for path in run.folder.iterdir():
        if path.name == ".lock":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs, one text each; of a group of settings only the ones that differ."""
    for key in sorted(then.keys() | now.keys()):
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after)
        elif before != after:
            yield f"{key}: {_short(before)} then, {_short(after)} now"


def _short(value: Any) -> str:  # noqa: ANN401
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


__all__ = ["Outcome", "train"]
