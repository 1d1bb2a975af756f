"""Polygons of masks fill the masks again; independent: COCO's own decoder."""

import numpy as np
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from dataset_conversion.formats.polygons import fill_polygons, polygons_of


def blobs(seed: int, smooth: float, part: float) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 90)), smooth)
    return np.asarray(field > np.quantile(field, 1 - part))


@pytest.mark.parametrize("smooth", [0.7, 2, 5])
@pytest.mark.parametrize("part", [0.02, 0.1, 0.16])
def test_small_areas_with_holes_come_back_to_the_pixel(smooth: float, part: float) -> None:
    mask = blobs(1, smooth, part)
    assert np.array_equal(fill_polygons(polygons_of(mask), mask.shape), mask)


@pytest.mark.parametrize("fill", [False, True])
def test_nothing_is_no_polygon_and_everything_is_one(fill: bool) -> None:
    mask = np.full((7, 9), fill)
    found = polygons_of(mask)
    assert len(found) == fill
    assert np.array_equal(fill_polygons(found, mask.shape), mask)


def test_a_large_area_has_few_points_and_stays_within_a_pixel() -> None:
    y, x = np.mgrid[:300, :400]
    mask = ((x - 200) / 120) ** 2 + ((y - 150) / 80) ** 2 < 1
    (polygon,) = polygons_of(mask)
    assert len(polygon) < 60
    found = fill_polygons([polygon], mask.shape)
    assert not (found & ~ndimage.binary_dilation(mask)).any()
    assert not (ndimage.binary_erosion(mask) & ~found).any()
    whole = coco.decode(coco.merge(coco.frPyObjects([np.ravel(polygon).tolist()], 300, 400)))
    assert (whole.astype(bool) ^ found).sum() < 0.02 * mask.sum()  # the reference decoder rounds outlines to pixels
