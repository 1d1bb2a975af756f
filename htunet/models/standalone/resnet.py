"""ResNet18: the classification baseline, from ImageNet weights, all of which train.

Source: He et al. 2016, arXiv:1512.03385, on torchvision's classes and key names.
Dimension key: B batch, C channels, H W pixels, D width, N classes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from htunet.models.catalogue import CATALOGUE
from htunet.models.heads.classification import ScoreLayer
from htunet.models.network import Network, Normalisation
from htunet.models.standalone.base import Standalone
from htunet.models.tasks import CLASSIFICATION, Outputs
from htunet.models.weights.formats import read_state
from htunet.models.weights.load import WeightsRecord, image_state, load_strictly, locate, record_of, train_copies

NAME = "ResNet18"
COUNTER = "num_batches_tracked"
"""Buffers of batch normalisation that are younger than the published file; nothing here reads them."""


class ResNet18(Network):
    """Images -> scores of classes; the body starts from ImageNet, the last layer from scratch."""

    smallest_side = 32
    """Pixels; the deepest map then has one."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.normalise = Normalisation(CATALOGUE[NAME].statistics)
        self.body = resnet18()
        width = self.body.fc.in_features
        self.body.fc = nn.Identity()
        self.classify = ScoreLayer(width, num_classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) values 0..255 -> (B, N) scores before the softmax, fp32."""
        features_BD = self.body(self.normalise(images_BCHW))
        return self.classify(features_BD)

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """All of it: ``body`` and ``classify``."""
        yield from (("body", self.body), ("classify", self.classify))

    def frozen_module(self) -> None:
        """None: all of it trains."""


def _sketch(outputs: Outputs) -> ResNet18:
    return ResNet18(outputs.num_classes)


def _build(outputs: Outputs, source: str) -> tuple[ResNet18, WeightsRecord]:
    network = _sketch(outputs)
    path = locate(NAME, source)
    if path is None:  # drawn from the seed of the run, as all of it trains: there is nothing to recognise
        return network, WeightsRecord(source=source)
    state = image_state(read_state(path), CATALOGUE[NAME], str)
    counters = {key: value for key, value in network.body.state_dict().items() if key.endswith(COUNTER)}
    load_strictly(network.body, counters | state, path)
    train_copies(network.body)
    return network, record_of(source, path, network.body)


RESNET18 = Standalone(tasks=(CLASSIFICATION,), sketch=_sketch, build=_build, has_frozen_part=False)
