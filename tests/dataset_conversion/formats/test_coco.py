"""COCO masks: both run-length forms against vectors of the reference implementation, polygons also by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_conversion.formats.coco import CocoImage, Shape, decode_runs, draw, fill_polygon, read_coco, run_lengths
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


def test_a_polygon_fills_the_pixels_whose_centres_it_holds() -> None:
    assert fill_polygon([0, 0, 4, 0, 4, 4, 0, 4], (6, 6)).sum() == 16
    triangle = fill_polygon([0, 0, 4, 0, 0, 4], (4, 4)).astype(int).tolist()
    assert triangle == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert fill_polygon([-9, -9, 99, -9, 99, 99, -9, 99], (3, 4)).all()
    assert not fill_polygon([0.6, 0.6, 0.9, 0.6, 0.9, 0.9], (3, 4)).any()


def test_polygons_agree_with_the_reference_implementation() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radius = rng.uniform(15, 40, 12)
        points = np.stack([60 + radius * np.cos(angles), 50 + radius * np.sin(angles)], axis=1).ravel().tolist()
        ours = fill_polygon(points, (100, 120))
        theirs = reference.decode(reference.frPyObjects([points], 100, 120))[..., 0] > 0
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.97


def test_run_lengths_go_down_the_columns() -> None:
    mask = decode_runs([4, 2, 1, 1], (4, 2))
    assert mask.astype(int).tolist() == [[0, 1], [0, 1], [0, 0], [0, 1]]


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
        assert np.array_equal(decode_runs(run_lengths(encoded), size), mask > 0)


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
        ([[1, 2, 3, 4, 5, float("inf")]], "no numbers"),
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
