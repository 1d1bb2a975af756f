"""Simulated images: the same for the same key, and their truth is the truth."""

from dataclasses import asdict, fields
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from htunet.errors import HtunetError
from htunet.records import record_from
from htunet.simulation.scene import TISSUES
from htunet.simulation.settings import GROUPS, SimulationSettings
from htunet.simulation.simulate import LESION_LABELS, NO_LESION, SIGNS, SimulatedImage, simulate

SETTINGS = SimulationSettings()


@pytest.fixture(scope="module")
def images() -> list[SimulatedImage]:
    return [simulate(SETTINGS, 5, index) for index in range(24)]


def test_an_image_depends_on_its_key_alone(images: list[SimulatedImage]) -> None:
    again = simulate(SimulationSettings(), 5, 7)
    for name in ("image", "lesion"):
        assert (getattr(again, name) == getattr(images[7], name)).all()
    assert all((again.dense[name] == images[7].dense[name]).all() for name in again.dense)
    assert (again.caption, again.signs, again.organ) == (images[7].caption, images[7].signs, images[7].organ)
    assert (simulate(SETTINGS, 6, 7).image != again.image).any()
    assert (images[6].image != again.image).any()


def test_the_images_are_those_that_the_shipped_weights_learnt_from(images: list[SimulatedImage]) -> None:
    """Any other draw, or order of draws, gives other organs, signs and words; the sum is of recorded images."""
    text = "\n".join(f"{one.organ} {one.lesion_class} {sorted(one.signs.items())} {one.caption}" for one in images)
    assert sha256(text.encode()).hexdigest()[:16] == "14199b167b777ae6"


def test_the_maps_have_the_settings_size_and_their_types(images: list[SimulatedImage]) -> None:
    types = {"tissue": np.uint8, "shadow": np.bool_, "reverberation": np.bool_, "depth": np.float16}
    for one in [*images, simulate(SimulationSettings(height=96, width=160), 5, 0)]:
        assert one.image.dtype == one.lesion.dtype == np.uint8
        assert {name: values.dtype for name, values in one.dense.items()} == types
        assert {values.shape for values in one.dense.values()} == {one.image.shape} == {one.lesion.shape}
        assert set(np.unique(one.lesion)) <= {0, 1}
        assert one.dense["tissue"].max() < len(TISSUES)


def test_the_lesion_is_where_the_maps_say(images: list[SimulatedImage]) -> None:
    for one in images:
        assert (np.isin(one.dense["tissue"], LESION_LABELS) == (one.lesion > 0)).all()
        assert (one.lesion.any(), bool(one.signs)) == (one.lesion_class != NO_LESION,) * 2
        assert all(value in SIGNS[sign] for sign, value in one.signs.items())
        assert set(one.signs) in ({*SIGNS}, set())
        assert one.caption


def test_settings_survive_json_and_name_what_is_impossible() -> None:
    other = SimulationSettings(area=(0.02, 0.1), height=96)
    assert record_from(SimulationSettings, asdict(other), "settings") == other
    assert other.sha256 != SETTINGS.sha256 == SimulationSettings().sha256
    with pytest.raises(HtunetError, match=r"area must lie in 0.0005..0.9"):
        SimulationSettings(area=(0.2, 0.1))
    with pytest.raises(HtunetError, match=r"no_lesion must lie in 0..1 .* got 1.5"):
        SimulationSettings(no_lesion=1.5)
    with pytest.raises(HtunetError, match=r"benign_margins must be 3 shares that add up to 1, got \(0.5, 0.5, 0.1\)"):
        SimulationSettings(benign_margins=(0.5, 0.5, 0.1))
    with pytest.raises(HtunetError, match=r"ducts must be 3 shares .* got \(1.5, -0.5, 0.0\)"):
        SimulationSettings(ducts=(1.5, -0.5, 0.0))
    with pytest.raises(HtunetError, match=r"height must be in 32..1024 pixels, got 8"):
        SimulationSettings(height=8)
    with pytest.raises(HtunetError, match=r"the key 'areas' is not known"):
        record_from(SimulationSettings, {"areas": [0.1, 0.2]}, "settings")
    with pytest.raises(HtunetError, match=r"index .* at least 0"):
        simulate(SETTINGS, 0, -1)


def test_without_a_group_its_ranges_are_points() -> None:
    narrow = SETTINGS.without("machine")
    assert narrow.frequency_mhz == (10.5, 10.5)
    assert narrow.area == SETTINGS.area
    assert narrow.focus == (0.5, 0.5)
    assert (narrow.curved, narrow.sharpened, narrow.frequency_spread) == (0.12, 0.5, 0.35)
    lesions = SETTINGS.without("lesions")
    assert (lesions.cyst_db, lesions.hilum, lesions.benign_margins) == ((30, 30), 0.8, (0.82, 0.13, 0.05))
    artefacts = SETTINGS.without("artefacts")
    assert (artefacts.ducts, artefacts.look_alikes, artefacts.contact_db) == ((1, 0, 0), (2.5, 2.5), (23, 23))
    screen = SETTINGS.without("screen")
    assert (screen.marker, screen.jpeg_quality, screen.blur_pixels) == (0, (70, 70), (0.4, 0.4))
    organs = SETTINGS.without("organs").organs
    assert {name for name, weight in organs.items() if weight} == {"breast"}
    assert SETTINGS.without("screen").text == SETTINGS.without("artefacts").rib == 0
    with pytest.raises(HtunetError, match=r"no group of ranges 'machines'. Did you mean"):
        SETTINGS.without("machines")


class Watched(SimulationSettings):
    """Settings that note which of them are asked for."""

    def __getattribute__(self, name: str) -> Any:
        object.__getattribute__(self, "__dict__").setdefault("asked", set()).add(name)
        return object.__getattribute__(self, name)


def test_no_setting_is_without_effect() -> None:
    often = {"bordered": 0.5, "text": 1.0, "several": 0.5, "rib": 1.0, "shadow": 1.0, "cropped": 0.5, "curved": 0.5}
    watched = Watched(height=48, width=48, lymph_node=0.3, prostate=0.2, muscle=0.2, vessel=0.2, **often)
    watched.__dict__["asked"].clear()
    names = {item.name for item in fields(watched)}
    for index in range(150):
        simulate(watched, 0, index)
        if names <= watched.__dict__["asked"]:
            return
    assert names - watched.__dict__["asked"] == set()


@pytest.mark.parametrize("organ", SETTINGS.organs)
def test_each_organ_can_be_had_alone(organ: str) -> None:
    only = SimulationSettings(**{name: float(name == organ) for name in SETTINGS.organs})
    made = [simulate(only, 0, index) for index in range(6)]
    assert {one.organ for one in made} == {organ}
    assert any(one.lesion.any() for one in made) == (organ != "vessel")
    own = {"breast": "gland", "lymph_node": "lymph node"}.get(organ, organ)
    assert any((one.dense["tissue"] == TISSUES.index(own)).any() for one in made)
    if organ in ("lymph_node", "prostate", "muscle"):
        assert all("Breast" not in one.caption for one in made)


def test_some_organs_alone_keep_their_weights() -> None:
    some = SETTINGS.only(["thyroid", "breast"])
    assert some == SimulationSettings(lymph_node=0, prostate=0, muscle=0, vessel=0)
    with pytest.raises(HtunetError, match=r"no organ 'breasts'. Did you mean 'breast'\? It has breast, thyroid, lymph"):
        SETTINGS.only(["breasts"])
    with pytest.raises(HtunetError, match=r"no organ ''"):
        SETTINGS.only([""])


def test_no_group_of_ranges_is_needed_for_an_image() -> None:
    for group in GROUPS:
        assert simulate(SETTINGS.without(group), 2, 3).image.std() > 0


def test_without_lesions_nothing_is_marked() -> None:
    none = SimulationSettings(no_lesion=1.0)
    for index in range(4):
        one = simulate(none, 0, index)
        assert (one.lesion.any(), one.lesion_class, one.signs) == (False, NO_LESION, {})
        assert not np.isin(one.dense["tissue"], LESION_LABELS).any()


def test_a_cyst_is_darker_than_what_is_around_it() -> None:
    cysts = SimulationSettings(
        no_lesion=0, malignant=0, anechoic=1, isoechoic=0, hyperechoic=0, mixed=0, several=0, calipers=0, text=0,
        area=(0.08, 0.1), thyroid=0, lymph_node=0, prostate=0, muscle=0, vessel=0, flat=0, brightness=(0.4, 0.5),
    )  # fmt: skip
    for index in range(6):
        one = simulate(cysts, 1, index)
        inside = one.lesion > 0
        around = binary_dilation(inside, iterations=10) & ~binary_dilation(inside, iterations=2)
        around &= (one.dense["tissue"] > 0) & ~one.dense["shadow"]
        assert one.signs["echo pattern"] == "anechoic"
        assert np.median(one.image[inside]) < np.median(one.image[around]) - 15


def test_outside_the_field_all_maps_are_zero() -> None:
    curved = SimulationSettings(curved=1.0, cropped=0.0, bordered=0.0, split=0.0, text=0.0)
    one = simulate(curved, 0, 0)
    outside = one.dense["tissue"] == 0
    assert outside[-1, 0]
    assert outside[-1, -1]
    assert not outside[:, outside.shape[1] // 2].any()
    assert all(not values[outside].any() for values in one.dense.values())
    depth = one.dense["depth"][:, 112].astype(float)
    assert (np.diff(depth) > 0).all()
