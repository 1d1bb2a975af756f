"""The plans of stage 1: fine-tuning an adapter on captions as the paper says, or as its public code does."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from htunet.data.raw import DatasetInfo
from htunet.errors import counted
from htunet.planning.planner import PAPER, PUBLIC, PUBLIC_LORA, paper_plan
from htunet.planning.plans import BICUBIC, CENTRE_CROP, Plan
from htunet.planning.rules import MEMORY_GB

EPOCHS = 32
NAME = "finetuning"
BATCH, PUBLIC_BATCH = 32, 64
ACCUMULATED = {"BiomedCLIP": 4}
"""Blocks of pairs in a step of the public code; of the other backbones 1."""


PHANTOM_RATE, PHANTOM_WARM_UP = 1e-4, 5
"""For weights pre-trained on simulation: the largest learning rate of those that are trained further, and epochs until
it is reached. UNet on 26 BUSI images had a validation Dice of 60.3 % with 1e-4 and 56.3 % with 1e-3 (one seed). A
frozen encoder has no such limit: 150 steps of PhantomCLIP_HT on 26 images had 53.1 % with 1e-4 and 55.3 % with 1e-3 on
BUSI, 58.5 % and 61.5 % on DDTI."""
FOR_PHANTOM = ("learning_rate", "warm_up_epochs")
"""What ``from_phantom`` decides."""


def from_phantom(plan: Plan, num_epochs: int | None = None, *, frozen: bool = False) -> Plan:
    """A plan of stage 2 for weights that were pre-trained on simulation, with the reason of each change.

    ``num_epochs``: the run's, where they are not the plan's; a tenth of them at most is warm-up. ``frozen``: these
    weights are not trained, only an adapter and a head are.
    """
    rate = plan.learning_rate if frozen else min(plan.learning_rate, PHANTOM_RATE)
    epochs = num_epochs or plan.num_epochs
    warm_up = min(PHANTOM_WARM_UP, epochs // 10)
    because = {
        "learning_rate": "the plan's, because the encoder is frozen and keeps what it learnt from simulated images"
        if frozen
        else f"not above {PHANTOM_RATE:g}, so that less is lost of what was learnt from simulated images",
        "warm_up_epochs": "AdamW's first steps rest on the gradients of a few images and would move all weights alike"
        if warm_up
        else f"at most a tenth of {counted(epochs, 'epoch')}, which is less than one",
    }
    return replace(plan, learning_rate=rate, warm_up_epochs=warm_up, because=plan.because | because)


def finetuning_plan(
    dataset: str,
    *,
    batch_size: int | None,
    learning_rate: float,
    input_size: tuple[int, int],
    public: bool,
    backbone: str,
) -> Plan:
    """The plan for the data sets called ``dataset``; ``batch_size`` None: the usual one.

    Captions have no labels and no classes, and images are not augmented: a caption may say left.
    """
    of_captions: Any = SimpleNamespace(dataset=dataset)
    plan = replace(
        paper_plan(of_captions, DatasetInfo(channels=3, labels={"background": 0}), MEMORY_GB),
        name=NAME,
        input_size=input_size,
        batch_size=batch_size or BATCH,
        num_epochs=EPOCHS,
        learning_rate=learning_rate,
        augmentation={},
        because=dict.fromkeys(("num_epochs", "betas", "weight_decay"), PAPER),
    )
    return _as_public_code(plan, batch_size or PUBLIC_BATCH, backbone) if public else plan


def _as_public_code(plan: Plan, pairs: int, backbone: str) -> Plan:
    settings: dict[str, Any] = {
        "geometry": CENTRE_CROP,
        "resize": BICUBIC,
        "normalise": False,
        "batch_size": pairs * ACCUMULATED.get(backbone, 1),
        "contrast_size": pairs,
        "drop_last": True,
        "gradient_clip": 1.0,
        "patience": 10,
        "adapter": dict.fromkeys(("LoRA", "LoRAVT"), PUBLIC_LORA | {"dropout": 0.1}),
    }
    return replace(plan, name=f"{NAME}_public", because=plan.because | dict.fromkeys(settings, PUBLIC), **settings)
