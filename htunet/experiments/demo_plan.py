"""The demonstration's own plan: what learns the phantom within minutes on two cores, even from random weights."""

from dataclasses import replace

from htunet.paths import DatasetPaths
from htunet.planning.plans import load_plans, save_plans

PLAN = "demo"
METHOD = "CLIP_HT"
SEED = 1
NUM_IMAGES = 360
NORMAL_SHARE = 0.05
SIDE = 128
"""A third of the computation of the paper's 224; a patch still sees an eighth of the image's side."""


def add_demo_plan(dataset: DatasetPaths) -> None:
    """Put the plan ``demo`` into plans.json, made from the plan ``paper``; replanning does not change it."""
    plans = load_plans(dataset.plans_json)
    because = {
        "input_size": f"{SIDE} x {SIDE}: a third of the computing of 224 x 224",
        "batch_size": "3: ten times the steps of the paper's 32 for the same computing",
        "learning_rate": "ten times the paper's: a few hundred steps instead of thousands",
        "num_epochs": "what two cores manage in about three minutes",
        "augmentation": "milder than the paper's plan: a short training sees each image a few times only",
    }
    paper = plans["paper"]
    demo = replace(
        paper,
        name=PLAN,
        input_size=(SIDE, SIDE),
        batch_size=3,
        learning_rate=1e-3,
        num_epochs=5,
        augmentation=paper.augmentation | {"spatial": 0.2},
        because=paper.because | because,
    )
    save_plans(dataset.plans_json, plans | {PLAN: demo})
