"""Simulated images: the same for the same key, and their truth is the truth."""

import numpy as np
import pytest

from htunet.errors import HtunetError
from htunet.simulation.settings import SimulationSettings
from htunet.simulation.simulate import NO_LESION, SIGNS, TISSUES, SimulatedImage, simulate

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
        assert ((one.dense["tissue"] == TISSUES.index("lesion")) == (one.lesion > 0)).all()
        assert (one.lesion.any(), bool(one.signs)) == (one.lesion_class != NO_LESION,) * 2
        assert all(value in SIGNS[sign] for sign, value in one.signs.items())
        assert set(one.signs) in ({*SIGNS}, set())
        assert one.caption


def test_settings_survive_json_and_name_what_is_impossible() -> None:
    other = SimulationSettings(area=(0.02, 0.1), height=96)
    assert SimulationSettings.from_json(other.to_json()) == other
    assert other.sha256 != SETTINGS.sha256 == SimulationSettings().sha256
    with pytest.raises(HtunetError, match=r"area must lie in 0.001..0.8"):
        SimulationSettings(area=(0.2, 0.1))
    with pytest.raises(HtunetError, match=r"no_lesion must lie in 0..1 .* got 1.5"):
        SimulationSettings(no_lesion=1.5)
    with pytest.raises(HtunetError, match=r"height must be in 32..1024 pixels, got 8"):
        SimulationSettings(height=8)
    with pytest.raises(HtunetError, match=r"the key 'areas' is not known"):
        SimulationSettings.from_json({"areas": [0.1, 0.2]})
    with pytest.raises(HtunetError, match=r"index .* at least 0"):
        simulate(SETTINGS, 0, -1)


def test_without_a_group_its_ranges_are_points() -> None:
    narrow = SETTINGS.without("machine")
    assert narrow.frequency_mhz == (10.5, 10.5)
    assert narrow.area == SETTINGS.area
    assert SETTINGS.without("organs").thyroid == 0
    with pytest.raises(HtunetError, match=r"no group of ranges 'machines'. Did you mean"):
        SETTINGS.without("machines")
