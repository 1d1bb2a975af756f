"""batchgenerators' transforms on one image at a time, seeded completely by (seed, epoch, case).

The noise and blur of batchgenerators draw from Python's ``random``, the others from NumPy's global generator; both are
seeded for each image. So an image looks the same whatever the number of workers, and in a continued run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from batchgenerators.transforms.abstract_transforms import Compose
from batchgenerators.transforms.color_transforms import (
    BrightnessTransform,
    ContrastAugmentationTransform,
    GammaTransform,
)
from batchgenerators.transforms.noise_transforms import GaussianBlurTransform, GaussianNoiseTransform
from batchgenerators.transforms.spatial_transforms import MirrorTransform, SpatialTransform
from numpy.typing import NDArray

from htunet.errors import HtunetError
from htunet.records import record_from
from htunet.reproducibility import seeded

LEFT_RIGHT = (1,)
"""The mirrored axis. Never up and down: depth has a direction, and shadows fall along it."""
BORDER_LABEL = 0


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """The plan's ``augmentation``. A probability of 0 turns a part off."""

    mirror: float = 0.5
    """Probability of a left-right flip, at most 0.5."""
    spatial: float = 0.3
    """Probability of a rotation, and of a change of scale."""
    rotation_degrees: float = 15.0
    scale_min: float = 0.85
    scale_max: float = 1.2
    intensity: float = 0.3
    """Probability of each of the changes below."""
    brightness: float = 0.2
    """Standard deviation of what is added; the range of the gray values is 1."""
    contrast_min: float = 0.75
    contrast_max: float = 1.25
    gamma_min: float = 0.7
    gamma_max: float = 1.5
    noise: float = 0.05
    """Largest standard deviation of Gaussian noise."""
    blur: float = 1.0
    """Largest sigma of a Gaussian blur, pixels."""

    def __post_init__(self) -> None:
        for name, most in (("mirror", 0.5), ("spatial", 1.0), ("intensity", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise HtunetError(
                    f"augmentation.{name} in plans.json must be in [0, {most}], got {getattr(self, name)}."
                )

    @classmethod
    def from_plan(cls, augmentation: Mapping[str, float]) -> "AugmentationSettings":
        """Raises HtunetError when the plan has a key that is not known, or a value that is no number."""
        return record_from(cls, augmentation, "plans.json, augmentation")


class Augmentation:
    """Changes one image and its mask; equal keys give equal results."""

    def __init__(self, settings: AugmentationSettings, input_size: tuple[int, int]) -> None:
        self.transforms = Compose([*_spatial(settings, input_size), *_intensity(settings)])

    def __call__(
        self, image_CHW: NDArray[np.uint8], mask_HW: NDArray[np.uint8], *key: int | str
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image (C, H, W) 0..255 and mask (H, W) -> the same shapes and types."""
        batch: dict[str, Any] = {
            "data": image_CHW[None].astype(np.float32) / 255,
            "seg": mask_HW[None, None].astype(np.float32),
        }
        with seeded(*key, "augment"):
            batch = self.transforms(**batch)
        image = np.clip(np.round(batch["data"][0] * 255), 0, 255).astype(np.uint8)
        return image, np.round(batch["seg"][0, 0]).astype(np.uint8)


def _spatial(settings: AugmentationSettings, input_size: tuple[int, int]) -> list[Any]:
    angle = np.deg2rad(settings.rotation_degrees)
    move = SpatialTransform(
        input_size,
        do_elastic_deform=False,
        angle_x=(-angle, angle),
        scale=(settings.scale_min, settings.scale_max),
        border_mode_data="constant",
        border_mode_seg="constant",
        border_cval_seg=BORDER_LABEL,
        order_data=1,
        order_seg=0,
        random_crop=False,
        p_rot_per_sample=settings.spatial,
        p_scale_per_sample=settings.spatial,
    )
    # of the samples that it takes, MirrorTransform flips one in two
    return [move, MirrorTransform(axes=LEFT_RIGHT, p_per_sample=2 * settings.mirror)]


def _intensity(settings: AugmentationSettings) -> list[Any]:
    often = settings.intensity
    return [
        BrightnessTransform(0, settings.brightness, per_channel=False, p_per_sample=often),
        ContrastAugmentationTransform(
            (settings.contrast_min, settings.contrast_max), per_channel=False, p_per_sample=often
        ),
        GammaTransform((settings.gamma_min, settings.gamma_max), retain_stats=True, p_per_sample=often),
        GaussianNoiseTransform((0, settings.noise), p_per_sample=often),  # what it calls variance, it uses as sigma
        GaussianBlurTransform((0.3, max(0.3, settings.blur)), different_sigma_per_channel=False, p_per_sample=often),
    ]
