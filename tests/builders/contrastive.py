"""A tiny caption data set, and a tiny CLIP with both towers that can be fine-tuned on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from builders.captions import sentence, write_image
from builders.training import TinyBackbone
from htunet.data.captions import CaptionInfo, Pair, write_captions
from htunet.models.backbones import BACKBONES
from htunet.models.embeddings import padded
from htunet.models.text import TEXT_TOWERS, TextTower
from htunet.paths import DatasetPaths
from htunet.training.settings import FinetuneSettings

WIDTH, WORDS = 8, 64


class TinyImages(TinyBackbone):
    """``TinyBackbone`` with a projection into the space that it shares with ``TinyTexts``."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(self.width, WIDTH)

    def project(self, tokens_BTD: Tensor) -> Tensor:
        return self.projection(tokens_BTD[:, 0])


class TinyBlock(nn.Module):
    """A block with the attention layers of open_clip's, which LoRA looks for."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        return tokens_BLD + torch.tanh(self.mix(tokens_BLD))


class TinyTexts(TextTower):
    """The mean of words' vectors: sums of the numbers of their letters."""

    context_length = 16

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList([TinyBlock()])

    def tokenize(self, texts: Any) -> Tensor:
        rows = [[1 + sum(map(ord, word)) % (WORDS - 1) for word in text.split()] for text in texts]
        return padded([torch.tensor(row[: self.context_length]) for row in rows])

    def forward(self, ids_BL: Tensor) -> Tensor:
        known_BL1 = (ids_BL != 0)[..., None]
        tokens_BLD = self.words(ids_BL)
        for layer in self.layers:
            tokens_BLD = layer(tokens_BLD)
        return (tokens_BLD * known_BL1).sum(dim=1) / known_BL1.sum(dim=1)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)


@contextmanager
def tiny_contrastive() -> Iterator[None]:
    """``CLIP`` stands for the tiny towers inside the block."""
    with (
        patch.dict(BACKBONES._entries, {"CLIP": TinyImages}),
        patch.dict(TEXT_TOWERS._entries, {"CLIP": lambda _: TinyTexts()}),
    ):
        yield


def build_captions(name: str = "Dataset907_Words", n: int = 40, *, mode: str = "L") -> DatasetPaths:
    """A raw caption data set of ``n`` pairs; every tenth caption is that of the first pair."""
    paths = DatasetPaths(name)
    pairs = []
    for index in range(n):
        write_image(paths.raw / "images" / f"{index:03d}.png", index, side=32, mode=mode)
        text = sentence(0 if index % 10 == 0 else index)
        pairs.append(Pair(image=f"images/{index:03d}.png", caption=text, source="", id=f"{index:03d}", language="en"))
    write_captions(paths.raw, CaptionInfo(name=name, licence="", reference="", description=""), pairs, [])
    return paths


def tiny_finetuning(**changes: Any) -> FinetuneSettings:
    """32 x 32 pixels on the CPU in fp32 with random weights, three epochs of 36 pairs in batches of 8."""
    defaults: dict[str, Any] = {"num_epochs": 3, "batch_size": 8, "input_size": 32, "lr": 1e-2, "weights": "random"}
    defaults |= {"device": "cpu", "precision": "fp32", "workers": 0, "parts": 1}
    return FinetuneSettings(**(defaults | changes))


def random_uint8(*shape: int, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(values)
