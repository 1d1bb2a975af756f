"""Models that have seen simulated images alone: that which is part of htunet, and what htunet_pretrain makes.

The first is a UNet and PhantomCLIP together, each with the mean of several views of an image; the lesion is where
their mean is above half of its largest value. On BUSI this finds more than either network: 65.5 against 54.6 and 55.4 %
Dice over 647 lesions; 58.8 against 48.9 and 49.8 % over the 129 on which the views were not chosen. Whether there is a
lesion at all is the answer of PhantomCLIP's class head; the masks mark something in nearly every image.

Dimension key: B batch, C channels, K labels, N classes, T tokens, D features, H W pixels.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from htunet.data.raw import DatasetInfo
from htunet.errors import HtunetError, UsageError
from htunet.files import read_object
from htunet.inference.exported import CHECKPOINT, FORMAT, ExportedModel, ModelCard
from htunet.inference.prediction import NO_LESION
from htunet.inference.predictor import Predictor
from htunet.inference.trained import TrainedModel
from htunet.inference.views import PLAIN, View
from htunet.models import checkpoint
from htunet.models.heads.classification import ScoreLayer
from htunet.models.network import EncoderNetwork, Network
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION
from htunet.models.weights.formats import read_state
from htunet.models.weights.load import NONE
from htunet.models.weights.store import PHANTOM_CLIP, RECIPE, find_phantom
from htunet.paths import PHANTOM
from htunet.planning.planner import paper_plan
from htunet.planning.rules import MEMORY_GB
from htunet.schemas import QUALITY

METHOD, DATASET = "UNet", "Dataset000_Simulation"
CLASS_HEAD, NONE_CLASS = "heads.class.", 2
"""What begins the names of the class head in PhantomCLIP's file; the place of "none" after benign and malignant."""
LESION_ODDS = 4.0
"""By which the odds of a lesion are divided, since 84 % of the simulated images had one: at even odds 93 % of new
simulated images with a lesion are found and 21 % of those without one; so 78 and 66 %. Real images: see NOTE."""
SMALLER_SIDES = (160, 112)
"""Input sizes at which UNet sees an image, too: BUSI's pictures suit it better at half their size, DDTI's do not."""
LEAST = 0.15
"""Smallest threshold of a lesion's probability, so that nothing is found where no pixel is likely."""
QUALITY_JSON = "quality.json"
"""Beside the weights of UNet: what ``ModelCard.quality`` holds, from ``benchmarks.phantom_quality calibrate``."""
WARNING = (
    "This model has learnt from simulated images alone, never from a patient's. It marks something in nearly "
    "every image, also where there is no lesion, takes shadows and dark muscle for lesions and misses some of them: "
    "look at every mask. To do better, train on images of your own: htunet_run --images IMAGES --masks MASKS --name "
    "MINE."
)
NOTE = (
    "All of this is calibrated on simulated images. Real ones are worse: the mean Dice was 65.5 % on BUSI and 51.4 % "
    "on DDTI (58.8 % and 51.0 % on the 129 and 127 images that were not used to choose how the networks are combined), "
    "and the 90 % interval held 87 % of 162 BUSI and 90 % of 160 DDTI images. Of the same images 92 and 88 % "
    "are said to have a lesion, which all of them have; of BUSI's 133 images without one 59 are said to have none."
)


class _WithClassHead(Network):
    """PhantomCLIP as it was pre-trained: masks, and whether there is a lesion."""

    def __init__(self, network: EncoderNetwork, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.classify = ScoreLayer(2 * network.encoder.backbone.width, len(weights["bias"]))
        self.classify.load_state_dict(weights)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """(B, 1, H, W) values 0..255 -> (B, 2, H, W) scores of the mask, (B, 2) of a lesion and of none."""
        network, image_hw = self.network, (images_BCHW.shape[-2], images_BCHW.shape[-1])
        backbone: Any = network.encoder.backbone
        levels_BTD = network.encoder(network.normalise(images_BCHW))
        masks_BKHW = network.head(network.aggregation(levels_BTD, backbone.grid_hw(image_hw)), image_hw)
        first_BD, rest_BD = backbone.vit.ln_post(levels_BTD[-1][:, 0]), levels_BTD[-1][:, 1:].mean(dim=1)
        scores_BN = self.classify(torch.cat([first_BD, rest_BD], dim=1))
        kinds = [n for n in range(scores_BN.shape[1]) if n != NONE_CLASS]
        lesion_B = scores_BN[:, kinds].logsumexp(dim=1) - math.log(LESION_ODDS)
        classes_BN = torch.stack([lesion_B, scores_BN[:, NONE_CLASS]], dim=1)
        return {SEGMENTATION: masks_BKHW, CLASSIFICATION: classes_BN}

    def frozen_module(self) -> None:
        """None: its file holds all of it."""


class _SeveralViews(Network):
    """A network that sees each image at several sizes and in several views, such as also in a mirror."""

    def __init__(self, network: Network, sides: Sequence[int], views: Sequence[View]) -> None:
        super().__init__()
        self.network = network
        self.sides = sides
        self.views = views
        self.passes = len(sides) * len(views)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) values 0..255 -> the logarithms of the mean probabilities of the mask, (B, K, H, W).

        Classes, where the network has them, are those of the image as it is.
        """
        images, found, maps_BKHW = images_BCHW.float(), dict[str, Tensor](), list[Tensor]()
        smallest = torch.finfo(torch.float32).tiny  # so that its logarithm is a number
        for side, view in product(self.sides, self.views):
            resized = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
            scores = self.network(view.apply(resized))
            scores = scores if isinstance(scores, dict) else {SEGMENTATION: scores}
            found = found or scores
            map_BKHW, _ = view.invert(scores[SEGMENTATION].float().softmax(dim=1))
            maps_BKHW.append(F.interpolate(map_BKHW, size=images.shape[-2:], mode="bilinear"))
        return found | {SEGMENTATION: torch.stack(maps_BKHW).mean(dim=0).clamp_min(smallest).log()}

    def frozen_module(self) -> None:
        """None: it only predicts."""


class _AsPretrained(TrainedModel):
    """A network whose weights hold all of it, so that no checkpoint is needed."""

    def network(self) -> Network:
        network, state = self.untrained()[0], read_state(Path(self.weights))
        assert isinstance(network, EncoderNetwork)
        head = {key.removeprefix(CLASS_HEAD): value.float() for key, value in state.items() if
                key.startswith(CLASS_HEAD)}  # fmt: skip
        return _WithClassHead(network, head)


class _BothPredictor(Predictor):
    """Both networks, each in several views; the lesion is where their mean is above half of its largest value.

    A fixed threshold of 0.5 leaves out lesions that simulated ones resemble little, since all of their probabilities
    are low. Sizes, mirror and threshold were chosen on the training images of BUSI and DDTI.
    """

    def for_masks(self, labels_BKHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 2, H, W) probabilities of background and lesion, such that 0.5 is half of the image's largest one.

        The odds of a lesion are divided by those of half of its largest probability, of ``LEAST`` where that is more.
        """
        lesion_B1HW = labels_BKHW[:, 1:].astype(np.float64)
        half_B111 = np.maximum(lesion_B1HW.max(axis=(2, 3), keepdims=True) / 2, LEAST)
        lesion_B1HW, none_B1HW = lesion_B1HW * (1 - half_B111), (1 - lesion_B1HW) * half_B111
        shares_B2HW = np.concatenate([none_B1HW, lesion_B1HW], axis=1)
        return (shares_B2HW / shares_B2HW.sum(axis=1, keepdims=True)).astype(np.float32)


class PhantomModel(ExportedModel):
    """One of the networks, or both."""

    def predictor(self, weights: str | None = None, device: str = "auto") -> Predictor:
        """One network as it was trained; both in several views, UNet at several sizes and PhantomCLIP in a mirror."""
        members = self.members(weights)
        if len(members) == 1:
            return super().predictor(weights, device)
        found, side = _BothPredictor.from_trained(*members, device=device), members[0].plan.input_size[0]
        smaller = [each for each in SMALLER_SIDES if each < side]
        found.networks = [
            _SeveralViews(network, [side], (View(), View(mirror=True)))
            if member.method == PHANTOM_CLIP
            else _SeveralViews(network, [side, *smaller], PLAIN)
            for member, network in zip(members, found.networks, strict=True)
        ]
        return found

    def members(self, weights: str | None = None) -> list[TrainedModel]:
        """UNet from its checkpoint, PhantomCLIP from its weights, which have a decoder."""
        first = super().trained(weights)
        files = {self.card.method: CHECKPOINT} | {one["method"]: one["checkpoint"] for one in self.card.members}
        return [
            _AsPretrained(**vars(first) | {"method": name, "weights": str(self.folder / file)})
            if name == PHANTOM_CLIP
            else replace(first, method=name, checkpoint=self.folder / file)
            for name, file in files.items()
        ]


def weights_in(folder: Path) -> dict[str, Path]:
    """The weights of UNet and PhantomCLIP that ``htunet_pretrain`` has written into its folder or one network's."""
    files = [one / CHECKPOINT for one in (folder, folder / METHOD, folder / PHANTOM_CLIP) if (one / RECIPE).is_file()]
    about = {file: checkpoint.read_about(file) for file in files if file.is_file()}
    found = {one["method"]: file for file, one in about.items() if "recipe" in (one.get("settings") or {})}
    return {name: found[name] for name in (METHOD, PHANTOM_CLIP) if name in found}


def phantom_model(own: Mapping[str, Path] | None = None, weights: str | None = None) -> PhantomModel:
    """The networks as if they had been exported: those that come with htunet, or those of ``weights_in``.

    Raises HtunetError where the weights are not there, or are for images of different sizes, UsageError where others
    are named as ``weights``.
    """
    if weights:
        raise UsageError(f"The model contains all its weights, and {weights} would not be used: omit --weights.")
    paths = own or {name: find_phantom(name) for name in (METHOD, PHANTOM_CLIP)}
    recipes = {name: checkpoint.read_about(path)["settings"]["recipe"] for name, path in paths.items()}
    (method, path), *others = paths.items()
    recipe, folder = recipes[method], path.parent
    sides = {name: one["identity"]["simulation"]["height"] for name, one in recipes.items()}
    if len({*sides.values()}) > 1:
        raise HtunetError(f"The networks in {folder.parent} were trained on images of unlike sizes, {sides}; name one.")
    info = DatasetInfo(channels=1, labels={"background": 0, "lesion": 1}, classes={"lesion": 0, NO_LESION: 1})
    place: Any = SimpleNamespace(dataset=DATASET)
    plan = replace(paper_plan(place, info, MEMORY_GB), name=PHANTOM, input_size=(sides[method], sides[method]))
    measured = folder / QUALITY_JSON
    card = ModelCard(
        format=FORMAT,
        name=folder.name if own else PHANTOM,
        dataset=DATASET,
        method=method,
        task=SEGMENTATION,
        fold=0,
        seed=recipe["identity"]["seed"],
        ratio=None,
        adapter="",
        plan=asdict(plan),
        precision="fp32",
        weights={"source": PHANTOM if method == PHANTOM_CLIP else NONE},
        backbone={},
        licences={"weights": "Apache-2.0, as all of htunet", "data": "none: all images are simulated"},
        citations={"method": f"htunet, htunet_pretrain {method}"},
        figures={"validation": recipe["figures_of_simulated_images"], "test": {}},
        trained_by=recipe["made_by"],
        exported_by={},
        files={CHECKPOINT: ""},
        members=[
            {"method": name, "fold": 0, "seed": recipes[name]["identity"]["seed"], "weights": {"source": PHANTOM},
             "checkpoint": os.path.relpath(file, folder)} for name, file in others
        ],
        quality=read_object(measured, QUALITY) | {"note": NOTE} if measured.is_file() else {},
    )  # fmt: skip
    return PhantomModel(folder, card)
