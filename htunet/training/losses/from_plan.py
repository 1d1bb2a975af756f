"""The losses that a plan names, with its parameters, checked before anything is trained."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from htunet.data.class_probabilities import class_order
from htunet.errors import UsageError
from htunet.planning.plans import Plan
from htunet.training.losses import CLASS_LOSSES, LOSSES

Loss = Callable[[Tensor, Tensor], Tensor]
"""Scores and truth -> one value an image, (B,)."""
TRIAL = 3
"""Number of images, of labels, and of pixels a side of the tensors on which a loss is tried."""


def segmentation_loss(plan: Plan) -> Loss:
    """The plan's loss of masks; UsageError for an unknown name, and for parameters that it cannot take."""
    loss = LOSSES.configured(plan.loss, plan.loss_parameters)
    _try(plan.loss, loss, torch.zeros(TRIAL, TRIAL, TRIAL, TRIAL), torch.zeros(TRIAL, TRIAL, TRIAL, dtype=torch.uint8))
    return loss


def classification_loss(plan: Plan) -> Loss:
    """The plan's loss of classes with its class weights; raises as ``segmentation_loss``."""
    names = class_order(plan.classes)
    loss = CLASS_LOSSES.configured(plan.class_loss, plan.class_loss_parameters)
    loss = partial(loss, weights=[plan.class_weights[name] for name in names] if plan.class_weights else [])
    _try(plan.class_loss, loss, torch.zeros(TRIAL, max(2, len(names))), torch.zeros(TRIAL, dtype=torch.int64))
    return loss


def _try(name: str, loss: Loss, scores: Tensor, truth: Tensor) -> None:
    """Compute the loss of scores of 0; UsageError where it raises an error, or returns no value for each image."""
    try:
        found = loss(scores, truth)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"The loss {name!r} cannot be computed with the plan's parameters: {error}") from error
    if found.shape != (TRIAL,):
        raise UsageError(f"The loss {name!r} must return a value for each image, ({TRIAL},), got {tuple(found.shape)}.")
