"""A tiny caption data set, and a tiny CLIP with both towers that can be fine-tuned on it."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from builders.captions import sentence, write_image
from builders.training import TinyBackbone, prepare_command
from htunet.data.captions import CaptionInfo, CaptionPair, write_captions
from htunet.models.backbones import BACKBONES
from htunet.models.embeddings import padded
from htunet.models.text import TEXT_TOWERS
from htunet.models.text.base import TextTower
from htunet.paths import DatasetPaths
from htunet.training.contrastive import ContrastiveTrainer, PairBatch
from htunet.training.devices import make_fabric
from htunet.training.loader import Shard
from htunet.training.settings import FinetuneSettings
from htunet.training.step import Step

WIDTH, WORDS = 8, 64


class MixingBlock(nn.Module):
    """A block in which each token sees the mean of all: what an adapter does to the patches reaches the class token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        return tokens_BTD + torch.tanh(self.mix(tokens_BTD + tokens_BTD.mean(dim=1, keepdim=True)))


class TinyImages(TinyBackbone):
    """``TinyBackbone`` with blocks that mix, and a projection into the space that it shares with ``TinyTexts``."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MixingBlock(self.width) for _ in range(10))
        self.projection = nn.Linear(self.width, WIDTH)

    def project(self, tokens_BTD: Tensor) -> Tensor:
        return self.projection(tokens_BTD[:, 0])


class TinyBlock(nn.Module):
    """A residual layer on each token."""

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


class BothTowers(nn.Module):
    """Linear towers that both train, without dropout: a batch may be cut into any parts, over any processes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.images, self.words = nn.Linear(16 * 16, WIDTH), nn.Embedding(WORDS, WIDTH)
        self.unused = nn.Linear(1, 1)

    def forward(self, images_BCHW: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        images_BE = self.images(images_BCHW.float().flatten(1) / 255)
        return F.normalize(images_BE, dim=1), F.normalize(self.words(ids_BL).mean(dim=1), dim=1)


def pairs_of_words(count: int) -> PairBatch:
    """``count`` images of 16 x 16 pixels, each with five words."""
    words = torch.randint(1, WORDS, (count, 5), generator=torch.Generator().manual_seed(2))
    return PairBatch(random_uint8(count, 1, 16, 16), words, torch.arange(count))


def finetune_command() -> int:
    """``htunet_finetune`` with the tiny towers; a ``target`` of ``builders.processes``."""
    from htunet.cli.finetune import main

    prepare_command()
    with tiny_contrastive():
        return main()


def finetune_without_dropout() -> int:
    """The same; dropout is drawn by each process for its part, so that only without it several compute as one."""
    with patch("torch.nn.functional.dropout", lambda values, *_, **__: values):
        return finetune_command()


def save_gradients() -> None:
    """One of two processes: save the loss and the gradients of ``BothTowers`` for each case; a ``target``.

    Its arguments are the file to save to, without the rank, and the cases as JSON: pairs of the whole batch, and parts
    of each process.
    """
    fabric = make_fabric(device="cpu", devices=2, precision="fp32")
    network = BothTowers()
    forward = fabric.setup_module(network)
    rank, found = fabric.global_rank, []
    for count, parts in json.loads(sys.argv[2]):
        pairs = pairs_of_words(count)
        own = type(pairs)(*(values[rank::2] if count > rank else values[:1] for values in pairs))
        shares = {"whole": count, "num_parts": parts, "shard": Shard(rank, 2), "seed": 1, "number": 0}
        step = Step(fabric=fabric, network=network, forward=forward, batch=own, **shares)
        loss = fabric.all_reduce(ContrastiveTrainer(count).accumulate(step), reduce_op="sum")
        found.append([loss, *(value.grad.clone() for value in network.parameters() if value.grad is not None)])
        network.zero_grad(set_to_none=True)
    torch.save(found, f"{sys.argv[1]}.{rank}")


def build_captions(name: str = "Dataset907_Words", n: int = 40, *, mode: str = "L", groups: int = 0) -> DatasetPaths:
    """A raw caption data set of ``n`` pairs; every tenth caption is that of the first pair.

    ``groups`` (0: none) are dealt in turn.
    """
    paths = DatasetPaths(name)
    pairs = []
    for index in range(n):
        write_image(paths.raw / "images" / f"{index:03d}.png", index, side=32, mode=mode)
        text, group = sentence(0 if index % 10 == 0 else index), f"g{index % groups}" if groups else ""
        names = {"image": f"images/{index:03d}.png", "id": f"{index:03d}", "group": group}
        pairs.append(CaptionPair(caption=text, source="", language="en", **names))
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
