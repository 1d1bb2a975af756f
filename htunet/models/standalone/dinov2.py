"""DINOv2: a frozen ViT-B/14 that was trained without texts, with a U-Net decoder or a linear layer on its last blocks.

Source: Oquab et al. 2023, arXiv:2304.07193, on timm's classes and key names, which are those of the published file.
Dimension key: B batch, C channels, H W pixels, T tokens = 1 + grid height * grid width, D width.
"""

from collections.abc import Iterator
from typing import Any

import timm
import torch
from torch import Tensor, nn

from htunet.models.backbones.timm_vit import TimmVision
from htunet.models.catalogue import CATALOGUE
from htunet.models.encoder import AdaptedEncoder
from htunet.models.heads.both import BothHeads
from htunet.models.heads.classification import LinearProbe
from htunet.models.heads.unet_decoder import UNetDecoder
from htunet.models.network import Network, Normalisation, Scores
from htunet.models.standalone.base import Standalone
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION, TASKS, Outputs
from htunet.models.weights.load import RANDOM, WeightsRecord, load_weights, random_weights

NAME = "DINOv2"
OUT_INDICES = (7, 8, 9, 10, 11)
LAYER_SCALES = ("ls1", "ls2")
"""The two factors of each channel in a block (LayerScale). The public code of arXiv 2506.08849 builds the network
without them, so that 24 tensors of the published file are not loaded there."""


class DinoNetwork(Network):
    """The frozen trunk's last five levels, each normalised by its last layer, and a head that takes them."""

    def __init__(self, backbone: TimmVision, head: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalisation(backbone.statistics)
        self.encoder = AdaptedEncoder(backbone, None, OUT_INDICES)
        self.head = head

    def forward(self, images_BCHW: Tensor) -> Scores:
        """(B, 1 or 3, H, W) values 0..255 -> the head's scores from the levels and the size of the image."""
        image_hw = (images_BCHW.shape[-2], images_BCHW.shape[-1])
        levels_BTD = self.encoder(self.normalise(images_BCHW))
        backbone = self.frozen_module()
        with torch.no_grad():
            levels_BTD = [backbone.normalise(tokens_BTD) for tokens_BTD in levels_BTD]
        return self.head(levels_BTD, backbone.grid_hw(image_hw), image_hw)

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """``head`` alone."""
        yield "head", self.head

    def frozen_module(self) -> TimmVision:
        """The image tower."""
        backbone = self.encoder.backbone
        assert isinstance(backbone, TimmVision)
        return backbone


def trunk() -> TimmVision:
    """The Vision Transformer as timm builds it for images of 518 x 518, with weights that are drawn."""
    entry = CATALOGUE[NAME]
    vit: Any = timm.create_model(entry.architecture, pretrained=False, num_classes=0)
    return TimmVision(vit, entry.statistics)


def _head(width: int, outputs: Outputs) -> nn.Module:
    if outputs.task == CLASSIFICATION:
        return LinearProbe(width, outputs.num_classes)
    decoder = UNetDecoder(width, outputs.num_labels, as_published=outputs.align_corners)
    return decoder if outputs.task == SEGMENTATION else BothHeads(decoder, LinearProbe(width, outputs.num_classes))


def _sketch(outputs: Outputs) -> DinoNetwork:
    backbone = trunk()
    return DinoNetwork(backbone, _head(backbone.width, outputs))


def _build(outputs: Outputs, source: str) -> tuple[DinoNetwork, WeightsRecord]:
    with random_weights(), torch.device("cpu" if source == RANDOM else "meta"):
        backbone = trunk()
    record = load_weights(backbone.trunk, NAME, source)
    if outputs.as_published_defects:
        for block in backbone.blocks:
            for name in LAYER_SCALES:
                setattr(block, name, nn.Identity())
    return DinoNetwork(backbone, _head(backbone.width, outputs)), record


DINOV2 = Standalone(tasks=TASKS, sketch=_sketch, build=_build, plan="paper_518")
