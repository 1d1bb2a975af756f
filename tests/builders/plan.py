"""A plan with every field set, of which a test changes what it is about."""

from dataclasses import replace
from typing import Any

from htunet.planning.plans import Plan

BASE = Plan(
    name="paper",
    dataset="Dataset903_Tiny",
    channels=1,
    labels={"background": 0, "lesion": 1},
    classes={"benign": 0, "malignant": 1},
    geometry="stretch",
    crop_border=False,
    input_size=(32, 32),
    batch_size=4,
    accumulation=1,
    workers=0,
    num_epochs=2,
    learning_rate=1e-3,
    betas=(0.9, 0.95),
    weight_decay=1e-2,
    patience=None,
    class_weights={},
    augmentation={},
)


def plan_of(**changes: Any) -> Plan:
    return replace(BASE, **changes)
