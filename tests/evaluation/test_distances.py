"""Distances that a reader can count on squared paper, then medpy as the independent implementation."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from htunet.evaluation.distances import SurfaceDistances, outline, percentile95, surface_distances
from htunet.evaluation.metrics import METRICS

DISTANCES = ("hd95", "asd", "hd95_max", "asd_directed")
SPACINGS = [(1.0, 1.0), (0.3, 0.7), (2.0, 0.1)]


def of(metric: str, found: SurfaceDistances) -> float:
    return float(METRICS[metric].of(found))


def dot(row: int, column: int, shape: tuple[int, int] = (7, 12)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[row, column] = True
    return mask


def random_mask(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> np.ndarray:
    if kind == "dot":
        return dot(int(rng.integers(shape[0])), int(rng.integers(shape[1])), shape)
    if kind == "full":
        return np.ones(shape, dtype=bool)
    if kind == "blob":
        values = gaussian_filter(rng.standard_normal(shape), 4)
        return np.asarray(values >= np.quantile(values, 0.8))
    mask = rng.random(shape) < {"noise": 0.5, "sparse": 0.03}[kind]
    mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
    return np.asarray(mask)


def test_two_dots_are_as_far_apart_as_pythagoras_says() -> None:
    found = surface_distances(dot(1, 1), dot(4, 5))
    assert [of(metric, found) for metric in DISTANCES] == [5.0] * 4


def test_spacing_is_row_then_column() -> None:
    assert of("asd", surface_distances(dot(1, 1), dot(1, 4), (0.5, 0.1))) == pytest.approx(0.3)
    assert of("asd", surface_distances(dot(1, 1), dot(4, 1), (0.5, 0.1))) == pytest.approx(1.5)


def test_the_variants_of_the_public_code_are_directed() -> None:
    prediction = dot(0, 0) | dot(0, 10)
    found = surface_distances(prediction, dot(0, 0))
    assert sorted(found.to_reference) == [0.0, 10.0]
    assert list(found.to_prediction) == [0.0]
    assert of("asd", found) == pytest.approx(10 / 3)
    assert of("asd_directed", found) == 5.0
    assert of("hd95", found) == pytest.approx(9.0)  # 95 % of the way through 0, 0, 10
    assert of("hd95_max", found) == pytest.approx(9.5)  # 95 % of the way from 0 to 10


def test_the_outline_of_a_square_is_its_rim_and_the_border_of_the_image_counts_as_outside() -> None:
    mask = np.ones((4, 5), dtype=bool)
    rim = mask.copy()
    rim[1:-1, 1:-1] = False
    np.testing.assert_array_equal(outline(mask), rim)


@pytest.mark.parametrize("empty", ["prediction", "reference"])
def test_an_empty_mask_has_no_distance(empty: str) -> None:
    masks = {"prediction": dot(1, 1), "reference": dot(2, 2)} | {empty: np.zeros((7, 12), dtype=bool)}
    with pytest.raises(ValueError, match=f"The {empty} is empty"):
        surface_distances(**masks)


@pytest.mark.parametrize("n", [1, 2, 3, 20, 21, 1000])
def test_the_percentile_is_that_of_numpy(n: int) -> None:
    values = np.random.default_rng(n).random(n)
    assert percentile95(values) == pytest.approx(np.percentile(values, 95), abs=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("first", ["dot", "blob", "noise", "sparse", "full"])
def test_all_kinds_of_masks_equal_medpy(first: str, spacing: tuple[float, float]) -> None:
    medpy = pytest.importorskip("medpy.metric.binary")
    rng = np.random.default_rng(0)
    for second in ("dot", "blob", "noise", "sparse", "full"):
        for shape in ((1, 1), (1, 40), (33, 2), (30, 61)):
            a, b = random_mask(rng, shape, first), random_mask(rng, shape, second)
            found = surface_distances(a, b, spacing)
            assert of("hd95", found) == pytest.approx(medpy.hd95(a, b, spacing), abs=1e-9)
            assert of("asd", found) == pytest.approx(medpy.assd(a, b, spacing), abs=1e-9)
            assert of("asd_directed", found) == pytest.approx(medpy.asd(a, b, spacing), abs=1e-9)


@pytest.mark.parametrize("kinds", [("blob", "blob"), ("noise", "noise"), ("noise", "blob"), ("sparse", "sparse")])
def test_values_at_the_input_size_of_the_paper_equal_medpy(kinds: tuple[str, str]) -> None:
    medpy = pytest.importorskip("medpy.metric.binary")
    rng = np.random.default_rng(1)
    a, b = (random_mask(rng, (224, 224), kind) for kind in kinds)
    found = surface_distances(a, b)
    assert of("hd95", found) == pytest.approx(medpy.hd95(a, b), abs=1e-9)
    assert of("asd", found) == pytest.approx(medpy.assd(a, b), abs=1e-9)


def test_masks_far_apart_equal_medpy() -> None:
    medpy = pytest.importorskip("medpy.metric.binary")
    a, b = np.zeros((2, 40, 90), dtype=bool)
    a[:, :6], b[5:30, 70:] = True, True
    assert of("hd95", surface_distances(a, b)) == pytest.approx(medpy.hd95(a, b), abs=1e-9)
