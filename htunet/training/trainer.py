"""A trainer is a task: its loss, and the figure that chooses the checkpoint. The loop is in ``htunet.training.loop``.

Dimension key: B images of a batch, N all validation images, C channels, H W pixels, K labels or classes, F numbers.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from htunet.data.class_probabilities import class_order
from htunet.models.tasks import BOTH, CLASSIFICATION, SEGMENTATION
from htunet.planning.plans import Plan
from htunet.registry import Registry
from htunet.training.loader import Batch
from htunet.training.losses import dice_and_cross_entropy, focal_loss, hard_dice, ranking_auc
from htunet.training.step import Step


class Trainer:
    """What the loop asks of a task."""

    task: ClassVar[str]
    metric: ClassVar[str]
    """Name of the validation figure that is maximised, as files spell it."""
    metric_title: ClassVar[str]
    """The same for people."""
    chosen_by_loss: ClassVar[bool] = False
    """Whether the epoch with the lowest validation loss is kept, and the figure decides between equal ones only."""

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        """The trainer with the plan's settings of the task."""
        return cls()

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Loss of each image, (B,), with a graph."""
        raise NotImplementedError

    def accumulate(self, step: Step) -> Tensor:
        """Add the gradient of a step's share; returns what the share contributes to the loss of the whole batch.

        As it stands, for losses of single images: each part's sum is divided by the size of the whole batch, so the
        gradient is that of the whole batch, whatever the number of parts and processes.
        """
        total = torch.zeros((), device=step.fabric.device)
        for index, part in enumerate(step.parts):
            with step.exchange(index):
                loss = self.loss(step.forward, part).sum() / step.whole * step.has_share
                step.backward(loss)
            total += loss.detach()
        return total

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, F): what each image contributes to ``figures``; the loop puts those of all processes together."""
        raise NotImplementedError

    def figures(self, cases_NF: Tensor) -> tuple[float, float]:
        """Validation loss and figure from what ``validate`` said of all validation images, in their order.

        As it stands: the means of two columns, the losses and the figures of the images.
        """
        loss, figure = cases_NF.double().mean(dim=0).tolist()
        return loss, figure


TRAINERS: Registry[type[Trainer]] = Registry("task")


@TRAINERS.register(SEGMENTATION)
class SegmentationTrainer(Trainer):
    """Dice plus cross-entropy; the checkpoint with the best mean Dice on the validation images is kept."""

    task = SEGMENTATION
    metric = "dice"
    metric_title = "Dice"

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B,) Dice loss and cross-entropy of each image."""
        return dice_and_cross_entropy(network(batch.images).float(), batch.masks)

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, 2): loss and Dice of each image."""
        scores_BKHW = network(batch.images).float()
        loss_B = dice_and_cross_entropy(scores_BKHW, batch.masks)
        return torch.stack([loss_B, hard_dice(scores_BKHW, batch.masks)], dim=1)


class _ClassTrainer(Trainer):
    """A trainer that needs the weights of the classes."""

    def __init__(self, class_weights: Sequence[float] = ()) -> None:
        self.class_weights = tuple(class_weights)

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls([plan.class_weights[name] for name in class_order(plan.classes)] if plan.class_weights else [])


@TRAINERS.register(CLASSIFICATION)
class ClassificationTrainer(_ClassTrainer):
    """Focal loss; the checkpoint with the best AUC over all validation images is kept."""

    task = CLASSIFICATION
    metric = "auc"
    metric_title = "AUC"

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B,) focal loss of each image."""
        return focal_loss(network(batch.images).float(), batch.classes, self.class_weights)

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, 2 + K): loss, class, and the scores of K classes."""
        scores_BK = network(batch.images).float()
        loss_B = focal_loss(scores_BK, batch.classes, self.class_weights)
        return torch.cat([loss_B[:, None], batch.classes[:, None], scores_BK], dim=1)

    def figures(self, cases_NF: Tensor) -> tuple[float, float]:
        """Mean loss, and the AUC over all images."""
        return float(cases_NF[:, 0].double().mean()), ranking_auc(cases_NF[:, 2:], cases_NF[:, 1].long())


@TRAINERS.register(BOTH)
class SegmentationClassificationTrainer(_ClassTrainer):
    """The sum of both losses; the checkpoint with the best mean of Dice and AUC is kept."""

    task = BOTH
    metric = "dice_auc"
    metric_title = "mean of Dice and AUC"

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B,) the sum of both losses of each image."""
        return self._loss(network(batch.images), batch)

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, 3 + K): loss, Dice, class, and the scores of K classes."""
        scores = network(batch.images)
        dice_B = hard_dice(scores[SEGMENTATION].float(), batch.masks)
        first_B3 = torch.stack([self._loss(scores, batch), dice_B, batch.classes.to(dice_B.dtype)], dim=1)
        return torch.cat([first_B3, scores[CLASSIFICATION].float()], dim=1)

    def figures(self, cases_NF: Tensor) -> tuple[float, float]:
        """Mean loss, and the mean of Dice and AUC."""
        loss, dice = cases_NF[:, :2].double().mean(dim=0).tolist()
        return loss, (dice + ranking_auc(cases_NF[:, 3:], cases_NF[:, 2].long())) / 2

    def _loss(self, scores: dict[str, Tensor], batch: Batch) -> Tensor:
        segmentation_B = dice_and_cross_entropy(scores[SEGMENTATION].float(), batch.masks)
        return segmentation_B + focal_loss(scores[CLASSIFICATION].float(), batch.classes, self.class_weights)
