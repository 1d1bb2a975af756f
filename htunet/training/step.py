"""One optimiser step as a trainer sees it: this process's images of a batch, in parts that fit into the memory."""

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
    """The inputs of a step's gradient; ``number`` counts the steps of the run from 0."""

    fabric: Fabric
    network: nn.Module
    forward: nn.Module
    """The network as Fabric wraps it, for forward passes with a graph."""
    batch: Any
    """This process's images of the whole batch, on the CPU: a NamedTuple of tensors, ``images`` first."""
    whole: int
    """Number of images of the whole batch, over all processes."""
    num_parts: int
    """Number of parts in which it is computed, one after another."""
    shard: Shard
    seed: int
    number: int
    final: bool = True
    """False where further blocks of the same optimiser step follow."""

    @property
    def has_part(self) -> bool:
        """False where the whole batch has no image for this process; the image in ``batch`` then has weight 0."""
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
        """Context of the forward and backward pass of a part: processes exchange gradients with the last part only."""
        if self.shard.world_size == 1:
            return nullcontext()
        return self.fabric.no_backward_sync(self.forward, enabled=index < self.last or not self.final)  # type: ignore[arg-type]

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of this process's ``loss`` to the sum over all processes."""
        self.fabric.backward(loss * self.shard.world_size)  # several processes average their gradients

    def gathered(self, own: Tensor) -> Tensor:
        """(P, ...) the tensors of all P processes, which have the same shape on each, without a graph."""
        if self.shard.world_size == 1:
            return own.detach()[None]
        found: Any = self.fabric.all_gather(own.detach())
        return found
