"""A trainer is a task: its loss, and the metric that chooses the checkpoint. The loop is in ``htunet.training.loop``.

Dimension key: B images of a batch, N all validation images, C channels, H W pixels, K labels or classes, F numbers.
"""

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from htunet.models.tasks import BOTH, CLASSIFICATION, SEGMENTATION
from htunet.planning.plans import ACCURACY, AUC, Plan
from htunet.registry import Registry
from htunet.training.loader import Batch
from htunet.training.losses.classification import focal
from htunet.training.losses.from_plan import Loss, classification_loss, segmentation_loss
from htunet.training.losses.segmentation import dice_cross_entropy
from htunet.training.step import Step
from htunet.training.validation_metrics import hard_dice, mean_dice, ranking_auc


class Trainer:
    """The interface between the loop and a task."""

    task: ClassVar[str]
    metric: str
    """Name in the list of metrics of the validation metric that is maximised; of two, such as dice_auc, the mean."""
    chosen_by_loss: ClassVar[bool] = False
    """Whether the epoch with the lowest validation loss is chosen, and the metric decides between equal ones only."""

    first_of_equals: bool = False
    """Whether the first of several epochs with the best metric is chosen, whatever their losses."""

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        """The trainer with the plan's settings of the task."""
        return cls()

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Loss of each image, (B,), with a graph."""
        raise NotImplementedError

    def accumulate(self, step: Step) -> Tensor:
        """Add the gradient of this process's images; returns their contribution to the loss of the whole batch.

        The default is for losses of single images: each part's sum is divided by the size of the whole batch, so the
        gradient is that of the whole batch, whatever the number of parts and processes.
        """
        total = torch.zeros((), device=step.fabric.device)
        for index, part in enumerate(step.parts):
            with step.exchange(index):
                loss = self.loss(step.forward, part).sum() / step.whole * step.has_part
                step.backward(loss)
            total += loss.detach()
        return total

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, F) values of each image from which ``figures`` computes; the loop gathers those of all processes."""
        raise NotImplementedError

    def figures(self, cases_NF: Tensor) -> tuple[float, float]:
        """Validation loss and metric from the values that ``validate`` returned for all images, in their order.

        By default the means of two columns, the losses and the metric's values.
        """
        loss, figure = cases_NF.double().mean(dim=0).tolist()
        return loss, figure


TRAINERS: Registry[type[Trainer]] = Registry("task")


@TRAINERS.register(SEGMENTATION)
class SegmentationTrainer(Trainer):
    """The plan's loss of masks; the checkpoint with the best mean Dice on the validation images is saved."""

    task = SEGMENTATION
    metric = "dice"

    def __init__(self, loss: Loss = dice_cross_entropy) -> None:
        self.mask_loss = loss

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(segmentation_loss(plan))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B,) loss of each image."""
        return self.mask_loss(network(batch.images).float(), batch.masks)

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, 2): loss and Dice of each image, NaN where neither mask has a label."""
        scores_BKHW = network(batch.images).float()
        loss_B = self.mask_loss(scores_BKHW, batch.masks)
        return torch.stack([loss_B, hard_dice(scores_BKHW, batch.masks)], dim=1)

    def figures(self, cases_NF: Tensor) -> tuple[float, float]:
        """Mean loss, and the mean Dice."""
        return float(cases_NF[:, 0].double().mean()), mean_dice(cases_NF[:, 1])


@TRAINERS.register(CLASSIFICATION)
class ClassificationTrainer(Trainer):
    """The plan's loss of classes; the checkpoint with the best AUC over all validation images is saved.

    Or with the best accuracy, and then the first of those, as the public code of arXiv 2506.08849 has it.
    """

    task = CLASSIFICATION
    metric = AUC

    def __init__(self, loss: Loss = focal, metric: str = AUC) -> None:
        self.class_loss = loss
        self.metric = metric
        self.first_of_equals = metric == ACCURACY

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(classification_loss(plan), plan.class_metric)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B,) loss of each image."""
        return self.class_loss(network(batch.images).float(), batch.classes)

    def validate(self, network: nn.Module, batch: Batch) -> Tensor:
        """(B, 2 + K): loss, class, and the scores of K classes."""
        scores_BK = network(batch.images).float()
        loss_B = self.class_loss(scores_BK, batch.classes)
        return torch.cat([loss_B[:, None], batch.classes[:, None], scores_BK], dim=1)

    def figures(self, cases_NF: Tensor) -> tuple[float, float]:
        """Mean loss, and the AUC over all images, or the fraction whose highest score is that of their class."""
        scores_NK, classes_N = cases_NF[:, 2:], cases_NF[:, 1].long()
        if self.metric == ACCURACY:
            value = float((scores_NK.argmax(dim=1) == classes_N).double().mean())
        else:
            value = ranking_auc(scores_NK, classes_N)
        return float(cases_NF[:, 0].double().mean()), value


@TRAINERS.register(BOTH)
class SegmentationClassificationTrainer(Trainer):
    """The sum of both losses; the checkpoint with the best mean of Dice and AUC is saved."""

    task = BOTH
    metric = "dice_auc"

    def __init__(self, mask_loss: Loss = dice_cross_entropy, class_loss: Loss = focal) -> None:
        self.mask_loss, self.class_loss = mask_loss, class_loss

    @classmethod
    def from_plan(cls, plan: Plan) -> Self:
        return cls(segmentation_loss(plan), classification_loss(plan))

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
        loss, dice = float(cases_NF[:, 0].double().mean()), mean_dice(cases_NF[:, 1])
        return loss, (dice + ranking_auc(cases_NF[:, 3:], cases_NF[:, 2].long())) / 2

    def _loss(self, scores: dict[str, Tensor], batch: Batch) -> Tensor:
        mask_loss_B = self.mask_loss(scores[SEGMENTATION].float(), batch.masks)
        return mask_loss_B + self.class_loss(scores[CLASSIFICATION].float(), batch.classes)
