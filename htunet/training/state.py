"""The state of a run: all that is needed to continue it to the same bits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from htunet.models import checkpoint
from htunet.models.network import Network
from htunet.models.weights.load import part_of

OPTIMIZER = "optimizer."


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One line of progress.csv. No times: a continued run has the same lines as one that was never stopped."""

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float | None
    """None, like the metric, where the epoch was not validated."""
    val_metric: float | None


@dataclass(kw_only=True)
class Progress:
    """Metrics of the finished epochs, and the losses of the finished steps of the current one."""

    history: list[EpochMetrics] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best_metric: float = -1.0

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return len(self.history)

    def step(self, steps_per_epoch: int) -> int:
        """Optimiser steps done since the beginning."""
        return self.epoch * steps_per_epoch + len(self.losses)


def save(path: Path, network: Network, optimizer: Optimizer, progress: Progress, about: dict[str, Any]) -> None:
    """Write checkpoint_latest: trainable weights, optimiser state and progress."""
    tensors = {checkpoint.MODEL + name: value for name, value in network.trainable_state().items()}
    tensors |= optimizer_tensors(optimizer, network.trainable_parameters())
    checkpoint.save(path, tensors, about | {"progress": asdict(progress)})


def load(path: Path, network: Network, optimizer: Optimizer) -> tuple[Progress, dict[str, Any]]:
    """Fill network and optimiser from checkpoint_latest; returns the progress and the rest of the description."""
    tensors, about = checkpoint.load(path)
    network.load_trainable_state(part_of(tensors, checkpoint.MODEL))
    fill_optimizer(optimizer, network.trainable_parameters(), tensors)
    content = about.pop("progress")
    history = [EpochMetrics(**row) for row in content.pop("history")]
    return Progress(history=history, **content), about


def optimizer_tensors(optimizer: Optimizer, parameters: Iterable[Tensor]) -> dict[str, Tensor]:
    """The state of the optimiser as ``optimizer.INDEX.KEY``, where INDEX is the position of a parameter."""
    return {
        f"{OPTIMIZER}{index}.{key}": torch.as_tensor(value)
        for index, parameter in enumerate(parameters)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def fill_optimizer(optimizer: Optimizer, parameters: Sequence[Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that ``optimizer_tensors`` returned from ``tensors``; other names are ignored."""
    for name, value in part_of(tensors, OPTIMIZER).items():
        index, key = name.split(".")
        parameter = parameters[int(index)]
        optimizer.state[parameter][key] = _on_device(key, value, parameter)


def _on_device(key: str, value: Tensor, parameter: Tensor) -> Tensor:
    """The tensor on the parameter's device; moments also in the parameter's memory format.

    The fused AdamW goes through memory in order: moments in another format would belong to other weights.
    """
    return value.to(parameter.device) if key == "step" else torch.empty_like(parameter, dtype=value.dtype).copy_(value)
