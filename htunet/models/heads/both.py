"""Both tasks at once: two heads on the same features."""

from typing import Any

from torch import Tensor, nn

from htunet.models.tasks import CLASSIFICATION, SEGMENTATION


class BothHeads(nn.Module):
    """Features of any form that both heads take -> scores of each task, by its name."""

    def __init__(self, segmentation: nn.Module, classification: nn.Module) -> None:
        super().__init__()
        self.segmentation = segmentation
        self.classification = classification

    def forward(self, *features: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """``seg``: (B, K, H, W) at the size of the input image; ``cls``: (B, N)."""
        return {SEGMENTATION: self.segmentation(*features), CLASSIFICATION: self.classification(*features)}
