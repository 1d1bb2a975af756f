"""Heads that classify images: one on a feature map, and one on the tokens of several blocks.

Dimension key: B batch, T tokens, D width, M features, N classes, H W patch grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ScoreLayer(nn.Linear):
    """A last layer whose scores are fp32 under autocast, too: of 8 bits, as bf16 has, many images would have equal."""

    def forward(self, features_BM: Tensor) -> Tensor:
        """(B, M) of any precision -> (B, N) scores."""
        if not torch.is_autocast_enabled(features_BM.device.type):  # an export sees a plain layer
            return super().forward(features_BM)
        with torch.autocast(features_BM.device.type, enabled=False):
            return super().forward(features_BM.float())


class ClassificationHead(nn.Module):
    """The mean of a feature map, and two linear layers: (B, M, patch grid) -> (B, N) scores before the softmax, fp32.

    Source: arXiv 2506.08849, section III-B, which names the layers but neither their width nor the dropout; the width
    is that of the features, the dropout that of the adapters.
    """

    def __init__(self, features: int, num_classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, features)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.classify = ScoreLayer(features, num_classes)

    def forward(self, features_BMHW: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Scores of the whole image; its size does not matter."""
        hidden_BM = self.activation(self.hidden(features_BMHW.mean(dim=(2, 3))))
        return self.classify(self.dropout(hidden_BM))


class LinearHead(nn.Module):
    """The mean of a feature map, dropout, and one linear layer: (B, M, patch grid) -> (B, N) scores, fp32.

    Source: the public code of arXiv 2506.08849, for all backbones but CLIP; 1,026 parameters with two classes.
    """

    def __init__(self, features: int, num_classes: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = ScoreLayer(features, num_classes)

    def forward(self, features_BMHW: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Scores of the whole image; its size does not matter."""
        return self.classify(self.dropout(features_BMHW.mean(dim=(2, 3))))


class LinearProbe(nn.Module):
    """A linear layer on the class tokens of the last four levels and the mean of the last level's patch tokens.

    Source: Oquab et al. 2023, arXiv:2304.07193, linear evaluation with four blocks, and its start from N(0, 0.01).
    """

    levels = 4

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.classify = ScoreLayer((self.levels + 1) * width, num_classes)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)

    def forward(self, levels_BTD: Sequence[Tensor], grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> Tensor:
        """The last four levels, shallow first, class token first -> (B, N) scores of the whole image, fp32."""
        class_BD = [tokens[:, 0] for tokens in levels_BTD[-self.levels :]]
        features_BD = torch.cat([*class_BD, levels_BTD[-1][:, 1:].mean(dim=1)], dim=1)
        return self.classify(features_BD)
