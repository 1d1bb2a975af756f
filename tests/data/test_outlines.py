"""Masks that are drawn outlines: what they enclose, by hand."""

import numpy as np
import pytest

from htunet.data.outlines import enclosed, filled, is_outline

RING = np.array([[0, 1, 1, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [0, 1, 1, 1, 0]], np.uint8)


def test_a_diagonal_line_is_closed_and_a_gap_is_not() -> None:
    assert enclosed(RING > 0).sum() == 6
    gap = RING.copy()
    gap[1, 0] = 0
    assert not enclosed(gap > 0).any()
    assert not enclosed(RING[1:] > 0).any()  # open at the edge of the image


def test_filling_gives_the_inner_outline_its_own_area() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[0:9, 0:9], labels[1:8, 1:8] = 1, 0
    labels[3:6, 3:6], labels[4, 4] = 2, 0
    found = filled(labels)
    assert (found == 2).sum() == 9
    assert (found == 1).sum() == 81 - 9
    np.testing.assert_array_equal(filled(found), found)


@pytest.mark.parametrize(
    ("mask", "outline"),
    [(RING, True), (np.ones((4, 5), np.uint8), False), (np.eye(6, dtype=np.uint8), False), (np.pad(RING, 30), True)],
    ids=["ring", "area", "line", "small ring"],
)
def test_an_outline_encloses_much_of_what_it_does_not_mark(mask: np.ndarray, outline: bool) -> None:
    assert is_outline(mask > 0) is outline


def test_an_area_with_a_small_hole_is_no_outline() -> None:
    rows, columns = np.ogrid[:41, :41]
    distance = (rows - 20) ** 2 + (columns - 20) ** 2
    assert not is_outline((distance <= 400) & (distance > 25))
    assert is_outline((distance <= 400) & (distance > 270))


def test_the_quick_look_changes_no_answer() -> None:
    draw = np.random.default_rng(0)
    masks = [draw.random(draw.integers(1, 15, 2)) < draw.random() for _ in range(300)]
    for mask in masks[:200]:
        mask[[0, -1]] = mask[:, [0, -1]] = True
    masks = [mask for mask in masks if mask.any()]
    found = [is_outline(mask) for mask in masks]
    assert found == [enclosed(mask).sum() > 0.5 * mask.sum() for mask in masks]
    assert any(found)
