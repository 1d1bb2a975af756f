"""Batches of training images, in an order that depends on nothing but (seed, epoch)."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from htunet.data.preprocessed import PreprocessedDataset
from htunet.errors import HtunetError
from htunet.parallel import end_after
from htunet.planning.plans import Plan
from htunet.reproducibility import generator
from htunet.training.augmentation.augment import Augmentation

WINDOW = 8192
"""Rows of files read one after another that are mixed with each other."""
Sample = tuple[NDArray[np.uint8], NDArray[np.uint8], int]
"""Image (C, H, W), mask (H, W), and the index of the image's class."""


class Batch(NamedTuple):
    """Images with their masks and classes. Dimension key: B images, C channels, H W pixels."""

    images: Tensor
    """(B, C, H, W) uint8."""
    masks: Tensor
    """(B, H, W) uint8, labels 0..K."""
    classes: Tensor
    """(B,) int64; -1 where an image has no class."""


class TrainingSamples(Dataset[Any]):
    """The images of a run: augmented samples by (epoch, row) for training, unchanged batches for validation."""

    def __getitem__(self, key: tuple[int, int]) -> Any:  # noqa: ANN401
        """The sample of a row as the epoch sees it."""
        raise NotImplementedError

    def collate(self, samples: list[Any]) -> Any:  # noqa: ANN401
        """A batch of samples: a NamedTuple of tensors, ``images`` first."""
        raise NotImplementedError

    def as_they_are(self, rows: Sequence[int]) -> Any:  # noqa: ANN401
        """A batch of rows without any augmentation."""
        raise NotImplementedError


class TrainingImages(TrainingSamples):
    """Augmented images by (epoch, array row)."""

    def __init__(self, data: PreprocessedDataset, augmentation: Augmentation, seed: int) -> None:
        self.data = data
        self.augmentation = augmentation
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Image (C, H, W) and mask (H, W), uint8, and class; an error names the case."""
        epoch, row = key
        case = self.data.cases[row].id
        try:
            image, mask = self.augmentation(self.data.images[row], self.data.masks[row], self.seed, epoch, case)
            return image, mask, int(self.data.class_indices[row])
        except Exception as error:
            raise HtunetError(f"The case {case} could not be augmented: {type(error).__name__}: {error}") from error

    def collate(self, samples: list[Sample]) -> Batch:
        """Images, masks and classes, each in one tensor."""
        images, masks, classes = zip(*samples, strict=True)
        return Batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)), torch.tensor(classes))

    def as_they_are(self, rows: Sequence[int]) -> Batch:
        """Images, masks and classes as the preprocessing wrote them."""
        chosen = list(rows)
        arrays = self.data.images[chosen], self.data.masks[chosen], self.data.class_indices[chosen]
        return Batch(*map(torch.from_numpy, arrays))


@dataclass(frozen=True)
class BatchOrder:
    """Which rows form which batch. Each epoch is a new permutation; the last batch of an epoch may be smaller."""

    rows: Sequence[int]
    batch_size: int
    seed: int
    whole: int = 1
    """An epoch has a multiple of this many rows, and leaves out the others; all of them where there are fewer."""
    files: tuple[int, ...] = ()
    """Number of consecutive rows in each file. An epoch then goes through the files in an order of its own and mixes
    ``WINDOW`` rows at a time, so that rows of one file are read together. Empty: an epoch mixes all rows."""

    @classmethod
    def from_plan(cls, plan: Plan, rows: Sequence[int], seed: int, files: tuple[int, ...] = ()) -> "BatchOrder":
        """The order that a plan asks for, with ``drop_last`` in whole batches."""
        whole = (plan.contrast_size or plan.batch_size) if plan.drop_last else 1
        return cls(rows, plan.batch_size, seed, whole, files)

    @property
    def per_epoch(self) -> int:
        """Batches in one epoch."""
        return -(-self._used // self.batch_size)

    @property
    def _used(self) -> int:
        """Rows in one epoch."""
        return len(self.rows) // self.whole * self.whole or len(self.rows)

    def batch(self, step: int) -> list[tuple[int, int]]:
        """The (epoch, row) keys of the whole batch of one step, over all devices."""
        epoch, position = divmod(step, self.per_epoch)
        places = range(self._used)[position * self.batch_size : (position + 1) * self.batch_size]
        if self.files:
            windows = (_window(self.seed, epoch, place // WINDOW, self.files) for place in places)
            chosen = [int(window[place % WINDOW]) for place, window in zip(places, windows, strict=True)]
        else:
            chosen = _permutation(self.seed, epoch, len(self.rows))[places.start : places.stop].tolist()
        return [(epoch, self.rows[index]) for index in chosen]


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Permutation of an epoch's rows; cached, because that of a million rows takes longer than a step on a GPU."""
    return generator(seed, "order", epoch).permutation(count)


@lru_cache(maxsize=4)
def _window(seed: int, epoch: int, number: int, files: tuple[int, ...]) -> NDArray[np.int64]:
    """The rows at the places from ``number * WINDOW`` of an epoch that goes from file to file."""
    lengths = np.array(files)
    order = generator(seed, "order of files", epoch).permutation(len(files))
    ends, starts = np.cumsum(lengths[order]), (np.cumsum(lengths) - lengths)[order]
    places = np.arange(number * WINDOW, min((number + 1) * WINDOW, int(ends[-1])))
    which = np.searchsorted(ends, places, side="right")
    rows = starts[which] + places - (ends - lengths[order])[which]
    return generator(seed, "order", epoch, number).permutation(rows)


@dataclass(frozen=True)
class Shard:
    """This process's place among those that compute a batch together."""

    rank: int = 0
    world_size: int = 1


class RemainingBatches(Sampler[list[tuple[int, int]]]):
    """This process's part of every batch from ``first_step`` to ``last_step`` (not included).

    Where the last batch of an epoch has fewer images than there are processes, those without a part get its first
    image, so that all take part in the exchange of gradients; ``train_step`` gives it no weight there.
    """

    def __init__(self, order: BatchOrder, first_step: int, last_step: int, shard: Shard) -> None:
        self.order = order
        self.steps = range(first_step, last_step)
        self.shard = shard

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            whole = self.order.batch(step)
            yield whole[self.shard.rank :: self.shard.world_size] or whole[:1]

    def __len__(self) -> int:
        return len(self.steps)


def training_batches(
    images: TrainingSamples, batches: RemainingBatches, workers: int, *, pin_memory: bool
) -> Iterator[Batch]:
    """This process's part of the batch of every remaining step.

    An error in a worker is raised here with its case's name; without workers the images are made in this process.
    """
    loader = DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        collate_fn=images.collate,
        worker_init_fn=leave_signals_to_the_run,
        prefetch_factor=3 if workers else None,
    )
    return iter(loader)


def fixed_batches(images: TrainingSamples, rows: Sequence[int], batch_size: int, shard: Shard) -> Iterator[Batch]:
    """Samples as they are, in order: for validation.

    Every process gets equally many, so that their results can be gathered: row i goes to process i modulo their
    number, and those that would have one less get the last row once more.
    """
    each = -(-len(rows) // shard.world_size)
    own = [rows[min(shard.rank + turn * shard.world_size, len(rows) - 1)] for turn in range(each)]
    for start in range(0, len(own), batch_size):
        yield images.as_they_are(own[start : start + batch_size])


def leave_signals_to_the_run(_: int) -> None:
    """A batch system signals all processes at once; a worker that died of it would end the run before it has saved.

    A worker still ends with the process that reads from it, and when that one ends it.
    """
    for number in (signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # elsewhere nobody can tell who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

        def wait_for_the_run() -> None:
            while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
                pass

        end_after(wait_for_the_run, code=0)
