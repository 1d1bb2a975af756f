"""The outputs of a network: scores of labels for each pixel, of classes for each image, or both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEGMENTATION, CLASSIFICATION, BOTH = "seg", "cls", "seg+cls"
TASKS = (SEGMENTATION, CLASSIFICATION, BOTH)

CONVOLUTION, HIDDEN_LAYER = "convolution", "hidden_layer"
"""The heads of the paper."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The scores that a network computes, and the words for the labels that CLIPSeg needs."""

    task: str = SEGMENTATION
    num_labels: int = 2
    """Mask values, background included; not used for ``cls``."""
    num_classes: int = 2
    """Of an image; not used for ``seg``."""
    prompts: tuple[str, ...] = ()
    """The prompt of CLIPSeg for each label but the background."""
    head: str = CONVOLUTION
    """Name in ``models.heads.HEADS``; a network of its own has a head of its own."""
    head_parameters: Mapping[str, Any] = field(default_factory=dict)
    class_head: str = HIDDEN_LAYER
    """Name in ``models.heads.CLASS_HEADS``."""
    class_head_parameters: Mapping[str, Any] = field(default_factory=dict)
    class_head_by_backbone: Mapping[str, str] = field(default_factory=dict)
    """Backbones with another head of classes, which has its default parameters."""
    normalise: bool = True
    """Whether inputs get the mean and deviation of the pre-training; else they have values 0 to 1."""
    align_corners: bool = False
    """Whether UNet and DINOv2's decoder up-sample with aligned corners; see ``models.heads.unet_decoder``."""
    as_published_defects: bool = False
    """Whether DINOv2 loses its LayerScale, as in the public code of arXiv 2506.08849."""
