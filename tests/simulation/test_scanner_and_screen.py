"""The machine at random keeps to its ranges, and the picture holds what it is told to hold."""

from dataclasses import replace

import numpy as np
import pytest

from htunet.simulation.physics import CURVED, LINEAR
from htunet.simulation.scanner import draw_grid, draw_receiver, draw_transducer, scan
from htunet.simulation.scene import Scene
from htunet.simulation.screen import Panel, annotated, draw_panels, draw_window, stored
from htunet.simulation.settings import SimulationSettings

SETTINGS = SimulationSettings()


def test_the_machine_keeps_to_its_ranges() -> None:
    rng = np.random.default_rng(0)
    for organ in ("breast", "thyroid", "prostate"):
        for _ in range(30):
            grid = draw_grid(SETTINGS, organ, rng, (224, 224))
            transducer = draw_transducer(SETTINGS, grid, rng)
            assert 3 <= transducer.frequency_mhz <= 18
            assert 0.2 * grid.depth_mm <= transducer.focus_mm <= 0.8 * grid.depth_mm
            middle = draw_transducer(replace(SETTINGS, focus=(0.5, 0.5)), grid, rng)
            assert middle.focus_mm == pytest.approx(grid.depth_mm / 2)
            assert (grid.geometry == CURVED) or organ != "prostate"
            low, high = (45, 140) if organ == "prostate" else (26 if organ == "thyroid" else 20, 62)
            assert low <= grid.depth_mm <= high


@pytest.mark.parametrize("brightness", [0.2, 0.5])
def test_the_gain_gives_the_brightness(brightness: float) -> None:
    settings = replace(SETTINGS, brightness=(brightness, brightness), contact=0.0, shadow=0.0, speckle_reduction=(0, 0))
    rng = np.random.default_rng(1)
    grid = draw_grid(settings, "breast", rng, (224, 224))
    scene = Scene.empty(grid, rng)
    gray = scan(settings, scene, draw_transducer(settings, grid, rng), draw_receiver(settings, grid, rng))
    assert gray.mean() == pytest.approx(brightness, abs=0.03)
    assert 0 <= gray.min() <= gray.max() <= 1


def test_panels_lie_within_the_picture_and_beside_each_other() -> None:
    rng = np.random.default_rng(0)
    settings = replace(SETTINGS, height=96, width=160, split=0.5)
    counts = set()
    for _ in range(60):
        shown = np.zeros((96, 160), dtype=int)
        panels = draw_panels(settings, "thyroid", rng)
        for panel in panels:
            assert min(panel.top, panel.left) >= 0
            assert panel.top + panel.height <= 96
            assert panel.left + panel.width <= 160
            shown[panel.place] += 1
        assert shown.max() == 1
        counts.add(len(panels))
    assert counts == {1, 2}


def test_a_cropped_field_still_shows_the_middle_of_each_lesion() -> None:
    rng = np.random.default_rng(0)
    settings = replace(SETTINGS, cropped=1.0, curved=0.0, trapezoid=0.0)
    for _ in range(40):
        grid = draw_grid(settings, "breast", rng, (224, 224))
        assert grid.geometry == LINEAR
        place = (0.45 * grid.width_mm, 0.9 * grid.depth_mm)
        left, right, top, bottom = draw_window(settings, grid, [place], rng)
        assert left < place[0] < right
        assert 0 <= top < place[1] < bottom <= grid.depth_mm


def test_marks_are_drawn_only_where_asked_for() -> None:
    picture, lesion = np.zeros((224, 224), dtype=np.uint8), np.zeros((224, 224), dtype=np.uint8)
    lesion[80:120, 60:140] = 1
    panels = [Panel(0, 0, 224, 224)]
    plain = replace(SETTINGS, text=0.0, calipers=0.0, false_calipers=0.0)
    assert not annotated(picture, panels, lesion, plain, np.random.default_rng(0)).any()
    measured = annotated(picture, panels, lesion, replace(plain, calipers=1.0), np.random.default_rng(0))
    rows, columns = np.nonzero(measured)
    assert (rows.min(), rows.max()) == pytest.approx((80, 119), abs=5)
    assert (columns.min(), columns.max()) == pytest.approx((60, 139), abs=5)
    assert annotated(picture, panels, lesion, replace(plain, text=1.0), np.random.default_rng(3)).any()


def test_a_jpeg_of_low_quality_changes_the_picture_a_little() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    kept = stored(picture, replace(SETTINGS, jpeg_quality=(100, 100)), rng)
    assert (kept == picture).all()
    coarse = stored(picture, replace(SETTINGS, jpeg_quality=(40, 40)), rng)
    assert coarse.shape == picture.shape
    assert 0 < np.abs(coarse.astype(int) - picture).mean() < 60
