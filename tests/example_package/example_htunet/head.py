"""A head of masks that enlarges the scores without interpolation."""

from torch import Tensor, nn
from torch.nn import functional as F


class NearestHead(nn.Module):
    """(B, M, patch grid) features -> (B, K, H, W) scores; a plan's ``head_parameters`` may set ``dropout``."""

    def __init__(self, features: int, num_labels: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Conv2d(features, num_labels, kernel_size=1)

    def forward(self, features_BMHW: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Scores before the softmax at the size of the input image, fp32."""
        return F.interpolate(self.classify(self.dropout(features_BMHW)).float(), image_hw, mode="nearest")
