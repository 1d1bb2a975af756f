"""An adapter with one trainable factor for each channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from htunet.models.adapters.base import Adapter, checked_settings


@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """Settings that a plan may set under ``adapter``."""

    start: float = 1.0
    """Factor before training; 1 changes nothing."""


class Scale(Adapter):
    """(B, T, D) tokens times (D,) factors."""

    def __init__(self, width: int, config: ScaleConfig) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((width,), config.start))
        self.shift = nn.Parameter(torch.full((width,), 1e-3))

    def forward(self, tokens_BTD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(B, T, D), class token first -> the same shape."""
        return tokens_BTD * self.factor + self.shift


def scale(width: int, grid_hw: tuple[int, int], settings: Mapping[str, Any]) -> Adapter:
    """Built from the width of the tokens, the grid of patches, and the plan's settings."""
    return Scale(width, checked_settings(ScaleConfig, settings))
