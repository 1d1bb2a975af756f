"""How far groups of images lie apart, and where they are drawn."""

import numpy as np
import pytest

from htunet.reporting.figures.features import planes, separation, standardised


def clusters(distance: float) -> tuple[np.ndarray, list[str]]:
    points = np.random.default_rng(0).normal(size=(20, 3))
    groups = ["benign"] * 12 + ["malignant"] * 8
    return points + distance * (np.array(groups) == "malignant")[:, None], groups


def test_groups_far_apart_are_found_by_their_neighbours() -> None:
    found = separation(*clusters(20))
    assert found.neighbours == 1.0
    assert found.silhouette is not None
    assert found.silhouette > 0.8
    assert found.largest == pytest.approx(0.6)
    assert found.text.startswith("5-NN 100 % (largest 60 %)")


def test_groups_in_one_cloud_are_not() -> None:
    found = separation(*clusters(0))
    assert found.silhouette is not None
    assert found.neighbours is not None
    assert abs(found.silhouette) < 0.15
    assert found.neighbours < 0.9


def test_an_image_is_not_its_own_neighbour() -> None:
    points = np.arange(7.0)[
        :, None
    ]  # a b a b a b a: of the five nearest others of each image most are of the other group
    assert separation(points, list("abababa")).neighbours == 0.0


def test_images_without_a_group_and_few_images_count_for_nothing() -> None:
    points, groups = clusters(20)
    without = separation(np.concatenate([points, points]), [*groups, *[""] * 20])
    assert without == separation(points, groups)
    assert separation(points[:4], ["a", "b", "a", "b"]).neighbours is None
    assert separation(points, ["a"] * 20).silhouette is None


def test_a_feature_that_never_changes_is_zero() -> None:
    values = standardised(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert values.tolist() == [[-1, 0], [1, 0]]


def test_equal_seeds_give_equal_places() -> None:
    points, _ = clusters(3)
    first, again, other = (planes(points, seed) for seed in (1, 1, 2))
    assert list(first) == ["PCA", "t-SNE, perplexity 6.33"]
    for name in first:
        assert np.array_equal(first[name], again[name])
    assert np.array_equal(first["PCA"], other["PCA"])


def test_the_first_axis_of_pca_is_the_direction_in_which_the_groups_lie_apart() -> None:
    points, groups = clusters(20)
    places = planes(points, 0)["PCA"][:, 0]
    malignant = np.array(groups) == "malignant"
    assert places[malignant].min() > places[~malignant].max() or places[malignant].max() < places[~malignant].min()
