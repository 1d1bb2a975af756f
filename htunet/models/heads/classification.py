"""Classification head: the mean of the feature map, and two linear layers.

Source: arXiv 2506.08849, section III-B, which names the layers but neither their width nor the dropout; the width is
that of the features, the dropout that of the adapters. Dimension key: B batch, M features, N classes, H W patch grid.
"""

from torch import Tensor, nn


class ClassificationHead(nn.Module):
    """(B, M, patch grid) features -> (B, N) scores before the softmax, fp32."""

    def __init__(self, features: int, num_classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, features)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(features, num_classes)

    def forward(self, features_BMHW: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Scores of the whole image; its size does not matter."""
        hidden_BM = self.activation(self.hidden(features_BMHW.mean(dim=(2, 3))))
        return self.classify(self.dropout(hidden_BM)).float()
