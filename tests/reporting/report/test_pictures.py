import io

import numpy as np
import pytest
from builders.raw import build_raw
from PIL import Image

from htunet.data.image_io import write_png
from htunet.data.raw import read_raw
from htunet.paths import DatasetPaths
from htunet.reporting.overlays import overlay
from htunet.reporting.report.pictures import Pictures, layer_png, longer_side


def blended(gray: np.ndarray, layer: bytes) -> np.ndarray:
    """A layer over a gray image, as a browser shows it."""
    picture = Image.fromarray(gray).convert("RGBA")
    picture.alpha_composite(Image.open(io.BytesIO(layer)).convert("RGBA"))
    return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("num_labels", [1, 2])
def test_a_layer_over_an_image_is_the_overlay(num_labels: int) -> None:
    random = np.random.default_rng(0)
    gray = random.integers(0, 256, (60, 80), dtype=np.uint8)
    prediction, reference = np.zeros((2, 60, 80), np.uint8)
    prediction[10:40, 10:50] = 1
    reference[20:50, 20:60] = 1
    if num_labels == 2:
        prediction[45:55, 5:20] = reference[44:52, 60:75] = 2
    expected = overlay(gray, prediction, reference, num_labels=num_labels).astype(int)
    found = blended(gray, layer_png(prediction, reference, num_labels=num_labels))
    assert np.abs(found - expected).max() <= 2  # half of 255 is no whole number


def test_nothing_predicted_and_nothing_true_is_a_clear_layer() -> None:
    nothing = np.zeros((20, 30), np.uint8)
    layer = np.asarray(Image.open(io.BytesIO(layer_png(nothing, nothing))).convert("RGBA"))
    assert layer.shape == (20, 30, 4)
    assert not layer[..., 3].any()


def test_an_image_is_made_once_and_scaled_with_its_layer(home: object) -> None:
    paths = build_raw(4, sizes=[(100, 200)])
    pictures = Pictures(50)
    assert [pictures.image(paths.name, name) for name in ("case_0000", "case_0001", "case_0000")] == [0, 1, 0]
    raw = read_raw(paths)
    assert pictures.layer(paths.name, "case_0000", raw.label_path(raw.cases[0])) == 0
    for data in (*pictures.images, *pictures.layers):
        assert Image.open(io.BytesIO(data)).size == (50, 25)
    assert pictures.legend(paths.name) == (("#ff0000", "missed"), ("#00ff00", "extra"), ("#ffff00", "right"))


def test_what_is_not_there_is_told_and_stops_nothing(home: object) -> None:
    paths = build_raw(2)
    pictures = Pictures(50)
    assert pictures.image("Dataset904_Gone", "case_0000") is None
    assert pictures.image(paths.name, "unknown") is None
    assert pictures.layer(paths.name, "unknown", paths.raw / "none.png") is None
    assert "Dataset904_Gone" in pictures.problems["Dataset904_Gone"]
    assert "no case unknown" in pictures.problems[paths.name]


def test_a_prediction_of_another_shape_is_told(home: object) -> None:
    paths = build_raw(2)
    pictures = Pictures(50)
    wrong = DatasetPaths(paths.name).raw / "wrong.png"
    write_png(wrong, np.zeros((3, 3), np.uint8))
    pictures.image(paths.name, "case_0000")
    assert pictures.layer(paths.name, "case_0000", wrong) is None
    assert "shape (3, 3)" in pictures.problems[paths.name]


def test_more_images_are_smaller_ones() -> None:
    assert [longer_side(n) for n in (1, 150, 151, 900, 5_000)] == [512, 512, 384, 288, 224]
