"""The usual transforms, those of batchgenerators; ``probability`` is that of one image."""

import numpy as np
from batchgenerators.transforms.color_transforms import (
    BrightnessTransform,
    ContrastAugmentationTransform,
    GammaTransform,
)
from batchgenerators.transforms.noise_transforms import GaussianBlurTransform, GaussianNoiseTransform
from batchgenerators.transforms.spatial_transforms import MirrorTransform, SpatialTransform

from htunet.training.augmentation import Transform

LEFT_RIGHT = (1,)
"""The mirrored axis. Never up and down: depth has a direction, and shadows fall along it."""
BORDER_LABEL = 0


def spatial(
    input_size: tuple[int, int],
    *,
    probability: float = 0.3,
    rotation_degrees: float = 15.0,
    scale_min: float = 0.85,
    scale_max: float = 1.2,
) -> Transform:
    """A rotation, and a change of scale, each with ``probability``."""
    angle = np.deg2rad(rotation_degrees)
    return SpatialTransform(
        input_size,
        do_elastic_deform=False,
        angle_x=(-angle, angle),
        scale=(scale_min, scale_max),
        border_mode_data="constant",
        border_mode_seg="constant",
        border_cval_seg=BORDER_LABEL,
        order_data=1,
        order_seg=0,
        random_crop=False,
        p_rot_per_sample=probability,
        p_scale_per_sample=probability,
    )


def mirror(input_size: tuple[int, int], *, probability: float = 0.5) -> Transform:
    """A left-right flip; ``probability`` at most 0.5."""
    # of the samples that it takes, MirrorTransform flips one in two
    return MirrorTransform(axes=LEFT_RIGHT, p_per_sample=2 * probability)


def brightness(input_size: tuple[int, int], *, probability: float = 0.3, deviation: float = 0.2) -> Transform:
    """Add a normal random value of this standard deviation; the range of the gray values is 1."""
    return BrightnessTransform(0, deviation, per_channel=False, p_per_sample=probability)


def contrast(
    input_size: tuple[int, int], *, probability: float = 0.3, minimum: float = 0.75, maximum: float = 1.25
) -> Transform:
    """Multiply the distance from the mean by a factor between the two."""
    return ContrastAugmentationTransform((minimum, maximum), per_channel=False, p_per_sample=probability)


def gamma(
    input_size: tuple[int, int], *, probability: float = 0.3, minimum: float = 0.7, maximum: float = 1.5
) -> Transform:
    """Raise the gray values to a power between the two; mean and deviation stay."""
    return GammaTransform((minimum, maximum), retain_stats=True, p_per_sample=probability)


def noise(input_size: tuple[int, int], *, probability: float = 0.3, deviation: float = 0.05) -> Transform:
    """Add Gaussian noise of a standard deviation from 0 to ``deviation``."""
    # what GaussianNoiseTransform calls variance, it uses as sigma
    return GaussianNoiseTransform((0, deviation), p_per_sample=probability)


def blur(input_size: tuple[int, int], *, probability: float = 0.3, sigma: float = 1.0) -> Transform:
    """Blur with a Gaussian of 0.3 to ``sigma`` pixels."""
    return GaussianBlurTransform((0.3, max(0.3, sigma)), different_sigma_per_channel=False, p_per_sample=probability)
