"""The insonified field is found without a mask, and what stands in the border is left out of it."""

from pathlib import Path

import numpy as np
import pytest
from builders.raw import speckled
from PIL import Image, ImageDraw
from scipy import ndimage

from htunet.data.field_of_view import Box, _of_neighbours, insonified_field, whole

CELL = 4
"""Pixels of a cell for the image below, which is how exactly the field is found."""


def screen(field: Box, hw: tuple[int, int] = (500, 640)) -> np.ndarray:
    """A black screen (1, H, W) with speckle in ``field``."""
    image = np.zeros((1, *hw), dtype=np.uint8)
    image[0, field.rows, field.columns] = speckled((field.height, field.width), np.random.default_rng(0))
    return image


def assert_near(found: Box, expected: Box) -> None:
    """Never inside the field, and at most two cells outside it."""
    outside = (
        expected.top - found.top,
        expected.left - found.left,
        found.top + found.height - expected.top - expected.height,
        found.left + found.width - expected.left - expected.width,
    )
    assert all(0 <= gap <= 2 * CELL for gap in outside), outside


FIELD = Box(80, 120, 360, 400)


def test_the_black_border_is_left_out() -> None:
    assert_near(insonified_field(screen(FIELD)), FIELD)


def test_text_rulers_and_a_gray_scale_in_the_border_are_left_out() -> None:
    picture = Image.fromarray(screen(FIELD)[0])
    draw = ImageDraw.Draw(picture)
    draw.text((5, 5), "HOSPITAL 22/11/2026 MI 1.1", fill=255, font_size=18)
    draw.text((550, 100), "FR 32Hz\nDR 70\nG 50%", fill=200, font_size=16)
    draw.line((530, 80, 530, 440), fill=255)
    for row in range(80, 440, 20):
        draw.line((530, row, 538, row), fill=255)
    draw.rectangle((10, 100, 30, 300), fill=180)
    assert_near(insonified_field(np.asarray(picture)[None]), FIELD)


def test_dark_tissue_is_not_border() -> None:
    image = screen(FIELD)
    image[0, 300:440, 120:520] = np.random.default_rng(1).integers(2, 12, (140, 400))
    assert_near(insonified_field(image), FIELD)


def test_two_views_side_by_side_are_both_kept() -> None:
    image = screen(Box(100, 40, 300, 250))
    image[0, 100:400, 340:600] = 90
    assert_near(insonified_field(image), Box(100, 40, 300, 560))


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((1, 40, 50), dtype=np.uint8), id="black"),
        pytest.param(np.full((3, 40, 50), 200, dtype=np.uint8), id="bright, three channels"),
        pytest.param(screen(Box(10, 10, 60, 60)), id="a field too small to believe"),
        pytest.param(np.full((1, 1, 1), 9, dtype=np.uint8), id="one pixel"),
        pytest.param(np.full((1, 1, 3000), 9, dtype=np.uint8), id="one row"),
    ],
)
def test_an_image_without_a_clear_border_stays_whole(image: np.ndarray) -> None:
    assert insonified_field(image) == whole(image.shape[1:])


def test_real_lesions_are_not_cropped(samples: Path) -> None:
    masks = sorted((samples / "busi_subset").rglob("*_mask.png"))
    assert masks
    for path in masks:
        mask = np.asarray(Image.open(path).convert("L")) > 0
        image = np.asarray(Image.open(path.with_name(path.name.replace("_mask", ""))).convert("L"))
        box = insonified_field(image[None])
        assert mask.sum() == mask[box.rows, box.columns].sum(), path.name


def test_opening_is_that_of_scipy() -> None:
    shown = np.random.default_rng(0).random((40, 61)) < 0.9
    padded = np.pad(shown, 2, mode="edge")
    opened = _of_neighbours(np.maximum, _of_neighbours(np.minimum, padded))
    assert 0 < opened.sum() < shown.sum()
    np.testing.assert_array_equal(opened, ndimage.binary_opening(padded, np.ones((3, 3)))[2:-2, 2:-2])
