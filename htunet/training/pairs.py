"""Pairs of several caption data sets as one set of samples. Dimension key: N pairs, C channels, H W pixels."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from htunet.data.image_io import as_channels
from htunet.data.shards import ShardedCaptions
from htunet.models.embeddings import padded
from htunet.preprocessing.caption_arrays import PreparedCaptions
from htunet.reproducibility import generator
from htunet.training.contrastive import PairBatch
from htunet.training.loader import TrainingSamples

PairSample = tuple[NDArray[np.uint8], Tensor, int]
"""Image (C, H, W), embedding of the text (E,) or its tokens (L,), number of the caption."""


class PairSamples(TrainingSamples):
    """Batches of pairs, wherever they come from."""

    def collate(self, samples: list[PairSample]) -> PairBatch:
        """Images, texts and numbers of captions, each in one tensor; tokens are padded to the longest text."""
        images, texts, numbers = zip(*samples, strict=True)
        together = torch.stack(texts) if texts[0].is_floating_point() else padded(texts)
        return PairBatch(torch.from_numpy(np.stack(images)), together, torch.tensor(numbers))

    def as_they_are(self, rows: Sequence[int]) -> PairBatch:
        """The pairs of some rows."""
        return self.collate([self[0, row] for row in rows])


class CaptionPairs(PairSamples):
    """Images and texts by row, the rows of all data sets one after another. No augmentation: a caption may say left.

    ``texts`` holds one tensor for each row, see ``PairBatch``; ``captions`` the text of each row.
    """

    def __init__(self, prepared: Sequence[PreparedCaptions], texts: Sequence[Tensor], captions: Sequence[str]) -> None:
        self.arrays = [one.images for one in prepared]
        self.starts = np.cumsum([0, *(len(array) for array in self.arrays)])
        self.channels = max(array.shape[1] for array in self.arrays)
        self.texts = texts
        number = {text: index for index, text in enumerate(dict.fromkeys(captions))}
        self.numbers = [number[text] for text in captions]

    def __getitem__(self, key: tuple[int, int]) -> PairSample:
        """The pair of a row, the same in every epoch."""
        _, row = key
        return self.image(row), self.texts[row], self.numbers[row]

    def image(self, row: int) -> NDArray[np.uint8]:
        """(C, H, W); a gray image among coloured ones has three equal channels."""
        which = int(np.searchsorted(self.starts, row, side="right")) - 1
        image = self.arrays[which][row - self.starts[which]]
        return image if len(image) == self.channels else np.repeat(image, self.channels, axis=0)


class StreamedPairs(PairSamples):
    """The pairs of a data set in shards by row: read, decoded and resized when they are needed.

    ``resized`` brings an image plane to the network's size, ``tokenize`` is the text tower's. Captions have numbers
    only where they are compared, in ``validated``.
    """

    def __init__(
        self,
        captions: ShardedCaptions,
        resized: Callable[[Image.Image], Image.Image],
        tokenize: Callable[[Sequence[str]], Tensor],
        validated: Sequence[int],
    ) -> None:
        self.captions, self.resized, self.tokenize = captions, resized, tokenize
        number: dict[str, int] = {}
        self.numbers = {row: number.setdefault(captions.caption(row), len(number)) for row in validated}

    def __getitem__(self, key: tuple[int, int]) -> PairSample:
        """The pair of a row, the same in every epoch; an image has three channels."""
        _, row = key
        planes = as_channels(self.captions.image(row), 3)
        image = np.stack([np.asarray(self.resized(Image.fromarray(plane))) for plane in planes])
        return image, self.tokenize([self.captions.caption(row)])[0], self.numbers.get(row, -1)


def shuffled(rows: Sequence[int], count: int, seed: int) -> list[int]:
    """For each of ``count`` rows, the row whose text it gets: ``rows`` exchange theirs, the others keep their own."""
    order = generator(seed, "shuffled captions").permutation(len(rows))
    changed = list(range(count))
    for target, source in zip(rows, order, strict=True):
        changed[target] = rows[source]
    return changed
