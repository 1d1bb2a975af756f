"""What anatomy is put together from: levels, labels and shadows are where they were asked for."""

import numpy as np
import pytest

from htunet.simulation.lesions import Outline
from htunet.simulation.physics import LINEAR, BeamGrid, accumulated_loss
from htunet.simulation.scene import LABEL, Layer, Scene

GRID = BeamGrid(geometry=LINEAR, depth_mm=40.0, width_mm=40.0, num_samples=200, num_beams=120, pad=8)
DISC = Outline(lateral_mm=0.0, depth_mm=15.0, half_width_mm=5.0, half_height_mm=5.0)


@pytest.fixture
def scene() -> Scene:
    return Scene.empty(GRID, np.random.default_rng(0))


def test_layers_lie_in_their_order_and_fill_the_field(scene: Scene) -> None:
    sheets = [
        Layer(tissue=name, thickness_mm=thickness, level_db=level, clouds_db=0.0)
        for name, thickness, level in (("skin", 2.0, 4.0), ("fat", 10.0, -8.0), ("muscle", 1e6, -14.0))
    ]
    scene.layers(sheets, waviness_mm=0.0, slope=0.0, septa=0.0)
    column = scene.labels[:, 60]
    edges = np.flatnonzero(np.diff(column)) * GRID.sample_mm
    assert edges == pytest.approx([2.0, 12.0], abs=0.8)
    assert [column[2], column[30], column[-1]] == [LABEL["skin"], LABEL["fat"], LABEL["muscle"]]
    assert scene.tissue.echo_db[30].mean() == pytest.approx(-8.0, abs=0.5)
    assert scene.tissue.echo_db[-20:].mean() == pytest.approx(-14.0, abs=0.1)


def test_what_is_filled_has_the_level_and_the_label(scene: Scene) -> None:
    distance = DISC.distance(scene.lateral, scene.depth)
    scene.tissue.mirror += 1
    scene.fill(distance, "thyroid", -7.0)
    assert (scene.labels == LABEL["thyroid"]).sum() * GRID.sample_mm * GRID.beam_mm == pytest.approx(
        25 * np.pi, rel=0.03
    )
    assert scene.tissue.echo_db[distance < -1] == pytest.approx(-7.0, abs=0.01)
    assert scene.tissue.mirror[distance < -1] == pytest.approx(0.0, abs=0.01)
    assert scene.tissue.echo_db[distance > 1] == pytest.approx(0.0, abs=0.01)


def test_air_is_bright_in_front_and_shadows_what_lies_behind(scene: Scene) -> None:
    scene.opaque(DISC.distance(scene.lateral, scene.depth), "air", repeats_mm=2.0)
    loss = accumulated_loss(scene.tissue.loss_db_per_mm, GRID)
    middle, beside = GRID.shape[1] // 2, 4
    assert loss[-1, middle] > 2
    assert loss[-1, beside] == pytest.approx(0.0, abs=1e-6)
    front = round(10 / GRID.sample_mm)
    assert scene.tissue.mirror[front - 2 : front + 3, middle].max() > 0.2
    assert scene.reverberating[front + 10, middle]
    assert not scene.reverberating[: front - 2].any()
    assert not scene.reverberating[:, beside].any()
