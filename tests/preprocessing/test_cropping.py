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
