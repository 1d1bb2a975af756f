"""The model that is part of htunet: a UNet and PhantomCLIP together, which have seen simulated images alone.

On BUSI their mean finds more than either: 63.1 against 54.6 and 55.4 % Dice over 647 lesions.
"""

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

from htunet.data.raw import DatasetInfo
from htunet.inference.exported import CHECKPOINT, FORMAT, ExportedModel, ModelCard
from htunet.inference.trained import TrainedModel
from htunet.models import checkpoint
from htunet.models.network import Network
from htunet.models.tasks import SEGMENTATION
from htunet.models.weights.load import NONE
from htunet.models.weights.store import PHANTOM_CLIP, find_phantom
from htunet.paths import PHANTOM
from htunet.planning.planner import paper_plan
from htunet.planning.rules import MEMORY_GB

METHOD, DATASET = "UNet", "Dataset000_Simulation"
WARNING = (
    "The model phantom has learnt from simulated images alone, never from a patient's. It marks something in nearly "
    "every image, also where there is no lesion, takes shadows and dark muscle for lesions and misses some of them: "
    "look at every mask. To do better, train on images of your own: htunet_train DATASET UNet fold0 --weights phantom."
)


class _AsPretrained(TrainedModel):
    """A network whose weights hold all of it, so that no checkpoint is needed."""

    def network(self) -> Network:
        return self.untrained()[0]


class PhantomModel(ExportedModel):
    """Both networks; their probabilities are averaged."""

    def members(self, weights: str | None = None) -> list[TrainedModel]:
        """UNet from its checkpoint, PhantomCLIP from its weights, which have a decoder."""
        first = super().trained(weights)
        return [first, _AsPretrained(**vars(first) | {"method": PHANTOM_CLIP, "weights": PHANTOM})]


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
        members=[
            {"method": PHANTOM_CLIP, "fold": 0, "seed": 1, "weights": {"source": PHANTOM}, "checkpoint": CHECKPOINT}
        ],
    )
    return PhantomModel(path.parent, card)
