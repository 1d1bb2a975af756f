"""Images go into the network's input and labels come back to the original size, whatever the shape."""

import itertools

import numpy as np
import pytest
from builders.plan import plan_of
from builders.raw import blob, speckled

from htunet.data.field_of_view import Box, whole
from htunet.data.preprocessed import CaseGeometry
from htunet.planning.plans import Plan
from htunet.preprocessing.geometry import box_of, from_input, mask_to_input, placement, to_input

GEOMETRIES = ("stretch", "letterbox")


def one_hot(mask: np.ndarray, labels: int = 2) -> np.ndarray:
    return np.stack([mask == label for label in range(labels)]).astype(np.float32)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def plan(geometry: str, size: tuple[int, int]) -> Plan:
    return plan_of(geometry=geometry, input_size=size)


@pytest.mark.parametrize(
    ("box", "size", "place"),
    [
        pytest.param(Box(0, 0, 100, 100), (224, 224), Box(0, 0, 224, 224), id="square fills"),
        pytest.param(Box(0, 0, 100, 200), (224, 224), Box(56, 0, 112, 224), id="wide: padded above and below"),
        pytest.param(Box(0, 0, 200, 100), (224, 224), Box(0, 56, 224, 112), id="high: padded left and right"),
        pytest.param(Box(7, 9, 100, 200), (96, 192), Box(0, 0, 96, 192), id="the input has the image's shape"),
        pytest.param(Box(0, 0, 3, 2), (10, 20), Box(0, 6, 10, 7), id="6.67 columns are 7"),
        pytest.param(Box(0, 0, 1, 5000), (224, 224), Box(111, 0, 1, 224), id="never less than a pixel"),
    ],
)
def test_a_letterbox_keeps_the_shape_and_centres(box: Box, size: tuple[int, int], place: Box) -> None:
    assert placement(box, plan("letterbox", size)) == place
    assert placement(box, plan("stretch", size)) == whole(size)


def test_padding_is_black_and_background() -> None:
    wide = plan("letterbox", (32, 32))
    image, mask = np.full((1, 10, 20), 255, np.uint8), np.ones((10, 20), np.uint8)
    bright = np.zeros((32, 32), bool)
    bright[8:24] = True
    assert np.array_equal(to_input(image, whole((10, 20)), wide)[0] == 255, bright)
    assert np.array_equal(mask_to_input(mask, whole((10, 20)), wide) == 1, bright)


def test_a_step_of_gray_stays_where_the_mask_has_it() -> None:
    mask = np.zeros((90, 130), np.uint8)
    mask[:, 65:] = 1
    box = Box(0, 30, 90, 70)
    for geometry in GEOMETRIES:
        chosen = plan(geometry, (64, 64))
        image_in, mask_in = to_input(mask[None] * 255, box, chosen)[0], mask_to_input(mask, box, chosen)
        assert np.array_equal(image_in > 127, mask_in == 1)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_mask_survives_the_way_in_and_back(geometry: str) -> None:
    sizes = [(224, 224), (300, 512), (768, 1024), (481, 333), (150, 120)]
    for hw, size in itertools.product(sizes, [(224, 224), (160, 288)]):
        for centre, radius in (((0.5, 0.5), 0.3), ((0.3, 0.6), 0.15)):
            mask, chosen = blob(hw, centre, radius), plan(geometry, size)
            scores = one_hot(mask_to_input(mask, whole(hw), chosen))
            assert dice(from_input(scores, whole(hw), hw, chosen), mask) > 0.97, (hw, size, centre)


@pytest.mark.parametrize("size", [(64, 64), (300, 400)])
def test_a_mask_gets_no_label_that_it_did_not_have(size: tuple[int, int]) -> None:
    mask = blob((100, 130)) * np.uint8(2)
    assert set(np.unique(mask_to_input(mask, whole((100, 130)), plan("stretch", size)))) == {0, 2}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_cropped_mask_survives_and_outside_is_background(geometry: str) -> None:
    hw, box = (400, 600), Box(50, 100, 300, 400)
    mask, chosen = blob(hw, (0.5, 0.5), 0.2), plan(geometry, (224, 304))
    scores = one_hot(mask_to_input(mask, box, chosen))
    scores[1] += 0.01  # a lesion everywhere, as far as padding and border are asked
    labels = from_input(scores, box, hw, chosen)
    assert dice(labels, mask) > 0.97
    everywhere = from_input(np.stack([np.zeros((224, 304)), np.ones((224, 304))]).astype(np.float32), box, hw, chosen)
    expected = np.zeros(hw, np.uint8)
    expected[box.rows, box.columns] = 1
    assert np.array_equal(everywhere, expected)


def test_scores_are_interpolated_and_not_labels() -> None:
    # From 4 to 12 columns: the scores cross between the columns 1 and 2, at a third of the way.
    scores = np.array([[[0, 0, 0, 0]], [[-1, -1, 2, 2]]], np.float32)
    labels = from_input(scores, whole((1, 12)), (1, 12), plan("stretch", (1, 4)))
    assert labels.tolist() == [[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]]
    scores[1] = [[-1, -1, 8, 8]]
    labels = from_input(scores, whole((1, 12)), (1, 12), plan("stretch", (1, 4)))
    assert labels.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]]


def test_of_equal_scores_the_first_label_wins_and_every_label_can() -> None:
    scores = np.zeros((3, 2, 2), np.float32)
    scores[2, 0, 0] = scores[1, 1, 1] = 1
    labels = from_input(scores, whole((2, 2)), (2, 2), plan("stretch", (2, 2)))
    assert labels.tolist() == [[2, 0], [0, 1]]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("hw", [(1, 1), (1, 500), (500, 1), (3, 4000), (2, 2), (37, 41)])
@pytest.mark.parametrize("size", [(224, 224), (112, 384), (1, 7)])
def test_odd_shapes_pass(geometry: str, hw: tuple[int, int], size: tuple[int, int]) -> None:
    chosen, image = plan(geometry, size), speckled(hw, np.random.default_rng(0))
    image_in = to_input(np.stack([image] * 3), whole(hw), chosen)
    assert (image_in.shape, image_in.dtype) == ((3, *size), np.uint8)
    mask_in = mask_to_input(np.ones(hw, np.uint8), whole(hw), chosen)
    assert mask_in.any()
    assert from_input(one_hot(mask_in), whole(hw), hw, chosen).all()


def test_an_image_of_the_inputs_size_is_unchanged() -> None:
    image = speckled((48, 64), np.random.default_rng(0))
    for geometry in GEOMETRIES:
        assert np.array_equal(to_input(image[None], whole((48, 64)), plan(geometry, (48, 64)))[0], image)


def test_shrinking_averages_and_does_not_pick() -> None:
    stripes = np.zeros((1, 64, 64), np.uint8)
    stripes[:, :, ::2] = 200
    small = to_input(stripes, whole((64, 64)), plan("stretch", (8, 8)))
    assert np.abs(small.astype(int) - 100).max() <= 15


def test_the_box_of_a_case_is_its_crop() -> None:
    case = CaseGeometry("a", "", "", original_hw=(9, 9), top=1, left=2, crop_hw=(3, 4))
    assert box_of(case) == Box(1, 2, 3, 4)


def test_scores_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="224, 224"):
        from_input(np.zeros((2, 10, 10), np.float32), whole((5, 5)), (5, 5), plan("stretch", (224, 224)))


def test_an_unknown_geometry_is_refused() -> None:
    with pytest.raises(ValueError, match="strech"):
        placement(whole((5, 5)), plan("strech", (8, 8)))
