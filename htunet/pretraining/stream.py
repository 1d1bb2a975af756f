"""Simulated images as a stream: made by worker processes, in the order of their index, into a pool of the latest ones.

Dimension key: N images in the pool, P planes, H W pixels, L numbers.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from htunet.errors import HtunetError
from htunet.models.text.phantom import CONTEXT, word_numbers
from htunet.simulation.settings import SimulationSettings
from htunet.simulation.simulate import SIGNS, SimulatedImage, simulate
from htunet.training.loader import leave_signals_to_the_run

CLASSES = ("benign", "malignant", "none")
ORGANS = tuple(SimulationSettings().organs)
IMAGE, LESION, TISSUE, SHADOW, REVERBERATION, DEPTH = range(6)
PLANES = 6
CLASS, ORGAN, FIRST_SIGN = 0, 1, 2
FIRST_WORD = FIRST_SIGN + len(SIGNS)
NUMBERS = FIRST_WORD + CONTEXT
"""Values of an image: its class, organ and signs, -1 where it has none, and the words of its caption, then 0."""
AHEAD, CHUNK = 256, 8
"""Number of images that may be made before they are needed, and that arrive at a time."""
LONGEST_WAIT = 60.0
"""Seconds for the images that arrive when the pool is closed."""


Sample = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Planes and numbers."""


def planes_of(found: SimulatedImage) -> Sample:
    """(P, H, W) uint8: gray values, lesion, tissue, shadow, reverberation (0 and 1), depth in mm; and (L,) numbers."""
    dense = found.dense
    planes = [found.image, found.lesion, dense["tissue"], dense["shadow"], dense["reverberation"]]
    planes.append(np.clip(dense["depth"], 0, 255))
    numbers = np.zeros(NUMBERS, dtype=np.int64)
    numbers[CLASS] = CLASSES.index(found.lesion_class)
    numbers[ORGAN] = ORGANS.index(found.organ) if found.organ in ORGANS else -1
    for place, (sign, values) in enumerate(SIGNS.items(), start=FIRST_SIGN):
        numbers[place] = values.index(found.signs[sign]) if sign in found.signs else -1
    words = word_numbers(found.caption)
    numbers[FIRST_WORD : FIRST_WORD + len(words)] = words
    return np.stack(planes).astype(np.uint8), numbers


def stacked(samples: Sequence[Sample]) -> Sample:
    """Several images in one array each: tensors would go through shared memory, which is small on some machines."""
    planes, numbers = zip(*samples, strict=True)
    return np.stack(planes), np.stack(numbers)


class SimulatedImages(Dataset[Any]):
    """The image of an index."""

    def __init__(self, settings: SimulationSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    def __getitem__(self, index: int) -> Sample:
        """See ``planes_of``."""
        return planes_of(simulate(self.settings, self.seed, index))


@dataclass(frozen=True)
class Images:
    """Images with their truth."""

    planes: Tensor
    """(B, P, H, W) uint8."""
    numbers: Tensor
    """(B, L) int64."""


class Pool:
    """The latest images of a stream, and the first ones of it, which are held out for validation.

    A thread takes them from the worker processes. It waits before it replaces an image that may be drawn: ``wait``
    tells it how many are needed, unless they arrive as fast as they can be made (``at_once``).

    Args:
        source: Makes the images.
        held_out: Number of images at the beginning of the stream, which are never drawn.
        first: Index of the first new image; a continued training makes those before it again that it may still draw.
        last: Index at which the stream ends.
        window: Number of the latest images that are drawn from.
        workers: Number of processes that make images.
    """

    def __init__(
        self, source: SimulatedImages, *, held_out: int, first: int, last: int, window: int, workers: int
    ) -> None:
        self.window, self.capacity = window, window + AHEAD
        self._order = [*range(held_out), *range(max(held_out, first - window), last)]
        loader: DataLoader[Any] = DataLoader(
            source,
            batch_size=CHUNK,
            sampler=self._order,
            num_workers=workers,
            prefetch_factor=4,
            collate_fn=stacked,
            worker_init_fn=leave_signals_to_the_run,
        )
        self._arriving: Iterator[Any] | None = iter(loader)
        self._filling: threading.Thread | None = None
        self._held_out = held_out
        self._changed = threading.Condition()
        self._needed = 0
        self._error: BaseException | None = None
        self.count = 0
        """Index of the next image to arrive."""

    def start(self, device: torch.device, size: tuple[int, int], *, at_once: bool) -> None:
        """Start to fill the pool on ``device``; ``at_once``: as fast as possible, without waiting for ``wait``."""
        kept = min(self.capacity, len(self._order))
        self.planes = torch.zeros((kept, PLANES, *size), dtype=torch.uint8, device=device)
        self.numbers = torch.zeros((kept, NUMBERS), dtype=torch.int64, device=device)
        self.held_out = Images(
            torch.zeros((self._held_out, PLANES, *size), dtype=torch.uint8, device=device),
            torch.zeros((self._held_out, NUMBERS), dtype=torch.int64, device=device),
        )
        self._needed = sys.maxsize if at_once else 0
        self._filling = threading.Thread(target=self._fill, daemon=True)
        self._filling.start()

    def draw(self, indices: NDArray[np.int64]) -> Images:
        """The images of these indices, which must have arrived."""
        slots = torch.from_numpy(indices % len(self.planes)).to(self.planes.device)
        return Images(self.planes[slots], self.numbers[slots])

    def wait(self, count: int) -> None:
        """Wait until ``count`` images have arrived; an error of a worker process is raised here."""
        with self._changed:
            self._needed = max(self._needed, count)
            self._changed.notify_all()
            while self.count < count and self._error is None:
                self._changed.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Take no more images, and end the thread and the worker processes.

        A thread that still waits for a worker process when Python exits ends the program with a message of C++.
        """
        with self._changed:
            self._error = HtunetError("The pool of simulated images is closed.")
            self._changed.notify_all()
        if self._filling is not None:
            self._filling.join(LONGEST_WAIT)
        self._arriving = None

    def _fill(self) -> None:
        assert self._arriving is not None
        try:
            for start, (planes, numbers) in zip(range(0, len(self._order), CHUNK), self._arriving, strict=True):
                indices = self._order[start : start + CHUNK]
                with self._changed:
                    while indices[-1] >= self._needed + AHEAD and self._error is None:
                        self._changed.wait()
                    if self._error is not None:
                        return
                self._put(indices, Images(*(torch.from_numpy(one).to(self.planes.device) for one in (planes, numbers))))
                with self._changed:
                    self.count = indices[-1] + 1
                    self._changed.notify_all()
        except BaseException as error:  # raised in the thread that draws
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _put(self, indices: Sequence[int], found: Images) -> None:
        first = sum(index < self._held_out for index in indices)
        for target, rows, own in (
            (self.held_out, range(first), indices[:first]),
            (self, range(first, len(indices)), [index % len(self.planes) for index in indices[first:]]),
        ):
            if own:
                slots = torch.tensor(own, device=self.planes.device)
                target.planes[slots] = found.planes[rows.start : rows.stop]
                target.numbers[slots] = found.numbers[rows.start : rows.stop]
