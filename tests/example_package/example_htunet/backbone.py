"""A backbone: patches of 8 pixels and ten small blocks."""

import torch
from torch import Tensor, nn

from htunet.models.backbones.base import Backbone, InputStatistics


class Patches(Backbone):
    """Its blocks are linear layers; the heads use the outputs of blocks 3, 6 and 9."""

    width = 16
    patch_size = 8
    statistics = InputStatistics(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, self.width, self.patch_size, stride=self.patch_size)
        self.blocks = nn.ModuleList(nn.Linear(self.width, self.width) for _ in range(10))

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, 1 + patches, D), a class token first."""
        tokens_BTD = self.patches(images_BCHW).flatten(2).transpose(1, 2)
        return torch.cat([tokens_BTD.mean(dim=1, keepdim=True), tokens_BTD], dim=1)
