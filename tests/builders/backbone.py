"""Small frozen encoders: a toy of three blocks, and CLIP's own classes at a hundredth of their size."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import open_clip
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from htunet.models.adapters import ADAPTERS
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone, InputStatistics
from htunet.models.backbones.clip import ClipVision
from htunet.models.backbones.timm_vit import TimmVision
from htunet.models.catalogue import OPENAI_STATISTICS
from htunet.models.encoder import AdaptedEncoder
from htunet.models.network import Network


def frozen_state(network: Network) -> dict[str, Tensor]:
    """Parameters and buffers of a network that never change, by their name in ``frozen_module``."""
    frozen = network.frozen_module()
    training = {id(parameter) for parameter in network.trainable_parameters()}
    state = {} if frozen is None else frozen.state_dict(keep_vars=True)
    return {key: value.detach() for key, value in state.items() if id(value) not in training}


WIDTH, PATCH, BLOCKS = 8, 4, 3
GRID = (3, 5)
"""Of the images that toy adapters are made for: 12 x 20 pixels."""
OUT_INDICES = (0, 1)
TINY = "htunet-tiny"
TINY_VISION = {"image_size": 64, "layers": 12, "width": 128, "patch_size": 16}


class ToyBlock(nn.Module):
    """A block that would move in training mode: dropout changes its output, batch normalisation its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.5)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        normed_BTD = self.norm(tokens_BTD.transpose(1, 2)).transpose(1, 2)
        return tokens_BTD + self.dropout(torch.tanh(self.mix(normed_BTD + normed_BTD.mean(dim=1, keepdim=True))))


class ToyBackbone(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.width = WIDTH
        self.patch_size = PATCH
        self.statistics = InputStatistics(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
        self.blocks = nn.ModuleList(ToyBlock() for _ in range(BLOCKS))

    def embed(self, images_BCHW: Tensor) -> Tensor:
        patches_BTD = self.patches(images_BCHW).flatten(2).transpose(1, 2)
        return torch.cat([patches_BTD.mean(dim=1, keepdim=True), patches_BTD], dim=1)


def toy_encoder(adapter: str | None, out_indices: tuple[int, ...] = OUT_INDICES, seed: int = 0) -> AdaptedEncoder:
    """The toy with one kind of adapter and its default settings, all weights drawn."""
    torch.manual_seed(seed)
    make = (lambda: ADAPTERS[adapter](WIDTH, GRID, {})) if adapter else None
    encoder = AdaptedEncoder(ToyBackbone(), make, out_indices)
    if encoder.adapters is not None:
        draw(encoder.adapters, seed)
    return encoder


def draw(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill each parameter from a normal distribution, so that no start at zero or one hides a mistake."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            inputs = parameter[0].numel() if parameter.ndim > 1 else 10
            parameter.copy_(torch.randn(parameter.shape, generator=source) / inputs**0.5)
    return module


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny_clip() -> ClipVision:
    """Twelve blocks, as many as the real one, on a grid of 4 x 4, with two heads."""
    return ClipVision(TINY, OPENAI_STATISTICS)


def tiny_timm(**changes: Any) -> TimmVision:
    """As many blocks and patches as the tiny CLIP, on timm's classes."""
    sizes = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 12, "num_heads": 2, "num_classes": 0}
    return TimmVision(VisionTransformer(**(sizes | changes)), OPENAI_STATISTICS)


def tiny_dino() -> TimmVision:
    """With the factors after each part of a block that DINOv2 has."""
    return tiny_timm(init_values=0.5)


TINY_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 10, "num_attention_heads": 2}
TINY_CLIPSEG = {
    "vision_config": {**TINY_TOWER, "patch_size": 16, "image_size": 64},
    "text_config": {**TINY_TOWER, "num_hidden_layers": 2},
    "projection_dim": 16,
    "reduce_dim": 8,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}
"""The words of the tokenizer are as many as in the real one."""


@contextmanager
def tiny_in_place_of_clip() -> Iterator[None]:
    """The names of CLIP, of its relatives and of the networks of their own stand for tiny ones inside the block."""
    tiny = {name: tiny_timm if name == "BiomedCLIP" else tiny_clip for name in BACKBONES.names()}
    with (
        patch.dict(BACKBONES._entries, tiny),
        patch("htunet.models.standalone.dinov2.trunk", tiny_dino),
        patch.dict("htunet.models.standalone.clipseg.CONFIG", TINY_CLIPSEG),
    ):
        yield


def register_tiny(folder: Path) -> None:
    """Tell open_clip of the tiny architecture."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
    config = {"embed_dim": 32, "quick_gelu": True, "vision_cfg": TINY_VISION, "text_cfg": text}
    (folder / f"{TINY}.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(folder)


def one_of_a_class(methods: Iterable[str]) -> list[str]:
    """The methods without those whose encoder is another's class with other weights: MetaCLIP and UniMedCLIP are CLIP.

    In tests with tiny stand-ins they would be the same network once more. What each of the three has of its own, its
    files and its text tower, is in ``test_towers``; that they share a class is in ``test_registries``.
    """
    return [method for method in methods if method.partition("_")[0] not in ("MetaCLIP", "UniMedCLIP")]
