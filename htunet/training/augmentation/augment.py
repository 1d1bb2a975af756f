"""Transforms of one image and its mask at a time, seeded completely by (seed, epoch, case).

The noise and blur of batchgenerators draw from Python's ``random``, the others from NumPy's global generator; both are
seeded for each image. So an image looks the same whatever the number of workers, and in a continued run.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.planning.plans import Plan
from htunet.planning.rules import AugmentationSettings
from htunet.reproducibility import seeded
from htunet.training.augmentation import AUGMENTATIONS, Transform


class Augmentation:
    """Changes one image and its mask; equal keys give equal results.

    Args:
        settings: Of the usual transforms.
        input_size: (height, width) of the images, pixels.
        more: Names of further transforms, which follow, with their parameters. Raises UsageError for an unknown name
            and for parameters that a transform cannot take.
    """

    def __init__(
        self,
        settings: AugmentationSettings,
        input_size: tuple[int, int],
        more: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        often = settings.intensity
        usual: dict[str, dict[str, Any]] = {
            "spatial": {
                "probability": settings.spatial,
                "rotation_degrees": settings.rotation_degrees,
                "scale_min": settings.scale_min,
                "scale_max": settings.scale_max,
            },
            "mirror": {"probability": settings.mirror},
            "brightness": {"probability": often, "deviation": settings.brightness},
            "contrast": {"probability": often, "minimum": settings.contrast_min, "maximum": settings.contrast_max},
            "gamma": {"probability": often, "minimum": settings.gamma_min, "maximum": settings.gamma_max},
            "noise": {"probability": often, "deviation": settings.noise},
            "blur": {"probability": often, "sigma": settings.blur},
        }
        self.transforms: list[Transform] = [
            AUGMENTATIONS.build(name, parameters, input_size)
            for name, parameters in (*usual.items(), *(more or {}).items())
        ]

    @classmethod
    def from_plan(cls, plan: Plan) -> "Augmentation":
        """The augmentation of a plan; raises HtunetError for settings that are not known or impossible."""
        return cls(AugmentationSettings.from_plan(plan.augmentation), plan.input_size, plan.more_augmentation)

    def __call__(
        self, image_CHW: NDArray[np.uint8], mask_HW: NDArray[np.uint8], *key: int | str
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image (C, H, W) 0..255 and mask (H, W) -> the same shapes and types."""
        batch: dict[str, Any] = {
            "data": image_CHW[None].astype(np.float32) / 255,
            "seg": mask_HW[None, None].astype(np.float32),
        }
        with seeded(*key, "augment"):
            for transform in self.transforms:
                batch = transform(**batch)
        image = np.clip(np.round(batch["data"][0] * 255), 0, 255).astype(np.uint8)
        mask = np.round(batch["seg"][0, 0]).astype(np.uint8)
        if image.shape != image_CHW.shape or mask.shape != mask_HW.shape:
            raise ValueError(f"the augmentation has changed the shapes to {image.shape} and {mask.shape}")
        return image, mask
