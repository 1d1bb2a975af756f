"""Full fine-tuning, to compare adapters with: all weights of the adapted blocks train.

The patch embedding and the positions before them and the projection after them stay frozen: 1.3 % of the weights of
CLIP's image encoder, 3.6 % of PhantomCLIP's. A frozen patch embedding makes self-supervised training more stable (Chen
et al. 2021, arXiv:2104.02057) and fine-tuning with SGD more accurate (Kumar et al. 2022, arXiv:2211.09359); with AdamW,
as here, we did not compare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from htunet.models.adapters.base import WeightAdapter, WeightUpdates, checked_settings


@dataclass(frozen=True, kw_only=True)
class FullConfig:
    """Full fine-tuning has no settings."""


class TrainedBlocks(WeightUpdates):
    """The blocks themselves, by their number: nothing is added to them, and all of each is in a checkpoint."""

    def __init__(self, blocks: Mapping[int, nn.Module]) -> None:
        super().__init__(
            blocks[depth].requires_grad_(True) if depth in blocks else nn.Identity() for depth in range(max(blocks) + 1)
        )

    def merge(self) -> None:
        """Nothing: the blocks hold what was trained."""


def _full(blocks: Mapping[int, nn.Module], settings: Mapping[str, Any]) -> WeightUpdates:
    checked_settings(FullConfig, settings)
    return TrainedBlocks(blocks)


FULL = WeightAdapter(update=_full, texts_too=False, keeps_weights=False)
