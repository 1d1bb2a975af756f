"""COCO masks: both run-length forms against vectors of the reference implementation, polygons also by hand."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_conversion.formats.coco import (
    CocoImage,
    PlacedMask,
    Shape,
    decode_runs,
    draw,
    fill_polygon,
    read_coco,
    run_lengths,
)
from htunet.errors import HtunetError
from htunet.files import write_json


def content(**changes: Any) -> dict[str, Any]:
    """Two categories that are used, one that is not; one image of 6 x 8 pixels."""
    square = [1, 1, 4, 1, 4, 4, 1, 4]
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
        "categories": [{"id": 7, "name": "cyst"}, {"id": 3, "name": "lesion"}, {"id": 9, "name": "unused"}],
        "annotations": [
            {"image_id": 1, "category_id": 3, "segmentation": [square]},
            {"image_id": 1, "category_id": 7, "segmentation": [[3, 3, 8, 3, 8, 6, 3, 6]]},
        ],
    } | changes


def read(folder: Path, **changes: Any) -> Any:
    write_json(folder / "coco.json", content(**changes))
    return read_coco(folder / "coco.json")


def whole(placed: PlacedMask, size: tuple[int, int]) -> np.ndarray:
    mask, top, left = placed
    image = np.zeros(size, dtype=bool)
    image[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return image


def test_a_polygon_fills_the_pixels_whose_centres_it_holds() -> None:
    assert whole(fill_polygon([0, 0, 4, 0, 4, 4, 0, 4], (6, 6)), (6, 6)).sum() == 16
    triangle = whole(fill_polygon([0, 0, 4, 0, 0, 4], (4, 4)), (4, 4)).astype(int).tolist()
    assert triangle == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert whole(fill_polygon([-9, -9, 99, -9, 99, 99, -9, 99], (3, 4)), (3, 4)).all()
    assert not whole(fill_polygon([0.6, 0.6, 0.9, 0.6, 0.9, 0.9], (3, 4)), (3, 4)).any()


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


@pytest.mark.parametrize(
    ("polygon", "reason"),
    [
        ([0, 0, 1e308, 0, 5, 5], "no places in an image"),
        ([0, 0, float("nan"), 0, 5, 5], "no places in an image"),
        ([value for _ in range(3000) for value in (0, 0, 9, 8000)], r"crosses \d+ rows"),
    ],
)
def test_a_polygon_that_would_take_for_ever_or_is_nowhere_is_refused(polygon: list[float], reason: str) -> None:
    with pytest.raises(HtunetError, match=reason):
        fill_polygon(polygon, (8000, 8000))


def test_many_shapes_on_the_largest_image_take_no_more_than_their_own_pixels() -> None:
    square = [3000, 3000, 3040, 3000, 3040, 3040, 3000, 3040]
    runs = {"size": [8000, 8000], "counts": [8000 * 4000, 100, 8000 * 4000 - 100]}
    shapes = [Shape(1, [square]), Shape(1, runs)] * 150
    started = time.monotonic()
    labels, overlap = draw(CocoImage("a.png", (8000, 8000), shapes))
    assert time.monotonic() - started < 10  # 40 seconds and more where each shape takes the whole image
    assert (int(labels.sum()), overlap) == (40 * 40 + 100, False)


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


def test_categories_become_labels_by_their_ids_and_unused_ones_none(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.labels == {"background": 0, "lesion": 1, "cyst": 2}
    assert found.unused == ("unused",)


def test_the_later_instance_wins_where_two_overlap(tmp_path: Path) -> None:
    labels, overlap = draw(read(tmp_path).images[0])
    assert overlap
    assert (labels[1, 1], labels[3, 3], labels[5, 7], labels[0, 0]) == (1, 2, 2, 0)
    assert (int((labels == 1).sum()), int((labels == 2).sum())) == (8, 15)


def test_instances_of_one_label_may_overlap() -> None:
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    labels, overlap = draw(CocoImage("a.png", (4, 4), [Shape(1, square), Shape(1, square)]))
    assert (labels.all(), overlap) == (True, False)


def test_several_polygons_of_one_instance_are_joined() -> None:
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [3, 0, 4, 0, 4, 2, 3, 2]]
    assert draw(CocoImage("a.png", (2, 4), [Shape(1, parts)]))[0].tolist() == [[1, 1, 0, 1], [1, 1, 0, 1]]


def test_crowds_are_counted_and_drawn(tmp_path: Path) -> None:
    runs = {"counts": [0, 48], "size": [6, 8]}
    crowd = {"image_id": "1", "category_id": 3, "iscrowd": 1, "segmentation": runs}
    image = read(tmp_path, annotations=[crowd]).images[0]
    assert image.crowds == 1
    assert draw(image)[0].all()


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
        ([1, 2, 3, 4, 5, 6], "no list of numbers"),
        ([[1, 2, 3, 4, 5, float("inf")]], "no places"),
    ],
)
def test_a_broken_segmentation_is_named(segmentation: Any, message: str) -> None:
    with pytest.raises(HtunetError, match=message):
        draw(CocoImage("a.png", (6, 8), [Shape(1, segmentation)]))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 1, "file_name": "a.png", "height": 60_000, "width": 60_000}, "no size that is read"),
        ({"id": 1, "file_name": "a.png", "height": "6", "width": 8}, "no size that is read"),
        ({"id": 1, "file_name": "a.png", "height": -6, "width": -8}, "no size that is read"),
        ({"id": 1, "file_name": 5, "height": 6, "width": 8}, "file_name is missing"),
        ([], "no object"),
    ],
)
def test_a_broken_entry_is_kept_with_its_reason(tmp_path: Path, image: Any, message: str) -> None:
    assert message in read(tmp_path, images=[image]).images[0].problem


def test_a_box_alone_is_no_mask_and_two_images_need_two_ids(tmp_path: Path) -> None:
    box = {"image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2]}
    assert "a box alone is no mask" in read(tmp_path, annotations=[box]).images[0].problem
    twice = read(tmp_path, images=content()["images"] * 2).images
    assert ["same id" in image.problem for image in twice] == [True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "lacks the list 'images'"),
        ({"annotations": []}, "no annotation"),
        ({"categories": [{"name": "x"}]}, "category without an id"),
        ({"categories": []}, "which it does not list"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HtunetError, match=message):
        read(tmp_path, **changes)
