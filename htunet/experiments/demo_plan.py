"""The demonstration's own plan: what learns the phantom within minutes on two cores, and what is known before it.

The phantom of the demonstration (``dataset_conversion/phantom``) has the tissue, lesions and physics of the simulator
that the weights are pre-trained with (``htunet/simulation``), other seeds and fewer variations: the images are new.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from htunet.data.image_io import read_labels
from htunet.evaluation.metrics import PENALISE, score_mask
from htunet.inference.predictor import Predictor
from htunet.models.build import build_network
from htunet.models.tasks import SEGMENTATION
from htunet.models.weights.store import PHANTOM_CLIP
from htunet.paths import PHANTOM, DatasetPaths
from htunet.planning.plans import load_plans, save_plans

PLAN = "demo"
METHOD = "PhantomCLIP_HT"
SEED = 2
"""Another than that of the pre-training (``htunet/pretrained/*/recipe.json``)."""
NUM_IMAGES = 360
"""What two cores simulate and learn in about a minute each."""
NORMAL_SHARE = 0.05
"""Less than BUSI's 17 %: with few test images most of them should have a lesion to look at."""
SIDE = 128
"""A third of the computation of the paper's 224; a patch still sees an eighth of the image's side."""


def add_demo_plan(dataset: DatasetPaths) -> None:
    """Put the plan ``demo`` into plans.json, made from the plan ``paper``; replanning does not change it."""
    plans = load_plans(dataset.plans_json)
    because = {
        "input_size": f"{SIDE} x {SIDE}: a third of the computing of 224 x 224",
        "batch_size": "3: ten times the steps of the paper's 32 for the same computing",
        "num_epochs": "what two cores manage in about a minute",
        "augmentation": "milder than the paper's plan: a short training sees each image a few times only",
    }
    paper = plans["paper"]
    demo = replace(
        paper,
        name=PLAN,
        input_size=(SIDE, SIDE),
        batch_size=3,
        num_epochs=4,
        augmentation=paper.augmentation | {"spatial": 0.2},
        because=paper.because | because,
    )
    save_plans(dataset.plans_json, plans | {PLAN: demo})


def dice_before_training(dataset: DatasetPaths, cases: Sequence[str]) -> float:
    """The mean Dice, at the original size, of PhantomCLIP with the decoder that comes with it; it saw no such image."""
    plan = load_plans(dataset.plans_json)[PLAN]
    network, _ = build_network(PHANTOM_CLIP, plan.outputs(SEGMENTATION), seed=1, weights=PHANTOM)
    predictor, found = Predictor(network, plan, device=torch.device("cpu"), precision="fp32"), []
    for case in cases:
        labels = predictor.predict(dataset.raw / "imagesTr" / f"{case}_0000.png").labels
        assert labels is not None
        reference = read_labels(dataset.raw / "labelsTr" / f"{case}.png")
        found.append(score_mask(labels > 0, reference > 0).values(PENALISE)["dice"])
    return float(np.nanmean(found))  # an image without a lesion, in which none is found, has no Dice
