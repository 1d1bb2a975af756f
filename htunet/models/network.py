"""A network: an encoder, the aggregation of its features, and a head, each given from outside.

Dimension key: B batch, C channels, H W pixels, K labels.
"""

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from htunet.models.backbones.base import InputStatistics
from htunet.models.encoder import AdaptedEncoder
from htunet.models.heads.aggregation import FeatureAggregation
from htunet.models.heads.segmentation import SegmentationHead

Scores = Tensor | dict[str, Tensor]
"""Of one task, or of each task by its name; before the softmax, in fp32."""


class Normalisation(nn.Module):
    """uint8 images, gray or RGB, -> RGB in the statistics of the weights. Done on the device: 12 times less to move."""

    scale: Tensor
    shift: Tensor

    def __init__(self, statistics: InputStatistics) -> None:
        super().__init__()
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (statistics.mean, statistics.std))
        # by NumPy: on the meta device a product of tensors would import PyTorch's compiler, which takes seconds
        for name, values in (("scale", 1 / (255 * std)), ("shift", mean / std)):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def switch_off(self) -> None:
        """Give values 0 to 1 from now on."""
        self.scale, self.shift = torch.full_like(self.scale, 1 / 255), torch.zeros_like(self.shift)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) values 0..255 of any type -> (B, 3, H, W) normalised floats."""
        return images_BCHW.to(self.scale.dtype) * self.scale - self.shift


class Network(nn.Module):
    """The interface of all models for training, inference and export. Inputs are images with values 0..255."""

    merged = False
    """Whether the network has been merged, so that it can only predict."""
    smallest_side = 1
    """Smallest side of an input image, pixels."""
    passes = 1
    """How often ``forward`` sees each image."""
    takes_images_alone = True
    """Whether ``forward`` maps images to ``Scores``, and takes nothing else."""

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that train, with the names under which a checkpoint holds them."""
        raise NotImplementedError

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Each parameter that the optimiser may change, in a stable order."""
        return [parameter for _, module in self.trainable_modules() for parameter in module.parameters()]

    def trainable_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the trainable parts: all that a checkpoint needs beside the frozen weights."""
        self._refuse_when_merged()
        return {
            f"{name}.{key}": value
            for name, module in self.trainable_modules()
            for key, value in module.state_dict().items()
        }

    def load_trainable_state(self, state: dict[str, Tensor]) -> None:
        """Strict: a missing, unexpected or mis-shaped tensor raises RuntimeError that names it."""
        self._refuse_when_merged()
        taken: set[str] = set()
        for name, module in self.trainable_modules():
            own = {key: value for key, value in state.items() if key.startswith(f"{name}.")}
            module.load_state_dict({key[len(name) + 1 :]: value for key, value in own.items()}, strict=True)
            taken |= set(own)
        if unexpected := sorted(set(state) - taken):
            raise RuntimeError(f"Unexpected tensors: {unexpected[:5]} ({len(unexpected)} in all).")

    def frozen_module(self) -> nn.Module | None:
        """The part that no checkpoint holds; None where all of the network trains.

        What trains within it, the matrices of LoRA, is among ``trainable_modules``; the rest of it never changes.
        """
        raise NotImplementedError

    def merge_for_inference(self) -> None:
        """Compute once, in place, what training computes in each step: the same scores to rounding, and faster.

        Doing it again changes nothing. A merged network can neither be trained nor saved: RuntimeError.
        """
        if self.merged:
            return
        for module in list(self.modules()):
            if isinstance(module, AdaptedEncoder):
                module.merge()
        self.requires_grad_(False).eval()
        self.merged = True

    def train(self, mode: bool = True) -> Self:
        """As in torch; RuntimeError for the training mode of a merged network."""
        if mode:
            self._refuse_when_merged()
        return super().train(mode)

    def _refuse_when_merged(self) -> None:
        if self.merged:
            raise RuntimeError("The network has been merged for inference: build it again to train, save or fill it.")

    def without_normalisation(self) -> Self:
        """Switch off the normalisation, so that the network sees values 0 to 1; returns the network itself."""
        for module in self.modules():
            if isinstance(module, Normalisation):
                module.switch_off()
        return self

    def check_input(self, image_hw: tuple[int, int]) -> None:
        """Raise ValueError with the rule when the network cannot take images of this (height, width)."""
        if min(image_hw) < self.smallest_side:
            raise ValueError(f"Image sides must be at least {self.smallest_side}, got {image_hw}.")
        for module in self.modules():
            if isinstance(module, AdaptedEncoder):
                module.backbone.grid_hw(image_hw)  # which must divide into whole patches


class EncoderNetwork(Network):
    """A frozen encoder with adapters, aggregation over its levels, and the head of a task."""

    def __init__(self, encoder: AdaptedEncoder, aggregation: FeatureAggregation, head: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalisation(encoder.backbone.statistics)
        self.encoder = encoder
        self.aggregation = aggregation
        self.head = head

    def forward(self, images_BCHW: Tensor) -> Scores:
        """(B, 1 or 3, H, W) values 0..255 -> the head's scores from the features and the size of the image."""
        image_hw = (images_BCHW.shape[-2], images_BCHW.shape[-1])
        grid_hw = self.encoder.backbone.grid_hw(image_hw)
        levels_BTD = self.encoder(self.normalise(images_BCHW))
        if isinstance(self.head, SegmentationHead):  # alone it needs no features, only their products with its matrix
            return self.head.enlarge(self.aggregation(levels_BTD, grid_hw, self.head.classify), image_hw)
        return self.head(self.aggregation(levels_BTD, grid_hw), image_hw)

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The adapters, ``aggregation`` and ``head``."""
        yield from self.encoder.trainable_modules()
        yield "aggregation", self.aggregation
        yield "head", self.head

    def frozen_module(self) -> nn.Module:
        """The image tower."""
        return self.encoder.backbone
