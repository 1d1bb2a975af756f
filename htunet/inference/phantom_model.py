"""The model that is part of htunet: a UNet and PhantomCLIP together, which have seen simulated images alone.

On BUSI their mean finds more than either: 63.1 against 54.6 and 55.4 % Dice over 647 lesions. Whether there is a lesion
at all is the answer of PhantomCLIP's class head; the masks mark something in nearly every image.
"""

import math
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from htunet.data.raw import DatasetInfo
from htunet.files import read_object
from htunet.inference.exported import CHECKPOINT, FORMAT, ExportedModel, ModelCard
from htunet.inference.prediction import NO_LESION
from htunet.inference.trained import TrainedModel
from htunet.models import checkpoint
from htunet.models.network import EncoderNetwork, Network
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION
from htunet.models.weights.formats import read_state
from htunet.models.weights.load import NONE
from htunet.models.weights.store import PHANTOM_CLIP, find_phantom
from htunet.paths import PHANTOM
from htunet.planning.planner import paper_plan
from htunet.planning.rules import MEMORY_GB
from htunet.schemas import QUALITY

METHOD, DATASET = "UNet", "Dataset000_Simulation"
CLASS_HEAD, NONE_CLASS = "heads.class.", 2
"""What begins the names of the class head in PhantomCLIP's file; the place of "none" after benign and malignant."""
LESION_ODDS = 4.0
"""By which the odds of a lesion are divided, since 88 % of the simulated images had one: at even odds 93 % of new
simulated images with a lesion are found and 21 % of those without one; so 78 and 66 %. Real images: see NOTE."""
QUALITY_JSON = "quality.json"
"""Beside the weights of UNet: what ``ModelCard.quality`` holds, from ``benchmarks.phantom_transfer quality``."""
WARNING = (
    "The model phantom has learnt from simulated images alone, never from a patient's. It marks something in nearly "
    "every image, also where there is no lesion, takes shadows and dark muscle for lesions and misses some of them: "
    "look at every mask. To do better, train on images of your own: htunet_run --images IMAGES --masks MASKS --name "
    "MINE."
)
NOTE = (
    "All of this is calibrated on simulated images. Real ones are worse: the mean Dice was 63.1 % on BUSI and 50.1 % "
    "on DDTI, and the 90 % interval held 87 % of 162 BUSI and 89 % of 160 DDTI images. Of the same images 92 and 88 % "
    "are said to have a lesion, which all of them have; of BUSI's 133 images without one 59 are said to have none."
)


class _WithClassHead(Network):
    """PhantomCLIP as it was pre-trained: masks, and whether there is a lesion."""

    def __init__(self, network: EncoderNetwork, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.classify = nn.Linear(2 * network.encoder.backbone.width, len(weights["bias"]))
        self.classify.load_state_dict(weights)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """(B, 1, H, W) values 0..255 -> (B, 2, H, W) scores of the mask, (B, 2) of a lesion and of none."""
        network, image_hw = self.network, (images_BCHW.shape[-2], images_BCHW.shape[-1])
        backbone: Any = network.encoder.backbone
        levels_BTD = network.encoder(network.normalise(images_BCHW))
        masks_BKHW = network.head(network.aggregation(levels_BTD, backbone.grid_hw(image_hw)), image_hw)
        first_BD, rest_BD = backbone.vit.ln_post(levels_BTD[-1][:, 0]), levels_BTD[-1][:, 1:].mean(dim=1)
        scores_BN = self.classify(torch.cat([first_BD, rest_BD], dim=1).float())
        kinds = [n for n in range(scores_BN.shape[1]) if n != NONE_CLASS]
        lesion_B = scores_BN[:, kinds].logsumexp(dim=1) - math.log(LESION_ODDS)
        classes_BN = torch.stack([lesion_B, scores_BN[:, NONE_CLASS]], dim=1)
        return {SEGMENTATION: masks_BKHW, CLASSIFICATION: classes_BN}

    def frozen_module(self) -> None:
        """None: its file holds all of it."""


class _AsPretrained(TrainedModel):
    """A network whose weights hold all of it, so that no checkpoint is needed."""

    def network(self) -> Network:
        network, state = self.untrained()[0], read_state(find_phantom(self.method))
        assert isinstance(network, EncoderNetwork)
        head = {key.removeprefix(CLASS_HEAD): value.float() for key, value in state.items() if
                key.startswith(CLASS_HEAD)}  # fmt: skip
        return _WithClassHead(network, head)


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
    info = DatasetInfo(channels=1, labels={"background": 0, "lesion": 1}, classes={"lesion": 0, NO_LESION: 1})
    place: Any = SimpleNamespace(dataset=DATASET)
    side = recipe["identity"]["simulation"]["height"]
    plan = replace(paper_plan(place, info, MEMORY_GB), name=PHANTOM, input_size=(side, side))
    measured = path.with_name(QUALITY_JSON)
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
        quality=read_object(measured, QUALITY) | {"note": NOTE} if measured.is_file() else {},
    )
    return PhantomModel(path.parent, card)
