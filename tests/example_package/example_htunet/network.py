"""A complete network: one convolution, which is trained."""

from collections.abc import Iterator

from torch import Tensor, nn

from htunet.models.network import Network
from htunet.models.standalone.base import Standalone
from htunet.models.tasks import SEGMENTATION, Outputs
from htunet.models.weights.load import NONE, WeightsRecord


class OneLayer(Network):
    """Images, gray or RGB -> scores of the labels of each pixel."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, num_labels, kernel_size=9, padding=4)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) values 0..255 -> (B, K, H, W) scores before the softmax, fp32."""
        return self.layer(images_BCHW.float().mean(dim=1, keepdim=True) / 255)

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that are trained, with the names that they have in a checkpoint."""
        yield "layer", self.layer

    def frozen_module(self) -> None:
        """None: the whole network is trained."""


def _sketch(outputs: Outputs) -> OneLayer:
    return OneLayer(outputs.num_labels)


def _build(outputs: Outputs, weights: str) -> tuple[OneLayer, WeightsRecord]:
    return _sketch(outputs), WeightsRecord(source=NONE)


ONE_LAYER = Standalone(
    tasks=(SEGMENTATION,), sketch=_sketch, build=_build, has_published_weights=False, has_frozen_part=False
)
