"""A trained run as a function from images to probabilities.

Dimension key: B batch, C channels, K labels, N classes, H W pixels of the network's input.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from htunet.data.class_probabilities import class_order
from htunet.errors import UsageError
from htunet.inference.trained import TrainedModel
from htunet.models.network import Network
from htunet.models.precision import BF16, keep_frozen_in_bf16, resolve_precision
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION
from htunet.paths import RunPaths
from htunet.planning.plans import Plan


@dataclass(frozen=True)
class Probabilities:
    """What a network says of some images; None for what its task does not ask for. All add up to 1."""

    labels_BKHW: NDArray[np.float32] | None
    """Of the labels of each pixel, background first."""
    classes_BN: NDArray[np.float64] | None
    """Of the classes of each image, in the order of their indices."""


class Predictor:
    """The best checkpoint of a run, ready to predict; the plan that it was trained with comes along."""

    def __init__(
        self, network: Network, plan: Plan, *, device: torch.device, precision: str, task: str = SEGMENTATION
    ) -> None:
        network.merge_for_inference()
        if precision == BF16:
            keep_frozen_in_bf16(network)
        self.network = network.to(device).eval()
        self.plan = plan
        self.device = device
        self.precision = precision
        self.segments = SEGMENTATION in task.split("+")
        self.classifies = CLASSIFICATION in task.split("+")
        self.classes = class_order(plan.classes)

    @classmethod
    def from_run(cls, run: RunPaths, *, weights: str | None = None, device: str = "auto") -> "Predictor":
        """Build the network of a run and fill it from ``checkpoint_best``.

        ``weights`` names the frozen weights where they have moved since the training; None takes those of the run,
        and none where the checkpoint holds all of the network.
        Raises HtunetError when the run is not there or its frozen weights cannot be had, UsageError for a device that
        is not there.
        """
        return cls.from_trained(TrainedModel.of_run(run, weights), device=device)

    @classmethod
    def from_trained(cls, model: TrainedModel, *, device: str = "auto") -> "Predictor":
        """The network of a trained model, on a device; raises as ``from_run``."""
        place, network = _device(device), model.network()
        return cls(network, model.plan, device=place, precision=_precision(model.precision, place), task=model.task)

    @torch.inference_mode()
    def probabilities(self, images_BCHW: NDArray[np.uint8]) -> Probabilities:
        """What the network says of (B, C, H, W) inputs 0..255, H and W as in the plan."""
        images = torch.from_numpy(np.ascontiguousarray(images_BCHW)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == BF16):
            scores = self.network(images)
        by_task = scores if isinstance(scores, dict) else {SEGMENTATION if self.segments else CLASSIFICATION: scores}
        labels_BKHW, classes_BN = by_task.get(SEGMENTATION), by_task.get(CLASSIFICATION)
        return Probabilities(
            labels_BKHW=None if labels_BKHW is None else labels_BKHW.float().softmax(dim=1).cpu().numpy(),
            # in double precision: near 1 single precision would make different images equal
            classes_BN=None if classes_BN is None else classes_BN.double().softmax(dim=1).cpu().numpy(),
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is visible. Take --device cpu, or check the driver and torch.")
    return torch.device(name)


def _precision(trained_in: str, device: torch.device) -> str:
    """The precision of the training where this device has it, so that test figures are those of the validation."""
    return resolve_precision("auto", device.type) if trained_in == BF16 else trained_in
