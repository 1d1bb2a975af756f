"""One optimiser step as a trainer sees it: this process's part of a batch, in pieces that fit into the memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from htunet.reproducibility import derived_seed
from htunet.training.loader import Shard


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step's gradient is made from; ``number`` counts the steps of the run from 0."""

    fabric: Fabric
    network: nn.Module
    forward: nn.Module
    """The network as Fabric wraps it: what has a graph goes through this."""
    batch: Any
    """This process's part of the whole batch, on the CPU: a NamedTuple of tensors, ``images`` first."""
    whole: int
    """Images of the whole batch, over all processes."""
    num_parts: int
    """Parts that it is computed in, one after another."""
    shard: Shard
    seed: int
    number: int
    final: bool = True
    """False where further blocks of the same optimiser step follow."""

    @property
    def has_part(self) -> bool:
        """False where the batch is smaller than the number of processes; what ``batch`` then holds has no weight."""
        return self.shard.rank < self.whole

    @property
    def parts(self) -> Iterator[Any]:
        """The parts of ``batch``, on the device, one after another."""
        size = -(-len(self.batch.images) // self.num_parts)
        for start in range(0, len(self.batch.images), size):
            part = type(self.batch)(*(values[start : start + size] for values in self.batch))
            yield self.fabric.to_device(part)

    @property
    def last(self) -> int:
        """Index of the last of the ``parts``."""
        size = -(-len(self.batch.images) // self.num_parts)
        return -(-len(self.batch.images) // size) - 1

    def seed_rng(self, *key: int | str) -> None:
        """Seed dropout by the step, the process and ``key`` alone."""
        torch.manual_seed(derived_seed(self.seed, "step", self.number, self.shard.rank, *key))

    def exchange(self, index: int) -> AbstractContextManager[object]:
        """Inside, the forward and backward pass of a part: processes exchange gradients once a step, with the last."""
        if self.shard.world_size == 1:
            return nullcontext()
        return self.fabric.no_backward_sync(self.forward, enabled=index < self.last or not self.final)  # type: ignore[arg-type]

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of this process's ``loss`` to the sum over all processes."""
        self.fabric.backward(loss * self.shard.world_size)  # several processes average their gradients

    def gathered(self, own: Tensor) -> Tensor:
        """(P, ...) tensors of all processes, of one shape on each, without a graph."""
        if self.shard.world_size == 1:
            return own.detach()[None]
        found: Any = self.fabric.all_gather(own.detach())
        return found
