from itertools import combinations

import numpy as np
import pytest

from htunet.reporting.overlays.draw import (
    EXTRA,
    LEGEND,
    MISSED,
    RIGHT,
    contour,
    label_colour,
    legend_of,
    overlay,
    with_strip,
)


def block(top: int, left: int, height: int, width: int, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


IMAGE = np.full((40, 60), 100, np.uint8)
REFERENCE = block(5, 5, 20, 30)
PREDICTION = block(5, 20, 20, 30)


def test_areas_are_half_transparent_in_the_papers_colours() -> None:
    picture = overlay(IMAGE, PREDICTION, REFERENCE)
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[12, 10].tolist() == [178, 50, 50]  # missed: red
    assert picture[12, 45].tolist() == [50, 178, 50]  # extra: green
    assert picture[12, 27].tolist() == [178, 178, 50]  # right: yellow


def test_contours_of_both_masks_are_opaque() -> None:
    picture = overlay(IMAGE, PREDICTION, REFERENCE)
    assert tuple(picture[5, 10]) == MISSED
    assert tuple(picture[12, 49]) == EXTRA
    assert tuple(picture[12, 20]) == tuple(picture[5, 30]) == RIGHT


def test_a_prediction_alone_is_yellow() -> None:
    picture = overlay(IMAGE, PREDICTION)
    assert picture[12, 27].tolist() == [178, 178, 50]
    assert tuple(picture[5, 20]) == RIGHT


def test_the_picture_keeps_the_size_and_the_colours_of_the_image_outside_the_masks() -> None:
    coloured = np.dstack([IMAGE, IMAGE + 20, IMAGE + 40])
    picture = overlay(coloured, PREDICTION, REFERENCE)
    assert picture.shape == (40, 60, 3)
    assert picture[39, 59].tolist() == [100, 120, 140]


def test_another_label_than_the_reference_counts_as_missed() -> None:
    assert overlay(IMAGE, 2 * REFERENCE, REFERENCE)[12, 12].tolist() == [178, 50, 50]


def test_the_contour_grows_with_the_image() -> None:
    assert contour(block(5, 5, 20, 30)).sum() == 2 * (20 + 30) - 4
    large = block(100, 100, 500, 600, (1200, 1200))
    assert contour(large)[350, 100:110].tolist() == [True] * 3 + [False] * 7


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"prediction has shape \(39, 60\), the image \(40, 60\)"):
        overlay(IMAGE, PREDICTION[1:])


@pytest.mark.parametrize("width", [40, 64, 224, 600, 2000])
def test_the_strip_leaves_the_picture_as_it_is(width: int) -> None:
    picture = np.full((50, width, 3), 100, np.uint8)
    result = with_strip(picture, "a_case_with_quite_a_long_name_0001  Dice 81.2 %")
    assert result.shape[1] == width
    assert 50 < len(result) < 300
    np.testing.assert_array_equal(result[:50], picture)


def test_the_key_of_the_colours_is_in_the_strip() -> None:
    picture = np.zeros((50, 400, 3), np.uint8)
    strip = with_strip(picture, "case")[50:].reshape(-1, 3)
    for colour in (MISSED, EXTRA, RIGHT):
        assert (strip == colour).all(axis=1).sum() > 20
    plain = with_strip(picture, "case", legend=())[50:].reshape(-1, 3)
    assert not (plain == MISSED).all(axis=1).any()


def test_the_dice_stays_readable_where_the_name_is_too_long_for_the_picture() -> None:
    picture = np.zeros((50, 90, 3), np.uint8)
    one, two = (with_strip(picture, *texts, legend=()) for texts in (["x" * 40], ["x" * 40, "Dice 81.2 %"]))
    assert len(two) > len(one)


def test_letters_of_other_languages_are_drawn_and_not_the_box_of_an_unknown_one() -> None:
    strips = [with_strip(np.zeros((50, 400, 3), np.uint8), text, legend=())[50:] for text in ("ö", "Ж", "λ", "\ufffe")]
    for one, other in combinations(strips, 2):
        assert not np.array_equal(one, other)


def test_each_of_several_labels_has_its_colour_areas_predicted_and_lines_true() -> None:
    prediction, reference = 2 * PREDICTION, REFERENCE.copy()
    reference[30:36, 40:50] = 3
    picture = overlay(IMAGE, prediction, reference, num_labels=3)
    half = [round(100 * 0.5 + value * 0.5) for value in label_colour(2)]
    assert picture[12, 45].tolist() == half
    assert tuple(picture[5, 10]) == label_colour(1)
    assert tuple(picture[30, 45]) == label_colour(3)
    assert picture[33, 45].tolist() == [100, 100, 100]  # true, not predicted: a line around nothing
    assert tuple(overlay(IMAGE, prediction, num_labels=3)[5, 30]) == label_colour(2)


def test_the_key_names_the_labels_where_there_are_several() -> None:
    assert legend_of(["lesion"]) == LEGEND
    assert legend_of(["cyst", "duct"]) == ((label_colour(1), "cyst"), (label_colour(2), "duct"))
    assert len({label_colour(label) for label in range(1, 9)}) == 8
