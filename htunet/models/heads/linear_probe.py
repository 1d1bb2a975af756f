"""A linear layer on the class tokens of the last blocks and the mean of the patch tokens.

Source: Oquab et al. 2023, arXiv:2304.07193, linear evaluation with four blocks, and its start from N(0, 0.01).
Dimension key: B batch, T tokens, D width, N classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LinearProbe(nn.Module):
    """Four levels -> scores of classes."""

    levels = 4

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear((self.levels + 1) * width, num_classes)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)

    def forward(self, levels_BTD: Sequence[Tensor], grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> Tensor:
        """The last four levels, shallow first, class token first -> (B, N) scores of the whole image, fp32."""
        class_BD = [tokens[:, 0] for tokens in levels_BTD[-self.levels :]]
        features_BD = torch.cat([*class_BD, levels_BTD[-1][:, 1:].mean(dim=1)], dim=1)
        return self.classify(features_BD).float()
