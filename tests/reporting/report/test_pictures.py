import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.raw import build_raw
from PIL import Image

from htunet.data.image_io import write_png
from htunet.data.raw import read_raw
from htunet.paths import DatasetPaths
from htunet.reporting.overlays.draw import label_colour, overlay, paint
from htunet.reporting.report.pictures import (
    REFERENCE,
    UNCERTAINTY,
    PictureRequest,
    draw,
    draw_all,
    layer_png,
    longer_side,
    outline_png,
)


def blended(gray: np.ndarray, layer: bytes) -> np.ndarray:
    """A layer over a gray image, as a browser shows it."""
    picture = Image.fromarray(gray).convert("RGBA")
    picture.alpha_composite(Image.open(io.BytesIO(layer)).convert("RGBA"))
    return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("num_labels", [1, 2])
def test_filled_areas_over_an_image_are_those_of_the_overlay(num_labels: int) -> None:
    random = np.random.default_rng(0)
    gray = random.integers(0, 256, (60, 80), dtype=np.uint8)
    prediction, reference = np.zeros((2, 60, 80), np.uint8)
    prediction[10:40, 10:50] = 1
    reference[20:50, 20:60] = 1
    if num_labels == 2:
        prediction[45:55, 5:20] = reference[44:52, 60:75] = 2
    expected = overlay(gray, prediction, reference, num_labels=num_labels).astype(int)
    table, areas, lines = paint(prediction, reference, num_labels)
    found = blended(gray, layer_png(table, areas, 0.5))
    assert np.abs(found - expected)[lines == 0].max() <= 2  # half of 255 is no whole number
    assert (areas > 0).any()


def test_an_outline_is_the_rim_of_each_area_in_its_colour() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 10:40], labels[40:50, 50:70] = 1, 2
    clear = np.asarray(
        Image.open(io.BytesIO(outline_png(np.zeros_like(labels), several=False, colour=REFERENCE))).convert("RGBA")
    )
    assert not clear[..., 3].any()
    one = np.asarray(Image.open(io.BytesIO(outline_png(labels, several=False, colour=REFERENCE))).convert("RGBA"))
    assert tuple(one[11, 25]) == tuple(one[41, 60]) == (*REFERENCE, 255)
    assert [one[y, x, 3] for y, x in ((20, 25), (12, 25), (9, 25))] == [0, 0, 0]  # two pixels wide, inside the area
    own = np.asarray(Image.open(io.BytesIO(outline_png(labels, several=True, colour=REFERENCE))).convert("RGBA"))
    assert (tuple(own[10, 25, :3]), tuple(own[40, 60, :3])) == (label_colour(1), label_colour(2))
    dashed = np.asarray(
        Image.open(io.BytesIO(outline_png(labels, several=True, colour=REFERENCE, dashed=True))).convert("RGBA")
    )
    assert 0.3 < (dashed[..., 3] > 0).sum() / (own[..., 3] > 0).sum() < 0.7


def request(paths: DatasetPaths, *predictions: Path) -> PictureRequest:
    """The first image of a raw folder with these predictions."""
    raw = read_raw(paths)
    image, label = raw.image_path(raw.cases[0]), raw.label_path(raw.cases[0])
    return PictureRequest(
        image=image, label=label, channels=1, num_labels=1, predictions=predictions or (label,), side=50
    )


def test_an_image_and_its_layers_are_scaled_alike(home: Path) -> None:
    found = draw(request(build_raw(4, sizes=[(100, 200)])))
    assert found.problems == ()
    assert found.layers[0] is not None
    for data in (found.picture, found.reference, found.layers[0].fill, found.layers[0].prediction):
        assert data is not None
        assert Image.open(io.BytesIO(data)).size == (50, 25)


def test_what_is_not_there_is_told_and_stops_nothing(home: Path) -> None:
    paths = build_raw(2)
    own = request(paths)
    none, wrong = paths.raw / "none.png", paths.raw / "wrong.png"
    write_png(wrong, np.zeros((3, 3), np.uint8))
    found = draw(request(paths, none, own.label, wrong))
    assert found.picture is not None
    assert [layer is None for layer in found.layers] == [True, False, True]
    assert "none.png" in found.problems[0]
    assert "shape (3, 3)" in found.problems[1]
    missing = draw(replace(own, image=none))
    assert (missing.picture, missing.layers) == (None, (None,))
    assert "none.png" in missing.problems[0]


def test_uncertainty_is_a_layer_of_its_own_where_it_is_known(home: Path) -> None:
    paths = build_raw(2, sizes=[(100, 200)])
    own = request(paths)
    levels = np.zeros((100, 200), np.uint8)
    levels[:, 100:], levels[50:, 100:] = 255, 119
    write_png(paths.raw / "doubt.png", levels)
    (layer,) = draw(replace(own, uncertainties=(paths.raw / "doubt.png",))).layers
    assert layer is not None
    drawn = np.asarray(Image.open(io.BytesIO(layer.uncertainty)).convert("RGBA"))
    assert drawn.shape == (12, 25, 4)  # half of 50 x 25
    assert [drawn[y, x, 3] for y, x in ((6, 5), (2, 20), (10, 20))] == [0, 217, 101]  # 0.85 of the level
    assert tuple(drawn[2, 20, :3]) == UNCERTAINTY
    for missing in ((), (paths.raw / "none.png",)):  # results of earlier versions have none
        found = draw(replace(own, uncertainties=missing))
        assert found.layers[0] is not None
        assert (found.layers[0].uncertainty, found.problems) == (b"", ())


def test_processes_draw_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = request(build_raw(2))
    alone = draw_all([own, own])
    monkeypatch.setattr("htunet.reporting.report.pictures.suitable_workers", lambda _: 2)
    assert draw_all([own, own]) == alone


def test_more_images_are_smaller_ones() -> None:
    assert [longer_side(n) for n in (1, 150, 151, 900, 5_000)] == [512, 512, 384, 288, 224]
