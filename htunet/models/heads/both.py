"""Both tasks at once: two heads on the same features."""

from torch import Tensor, nn

from htunet.models.heads.classification import ClassificationHead
from htunet.models.heads.segmentation import SegmentationHead
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION


class BothHeads(nn.Module):
    """(B, M, patch grid) features -> scores of each task, by its name."""

    def __init__(self, segmentation: SegmentationHead, classification: ClassificationHead) -> None:
        super().__init__()
        self.segmentation = segmentation
        self.classification = classification

    def forward(self, features_BMHW: Tensor, image_hw: tuple[int, int]) -> dict[str, Tensor]:
        """``seg``: (B, K, H, W) at the size of the input image; ``cls``: (B, N)."""
        return {
            SEGMENTATION: self.segmentation(features_BMHW, image_hw),
            CLASSIFICATION: self.classification(features_BMHW, image_hw),
        }
