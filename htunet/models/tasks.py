"""What a network is asked for: scores of labels for each pixel, of classes for each image, or both."""

from dataclasses import dataclass

SEGMENTATION, CLASSIFICATION, BOTH = "seg", "cls", "seg+cls"
TASKS = (SEGMENTATION, CLASSIFICATION, BOTH)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The scores that a network gives, and the words that a network may need to know what they are of."""

    task: str = SEGMENTATION
    num_labels: int = 2
    """Mask values, background included; not used for ``cls``."""
    num_classes: int = 2
    """Of an image; not used for ``seg``."""
    prompts: tuple[str, ...] = ()
    """For each label but the background, what a network that reads is asked to find."""
