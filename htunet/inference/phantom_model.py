"""The model that is part of htunet: a UNet that has seen simulated images alone, for lesions in anybody's images."""

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

from htunet.data.raw import DatasetInfo
from htunet.inference.exported import CHECKPOINT, FORMAT, ExportedModel, ModelCard
from htunet.models import checkpoint
from htunet.models.tasks import SEGMENTATION
from htunet.models.weights.load import NONE
from htunet.models.weights.store import find_phantom
from htunet.paths import PHANTOM
from htunet.planning.planner import paper_plan
from htunet.planning.rules import MEMORY_GB

METHOD, DATASET = "UNet", "Dataset000_Simulation"
WARNING = (
    "The model phantom has learnt from simulated images alone, never from a patient's. It finds many lesions of real "
    "images and misses others, and it takes shadows and dark muscle for lesions: look at every mask. To do better, "
    "train on images of your own: htunet_train DATASET UNet fold0 --weights phantom."
)


def phantom_model() -> ExportedModel:
    """As if it had been exported; raises HtunetError where its weights are not there."""
    path = find_phantom(METHOD)
    about = checkpoint.read_about(path)
    recipe = about["settings"]["recipe"]
    info = DatasetInfo(channels=1, labels={"background": 0, "lesion": 1}, classes={})
    place: Any = SimpleNamespace(dataset=DATASET)
    side = recipe["identity"]["simulation"]["height"]
    plan = replace(paper_plan(place, info, MEMORY_GB), name=PHANTOM, input_size=(side, side))
    card = ModelCard(
        format=FORMAT,
        name=PHANTOM,
        dataset=DATASET,
        method=METHOD,
        task=SEGMENTATION,
        fold=0,
        seed=recipe["identity"]["seed"],
        ratio=None,
        adapter="",
        plan=asdict(plan),
        precision="fp32",
        weights={"source": NONE},
        backbone={},
        licences={"weights": "Apache-2.0, as all of htunet", "data": "none: all images are simulated"},
        citations={"method": "htunet, htunet_pretrain UNet"},
        figures={"validation": recipe["figures_of_simulated_images"], "test": {}},
        trained_by=recipe["made_by"],
        exported_by={},
        files={CHECKPOINT: ""},
    )
    return ExportedModel(path.parent, card)
