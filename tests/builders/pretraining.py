"""Tiny pre-trainings, and weights files of their form with drawn values."""

from pathlib import Path
from typing import Any

import torch

from htunet.pretraining.learners import LEARNERS
from htunet.pretraining.pretrain import write_weights
from htunet.pretraining.settings import PretrainSettings


def tiny_settings(**changes: Any) -> PretrainSettings:
    """12 images of 32 x 32 pixels, each used twice, 4 in a step: six steps."""
    values = {"images": 12, "passes": 2, "size": 32, "batch_size": 4, "validation": 4, "pool": 8, "workers": 1}
    return PretrainSettings(**values | {"device": "cpu", "precision": "fp32"} | changes)  # type: ignore[arg-type]


def drawn_weights(name: str, folder: Path, side: int = 32) -> Path:
    """The weights file of an untrained network, with a recipe."""
    torch.manual_seed(3)
    learner = LEARNERS[name]()
    with torch.no_grad():
        for value in learner.parameters():
            value.add_(0.01 * torch.randn_like(value))
    identity = {"seed": 1, "simulation": {"height": side, "width": side}}
    return write_weights(learner, folder, {"identity": identity, "figures_of_simulated_images": {}, "made_by": {}})
