"""PhantomCLIP's image encoder: a small Vision Transformer of our own, trained on simulated ultrasound alone.

Ten of CLIP's blocks, 192 wide, behind a stem of four convolutions in place of one per patch, which learns from fewer
images. Source of the stem: Xiao et al. 2021, arXiv:2106.14881; of the width: Touvron et al. 2021, arXiv:2012.12877.
"""

from itertools import pairwise

from torch import nn

from htunet.models.backbones.clip import ClipVision
from htunet.models.catalogue import CATALOGUE

STEM = (3, 16, 32, 48)
"""Channels before each convolution, all of stride 2; the last one gives the width of the blocks."""


class PhantomVision(ClipVision):
    """CLIP's tower with smaller sizes and another stem. It sees values 0 to 1, whether a plan normalises or not."""

    features = 192

    def __init__(self) -> None:
        entry = CATALOGUE["PhantomCLIP"]
        super().__init__(entry.architecture, entry.statistics)
        layers: list[nn.Module] = []
        for before, after in pairwise((*STEM, self.width)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.GELU()]
        self.vit.set_submodule("conv1", nn.Sequential(*layers[:-1]))
