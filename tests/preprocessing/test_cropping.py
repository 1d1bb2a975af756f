"""What a plan uses of an image, and what it loses by that."""

import numpy as np
from builders.plan import plan_of

from htunet.data.field_of_view import Box
from htunet.preprocessing.cropping import crop_box, lesion_pixels_lost


def test_only_a_plan_that_crops_crops() -> None:
    image = np.zeros((1, 100, 120), np.uint8)
    image[:, 20:80, 10:110] = 90
    assert crop_box(image, plan_of(crop_border=False)) == Box(0, 0, 100, 120)
    assert crop_box(image, plan_of(crop_border=True)) == Box(19, 9, 62, 102)


def test_lost_lesion_pixels_are_counted() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[2:6, 2:6] = 2
    assert lesion_pixels_lost(mask, Box(0, 0, 10, 10)) == 0
    assert lesion_pixels_lost(mask, Box(3, 0, 7, 10)) == 4


def test_a_margin_keeps_what_reaches_out_of_the_field_and_ends_at_the_image() -> None:
    """The field is 60 of 100 columns and its margin of one cell; the lesion reaches 4 pixels further."""
    image, mask = np.zeros((1, 80, 100), np.uint8), np.zeros((80, 100), np.uint8)
    image[:, :, 20:80] = 120
    mask[30:50, 70:85] = 1
    plain = crop_box(image, plan_of(crop_border=True))
    assert plain == Box(0, 19, 80, 62)
    assert lesion_pixels_lost(mask, plain) == 20 * 4
    kept = crop_box(image, plan_of(crop_border=True, crop_margin=0.04))
    assert kept == Box(0, 15, 80, 70)
    assert lesion_pixels_lost(mask, kept) == 0
    assert kept.corners == (15, 0, 85, 80)
    assert crop_box(image, plan_of(crop_border=True, crop_margin=0.5)) == Box(0, 0, 80, 100)
