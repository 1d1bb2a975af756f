"""Heads by name. To add one: write a module here and add a line below; the shared tests cover it.

A head turns features into the scores of a task. It is built from (number of features M, number of scores) and from
keyword-only parameters with defaults, which ``head_parameters`` and ``class_head_parameters`` of a plan set; it is
called with (B, M, patch grid) features and the (height, width) of the image.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from htunet.registry import Registry

if TYPE_CHECKING:
    from torch import nn

HEADS: "Registry[Callable[..., nn.Module]]" = Registry(
    "head",
    {
        "convolution": "htunet.models.heads.segmentation:SegmentationHead",
    },
    group="htunet.heads",
)
"""Of masks, a plan's ``head``: -> (B, K, height, width) scores, fp32."""

CLASS_HEADS: "Registry[Callable[..., nn.Module]]" = Registry(
    "head of classes",
    {
        "hidden_layer": "htunet.models.heads.classification:ClassificationHead",
        "linear": "htunet.models.heads.classification:LinearHead",
    },
    group="htunet.class_heads",
)
"""Of classes, a plan's ``class_head``: -> (B, N) scores, fp32."""
