"""The planner's rules: each takes a few numbers and returns (decision, reason in plain words with the numbers).

Constants are the rules' own numbers; where one was measured, it says on what.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from htunet.data.names import listed
from htunet.errors import HtunetError, counted
from htunet.planning.fingerprint import Fingerprint
from htunet.records import record_from

PATCH = 16
"""Pixels of a patch's side in the ViT-B/16 backbones; input sides are multiples of it."""
BASE_SIDE, LARGEST_SIDE, SMALLEST_SIDE = 224, 384, 112
"""224 is the size that the backbones were trained at; at 384 a step costs about three times as much."""
PATCHES_ACROSS_LESION = 4
"""A lesion that fewer patches cover is a few features to the head."""

MEMORY_FIXED_GB, MEMORY_PER_IMAGE_GB = 1.3, 0.15
"""Measured with CLIP_HT, float32, 224 x 224 (196 patches) on a CPU: weights, also in the order of products, and
libraries; and each image of a step."""
MEMORY_GB = 24.0
"""GiB that plans are made for unless the user gives another number, so that a plan does not depend on the machine."""
BASE_PATCHES = (BASE_SIDE // PATCH) ** 2
MEMORY_SHARE = 0.8
"""The rest is left for the system, the workers and the fragments between tensors."""

BATCH, SMALLEST_BATCH, STEPS_PER_EPOCH = 32, 8, 8
MAX_WORKERS = 8
COMMON_BORDER, WIDEST_MARGIN = 0.25, 0.05
"""Crop when a quarter of the images have a wide border, with as much margin as their lesions need and at most this."""
UNBALANCED = 1.5


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """The plan's ``augmentation``. A probability of 0 turns a part off; what a plan does not name is as here."""

    mirror: float = 0.5
    """Probability of a left-right flip, at most 0.5."""
    rotation_degrees: float = 15.0
    scale_min: float = 0.85
    scale_max: float = 1.2
    spatial: float = 0.3
    """Probability of a rotation, and of a change of scale."""
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
    intensity: float = 0.3
    """Probability of each of the changes of gray values: brightness, contrast, gamma, noise and blur."""

    def __post_init__(self) -> None:
        for name in ("scale", "contrast", "gamma"):
            low, high = (getattr(self, f"{name}_{end}") for end in ("min", "max"))
            if not 0 < low <= high:
                raise HtunetError(
                    f"augmentation.{name}_min and {name}_max in plans.json must be above 0 and in this order, got "
                    f"{low} and {high}."
                )
        for name, most in (("mirror", 0.5), ("spatial", 1.0), ("intensity", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise HtunetError(
                    f"augmentation.{name} in plans.json must be in [0, {most}], got {getattr(self, name)}."
                )

    @classmethod
    def from_plan(cls, augmentation: Mapping[str, float]) -> "AugmentationSettings":
        """Raises HtunetError when the plan has a key that is not known, or a value that is no number."""
        return record_from(cls, augmentation, "plans.json, augmentation")


AUGMENTATION = asdict(AugmentationSettings())
"""Of the plans that the planner makes; plan ``public`` has its own. Also of what a plan does not name."""
SWITCHES = ("mirror", "spatial", "intensity")
"""The probabilities, of which 0 turns a part of the augmentation off."""


def memory_per_image_gb(input_size: tuple[int, int]) -> float:
    """GiB that one image of a training step takes: proportional to the number of patches, with fused attention."""
    height, width = (-(-side // PATCH) for side in input_size)
    return MEMORY_PER_IMAGE_GB * height * width / BASE_PATCHES


def images_that_fit(input_size: tuple[int, int], memory_gb: float) -> int:
    """How many images one forward and backward pass may hold; 0 when not even one fits."""
    room = MEMORY_SHARE * memory_gb - MEMORY_FIXED_GB
    return max(0, int(room / memory_per_image_gb(input_size)))


def crop_border(fingerprint: Fingerprint) -> tuple[bool, float, str]:
    """Crop the black border where it is common, with the margin that keeps every lesion, unless that is wide."""
    cases = len(fingerprint.shapes_after_crop)
    wide, losing = int(fingerprint.border["cases_wide"]), fingerprint.cases_losing_lesion
    found = f"{wide} of {cases} images have a border of more than 5 % of their area"
    if wide < COMMON_BORDER * cases:
        return False, 0.0, f"{found}: too few to crop all (a quarter)"
    if not losing:
        return True, 0.0, f"{found}, and the crop cuts lesion pixels off in none"
    names = listed(fingerprint.losing_lesion) if fingerprint.losing_lesion else "cases.csv of a plan names them"
    found += f", but the crop would cut lesion pixels off in {losing} of them ({names})"
    needed = fingerprint.margin_for_lesions
    if needed is None or needed > WIDEST_MARGIN:
        return False, 0.0, found
    margin = math.ceil(1000 * needed) / 1000
    return (
        True,
        margin,
        f"{found}: it keeps {margin:.1%} of the longer side more on each side, so that it cuts off none",
    )


def input_size(fingerprint: Fingerprint, cropped: bool, memory_gb: float) -> tuple[tuple[int, int], str]:
    """(height, width): the median image's shape, large enough for its lesions, small enough for the memory."""
    ratios, lesion_sides = fingerprint.aspect_ratio, fingerprint.lesion_smaller_side
    if cropped:
        ratios, lesion_sides = fingerprint.aspect_ratio_after_crop, fingerprint.lesion_smaller_side_after_crop
    ratio = ratios["median"]
    lesion_side, lesions = _needed_longer_side(lesion_sides)
    base = BASE_SIDE * max(ratio, 1 / ratio)  # the shorter side then has 224
    longer = min(LARGEST_SIDE, max(lesion_side, base))
    size = _shape(longer, ratio)
    reason = (
        f"median height / width {ratio:.2f}; {lesions}; shorter side from {BASE_SIDE}, longer side to {LARGEST_SIDE}"
    )
    while images_that_fit(size, memory_gb) < SMALLEST_BATCH and longer > min(base, LARGEST_SIDE):
        longer = max(min(base, LARGEST_SIDE), longer - PATCH)
        size = _shape(longer, ratio)
        short_of = f"; made smaller until {SMALLEST_BATCH} images fit into {memory_gb:g} GB"
        reason = reason if reason.endswith(short_of) else reason + short_of
    return size, reason


def batch_size(training_cases: int) -> tuple[int, str]:
    """Of plan ``adaptive``: 32 as in plan ``paper``; less for a tiny data set, so that an epoch has several steps."""
    size = BATCH
    while size > SMALLEST_BATCH and training_cases / size < STEPS_PER_EPOCH:
        size //= 2
    steps = -(-training_cases // size)
    if size == BATCH:
        return size, f"the paper's; {counted(training_cases, 'training image')} make {counted(steps, 'step')} per epoch"
    return size, (
        f"few training images ({training_cases}): halved from {BATCH} until an epoch has "
        f"{STEPS_PER_EPOCH} steps, "
        f"but not below {SMALLEST_BATCH} images (now {counted(steps, 'step')})"
    )


def parts(images: int, size: tuple[int, int], memory_gb: float) -> int:
    """The fewest parts into which ``images`` are divided so that each fits into the memory; at most one image a part.

    The gradient is that of all images together, unless the network has statistics over the images of a part.
    """
    return -(-images // max(1, images_that_fit(size, memory_gb)))


def workers(cores: int) -> int:
    """Processes that augment while a GPU trains: one core stays for the training process."""
    return min(MAX_WORKERS, cores - 1)


def class_weights(counts: Mapping[str, int], known: Mapping[str, int]) -> tuple[dict[str, float], str]:
    """Weights of the focal loss, mean 1 over the images: n / (classes * images of the class); empty when balanced."""
    if not known:
        return {}, "the images have no classes"
    if missing := [name for name in known if not counts.get(name)]:
        return {}, f"no training image of {', '.join(missing)}"
    listing = ", ".join(f"{counts[name]} {name}" for name in known)
    if max(counts[name] for name in known) <= UNBALANCED * min(counts[name] for name in known):
        return {}, f"{listing} are balanced (within a factor of {UNBALANCED})"
    total = sum(counts[name] for name in known)
    weights = {name: round(total / (len(known) * counts[name]), 4) for name in known}
    return weights, f"inverse to the class sizes: {listing}"


def patience(training_cases: int, batch: int) -> tuple[int, str]:
    """Epochs to wait for a better validation metric: about 1000 steps, but 20 to 50 epochs."""
    steps = max(1, -(-training_cases // batch))
    epochs = min(50, max(20, round(1000 / steps)))
    return epochs, f"about 1000 steps at {counted(steps, 'step')} per epoch, within 20 to 50 epochs"


def _needed_longer_side(smaller_side: Mapping[str, float] | None) -> tuple[float, str]:
    if smaller_side is None:
        return BASE_SIDE, "no lesion to measure"
    part = smaller_side["median"]
    lesion_side = PATCHES_ACROSS_LESION * PATCH / part
    text = (
        f"the median lesion's smaller side is {part:.0%} of the longer image side, and {PATCHES_ACROSS_LESION} patches "
        f"of {PATCH} across it ask for {lesion_side:.0f} pixels"
    )
    return lesion_side, text


def _shape(longer: float, ratio: float) -> tuple[int, int]:
    """Sides in whole patches for the longer side and height / width."""
    long_side = min(LARGEST_SIDE, _patches(longer))
    short_side = min(long_side, max(SMALLEST_SIDE, _patches(longer * min(ratio, 1 / ratio))))
    return (long_side, short_side) if ratio > 1 else (short_side, long_side)


def _patches(side: float) -> int:
    return round(side / PATCH) * PATCH
