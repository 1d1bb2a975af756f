"""The training loop, whole and visible.

All randomness is a function of (seed, step), and the learning rate is a function of the step. So a run that is
continued from any saved step ends in the same bits as one that was never stopped.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from htunet.errors import HtunetError
from htunet.models.network import Network
from htunet.planning.plans import Plan
from htunet.training.batch_norm import count_images
from htunet.training.loader import (
    Batch,
    BatchOrder,
    RemainingBatches,
    Shard,
    TrainingSamples,
    fixed_batches,
    training_batches,
)
from htunet.training.state import EpochMetrics, Progress
from htunet.training.step import Step
from htunet.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Data:
    """The training and validation images of a run. There is no test split here: only ``htunet.inference`` opens it."""

    train_rows: Sequence[int]
    val_rows: Sequence[int]
    images: TrainingSamples
    files: tuple[int, ...] = ()
    """``BatchOrder.files`` of ``train_rows``."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """Callbacks of the loop. Each is called on every process; writers look at the rank themselves."""

    after_step: Callable[[Progress, float], None]
    """Progress and the loss of the step."""
    after_epoch: Callable[[Progress, bool], None]
    """Progress and whether the epoch is the best so far."""
    stop_requested: Callable[[], bool]


@dataclass(kw_only=True)
class Waiting:
    """Seconds spent waiting for data, and the time when the loop started."""

    data: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def fraction(self) -> float:
        """Fraction of the time since the start that was spent waiting for data."""
        return self.data / max(time.perf_counter() - self.started, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The parts that one run puts together."""

    fabric: Fabric
    trainer: Trainer
    network: Network
    forward: nn.Module
    """The network as Fabric wraps it: for precision and for several processes."""
    optimizer: Optimizer
    plan: Plan
    data: Data
    seed: int
    num_epochs: int
    workers: int
    parts: int = 1
    """Number of parts in which each process computes its images of a batch, one after another."""

    @property
    def shard(self) -> Shard:
        """This process's place in each batch."""
        return Shard(self.fabric.global_rank, self.fabric.world_size)

    @property
    def order(self) -> BatchOrder:
        """Which images each step learns from."""
        return BatchOrder.from_plan(self.plan, self.data.train_rows, self.seed, self.data.files)

    @property
    def total_steps(self) -> int:
        """Number of steps of all epochs, at which the learning rate's cosine ends."""
        return self.num_epochs * self.order.per_epoch

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, from the plan."""
        warm_up = self.plan.warm_up_epochs * self.order.per_epoch
        return learning_rate(self.plan.learning_rate, step, self.total_steps, warm_up)


def learning_rate(peak: float, step: int, total_steps: int, warm_up: int = 0) -> float:
    """Cosine annealing per step from ``peak`` to almost 0, less in the first ``warm_up`` steps.

    >>> learning_rate(1.0, 0, 10), round(learning_rate(1.0, 5, 10), 12)
    (1.0, 0.5)
    """
    return peak * min(1.0, (step + 1) / max(1, warm_up)) * 0.5 * (1 + math.cos(math.pi * step / total_steps))


def fit(loop: Loop, progress: Progress, events: Events) -> Waiting:
    """Train from where ``progress`` is to the last epoch, to early stopping, or to a request to stop.

    ``progress`` is changed in place; the caller sees from it and from ``events.stop_requested`` how it ended.
    """
    per_epoch = loop.order.per_epoch
    batches = RemainingBatches(loop.order, progress.step(per_epoch), loop.total_steps, loop.shard)
    pin_memory = loop.fabric.device.type == "cuda"
    arriving = training_batches(loop.data.images, batches, loop.workers, pin_memory=pin_memory)
    waiting = Waiting()
    while not finished(loop, progress) and not _any_process(loop, events.stop_requested()):
        step = progress.step(per_epoch)
        started = time.perf_counter()
        batch = next(arriving)
        waiting.data += time.perf_counter() - started
        loss = train_step(loop, batch, step)
        _require_finite(loss, "loss", progress)
        progress.losses.append(loss)
        events.after_step(progress, loss)
        if len(progress.losses) == per_epoch:
            best = _finish_epoch(loop, progress, step)
            events.after_epoch(progress, best)
    return waiting


def finished(loop: Loop, progress: Progress) -> bool:
    """Whether all epochs are done, or none has been better for as long as the plan is patient."""
    if progress.epoch >= loop.num_epochs:
        return True
    patience = loop.plan.patience
    return patience is not None and progress.best_epoch >= 0 and progress.epoch - 1 - progress.best_epoch >= patience


def train_step(loop: Loop, batch: Batch, step: int) -> float:
    """One optimiser step on this process's part of a batch; returns the mean loss over the whole batch.

    It is computed in ``loop.parts`` parts; the trainer combines their gradients to that of the whole batch.
    """
    loop.network.train()
    for group in loop.optimizer.param_groups:
        group["lr"] = loop.learning_rate(step)
    part = Step(
        fabric=loop.fabric,
        network=loop.network,
        forward=loop.forward,
        batch=batch,
        whole=len(loop.order.batch(step)),
        num_parts=loop.parts,
        shard=loop.shard,
        seed=loop.seed,
        number=step,
    )
    part.seed_rng()
    if loop.fabric.world_size > 1:
        count_images(loop.network, part.has_part)
    total = loop.trainer.accumulate(part)
    if loop.plan.gradient_clip is not None:
        nn.utils.clip_grad_norm_(loop.network.trainable_parameters(), loop.plan.gradient_clip)
    loop.optimizer.step()
    loop.optimizer.zero_grad(set_to_none=True)
    return float(_sum_over_processes(loop, total))


@torch.no_grad()
def validate(loop: Loop) -> tuple[float, float]:
    """Loss and metric of the validation images, computed from all of them together on every process."""
    loop.network.eval()
    rows = loop.data.val_rows
    batches = fixed_batches(loop.data.images, rows, loop.plan.batch_size, loop.shard)
    own_NF = torch.cat([loop.trainer.validate(loop.forward, loop.fabric.to_device(batch)) for batch in batches])
    found_NF = _gathered(loop, own_NF)[: len(rows)]
    if found_NF.device.type == "mps":  # which has no float64
        found_NF = found_NF.cpu()
    return loop.trainer.figures(found_NF)


def _finish_epoch(loop: Loop, progress: Progress, step: int) -> bool:
    val_loss: float | None = None
    val_metric: float | None = None
    if validated(loop, progress.epoch):
        val_loss, val_metric = validate(loop)
        _require_finite(val_loss, "validation loss", progress)
        _require_finite(val_metric, "validation metric", progress)  # no later epoch would be better than a NaN
    figures = EpochMetrics(
        epoch=progress.epoch,
        learning_rate=loop.learning_rate(step),
        train_loss=sum(progress.losses) / len(progress.losses),
        val_loss=val_loss,
        val_metric=val_metric,
    )
    best = _is_better(figures, progress, loop.trainer)
    if best and val_metric is not None:
        progress.best_epoch, progress.best_metric = progress.epoch, val_metric
    progress.history.append(figures)
    progress.losses.clear()
    return best


def validated(loop: Loop, epoch: int) -> bool:
    """Whether the network is validated after ``epoch``, counted from 0: see ``Plan.validate_every``."""
    every = loop.plan.validate_every
    return every == 1 or (epoch > 0 and epoch % every == 0) or epoch == loop.num_epochs - 1


def _is_better(figures: EpochMetrics, progress: Progress, trainer: Trainer) -> bool:
    """Whether the metric is better than the best one so far; where it is equal, whether the loss is lower.

    An AUC over few images is often 1 long before the end of a training. With ``chosen_by_loss`` the loss decides first
    and the metric second, with ``first_of_equals`` the metric alone. An epoch without a validation is never better.
    """
    if figures.val_loss is None or figures.val_metric is None:
        return False
    if progress.best_epoch < 0:
        return True
    best = progress.history[progress.best_epoch]
    now, then = (figures.val_metric, -figures.val_loss), (best.val_metric or 0.0, -(best.val_loss or 0.0))
    if trainer.first_of_equals:
        return now[0] > then[0]
    return now[::-1] > then[::-1] if trainer.chosen_by_loss else now > then


def _require_finite(value: float, what: str, progress: Progress) -> None:
    """Raise HtunetError for a value that is not finite: the weights will not recover, and must not be saved."""
    if not math.isfinite(value):
        raise HtunetError(
            f"The {what} is {value} in epoch {progress.epoch + 1}. Lower the learning rate in plans.json, or train "
            "with --precision fp32, and restart from scratch with --restart."
        )


def _sum_over_processes(loop: Loop, values: Tensor) -> Tensor:
    result = loop.fabric.all_reduce(values, reduce_op="sum")
    assert isinstance(result, Tensor)
    return result


def _gathered(loop: Loop, own_NF: Tensor) -> Tensor:
    """The rows of all processes in their original order: ``fixed_batches`` gives each process every P-th row."""
    if loop.fabric.world_size == 1:
        return own_NF
    found_PNF = loop.fabric.all_gather(own_NF)
    assert isinstance(found_PNF, Tensor)
    return found_PNF.transpose(0, 1).flatten(0, 1)


def _any_process(loop: Loop, flag: bool) -> bool:
    """Processes stop at the same step, or none does: the others would wait for the missing one for ever."""
    if loop.fabric.world_size == 1:
        return flag
    return bool(_sum_over_processes(loop, torch.tensor(float(flag), device=loop.fabric.device)) > 0)
