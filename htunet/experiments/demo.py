"""The demonstration's own plan: what learns the phantom within minutes on two cores, even from random weights."""

from dataclasses import replace

from htunet.paths import DatasetPaths
from htunet.planning.plans import load_plans, save_plans

PLAN = "demo"
METHOD = "CLIP_HT"
NUM_IMAGES = 200
SEED = 1


def add_demo_plan(dataset: DatasetPaths) -> None:
    """Put the plan ``demo`` into plans.json, made from the plan ``paper``; replanning keeps it, as any user's own."""
    plans = load_plans(dataset.plans_json)
    because = {
        "input_size": "224, for which the backbone is made",
        "learning_rate": "ten times the paper's: a few hundred steps instead of thousands",
        "batch_size": "8: four times the steps of the paper's 32 for the same computing",
        "num_epochs": "what two cores manage in about four minutes",
    }
    demo = replace(plans["paper"], name=PLAN, batch_size=8, learning_rate=1e-3, num_epochs=8)
    save_plans(dataset.plans_json, plans | {PLAN: replace(demo, because=plans["paper"].because | because)})
