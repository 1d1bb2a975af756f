"""Shapes as masks: polygons and ellipses by hand, run lengths against vectors of the reference implementation."""

import time
from typing import Any

import numpy as np
import pytest

from dataset_conversion.formats.shapes import (
    BEYOND,
    NO_AREA,
    NO_PIXEL,
    UNMARKED,
    AnnotatedImage,
    Ellipse,
    Patch,
    PlacedMask,
    Shape,
    decode_runs,
    draw,
    draw_readers,
    fill_ellipse,
    fill_polygon,
    label_name,
    rectangle,
    run_lengths,
)
from htunet.errors import HtunetError

LABELS = {"background": 0, "a": 1, "b": 2}


def drawn(size: tuple[int, int], *shapes: Shape) -> tuple[np.ndarray, set[str]]:
    return draw(AnnotatedImage("x.png", size, [*shapes]), LABELS, size)


def whole(placed: PlacedMask | None, size: tuple[int, int]) -> np.ndarray:
    assert placed is not None
    mask, top, left = placed
    image = np.zeros(size, dtype=bool)
    image[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return image


def test_polygons_agree_with_counting_the_edges_left_of_each_pixel() -> None:
    rng = np.random.default_rng(2)
    for points in range(3, 40):
        outline = rng.uniform(-8, 28, (points, 2))
        ours = whole(fill_polygon(outline.ravel().tolist(), (20, 24)), (20, 24))
        for y, x in np.ndindex(20, 24):
            left = 0
            for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
                if (y0 <= y + 0.5) != (y1 <= y + 0.5):
                    left += x0 + (y + 0.5 - y0) * (x1 - x0) / (y1 - y0) <= x + 0.5
            assert ours[y, x] == left % 2


@pytest.mark.parametrize(
    ("polygon", "reason"),
    [
        ([0, 0, 1e308, 0, 5, 5], "not positions in an image"),
        ([0, 0, float("nan"), 0, 5, 5], "not positions in an image"),
        ([value for _ in range(3000) for value in (0, 0, 9, 8000, 5, 0)], r"crosses \d+ rows"),
    ],
)
def test_a_polygon_that_would_take_for_ever_or_is_nowhere_is_refused(polygon: list[float], reason: str) -> None:
    with pytest.raises(HtunetError, match=reason):
        fill_polygon(polygon, (8000, 8000))


def test_many_shapes_on_the_largest_image_take_no_more_than_their_own_pixels() -> None:
    square = [3000, 3000, 3040, 3000, 3040, 3040, 3000, 3040]
    runs = {"size": [8000, 8000], "counts": [8000 * 4000, 100, 8000 * 4000 - 100]}
    shapes = [Shape("a", [square]), Shape("a", runs)] * 150
    started = time.process_time()
    labels, remarks = drawn((8000, 8000), *shapes)
    assert time.process_time() - started < 10  # 40 seconds and more where each shape takes the whole image
    assert (int(labels.sum()), remarks) == (40 * 40 + 100, set())


def test_a_polygon_fills_the_pixels_whose_centres_it_holds() -> None:
    assert whole(fill_polygon([0, 0, 4, 0, 4, 4, 0, 4], (6, 6)), (6, 6)).sum() == 16
    triangle = whole(fill_polygon([0, 0, 4, 0, 0, 4], (4, 4)), (4, 4)).astype(int).tolist()
    assert triangle == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert whole(fill_polygon([-9, -9, 99, -9, 99, 99, -9, 99], (3, 4)), (3, 4)).all()
    assert not whole(fill_polygon([0.6, 0.6, 0.9, 0.6, 0.9, 0.9], (3, 4)), (3, 4)).any()


def test_polygons_agree_with_the_reference_implementation() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radius = rng.uniform(15, 40, 12)
        points = np.stack([60 + radius * np.cos(angles), 50 + radius * np.sin(angles)], axis=1).ravel().tolist()
        ours = whole(fill_polygon(points, (100, 120)), (100, 120))
        theirs = reference.decode(reference.frPyObjects([points], 100, 120))[..., 0] > 0
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97


def test_run_lengths_go_down_the_columns() -> None:
    mask = whole(decode_runs([4, 2, 1, 1], (4, 2)), (4, 2))
    assert mask.astype(int).tolist() == [[0, 1], [0, 1], [0, 0], [0, 1]]
    assert whole(decode_runs([3, 0, 5], (4, 2)), (4, 2)).sum() == 0
    assert whole(decode_runs([0, 8], (4, 2)), (4, 2)).all()
    mask = whole(decode_runs([2, 1, 0, 0, 3, 2], (4, 2)), (4, 2))
    assert mask.astype(int).tolist() == [
        [0, 0],
        [0, 0],
        [1, 1],
        [0, 1],
    ]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("06", [0, 6]),
        ("52203", [5, 2, 2, 2, 5]),
        ("Q3Wbg1hm2", [97, 56903, 3000]),
        ("0151O1O1O1O1", [0, 1, 5, 2, 4, 3, 3, 4, 2, 5, 1, 6]),
    ],
)
def test_compressed_run_lengths_are_known_vectors(text: str, counts: list[int]) -> None:
    assert run_lengths(text) == counts


def test_compressed_run_lengths_agree_with_the_reference_implementation() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for size in ((1, 1), (7, 5), (200, 300)):
        mask = np.asfortranarray(rng.random(size) < rng.uniform(0, 1), dtype=np.uint8)
        encoded = reference.encode(mask)["counts"].decode("ascii")
        assert np.array_equal(whole(decode_runs(run_lengths(encoded), size), size), mask > 0)


@pytest.mark.parametrize("text", ["é", "oooooooooooooooo0", "P"])
def test_broken_compressed_run_lengths_are_refused(text: str) -> None:
    with pytest.raises(HtunetError, match="compressed run lengths"):
        run_lengths(text)


def test_instances_of_one_label_may_overlap() -> None:
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    labels, remarks = drawn((4, 4), Shape("a", square), Shape("a", square))
    assert (labels.all(), remarks) == (True, set())


def test_several_polygons_of_one_instance_are_joined() -> None:
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [3, 0, 4, 0, 4, 2, 3, 2]]
    assert drawn((2, 4), Shape("a", parts))[0].tolist() == [[1, 1, 0, 1], [1, 1, 0, 1]]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"counts": [1, 2], "size": [6, 8]}, "add up to 3, the image has 48 pixels"),
        ({"counts": [0, 48], "size": [8, 6]}, "run lengths are for"),
        ({"counts": [48.0], "size": [6, 8]}, "not whole numbers"),
        ({"counts": [-1, 49], "size": [6, 8]}, "not whole numbers"),
        ({"counts": None, "size": [6, 8]}, "not whole numbers"),
        ({"size": [6, 8]}, "not whole numbers"),
        ("text", "neither polygons nor run lengths"),
        ([[1, 2, 3]], "3 coordinates"),
        ([[1, 2, 3, 4, 5]], "5 coordinates"),
        ([["a"] * 6], "no list of numbers"),
        ([1, 2, 3, [4], 5, 6], "no list of numbers"),
        ([[1, 2, 3, 4, 5, float("inf")]], "not positions"),
    ],
)
def test_a_broken_segmentation_is_named(segmentation: Any, message: str) -> None:
    with pytest.raises(HtunetError, match=message):
        drawn((6, 8), Shape("a", segmentation))


SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]
LINES = [[1, 1], [1, 1, 5, 5], [1, 1, 5, 5, 3, 3], [0, 2, 5, 2, 3, 2], [2, 0, 2, 5, 2, 3], [3, 3, 3, 3, 3, 3], []]


@pytest.mark.parametrize("part", LINES)
def test_parts_without_an_area_are_left_out_and_said(part: list[float]) -> None:
    labels, remarks = drawn((6, 8), Shape("a", [part, SQUARE]))
    assert (int(labels.sum()), remarks) == (9, {NO_AREA})
    assert drawn((6, 8), Shape("a", [part]), Shape("a", [SQUARE]))[1] == {NO_AREA}
    with pytest.raises(HtunetError, match="none of its shapes has an area"):
        drawn((6, 8), Shape("a", [part]))


def test_a_polygon_may_lack_the_list_around_it() -> None:
    assert drawn((6, 8), Shape("a", SQUARE))[0].sum() == 9


def test_a_polygon_may_be_a_list_of_points() -> None:
    points = [[x, y] for x, y in zip(SQUARE[0::2], SQUARE[1::2], strict=True)]
    for outline in (points, [points], [points, SQUARE]):
        assert drawn((6, 8), Shape("a", outline))[0].sum() == 9


def test_a_polygon_that_crosses_itself_has_an_area_although_its_halves_cancel() -> None:
    assert int(drawn((4, 4), Shape("a", [[0, 0, 4, 4, 4, 0, 0, 4]]))[0].sum()) == 8


def test_shapes_that_mark_no_pixel_are_said() -> None:
    for outline in ([[0.6, 0.6, 0.9, 0.6, 0.9, 0.9]], [[20, 20, 30, 20, 30, 30]], Ellipse(2, 2, (0.5, 0.5))):
        labels, remarks = drawn((6, 8), Shape("a", outline))
        assert (labels.any(), remarks - {BEYOND}) == (False, {NO_PIXEL})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_coordinates_that_are_no_numbers_of_pixels_are_refused(value: float) -> None:
    for outline in ([[0, 0, 5, 0, value, 5]], Ellipse(2, 2, (value, 1))):
        with pytest.raises(HtunetError, match="not positions"):
            drawn((6, 8), Shape("a", outline))


def test_regions_of_the_background_never_hide_a_lesion() -> None:
    whole = [[0, 0, 8, 0, 8, 6, 0, 6]]
    for shapes in (
        (Shape("background", whole), Shape("a", [SQUARE])),
        (Shape("a", [SQUARE]), Shape("background", whole)),
    ):
        labels, remarks = drawn((6, 8), *shapes)
        assert (int(labels.sum()), remarks) == (9, {UNMARKED})


@pytest.mark.parametrize("name", ["_background_", "Background", "__BACKGROUND__", " background "])
def test_the_background_has_many_spellings(name: str) -> None:
    assert (label_name(name), label_name(None), label_name(" "), label_name("cyst ")) == (
        "background",
        "lesion",
        "lesion",
        "cyst",
    )


def test_ellipses_and_boxes_by_hand() -> None:
    flat = whole(fill_ellipse(Ellipse(3, 2, (2.5, 1)), (4, 6)), (4, 6))
    assert flat.astype(int).tolist() == [[0] * 6, [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0], [0] * 6]
    assert np.array_equal(whole(fill_ellipse(Ellipse(2, 3, (2.5, 1), np.pi / 2), (6, 4)), (6, 4)), flat.T)
    assert whole(fill_ellipse(Ellipse(3, 2, (90, 90)), (4, 6)), (4, 6)).all()
    assert not whole(fill_ellipse(Ellipse(30, 20, (3, 3)), (4, 6)), (4, 6)).any()
    assert whole(fill_polygon(rectangle(1, 2, 3, 2)[0], (6, 6)), (6, 6)).sum() == 6
    turned = whole(fill_polygon(rectangle(1, 2, 3, 1, np.pi / 2)[0], (6, 6)), (6, 6))
    assert np.argwhere(turned).tolist() == [[1, 2], [2, 2], [3, 2]]
    down = whole(fill_polygon(rectangle(0, 2, 6, 2, np.pi / 4)[0], (6, 6)), (6, 6))  # clockwise: to the lower right
    assert (bool(down[1, 1]), bool(down[4, 4]), bool(down[4, 1]), bool(down[1, 4])) == (True, True, False, False)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, 2.8])
def test_a_turned_ellipse_agrees_with_testing_every_pixel(angle: float) -> None:
    found = whole(fill_ellipse(Ellipse(11.3, 9.8, (7.2, 3.1), angle), (20, 24)), (20, 24))
    for row, column in np.ndindex(20, 24):
        turned = complex(column + 0.5 - 11.3, row + 0.5 - 9.8) * np.exp(-1j * angle)
        assert found[row, column] == ((turned.real / 7.2) ** 2 + (turned.imag / 3.1) ** 2 <= 1)


def test_a_patch_is_placed_and_cut_at_the_edges() -> None:
    part = Patch(1, 2, (2, 3), (1, 2, 1, 2))
    assert np.argwhere(drawn((5, 5), Shape("a", part))[0]).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert np.argwhere(drawn((3, 3), Shape("a", part))[0]).tolist() == [[2, 2]]
    beyond = Patch(-1, -1, (2, 3), (0, 6))
    assert np.argwhere(drawn((3, 3), Shape("a", beyond))[0]).tolist() == [[0, 0], [0, 1]]
    for broken in (Patch(0, 0, (2, 2), (1, 2)), Patch(0, 0, (9, 9), (81,)), Patch(0, 0, (0, 0), png="?")):
        with pytest.raises(HtunetError, match=r"run lengths add up|its mask claims|not a PNG file"):
            drawn((4, 4), Shape("a", broken))


def test_a_pixel_has_the_label_that_most_readers_gave_it() -> None:
    def reader(label: str, left: int, right: int) -> AnnotatedImage:
        return AnnotatedImage("x.png", None, [Shape(label, rectangle(left, 0, right - left, 1))])

    readers = [reader("a", 0, 4), reader("a", 2, 6), reader("b", 3, 6)]
    labels, remarks = draw_readers(readers, LABELS, (1, 8))
    assert labels.tolist() == [[0, 0, 1, 1, 0, 0, 0, 0]]
    assert remarks == ("merged by majority vote of 3 readers",)
    assert draw_readers(readers[:2], LABELS, (1, 8))[0].tolist() == [[0, 0, 1, 1, 0, 0, 0, 0]]
    assert draw_readers(readers[2:], LABELS, (1, 8))[0].tolist() == [[0, 0, 0, 2, 2, 2, 0, 0]]
    nothing = AnnotatedImage("x.png")
    assert not draw_readers([readers[0], nothing], LABELS, (1, 8))[0].any()
    with pytest.raises(HtunetError, match="different sizes"):
        draw_readers([AnnotatedImage("x.png", (2, 8)), nothing], LABELS, (1, 8))


@pytest.mark.parametrize(("right", "named"), [(50.0, False), (51.9, False), (52.5, True), (100.0, True)])
def test_a_shape_that_reaches_beyond_the_image_is_cut_and_named(right: float, named: bool) -> None:
    """The image is 50 wide: what reaches 2 % and a pixel beyond it, 52, was not drawn on it."""
    labels, remarks = drawn((40, 50), Shape("a", [[40, 10, right, 10, right, 20, 40, 20]]))
    assert labels.sum() == 10 * 10
    assert (BEYOND in remarks) == named
    labels, remarks = drawn((50, 40), Shape("a", [[10, 10, 10, 50 - right, 20, 50 - right, 20, 10]]))  # at the top
    assert (labels.sum(), BEYOND in remarks) == (10 * 10, named)
