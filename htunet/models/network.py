"""A network: an encoder, what gathers its features, and a head, handed in from outside.

Dimension key: B batch, C channels, H W pixels, K labels.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from htunet.models.backbones.base import InputStatistics
from htunet.models.encoder import AdaptedEncoder
from htunet.models.heads.aggregation import FeatureAggregation

Scores = Tensor | dict[str, Tensor]
"""Of one task, or of each task by its name; before the softmax, in fp32."""


class Normalisation(nn.Module):
    """uint8 images, gray or RGB, -> RGB in the statistics of the weights. Done on the device: 12 times less to move."""

    scale: Tensor
    shift: Tensor

    def __init__(self, statistics: InputStatistics) -> None:
        super().__init__()
        self.register_buffer("scale", 1 / (255 * torch.tensor(statistics.std))[:, None, None], persistent=False)
        shift = torch.tensor(statistics.mean) / torch.tensor(statistics.std)
        self.register_buffer("shift", shift[:, None, None], persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) values 0..255 of any type -> (B, 3, H, W) normalised floats."""
        return images_BCHW.to(self.scale.dtype) * self.scale - self.shift


class Network(nn.Module):
    """What training, inference and export know of any model. Inputs are images with values 0..255."""

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that train, with the names under which a checkpoint holds them."""
        raise NotImplementedError

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Each parameter that the optimiser may change, in a stable order."""
        return [parameter for _, module in self.trainable_modules() for parameter in module.parameters()]

    def trainable_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the trainable parts: all that a checkpoint needs beside the frozen weights."""
        return {
            f"{name}.{key}": value
            for name, module in self.trainable_modules()
            for key, value in module.state_dict().items()
        }

    def load_trainable_state(self, state: dict[str, Tensor]) -> None:
        """Strict: a missing, unexpected or mis-shaped tensor raises RuntimeError that names it."""
        taken: set[str] = set()
        for name, module in self.trainable_modules():
            own = {key: value for key, value in state.items() if key.startswith(f"{name}.")}
            module.load_state_dict({key[len(name) + 1 :]: value for key, value in own.items()}, strict=True)
            taken |= set(own)
        if unexpected := sorted(set(state) - taken):
            raise RuntimeError(f"Unexpected tensors: {unexpected[:5]} ({len(unexpected)} in all).")

    def frozen_module(self) -> nn.Module | None:
        """The part that never trains and that no checkpoint holds; None where all of the network trains."""
        raise NotImplementedError

    def check_input(self, image_hw: tuple[int, int]) -> None:
        """Raise ValueError that says the rule when images of this (height, width) cannot be taken; any can here."""


class EncoderNetwork(Network):
    """A frozen encoder with adapters, aggregation over its levels, and the head of a task."""

    def __init__(self, encoder: AdaptedEncoder, aggregation: FeatureAggregation, head: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalisation(encoder.backbone.statistics)
        self.encoder = encoder
        self.aggregation = aggregation
        self.head = head

    def forward(self, images_BCHW: Tensor) -> Scores:
        """(B, 1 or 3, H, W) values 0..255 -> what the head makes of the features and the size of the image."""
        image_hw = (images_BCHW.shape[-2], images_BCHW.shape[-1])
        levels_BTD = self.encoder(self.normalise(images_BCHW))
        features_BMHW = self.aggregation(levels_BTD, self.encoder.backbone.grid_hw(image_hw))
        return self.head(features_BMHW, image_hw)

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield from self.encoder.trainable_modules()
        yield "aggregation", self.aggregation
        yield "head", self.head

    def frozen_module(self) -> nn.Module:
        return self.encoder.backbone

    def check_input(self, image_hw: tuple[int, int]) -> None:
        self.encoder.backbone.grid_hw(image_hw)
