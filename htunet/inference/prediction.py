"""The prediction of a trained model for one image, in the size of the image, and how the image was preprocessed.

Dimension key: C channels, K labels, H W pixels of the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.expected_dice import PredictedDice
from htunet.data.field_of_view import Box
from htunet.data.image_io import UInt8
from htunet.data.postprocessing import postprocess
from htunet.planning.plans import STRETCH, Plan
from htunet.preprocessing.geometry import from_input, scores_from_input

NO_LESION = "no_lesion"
"""The class of images without a lesion, in a model that says whether there is one."""


@dataclass(frozen=True, kw_only=True)
class ImageSteps:
    """How an image became the network's input. Sizes are (height, width) in pixels."""

    source: str
    """The path of the file, or ``array`` or ``PIL image``."""
    read_as: str
    """``gray`` or ``RGB``."""
    channels: int
    original_size: tuple[int, int]
    crop: Box
    """The part that the network sees; all of the image where the plan does not crop."""
    geometry: str
    """``stretch``, or ``letterbox``, which keeps the aspect ratio."""
    input_size: tuple[int, int]

    def __str__(self) -> str:
        height, width = self.original_size
        box = self.crop
        cropped = (
            f"cropped to {box.height} x {box.width} at ({box.top}, {box.left})"
            if (box.height, box.width) != self.original_size
            else "not cropped"
        )
        how = "stretched" if self.geometry == STRETCH else "resized and padded"
        return (
            f"{self.source}: {height} x {width} pixels, read as {self.read_as}, {cropped}, {how} to "
            f"{self.input_size[0]} x {self.input_size[1]}"
        )


def entropy_of(probabilities_KHW: NDArray[np.floating]) -> NDArray[np.float32]:
    """(H, W) 0..1: 1 where all labels are equally probable, 0 where one is certain."""
    values = np.clip(probabilities_KHW, 1e-12, 1.0)
    return (-(values * np.log(values)).sum(axis=0) / np.log(len(values))).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Labels, classes or both of one image; None for what the model has not learnt."""

    image_CHW: UInt8
    """The image as it was read, values 0..255."""
    steps: ImageSteps
    plan: Plan
    scores_KHW: NDArray[np.float32] | None = None
    """Probabilities of the labels at the network's input size, background first."""
    network_classes: Mapping[str, float] | None = None
    """Probability of each class as the network gives it, in the order of the classes' indices; they add up to 1."""
    calibrated_classes: Mapping[str, float] | None = None
    """The same with ``temperature``; None where no temperature is known."""
    temperature: float | None = None
    """Fitted on the validation images (see ``htunet.evaluation.calibration``)."""
    spacing_mm: tuple[float, float] | None = None
    """Height and width of a pixel in millimetres, if known."""
    predicted_dice: PredictedDice | None = None
    """An estimate of the Dice of ``labels``, with its 90 % interval, all in [0, 1]; None if nothing is found, or if too
    few images of the run were tested (see ``htunet.evaluation.predicted_dice``)."""
    expected_dice: tuple[float | None, ...] = ()
    """The Dice of each network's own mask that its probabilities predict, not calibrated: the basis of
    ``predicted_dice``."""
    ensemble_gain: float = 0.0
    """What the mask gains in expected Dice over those, by the probabilities of all; 0 of one network."""
    distance: float | None = None
    """How unlike the training images the image is; 95 % of similar images have less than 1. None: not known."""
    postprocessing: Mapping[str, Any] = field(default_factory=dict)
    """The post-processing of ``labels``: arguments of ``data.postprocessing``; empty: none."""
    variance_at_input: NDArray[np.float32] | None = None
    """(H, W) at the network's input size, see ``variance``."""

    @property
    def unlike(self) -> bool | None:
        """Whether the image is unlike the training images, so that the prediction is not reliable."""
        return None if self.distance is None else self.distance > 1

    @property
    def doubted(self) -> bool:
        """Whether pixels are marked though the predicted class is ``no_lesion``."""
        return self.predicted_class == NO_LESION and self.labels is not None and bool(self.labels.any())

    @cached_property
    def labels(self) -> UInt8 | None:
        """(H, W) 0..K-1, in the size of the image; 0 is the background, the others are ``plan.labels``."""
        if self.scores_KHW is None:
            return None
        labels_HW = from_input(self.scores_KHW, self.steps.crop, self.steps.original_size, self.plan)
        return postprocess(labels_HW, **self.postprocessing) if self.postprocessing else labels_HW

    @cached_property
    def probabilities(self) -> NDArray[np.float32] | None:
        """(K, H, W) in the size of the image, background first; ``labels`` is the most probable, post-processed."""
        if self.scores_KHW is None:
            return None
        return scores_from_input(self.scores_KHW, self.steps.crop, self.steps.original_size, self.plan)

    @cached_property
    def entropy(self) -> NDArray[np.float32] | None:
        """(H, W) 0..1 in the size of the image: 1 where all labels are equally probable, 0 where one is certain."""
        return None if self.probabilities is None else entropy_of(self.probabilities)

    @cached_property
    def variance(self) -> NDArray[np.float32] | None:
        """(H, W) 0..0.25 in the size of the image: variance of the foreground's probability over networks and views.

        0 for a single network without test-time augmentation.
        """
        if self.variance_at_input is None:
            return None
        maps_KHW = np.stack([np.zeros_like(self.variance_at_input), self.variance_at_input])  # outside the crop: 0
        return scores_from_input(maps_KHW, self.steps.crop, self.steps.original_size, self.plan)[1]

    @property
    def classes(self) -> Mapping[str, float] | None:
        """Probability of each class, calibrated if a temperature is known."""
        return self.calibrated_classes or self.network_classes

    @property
    def predicted_class(self) -> str | None:
        """The most probable class, the first of equal ones."""
        return max(self.network_classes, key=self.network_classes.__getitem__) if self.network_classes else None

    @property
    def areas_mm2(self) -> dict[str, float] | None:
        """Area of each label except the background, in square millimetres; None without spacing or labels."""
        if self.labels is None or self.spacing_mm is None:
            return None
        pixel = self.spacing_mm[0] * self.spacing_mm[1]
        return {name: float((self.labels == value).sum() * pixel) for name, value in self.plan.labels.items() if value}
