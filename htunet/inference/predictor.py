"""A trained run as a function from images to probabilities.

Dimension key: B batch, C channels, K labels, H W pixels of the network's input.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from htunet.errors import UsageError
from htunet.files import read_object
from htunet.models import checkpoint
from htunet.models.build import build_network
from htunet.models.network import Network
from htunet.models.precision import BF16, keep_frozen_in_bf16, resolve_precision
from htunet.paths import RunPaths
from htunet.planning.plans import Plan, plan_from


class Predictor:
    """The best checkpoint of a run, ready to predict; the plan that it was trained with comes along."""

    def __init__(self, network: Network, plan: Plan, *, device: torch.device, precision: str) -> None:
        if precision == BF16:
            keep_frozen_in_bf16(network)
        self.network = network.to(device).eval()
        self.plan = plan
        self.device = device
        self.precision = precision

    @classmethod
    def from_run(cls, run: RunPaths, *, weights: str | None = None, device: str = "auto") -> "Predictor":
        """Build the network of a run and fill it from ``checkpoint_best``.

        ``weights`` names the frozen weights where they have moved since the training; None takes those of the run.
        Raises HtunetError when the run is not there or its frozen weights cannot be had, UsageError for a device that
        is not there.
        """
        settings = read_object(run.settings_json)
        plan = plan_from(settings.get("plan_content"), f"{run.settings_json}, plan_content")
        network, record = build_network(
            run.method,
            task=settings["task"],
            num_labels=len(plan.labels),
            num_classes=len(plan.classes),
            seed=run.seed,
            weights=weights or settings["weights_argument"],
            adapter_settings=plan.adapter,
        )
        checkpoint.restore(network, record, run.checkpoint_best)
        return cls(network, plan, device=_device(device), precision=_precision(settings, _device(device)))

    @torch.inference_mode()
    def probabilities(self, images_BCHW: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, C, H, W) network inputs 0..255, H and W as in the plan -> (B, K, H, W) probabilities, summing to 1."""
        images = torch.from_numpy(np.ascontiguousarray(images_BCHW)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == BF16):
            scores_BKHW = self.network(images)
        return torch.softmax(scores_BKHW.float(), dim=1).cpu().numpy()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is visible. Take --device cpu, or check the driver and torch.")
    return torch.device(name)


def _precision(settings: dict[str, Any], device: torch.device) -> str:
    """The precision of the training where this device has it, so that test figures are those of the validation."""
    return resolve_precision("auto", device.type) if settings["precision"] == BF16 else str(settings["precision"])
