"""The life of one run of any task: lock, continue, train, save, and write the files of a finished run."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from htunet.errors import HtunetError, counted, shortened
from htunet.files import as_read, exclusive, read_object, write_json
from htunet.models import checkpoint
from htunet.models.network import Network
from htunet.models.precision import fp32_products, resolve_precision, warn_if_emulated
from htunet.models.weights.load import WeightsRecord
from htunet.paths import RunFolder, root
from htunet.planning.plans import Plan, comparable
from htunet.reproducibility import provenance
from htunet.schemas import FINISHED, SETTINGS
from htunet.training import machine, state
from htunet.training.batch_norm import check_single_image
from htunet.training.loop import Data, Events, Loop, finished, fit
from htunet.training.ready import make_ready
from htunet.training.record import Recorder, log_to, write_progress
from htunet.training.settings import RunSettings
from htunet.training.signals import StopSignals, stop_signals
from htunet.training.state import Progress
from htunet.training.trainer import Trainer

SAVE_SECONDS = 30.0
"""checkpoint_latest is written at the end of an epoch when the last one is older: a kill costs about this much work."""
SAVE_WITHIN_SECONDS = 300.0
"""The same within an epoch that is long."""
FREE_TO_CHANGE = (
    *("weights_argument", "device", "devices", "processor", "workers", "parts", "threads", "accumulation"),
    *("made_by", "continued_with", "plan_edited", "adapter_argument", "start_argument", "start_licence"),
)
"""Settings that may change when a run is continued; they do not belong to its identity."""
CONTENTS = {
    "data_sha256": "the images, masks, labels or classes",
    "split_sha256": "the training and validation splits",
    "pairs_sha256": "the captions or their split",
    "images_sha256": "the images of the captions",
}
"""Settings that are hashes, in words."""
ROUNDING = ("threads", "parts", "device", "devices", "processor")
"""Settings that change the last bits of a result: where one changes, or a version, settings.json keeps both values."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run's call ended."""

    run: RunFolder
    metric: str
    """Name of the metric whose best value is ``best_metric``."""
    status: str
    """``finished``, ``already finished``, or ``stopped`` (by a signal; the same command continues)."""
    best_metric: float
    best_epoch: int
    signal: int | None = None
    rank: int = 0
    """This process's place among those of the run; the first one speaks for all."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One run, checked and ready to start; nothing of it has been written yet."""

    run: RunFolder
    trainer: Trainer
    network: Network
    weights: WeightsRecord
    plan: Plan
    data: Data
    settings: RunSettings
    about: Mapping[str, Any]
    """Entries of settings.json for this kind of run, beside those of every run."""
    unit: str = "images"
    """Name of the training samples in messages."""
    remarks: Sequence[str] = ()
    """Notes on the data for the user, a line each."""
    before_training: Callable[[], None] = lambda: None
    """Called by the first process once nothing can be refused any more: writes what other runs share."""

    @property
    def num_epochs(self) -> int:
        """The user's number of epochs, else the plan's."""
        return self.settings.num_epochs or self.plan.num_epochs


@contextmanager
def lock_run(fabric: Fabric, run: RunFolder) -> Iterator[None]:
    """Lock the run's folder inside the block; HtunetError on every process where the first one cannot.

    A folder in which the block has failed before it wrote anything is removed.
    """
    problem = ""
    with ExitStack() as stack:
        if fabric.is_global_zero:
            try:
                stack.enter_context(exclusive(run.folder, f"The run {run.label}"))
                stack.push(partial(_remove_if_empty, run.folder))
            except HtunetError as error:
                problem = str(error)
        if problem := fabric.broadcast(problem):
            raise HtunetError(problem)
        yield


def _remove_if_empty(folder: Path, error: type[BaseException] | None, *_: object) -> None:
    """On an error: remove a folder that holds nothing but its lock, and those above it that hold nothing then.

    Another process may take the folder meanwhile: then it stays, and ``exclusive`` of that process locks a new file.
    """
    with suppress(OSError):
        if error and [path.name for path in folder.iterdir()] == [".lock"]:
            (folder / ".lock").unlink()
            for place in (folder, *folder.parents):
                if place == root("htunet_results") or any(place.iterdir()):
                    break
                place.rmdir()


def run_training(fabric: Fabric, training: TrainingRun, *, restart: bool = False) -> Outcome:
    """Train, or continue, a run whose folder is locked.

    Raises HtunetError when the run was started with other settings; ``restart`` deletes it instead.
    """
    run = training.run
    before = {} if restart or not run.settings_json.exists() else read_object(run.settings_json, SETTINGS)
    with ExitStack() as stack:
        session = _Session(fabric, training, before)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(session.machine.threads)  # with another number products are summed in another order
        stack.enter_context(fp32_products(session.precision))
        if restart:  # only now: whatever can be wrong has been found, and the earlier run was not touched
            if fabric.is_global_zero:
                clear(run)
            fabric.barrier()
        else:
            session.refuse_other_settings()
        if fabric.is_global_zero:
            stack.enter_context(log_to(run.training_log))
        return session.run_to_the_end()


class _Session:
    """The parts that are built once for a call, and the run's settings."""

    def __init__(self, fabric: Fabric, training: TrainingRun, before: Mapping[str, Any]) -> None:
        self.fabric, self.training, self.run, self.before = fabric, training, training.run, before
        self.precision = resolve_precision(training.settings.precision, fabric.device.type)
        self.machine = machine.choose(fabric, training.network, training.plan, training.settings, before)
        self.about = self._about()
        self.loop = self._make_loop()
        start = training.network.trainable_state().items() if training.plan.as_published_defects else ()
        self.lost = {name: value.clone() for name, value in start if name.startswith("updates.")}
        """Tensors that replace trained ones in the best checkpoint: with the published defects, the initial LoRA."""

    def run_to_the_end(self) -> Outcome:
        """Continue from the last checkpoint, train, and write the files of a finished run."""
        metric = f"best_val_{self.loop.trainer.metric}"
        if self.run.finished_json.exists():
            found = read_object(self.run.finished_json, FINISHED | {metric: float, "best_epoch": int})
            if self.fabric.is_global_zero:
                remove_latest(self.run)  # of an earlier version, or a kill came before it
            progress = Progress(best_epoch=found["best_epoch"] - 1, best_metric=found[metric])
            return self._outcome(progress, "already finished")
        progress = self._restore()
        if self.fabric.is_global_zero:
            self._note_changes(progress)
            self.training.before_training()
            write_json(self.run.settings_json, self.about)
            for line in (self._opening(), *self.training.remarks):
                log.info("%s", line)
            warn_if_emulated(self.precision, self.fabric.device.type)
            if (warm_up := self.training.plan.warm_up_epochs) >= self.loop.num_epochs:
                log.warning(
                    "The plan's warm-up of %s is not over in %d: the learning rate stays below the plan's.",
                    counted(warm_up, "epoch"),
                    self.loop.num_epochs,
                )
        with stop_signals() as stop:
            self._train(progress, stop)
        if not finished(self.loop, progress):
            return self._outcome(progress, "stopped", stop.received)
        if self.fabric.is_global_zero:
            summary = {"epochs": progress.epoch, "best_epoch": progress.best_epoch + 1}
            write_json(self.run.finished_json, summary | {metric: progress.best_metric})
            remove_latest(self.run)
        return self._outcome(progress, "finished")

    def _note_changes(self, progress: Progress) -> None:
        """Log and record on what else than before a continued run computes; nothing where all is computed anew."""
        if not progress.step(self.loop.order.per_epoch):
            return
        then, now = ({**about, **about.get("made_by", {})} for about in (self.before, self.about))
        names = (*ROUNDING, *self.about["made_by"])
        changed = {name: [then[name], now[name]] for name in names if then.get(name, now[name]) != now[name]}
        notes = [*then.get("continued_with", []), *([{"epoch": progress.epoch + 1, **changed}] if changed else [])]
        if notes:
            self.about["continued_with"] = notes
        if changed:
            text = ", ".join(f"{name} {after} (before: {before})" for name, (before, after) in changed.items())
            log.warning("Continued with %s: its result may differ slightly from that of an undisturbed run.", text)
        for name in CONTENTS.keys() & self.about.keys() - self.before.keys():
            log.warning(
                "The run was started by an earlier version, which did not record %s: whether they have changed since "
                "is not known. --restart starts from scratch.",
                CONTENTS[name],
            )

    def _opening(self) -> str:
        """One line about the training that starts."""
        loop, data, source = self.loop, self.loop.data, self.training.weights.source
        how = [self.precision, *([f"{source} weights"] if source != "none" else [])]
        if start := self.about.get("start_argument"):
            how.append(f"started from {start}")
        if self.fabric.device.type == "cpu":
            how.append(counted(self.machine.threads, "thread"))
        if self.machine.parts > 1:
            how.append(f"each batch in {counted(self.machine.parts, 'part')}, as memory allows")
        return (
            f"Training {self.run.label} on {self.fabric.device}, {', '.join(how)}: {len(data.train_rows)} "
            f"training and {len(data.val_rows)} validation {self.training.unit}, "
            f"{counted(loop.order.per_epoch, 'step')} per epoch, {counted(loop.num_epochs, 'epoch')}."
        )

    def _train(self, progress: Progress, stop: StopSignals) -> None:
        steps = self.loop.order.per_epoch
        recorder = None
        if self.fabric.is_global_zero:
            recorder = Recorder(
                self.run,
                total_steps=self.loop.total_steps,
                done_steps=progress.step(steps),
                num_epochs=self.loop.num_epochs,
                history=progress.history,
                metric=self.loop.trainer.metric,
                logger=self.training.settings.logger,
                settings=self.about,
            )
            if self.training.settings.logger != "tensorboard":  # before anything is trained: its server may not answer
                _ = recorder.curves
        saver = _Saver(self)
        try:
            waiting = fit(self.loop, progress, _events(recorder, saver, stop))
            saver.latest(progress)
            log.info("%.1f %% of the time was spent waiting for data.", 100 * waiting.fraction)
            if recorder and progress.history:
                write_progress(self.run.progress_csv, progress.history)
                recorder.draw(progress)
        except torch.OutOfMemoryError as error:
            message = memory_ran_out(self.training.plan, self.machine.parts, self.fabric.device)
            raise HtunetError(message) from error
        finally:
            if recorder:
                recorder.close()

    def _restore(self) -> Progress:
        if not self.run.checkpoint_latest.exists():
            return Progress()
        progress, _ = state.load(self.run.checkpoint_latest, self.training.network, self.loop.optimizer)
        if self.fabric.is_global_zero:
            best, before = self.run.checkpoint_best, self.run.checkpoint_before
            if before.exists():  # a kill: the best epoch since may not be found again, on another machine for one
                figures = checkpoint.read_about(best)["figures"] if best.exists() else {"epoch": None}
                before.unlink() if figures["epoch"] == progress.best_epoch else before.replace(best)
            log.info("Continuing %s at epoch %d.", self.run.label, progress.epoch + 1)
        return progress

    def _make_loop(self) -> Loop:
        network, plan = self.training.network, self.training.plan
        forward, optimizer = make_ready(network, plan, self.fabric, self.precision)
        loop = Loop(
            fabric=self.fabric,
            trainer=self.training.trainer,
            network=network,
            forward=forward,
            optimizer=optimizer,
            plan=plan,
            data=self.training.data,
            seed=self.training.settings.seed,
            num_epochs=self.training.num_epochs,
            workers=self.machine.workers,
            parts=self.machine.parts,
        )
        check_single_image(network, len(loop.order.batch(loop.order.per_epoch - 1)), plan.input_size)
        return loop

    def _about(self) -> dict[str, Any]:
        """Content of settings.json: the identity of the run, and the versions and machine that made it."""
        training = self.training
        return {
            "format": checkpoint.FORMAT,
            **training.about,
            "trainer": type(training.trainer).__name__,
            "plan": training.plan.name,
            "seed": training.settings.seed,
            "num_epochs": training.num_epochs,
            "precision": self.precision,
            "weights": training.weights.content(),
            "weights_argument": training.settings.weights,
            "trainable_parameters": sum(p.numel() for p in training.network.trainable_parameters()),
            "plan_content": as_read(asdict(training.plan) | {"because": {}}),
            "device": str(self.fabric.device),
            "devices": self.fabric.world_size,
            "processor": machine.processor(self.fabric.device),
            "workers": training.settings.workers,
            "parts": self.machine.parts,
            "threads": self.machine.threads,
            "made_by": provenance(),
        }

    def refuse_other_settings(self) -> None:
        """A run is continued with the settings that it was started with, or not at all."""
        if not self.before:
            return
        then, now = _identity(self.before), _identity(self.about)
        typed = [about.get("start_argument") or "nothing" for about in (self.before, self.about)]
        if then.get("start_checkpoint") != now.get("start_checkpoint") and typed[0] != typed[1]:  # no hashes, then
            for kept, start in zip((then, now), typed, strict=True):
                kept.pop("start_checkpoint", None)
                kept.pop("start_from", None)
                kept["--start-from"] = start
        if values := "; ".join(_differences(then, now)):
            raise HtunetError(
                f"The run {self.run.label} was started with other settings ({values}). "
                "Use the same settings to continue it, or --restart to start from scratch."
            )

    def _outcome(self, progress: Progress, status: str, received: int | None = None) -> Outcome:
        return Outcome(
            run=self.run,
            metric=self.training.trainer.metric,
            status=status,
            best_metric=progress.best_metric,
            best_epoch=progress.best_epoch + 1,
            signal=received,
            rank=self.fabric.global_rank,
        )


def memory_ran_out(plan: Plan, parts: int, device: torch.device) -> str:
    """Message for a GPU that ran out of memory: which processes use it, and how to need less."""
    free, total = (size / 1e9 for size in torch.cuda.mem_get_info(device))
    own = torch.cuda.max_memory_reserved(device) / 1e9
    height, width = plan.input_size
    return (
        f"The memory of the GPU ran out in a step of {plan.batch_size} images of {height} x {width}, computed in "
        f"{counted(parts, 'part')} (plan {plan.name}). Of its {total:.1f} GB this process took {own:.1f}, "
        f"others have {max(0.0, total - free - own):.1f} (nvidia-smi shows them). End those, or compute a batch in "
        f"more parts with --parts {2 * parts}. A network with BatchNorm is always computed at once: lower "
        "batch_size in a plan of your own for it."
    )


def _identity(about: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that must be equal for a run to be continued to the same bits."""
    kept = {key: value for key, value in about.items() if key not in FREE_TO_CHANGE}
    weights = about.get("weights")
    if isinstance(weights, dict) and weights.get("sha256"):  # wherever they lie, in whatever format
        kept["weights"] = {key: value for key, value in weights.items() if key not in ("source", "file", "simulated")}
    if isinstance(start := about.get("adapter"), dict):  # whose hash says all
        kept["adapter"] = {key: value for key, value in start.items() if key not in ("plan_content", "run")}
    if isinstance(start := about.get("start_checkpoint"), dict) and start.get("sha256"):  # of earlier versions, too
        kept["start_checkpoint"] = start["sha256"]
    content = about.get("plan_content")
    if isinstance(content, dict):
        kept["plan_content"] = {k: value for k, value in comparable(content).items() if k not in FREE_TO_CHANGE}
    return kept


class _Saver:
    """Writes the checkpoints of one run; only the first process of several does."""

    def __init__(self, session: _Session) -> None:
        self.session = session
        self.saved = time.monotonic()
        about = session.about
        settings = _identity(about) | {"weights": about["weights"]}
        if isinstance(start := about.get("adapter"), dict):  # what it began with: trainings that begin with it ask
            settings["adapter"] = {key: value for key, value in start.items() if key != "plan_content"}
        if "start_checkpoint" in about:
            settings["start_checkpoint"] = about["start_checkpoint"]
        licence = about.get("start_licence")
        self.about = checkpoint.describe(about["method"], session.training.weights, settings, licence)

    def after_epoch(self, progress: Progress, best: bool) -> None:
        """The best weights at once; the state to continue from when the last one is old."""
        if best and self.session.fabric.is_global_zero:
            trained = self.session.training.network.trainable_state() | self.session.lost
            tensors = {checkpoint.MODEL + name: value for name, value in trained.items()}
            figures, run = asdict(progress.history[-1]), self.session.run
            if run.checkpoint_best.exists() and not run.checkpoint_before.exists():
                shutil.copyfile(run.checkpoint_best, run.checkpoint_before)
            checkpoint.save(run.checkpoint_best, tensors, self.about | {"figures": figures})
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.latest(progress)

    def after_step(self, progress: Progress) -> None:
        """The state to continue from within a long epoch; at its end ``after_epoch`` saves it."""
        if time.monotonic() - self.saved > SAVE_WITHIN_SECONDS:
            self.latest(progress)

    def latest(self, progress: Progress) -> None:
        """The state to continue from."""
        if self.session.fabric.is_global_zero:
            session = self.session
            network, optimizer = session.training.network, session.loop.optimizer
            state.save(session.run.checkpoint_latest, network, optimizer, progress, self.about)
            session.run.checkpoint_before.unlink(missing_ok=True)
        self.saved = time.monotonic()


def _events(recorder: Recorder | None, saver: _Saver, stop: StopSignals) -> Events:
    def after_epoch(progress: Progress, best: bool) -> None:
        if recorder:
            recorder.after_epoch(progress, best)
        saver.after_epoch(progress, best)

    def after_step(progress: Progress, loss: float) -> None:
        if recorder:
            recorder.after_step(progress, loss)
        saver.after_step(progress)

    return Events(after_step=after_step, after_epoch=after_epoch, stop_requested=stop.requested)


def remove_latest(run: RunFolder) -> None:
    """Remove the state to continue from, once finished.json is there: most of a run's size, and nothing needs it."""
    run.checkpoint_latest.unlink(missing_ok=True)


def clear(run: RunFolder) -> None:
    """Remove what an earlier run left; the lock, which this process holds, stays.

    The state to continue from goes first: a run that is killed in between never resumes from the rest of the old one.
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
    """A text for each setting that differs; of a group of settings only for those in it that differ."""
    for key in sorted(then.keys() | now.keys()):
        before, after = then.get(key), now.get(key)
        if before != after and key in CONTENTS:
            if key in then or key != "images_sha256":  # which earlier versions did not write
                yield f"{CONTENTS[key]} have changed"
        elif isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after)
        elif before != after:
            yield f"{key}: {shortened(str(before))} then, {shortened(str(after))} now"
