"""Transforms of training images by name. To add one: write a module here and add a line below.

A transform is built from the (height, width) of the images and from keyword-only parameters with defaults. It is called
with the keywords ``data``, (1, C, H, W) floats 0 to 1, and ``seg``, (1, 1, H, W) labels as floats, and returns both in
a dict, in the same shapes. It draws from NumPy's or Python's global generator, which are seeded for each image.
``more_augmentation`` of a plan names transforms that follow the usual ones.
"""

from collections.abc import Callable
from typing import Any

from htunet.registry import Registry

Transform = Callable[..., dict[str, Any]]
_USUAL = "htunet.training.augmentation.transforms"

AUGMENTATIONS: Registry[Callable[..., Transform]] = Registry(
    "augmentation",
    {
        "blur": f"{_USUAL}:blur",
        "brightness": f"{_USUAL}:brightness",
        "contrast": f"{_USUAL}:contrast",
        "gamma": f"{_USUAL}:gamma",
        "mirror": f"{_USUAL}:mirror",
        "noise": f"{_USUAL}:noise",
        "spatial": f"{_USUAL}:spatial",
        "strong_weak": "htunet.training.augmentation.strong_weak:StrongWeak",
    },
    group="htunet.augmentations",
)
