"""Segmentation head: a 1x1 convolution and bilinear up-sampling.

Source: arXiv 2506.08849, section III-B. The paper up-samples the M = 512 features and convolves then. Both are linear,
up-sampling acts on pixels and the convolution on channels, and bilinear weights sum to 1 so that the bias passes
through: the order does not change the result. We convolve first and up-sample K channels instead of 512: for two
labels 256 times less memory.

Dimension key: B batch, M features, K labels, H W pixels.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class SegmentationHead(nn.Module):
    """(B, M, patch grid) features -> (B, K, H, W) scores."""

    def __init__(self, features: int, num_labels: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(features, num_labels, kernel_size=1)

    def forward(self, features_BMHW: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Scores before the softmax, at the size of the input image."""
        return self.enlarge(self.classify(features_BMHW), image_hw)

    def enlarge(self, scores_BKHW: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Scores on the patch grid -> at the size of the input image, in fp32."""
        # the features come with their channels last, which takes four times as long on a CPU
        scores_BKHW = scores_BKHW.float().contiguous()
        return F.interpolate(scores_BKHW, image_hw, mode="bilinear", align_corners=False)
