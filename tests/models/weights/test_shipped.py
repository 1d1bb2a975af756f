"""The weights that are part of htunet: whole, small enough, and of use on images that nobody trained on."""

import numpy as np
import pytest
import torch

from htunet import api
from htunet.evaluation.metrics import PENALISE, score_mask
from htunet.files import file_hash, json_hash, read_object
from htunet.models.build import build_network
from htunet.models.dual_encoder import build_dual_encoder
from htunet.models.tasks import Outputs
from htunet.models.weights.store import CHECKPOINT, PHANTOM_CLIP, SHIPPED, find_phantom
from htunet.records import record_from
from htunet.simulation.settings import SimulationSettings
from htunet.simulation.simulate import SimulatedImage, simulate

NAMES = ("UNet", PHANTOM_CLIP)
SEED = 20_000
"""Another than that of the training."""


def test_they_are_the_files_of_their_recipes_and_small_enough() -> None:
    for name in NAMES:
        recipe = read_object(SHIPPED / name / "recipe.json")
        assert find_phantom(name) == SHIPPED / name / CHECKPOINT
        assert file_hash(find_phantom(name)) == recipe["sha256"]
        assert recipe["identity"]["seed"] != SEED
    assert sum(find_phantom(name).stat().st_size for name in NAMES) <= 14_000_000


def test_the_ranges_of_their_recipes_are_understood_though_others_have_joined_them() -> None:
    for name in NAMES:
        identity = read_object(SHIPPED / name / "recipe.json")["identity"]
        assert json_hash(identity["simulation"], sort_keys=True) == identity["simulation_sha256"]
        assert "focus" not in identity["simulation"]
        assert record_from(SimulationSettings, identity["simulation"], "recipe") == SimulationSettings()


def test_what_calibrates_the_model_belongs_to_these_weights() -> None:
    quality = read_object(SHIPPED / "UNet" / "quality.json")
    assert quality["weights"] == {name: read_object(SHIPPED / name / "recipe.json")["sha256"] for name in NAMES}
    model = api.load("phantom", device="cpu")
    assert [len(one.dice_N) >= 280 for one in model.dice_calibrations] == [True, True]
    assert len(model.familiar) == 1
    assert "simulated images" in model.exported.card.quality["note"]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def breasts() -> list[SimulatedImage]:
    settings = SimulationSettings(thyroid=0, lymph_node=0, prostate=0, muscle=0, vessel=0, no_lesion=0)
    return [simulate(settings, SEED, index) for index in range(8)]


def test_the_model_finds_simulated_lesions(breasts: list[SimulatedImage]) -> None:
    model = api.load("phantom", device="cpu")
    dice = [
        score_mask(model.predict(one.image).labels == 1, one.lesion == 1).values(PENALISE)["dice"] for one in breasts
    ]
    assert np.mean(dice) > 0.5


@pytest.mark.parametrize("source", ["pretrained", "phantom"])
def test_phantomclip_needs_no_download_and_segments_untrained(breasts: list[SimulatedImage], source: str) -> None:
    network, record = build_network(PHANTOM_CLIP, Outputs(), seed=1, weights=source)
    assert record.source == "phantom"
    images = torch.tensor(np.stack([one.image for one in breasts]))[:, None]
    with torch.inference_mode():
        masks = network.eval()(images).argmax(dim=1).numpy() > 0  # type: ignore[union-attr]
    dice = [
        score_mask(mask, one.lesion == 1).values(PENALISE)["dice"] for mask, one in zip(masks, breasts, strict=True)
    ]
    assert np.mean(dice) > 0.4


def test_sentences_tell_a_lesion_from_none(breasts: list[SimulatedImage]) -> None:
    network, record = build_dual_encoder(PHANTOM_CLIP, seed=1, weights="pretrained")
    assert record.source == "phantom"
    none = [simulate(SimulationSettings(thyroid=0, no_lesion=1), SEED, index) for index in range(8)]
    images = torch.tensor(np.stack([one.image for one in (*breasts, *none)]))[:, None]
    with torch.inference_mode():
        sentences = network.encode_text([breasts[0].caption, none[0].caption])
        scores = network.eval().encode_image(images) @ sentences.T
    margin = (scores[:, 0] - scores[:, 1]).numpy()
    assert margin[:8].mean() > margin[8:].mean()
