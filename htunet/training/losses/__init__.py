"""Losses by name. To add one: write its function in a module here and add a line below; the shared tests cover it.

A loss gives one value an image, so that the parts of a batch add up to exactly the loss of the whole batch. Its
parameters are keyword-only and have defaults; ``loss_parameters`` and ``class_loss_parameters`` of a plan set them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from htunet.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

_SEGMENTATION, _CLASSIFICATION = "htunet.training.losses.segmentation", "htunet.training.losses.classification"

LOSSES: "Registry[Callable[..., Tensor]]" = Registry(
    "loss",
    {
        "cross_entropy": f"{_SEGMENTATION}:cross_entropy",
        "dice": f"{_SEGMENTATION}:dice",
        "dice_cross_entropy": f"{_SEGMENTATION}:dice_cross_entropy",
        "dice_focal": f"{_SEGMENTATION}:dice_focal",
        "tversky": f"{_SEGMENTATION}:tversky",
    },
    group="htunet.losses",
)
"""Of masks, a plan's ``loss``: (B, K, H, W) scores and (B, H, W) labels -> (B,)."""

CLASS_LOSSES: "Registry[Callable[..., Tensor]]" = Registry(
    "loss of classes",
    {
        "cross_entropy": f"{_CLASSIFICATION}:cross_entropy",
        "focal": f"{_CLASSIFICATION}:focal",
        "sigmoid_focal": f"{_CLASSIFICATION}:sigmoid_focal",
    },
    group="htunet.class_losses",
)
"""Of classes, a plan's ``class_loss``: (B, N) scores, (B,) classes and the N weights of the classes -> (B,)."""
