"""A trained model as a function from images to probabilities.

Dimension key: B batch, C channels, K labels, N classes, H W pixels of the network's input.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from htunet.data.class_probabilities import class_order
from htunet.data.expected_dice import ensemble_gain, expected_dice
from htunet.data.formats.stacks import Stack, open_stack
from htunet.data.image_io import UInt8, as_array, as_channels, image_of_array, upright
from htunet.errors import UsageError
from htunet.inference.prediction import ImageSteps, Prediction
from htunet.inference.trained import TrainedModel, check_together
from htunet.inference.views import AUGMENTED, PLAIN, View
from htunet.models.network import Network
from htunet.models.precision import (
    BF16,
    FP32,
    check_numbers,
    convert_frozen_to_bf16,
    find_device,
    fp32_products,
    resolve_precision,
)
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION
from htunet.paths import RunPaths
from htunet.planning.plans import Plan, sides_of
from htunet.preprocessing.cropping import crop_box
from htunet.preprocessing.geometry import to_input

Key = TypeVar("Key")
ImageLike = str | Path | Image.Image | NDArray[np.generic]
"""A file, or (H, W) gray or (H, W, 3) RGB values; a tensor on the CPU counts as its array."""


@dataclass(frozen=True)
class Probabilities:
    """What a network says of some images; None for what its task does not ask for. All add up to 1."""

    labels_BKHW: NDArray[np.float32] | None
    """Of the labels of each pixel, background first."""
    classes_BN: NDArray[np.float64] | None
    """Of the classes of each image, in the order of their indices."""
    members_MBKHW: NDArray[np.float32] | None = None
    """What ``labels_BKHW`` is the mean of, without test-time augmentation: a map of each network."""
    variance_BHW: NDArray[np.float32] | None = None
    """Of the foreground's probability, between all networks and views; 0..0.25."""


class Predictor:
    """A trained network on a device, with its plan; or several, whose probabilities are averaged.

    Args:
        network: One, or the members of an ensemble, all trained with the same plan.
        plan: See above.
        device: Where to compute.
        precision: ``bf16``, ``tf32`` or ``fp32``.
        task: ``seg``, ``cls`` or ``seg+cls``.
    """

    def __init__(
        self,
        network: Network | Iterable[Network],
        plan: Plan,
        *,
        device: torch.device,
        precision: str,
        task: str = SEGMENTATION,
    ) -> None:
        self.networks = list[Network]()
        for member in [network] if isinstance(network, Network) else network:
            member.merge_for_inference()
            if precision == BF16:
                convert_frozen_to_bf16(member)
            member.to(device).eval()
            if self.networks:
                _share(member, self.networks[0])
            self.networks.append(member)
        self.plan = plan
        self.device = device
        self.precision = precision
        self.views: tuple[View, ...] = PLAIN
        self.postprocessing: Mapping[str, Any] = {}
        """See ``Prediction``."""
        self.segments = SEGMENTATION in task.split("+")
        self.classifies = CLASSIFICATION in task.split("+")
        self.classes = class_order(plan.classes)

    @classmethod
    def from_run(cls, run: RunPaths, *, device: str = "auto") -> "Predictor":
        """Build the network of a run and fill it from ``checkpoint_best``.

        Raises HtunetError when the run is not there or its frozen weights cannot be had, UsageError for a device that
        is not there.
        """
        return cls.from_trained(TrainedModel.of_run(run), device=device)

    @classmethod
    def from_trained(cls, *models: TrainedModel, device: str = "auto") -> "Predictor":
        """The network of a trained model on a device of ``DEVICES``; raises as ``from_run``.

        Several models are an ensemble; UsageError where their inputs, labels, classes or tasks differ. The precision is
        that of the training where the device has it, so that test metrics are those of the validation; of several the
        highest one.
        """
        place = torch.device(find_device(device))
        model = models[0]
        check_together(models)
        trained = {each.precision for each in models}
        highest = FP32 if FP32 in trained else next(iter(trained - {BF16}), "auto")
        precision = resolve_precision(highest, place.type)
        networks = (each.network() for each in models)  # one after another: each shares the frozen weights of the first
        return cls(networks, model.plan, device=place, precision=precision, task=model.task)

    def augment(self, augmented: bool) -> None:
        """Whether each image is predicted in several ``views`` from now on, whose probabilities are averaged."""
        self.views = AUGMENTED if augmented else PLAIN
        if sides_of([*self.plan.labels, *self.plan.classes]):  # which a mirrored view would exchange
            self.views = tuple(view for view in self.views if not view.mirror)

    @torch.inference_mode()
    def probabilities(self, images_BCHW: NDArray[np.uint8]) -> Probabilities:
        """What the network says of (B, C, H, W) inputs 0..255, H and W as in the plan.

        Raises HtunetError where that is no number.
        """
        images = torch.from_numpy(np.require(images_BCHW, requirements=["C", "W"])).to(self.device)
        members_BKHW: list[torch.Tensor] = []
        maps_BKHW: list[tuple[torch.Tensor, torch.Tensor]] = []
        classes_BN: list[torch.Tensor] = []
        for network in self.networks:
            for view in self.views:
                bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == BF16)
                with fp32_products(self.precision), bf16:
                    scores = network(view.apply(images))
                if not isinstance(scores, dict):
                    scores = {SEGMENTATION if self.segments else CLASSIFICATION: scores}
                for values in scores.values():
                    check_numbers(values, self.precision)
                if SEGMENTATION in scores:
                    maps_BKHW.append(view.invert(scores[SEGMENTATION].float().softmax(dim=1)))
                    members_BKHW += [maps_BKHW[-1][0]] * (view == self.views[0])
                if CLASSIFICATION in scores:  # in double precision: near 1 single precision would make images equal
                    classes_BN.append(scores[CLASSIFICATION].cpu().double().softmax(dim=1))
        classes = _mean(classes_BN).cpu().numpy() if classes_BN else None
        if not maps_BKHW:
            return Probabilities(labels_BKHW=None, classes_BN=classes)
        mean_BKHW, variance_BHW = _mean_and_variance(maps_BKHW)
        return Probabilities(
            labels_BKHW=mean_BKHW.cpu().numpy(),
            classes_BN=classes,
            members_MBKHW=torch.stack(members_BKHW).cpu().numpy(),
            variance_BHW=variance_BHW.cpu().numpy(),
        )

    def for_masks(self, labels_BKHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, K, H, W) probabilities from whose largest the label of a pixel follows: those of ``probabilities``."""
        return labels_BKHW

    def each(
        self, inputs: Iterable[tuple[Key, NDArray[np.uint8]]]
    ) -> Iterator[tuple[Key, NDArray[np.float32] | None, NDArray[np.float64] | None]]:
        """For each (key, input (C, H, W)), in batches of the plan's size: the key, (K, H, W) and (N,) probabilities."""
        waiting = iter(inputs)
        while batch := list(islice(waiting, self.plan.batch_size)):
            found = self.probabilities(np.stack([image_CHW for _, image_CHW in batch]))
            labels_BKHW = None if found.labels_BKHW is None else self.for_masks(found.labels_BKHW)
            for index, (key, _) in enumerate(batch):
                yield (
                    key,
                    None if labels_BKHW is None else labels_BKHW[index],
                    None if found.classes_BN is None else found.classes_BN[index],
                )

    def predict(self, image: ImageLike, *, spacing_mm: tuple[float, float] | None = None) -> Prediction:
        """Predict one image: a file, an array or a PIL image of the same pixels give the same bits.

        Raises HtunetError for a file that cannot be read, UsageError for what is no image and for a file of several
        frames (``predict_frames``).
        """
        if isinstance(image, Image.Image):
            image.load()  # Pillow turns a TIFF as it loads it
            return self._predict(as_channels(upright(image), self.plan.channels), "PIL image", spacing_mm)
        if not isinstance(image, str | Path):
            pixels = image_of_array(as_array(image))
            return self._predict(as_channels(pixels, self.plan.channels), "array", spacing_mm)
        stack = open_stack(Path(image))
        if stack.frames != 1:
            raise UsageError(f"{image} holds {stack.frames} frames or pages, not one image. Predict them one by one.")
        return next(self.predict_frames(stack, spacing_mm=spacing_mm))

    def predict_frames(self, stack: Stack, *, spacing_mm: tuple[float, float] | None = None) -> Iterator[Prediction]:
        """Predict the frames of a file one after another; a pixel has the size that the file says, or ``spacing_mm``.

        Raises HtunetError for a frame that cannot be read.
        """
        for number, image_CHW in enumerate(stack.images(self.plan.channels), start=1):
            source = f"{stack.path}, frame {number}" if stack.frames > 1 else str(stack.path)
            yield self._predict(image_CHW, source, spacing_mm or stack.sides_mm)

    def _predict(self, image_CHW: UInt8, source: str, spacing_mm: tuple[float, float] | None) -> Prediction:
        plan = self.plan
        if spacing_mm is not None and not _are_sides(spacing_mm):
            raise UsageError(f"spacing_mm is height and width of a pixel, such as (0.1, 0.1); got {spacing_mm!r}.")
        box = crop_box(image_CHW, plan)
        found = self.probabilities(to_input(image_CHW, box, plan)[None])
        steps = ImageSteps(
            source=source,
            read_as="gray" if plan.channels == 1 else "RGB",
            channels=plan.channels,
            original_size=(image_CHW.shape[1], image_CHW.shape[2]),
            crop=box,
            geometry=plan.geometry,
            input_size=plan.input_size,
        )
        classes = None
        if found.classes_BN is not None:
            classes = dict(zip(self.classes, found.classes_BN[0].tolist(), strict=True))
        labels, members, variance = found.labels_BKHW, found.members_MBKHW, found.variance_BHW
        return Prediction(
            image_CHW=image_CHW,
            steps=steps,
            plan=plan,
            scores_KHW=None if labels is None else self.for_masks(labels)[0],
            expected_dice=() if members is None else tuple(expected_dice(maps[0]) for maps in members),
            ensemble_gain=0.0 if members is None or labels is None else ensemble_gain(members[:, 0], labels[0]),
            variance_at_input=None if variance is None else variance[0],
            postprocessing=self.postprocessing,
            network_classes=classes,
            spacing_mm=spacing_mm,
        )


def _are_sides(found: object) -> bool:
    """Two lengths above 0."""
    try:
        height, width = (float(side) for side in found)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return False
    return 0 < height < np.inf and 0 < width < np.inf


def _share(network: Network, first: Network) -> None:
    """Keep the weights that both have, such as those of the frozen encoder, in memory once; results stay the same."""
    known = dict(first.named_parameters())
    for name, weight in network.named_parameters():
        other = known.get(name)
        if other is not None and weight.dtype == other.dtype and torch.equal(weight, other):
            weight.data = other.data


def _mean(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """One is left as it is, to the bit."""
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(dim=0)


def _mean_and_variance(maps: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of (B, K, H, W) probabilities, and (B, H, W) that of the foreground's; each counts where its view shows it."""
    if len(maps) == 1:
        return maps[0][0], torch.zeros_like(maps[0][0][:, 0])
    values, seen = (torch.stack([part.expand_as(maps[0][0]) for part in parts]) for parts in zip(*maps, strict=True))
    mean = (values * seen).sum(dim=0) / seen.sum(dim=0)
    spread = (seen[:, :, 0] * (values[:, :, 0] - mean[:, 0]) ** 2).sum(dim=0) / seen[:, :, 0].sum(dim=0)
    return mean, spread
