"""Lesions follow the ranges of the settings, and lie where they are put."""

from dataclasses import replace

import numpy as np
import pytest

from htunet.simulation.nodules import Nodule, draw_nodule, insert_nodule, moved, placed
from htunet.simulation.physics import LINEAR, BeamGrid
from htunet.simulation.scene import LABEL, Scene
from htunet.simulation.settings import SimulationSettings

SETTINGS = SimulationSettings()
GRID = BeamGrid(geometry=LINEAR, depth_mm=40.0, width_mm=40.0, num_samples=200, num_beams=160, pad=8)


def drawn(settings: SimulationSettings, count: int, organ: str = "breast") -> list[Nodule]:
    rng = np.random.default_rng(0)
    return [draw_nodule(settings, organ, rng, 1600.0) for _ in range(count)]


def test_the_shares_of_patterns_are_those_of_the_settings() -> None:
    hyper = replace(SETTINGS, malignant=0.0, anechoic=0.0, isoechoic=0.0, hyperechoic=1.0, mixed=0.0)
    assert {one.lesion.pattern for one in drawn(hyper, 20)} == {"hyperechoic"}
    assert all(one.lesion.contrast_db < 0 for one in drawn(hyper, 20))
    cystic = [one for one in drawn(SETTINGS, 400) if one.lesion.pattern == "anechoic"]
    assert all(one.lesion.class_name == "benign" for one in cystic)
    assert len(cystic) == pytest.approx(400 * 0.6 * 0.15, rel=0.5)
    assert not any(one.lesion.strands or one.lesion.halo_db for one in drawn(SETTINGS, 50, "thyroid"))


def test_cysts_and_calcifications_keep_to_their_ranges() -> None:
    plain = {"isoechoic": 0.0, "hyperechoic": 0.0, "mixed": 0.0, "malignant": 0.0}
    some = replace(SETTINGS, anechoic=1.0, cyst_db=(20.0, 21.0), calcified=1.0, calcifications=(2.0, 3.0), **plain)
    made = [one.lesion for one in drawn(some, 40)]
    assert all(20 <= one.contrast_db <= 21 for one in made)
    assert {one.calcifications for one in made} == {2, 3}
    indistinct = replace(SETTINGS, malignant=0.0, benign_margins=(0.0, 1.0, 0.0))
    assert {one.lesion.margin for one in drawn(indistinct, 10)} == {"indistinct"}


def test_a_nodule_keeps_its_area_when_it_is_flattened() -> None:
    size = replace(SETTINGS, area=(0.1, 0.1001), flat=1.0, malignant=0.0)
    for one in drawn(size, 40):
        outline = one.lesion.outline
        area = np.pi * outline.half_width_mm * outline.half_height_mm * np.mean(np.square(outline.radius))
        assert area == pytest.approx(160, rel=0.02) or area < 0.71 * 160  # the larger ones are made rarer
        assert outline.half_height_mm < 0.43 * outline.half_width_mm


def test_most_of_a_nodule_is_in_the_field_and_below_the_top() -> None:
    rng = np.random.default_rng(0)
    small = replace(SETTINGS, area=(0.01, 0.05))
    for one in drawn(small, 40):
        here = placed(one, GRID, small, rng, 1.5).lesion.outline
        height = here.half_extent_mm[1]
        assert abs(here.lateral_mm) <= 20
        assert here.depth_mm - height >= 1.49
        assert here.depth_mm <= 40


def test_an_inserted_nodule_is_listed_labelled_and_as_dark_as_it_should_be() -> None:
    dark = replace(
        SETTINGS, area=(0.05, 0.06), malignant=0.0, anechoic=0.0, isoechoic=0.0, hyperechoic=0.0, mixed=0.0,
        contrast_db=(15.0, 15.0), coarse_calcification=0.0,
    )  # fmt: skip
    scene = Scene.empty(GRID, np.random.default_rng(0))
    nodule = moved(drawn(dark, 1)[0], 3.0, 20.0)
    distance = insert_nodule(nodule, scene)
    assert scene.lesions == [nodule.lesion]
    assert scene.distances[0] is distance
    assert ((scene.labels == LABEL["lesion"]) == (distance < 0)).all()
    assert np.median(scene.tissue.echo_db[distance < -1]) == pytest.approx(-15, abs=4)
    rows, columns = np.nonzero(distance < 0)
    assert scene.depth[rows, columns].mean() == pytest.approx(20, abs=1.0)
    assert scene.lateral[rows, columns].mean() == pytest.approx(3, abs=1.0)
