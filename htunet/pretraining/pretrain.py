"""The pre-training: networks learn side by side from one stream of simulated images. Calling it again continues it."""

import itertools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.files import as_read, exclusive, file_hash, read_object, write_csv, write_json
from htunet.models import checkpoint
from htunet.models.checkpoint import MODEL
from htunet.models.precision import BF16, resolve_precision, warn_if_emulated
from htunet.models.weights.load import NONE, WeightsRecord, part_of, random_weights
from htunet.models.weights.store import CHECKPOINT, RECIPE
from htunet.parallel import available_cores
from htunet.paths import root
from htunet.pretraining.learners import LEARNERS, Learner
from htunet.pretraining.settings import IMAGES, PASSES, PretrainSettings
from htunet.pretraining.stream import AHEAD, Pool, SimulatedImages
from htunet.pretraining.variation import as_they_are, varied
from htunet.reproducibility import derived_seed, generator, provenance
from htunet.simulation.settings import SimulationSettings
from htunet.training.devices import make_fabric
from htunet.training.signals import stop_signals
from htunet.training.state import fill_optimizer, optimizer_tensors

HISTORY, STATE = "history.csv", "state.safetensors"
WARM_UP, FILLED = 0.03, 0.85
"""Fractions of the training: in which the learning rate rises, and after which no new images come."""
BATCH = 32
"""Images of a step for which the learning rates are given."""
SAVE_SECONDS, REPORT_SECONDS = 120.0, 20.0
OF_IMAGES = ("seed", "images", "passes", "hours", "batch_size", "pool", "validation")
"""Settings that decide what is learnt, beside those of the simulation."""
MANY = 1_000_000
"""More images than any time is enough for."""

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Advance:
    """The progress of a pre-training."""

    step: int = 0
    images: int = 0
    """Number made so far, including those held out."""
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    computed_with: dict[str, Any] = field(default_factory=dict)
    """Device, precision, threads and versions."""
    continued_with: list[dict[str, Any]] = field(default_factory=list)
    """What of these changed when it was continued: the step, and both values of each."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """The result of a pre-training: the folder of each network, and how the call ended."""

    folders: Mapping[str, Path]
    status: str
    """``finished``, ``already finished`` or ``stopped``."""
    signal: int | None = None


def pretrain(
    names: Sequence[str], settings: PretrainSettings, *, out: Path | None = None, restart: bool = False
) -> Pretrained:
    """Train networks on simulated images and write the weights of each into ``out/NAME``.

    ``out`` is by default the weights folder, where ``--weights phantom`` looks for weights that are not shipped.
    Raises UsageError for unknown names, HtunetError when another process trains there, or when the weights there were
    made with other settings; ``restart`` replaces them.
    """
    started = time.monotonic()
    for name in names:
        if name not in LEARNERS:
            raise UsageError(
                f"{name!r} cannot be pre-trained; known: {', '.join(LEARNERS)}." + did_you_mean(name, LEARNERS)
            )
    names = list(dict.fromkeys(names))
    out = root("htunet_weights") if out is None else out
    pretraining = _Pretraining(names, settings, out, started)
    with ExitStack() as stack:
        for folder in pretraining.folders.values():
            stack.enter_context(exclusive(folder, f"The pre-training in {folder}"))
        if not restart and pretraining.is_finished():
            return Pretrained(folders=pretraining.folders, status="already finished")
        return pretraining.run(continued=not restart)


class _Pretraining:
    """One call of ``pretrain``: its folders, its images and the settings that identify it."""

    def __init__(self, names: Sequence[str], settings: PretrainSettings, out: Path, started: float) -> None:
        self.settings, self.started = settings, started
        self.folders = {name: out / name for name in names}
        simulation = SimulationSettings(height=settings.size, width=settings.size)
        if settings.organs is not None:
            simulation = simulation.only([name.strip() for name in settings.organs.split(",")])
        self.simulation = simulation.without(settings.without) if settings.without else simulation
        self.identity: dict[str, Any] = as_read(
            {
                "networks": list(names),
                **{name: getattr(settings, name) for name in OF_IMAGES},
                "passes": settings.passes or (PASSES if settings.hours is None else None),
                "simulation": asdict(self.simulation),
                "simulation_sha256": self.simulation.sha256,
            }
        )
        self.state = self.folders[names[0]] / STATE
        self.last = settings.validation + (settings.images or (IMAGES if settings.hours is None else MANY))

    def is_finished(self) -> bool:
        """Whether the weights of all networks exist; HtunetError where they were made with other settings."""
        found = [folder / RECIPE for folder in self.folders.values() if (folder / RECIPE).is_file()]
        for path in found:
            before = read_object(path).get("identity")
            if before != self.identity:
                raise HtunetError(
                    f"{path.parent} holds weights that were made with other settings (recipe.json has them), or by a "
                    "version of htunet whose simulator has other ranges. Name another folder with --out, or replace "
                    "them with --restart."
                )
        return len(found) == len(self.folders)

    def run(self, *, continued: bool) -> Pretrained:
        advance, before = self._before() if continued else (_Advance(), {})
        first = max(advance.images, self.settings.validation)
        pool = Pool(
            SimulatedImages(self.simulation, self.settings.seed),
            held_out=self.settings.validation,
            first=first,
            last=self.last,
            window=self.settings.pool,
            workers=self.settings.workers or _workers(self.settings.device),
        )
        try:
            training = _Training(self, pool, advance, before)
            if not continued:  # only now: whatever can be wrong has been found, and nothing was touched
                for name, folder in itertools.product((RECIPE, STATE), self.folders.values()):
                    (folder / name).unlink(missing_ok=True)
            with stop_signals() as stop:
                training.train(stop.requested)
                if training.progress() < 1:
                    training.save(self.state)
                    return Pretrained(folders=self.folders, status="stopped", signal=stop.received)
                self._write(training)
        finally:
            pool.close()
        self.state.unlink(missing_ok=True)
        return Pretrained(folders=self.folders, status="finished")

    def _before(self) -> tuple[_Advance, dict[str, torch.Tensor]]:
        if not self.state.is_file():
            return _Advance(), {}
        tensors, found = checkpoint.load(self.state)
        if found["identity"] != self.identity:
            raise HtunetError(
                f"{self.state} is of a pre-training with other settings, or by a version of htunet whose simulator has "
                "other ranges. Use the same settings and version to continue it, name another folder with --out, or "
                "restart from scratch with --restart."
            )
        log.info("Continuing at step %d.", found["advance"]["step"])
        return _Advance(**found["advance"]), tensors

    def _write(self, training: "_Training") -> None:
        """Write the weights in half precision, their recipe, and their metrics on the images held out."""
        for learner in training.learners:
            folder = self.folders[learner.name]
            recipe = {
                "identity": self.identity,
                "network": learner.name,
                "input": "gray values 0 to 1 in three equal channels, stretched to the size of the images",
                "images": training.advance.images - self.settings.validation,
                "images_seen": training.advance.step * self.settings.batch_size,
                "steps": training.advance.step,
                "seconds": round(training.advance.seconds, 1),
                "device": training.device_name,
                "precision": training.precision,
                "figures_of_simulated_images": training.figures(learner),
                "made_by": provenance(),
                "continued_with": training.advance.continued_with,
            }
            write_weights(learner, folder, recipe)
            columns = list(dict.fromkeys(key for row in training.advance.history for key in row))
            write_csv(folder / HISTORY, columns, training.advance.history)


class _Training:
    """The networks, their optimizers and the loop that trains them."""

    def __init__(
        self, pretraining: "_Pretraining", pool: Pool, advance: _Advance, before: Mapping[str, torch.Tensor]
    ) -> None:
        settings = pretraining.settings
        self.pretraining, self.settings, self.pool, self.advance = pretraining, settings, pool, advance
        self.device = make_fabric(device=settings.device, devices=1, precision=settings.precision).device
        self.device_name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        self.precision = resolve_precision(settings.precision, self.device.type)
        warn_if_emulated(self.precision, self.device.type)
        if settings.hours is not None and self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        self.learners: list[Learner] = []
        for name in pretraining.folders:
            with random_weights(derived_seed(settings.seed, "initial weights")):
                self.learners.append(LEARNERS[name]().to(memory_format=torch.channels_last).to(self.device))
        self.optimizers = [_optimizer(learner) for learner in self.learners]
        for learner, optimizer in zip(self.learners, self.optimizers, strict=True):
            _restore(learner, optimizer, before)
        self._note_changes()
        pool.start(self.device, (settings.size, settings.size), at_once=settings.hours is not None)
        self.begun = time.monotonic()
        self.seconds_before = advance.seconds
        self.lost = self.begun - pretraining.started

    def _note_changes(self) -> None:
        """Log and record on what else than before a continued training computes."""
        then, own = self.advance.computed_with, {"device": self.device_name, "precision": self.precision}
        now = own | {"threads": torch.get_num_threads()} | provenance()
        self.advance.computed_with = now
        if changed := {name: [value, now.get(name)] for name, value in then.items() if value != now.get(name)}:
            self.advance.continued_with.append({"step": self.advance.step, **changed})
            text = ", ".join(f"{name} {after} (before: {before})" for name, (before, after) in changed.items())
            log.warning("Continued with %s: its weights may differ from those of an undisturbed training.", text)

    def progress(self) -> float:
        """Fraction of the training, 0 to 1: by steps, or by time with --hours."""
        if self.settings.hours is None:
            return self.advance.step / self.settings.steps
        return self.advance.seconds / max(3600 * self.settings.hours - self.lost, 1.0)

    def train(self, stop_requested: Callable[[], bool]) -> None:
        """Train from the current step to the end, or to a request to stop."""
        saved = reported = time.monotonic()
        while self.progress() < 1 and not stop_requested():
            losses = self._step()
            now = time.monotonic()
            self.advance.seconds = self.seconds_before + now - self.begun
            if now - reported > REPORT_SECONDS or self.progress() >= 1:
                reported = now
                self._report(losses)
            if now - saved > SAVE_SECONDS:
                saved = now
                self.save(self.pretraining.state)

    def _step(self) -> dict[str, torch.Tensor]:
        number = self.advance.step
        last = self._images_for(number)
        rows = generator(self.settings.seed, "batch", number).integers(
            max(self.settings.validation, last - self.settings.pool), last, self.settings.batch_size
        )
        self.advance.images = last
        lesson = varied(self.pool.draw(rows), derived_seed(self.settings.seed, "variation", number))
        torch.manual_seed(derived_seed(self.settings.seed, "dropout", number))
        rate = _rate(self.progress()) * math.sqrt(self.settings.batch_size / BATCH)
        found: dict[str, torch.Tensor] = {}
        for learner, optimizer in zip(self.learners, self.optimizers, strict=True):
            learner.train()
            for group in optimizer.param_groups:
                group["lr"] = learner.learning_rate * rate
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == BF16):
                losses = learner.losses(lesson)
            total = torch.stack([*losses.values()]).sum()
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimizer.step()
            found |= {f"{learner.name}_{name}": value.detach() for name, value in losses.items()}
        self.advance.step += 1
        return found

    def _images_for(self, step: int) -> int:
        """Wait for the images of a step; returns how many there are, including those held out."""
        held_out, last = self.settings.validation, self.pretraining.last
        least = held_out + min(last - held_out, max(2 * self.settings.batch_size, AHEAD))
        if self.settings.hours is None:
            share = min(1.0, step / (FILLED * self.settings.steps))
            needed = max(least, held_out + math.ceil(share * (last - held_out)))
            self.pool.wait(needed)
            return needed
        self.pool.wait(least)
        return max(least, self.pool.count)

    def _report(self, losses: Mapping[str, torch.Tensor]) -> None:
        row = {"step": self.advance.step, "images": self.advance.images, "seconds": round(self.advance.seconds, 1)}
        values: dict[str, float] = row | {name: round(float(value), 5) for name, value in losses.items()}
        if not all(map(math.isfinite, values.values())):
            raise HtunetError(
                f"The losses are no longer numbers in step {self.advance.step}: {values}. Train again with --restart "
                "and another --seed, or with --precision fp32."
            )
        self.advance.history.append(values)
        text = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name not in row)
        log.info(
            "%3.0f %%  step %d, %d images, %.0f s: %s",
            100 * self.progress(), self.advance.step, self.advance.images, self.advance.seconds, text,
        )  # fmt: skip

    @torch.no_grad()
    def figures(self, learner: Learner) -> dict[str, float]:
        """Means over the images held out."""
        learner.eval()
        found: dict[str, list[float]] = {}
        planes, numbers = self.pool.held_out.planes, self.pool.held_out.numbers
        for start in range(0, len(planes), self.settings.batch_size):
            part = slice(start, start + self.settings.batch_size)
            lesson = as_they_are(type(self.pool.held_out)(planes[part], numbers[part]))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == BF16):
                for name, values in learner.figures(lesson).items():
                    found.setdefault(name, []).extend(values.float().tolist())
        means = {name: float(np.nanmean(values)) for name, values in found.items() if not np.isnan(values).all()}
        return {name: round(value, 4) for name, value in means.items()}

    def save(self, path: Path) -> None:
        """Write all that is needed to continue the training."""
        tensors = dict[str, torch.Tensor]()
        for learner, optimizer in zip(self.learners, self.optimizers, strict=True):
            own = {MODEL + key: value for key, value in learner.state_dict().items()}
            own |= optimizer_tensors(optimizer, learner.parameters())
            tensors |= {f"{learner.name}.{key}": value for key, value in own.items()}
        checkpoint.save(path, tensors, {"identity": self.pretraining.identity, "advance": asdict(self.advance)})


def write_weights(learner: Learner, folder: Path, recipe: Mapping[str, Any]) -> Path:
    """The weights in half precision, with the recipe in the file and beside it; returns the file."""
    path, tensors = folder / CHECKPOINT, learner.published()
    halves = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    about = checkpoint.describe(learner.name, WeightsRecord(source=NONE), {"recipe": dict(recipe)})
    checkpoint.save(path, halves, about)
    write_json(folder / RECIPE, {**recipe, "sha256": file_hash(path)})
    return path


def _restore(learner: Learner, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Fill both from the tensors that ``save`` wrote; without tensors they stay as they are."""
    if not tensors:
        return
    own = part_of(tensors, f"{learner.name}.")
    learner.load_state_dict(part_of(own, MODEL))
    fill_optimizer(optimizer, list(learner.parameters()), own)


def _workers(device: str) -> int:
    """Number of processes that simulate: all cores but two beside a GPU, a quarter of them if the CPU trains."""
    cores = available_cores()
    return max(1, cores - 2 if device != "cpu" and torch.cuda.is_available() else cores // 4)


def _optimizer(learner: Learner) -> torch.optim.AdamW:
    """AdamW without weight decay of biases and normalisations."""
    many = [value for value in learner.parameters() if value.ndim > 1]
    few = [value for value in learner.parameters() if value.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": many}, {"params": few, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learner.learning_rate, weight_decay=learner.weight_decay, fused=True)


def _rate(progress: float) -> float:
    """Factor of the largest learning rate: a short linear rise, then a cosine to almost 0."""
    return min(1.0, (progress + 1e-3) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
