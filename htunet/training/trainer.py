"""A trainer is a task: its loss, and the figure that chooses the checkpoint. The loop is in ``htunet.training.loop``.

Dimension key: B batch, C channels, H W pixels, K labels.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from htunet.registry import Registry
from htunet.training.losses import dice_and_cross_entropy, hard_dice

Batch = tuple[Tensor, Tensor]


class Trainer:
    """What the loop asks of a task. Figures are sums over images, so that parts of a batch can be added."""

    task: ClassVar[str]
    metric: ClassVar[str]
    """Name of the validation figure that is maximised."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Loss of each image, (B,), with a graph."""
        raise NotImplementedError

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        """(2,): sums over the images of the loss and of the metric."""
        raise NotImplementedError


TRAINERS: Registry[type[Trainer]] = Registry("task")


@TRAINERS.register("seg")
class SegmentationTrainer(Trainer):
    """Dice plus cross-entropy; the checkpoint with the best mean Dice on the validation images is kept."""

    task = "seg"
    metric = "dice"

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        images_BCHW, masks_BHW = batch
        return dice_and_cross_entropy(network(images_BCHW).float(), masks_BHW)

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        images_BCHW, masks_BHW = batch
        scores_BKHW = network(images_BCHW).float()
        loss_B = dice_and_cross_entropy(scores_BKHW, masks_BHW)
        return torch.stack([loss_B.sum(), hard_dice(scores_BKHW, masks_BHW).sum()])
