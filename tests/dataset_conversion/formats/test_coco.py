"""COCO files as tools write them."""

from pathlib import Path
from typing import Any

import pytest

from dataset_conversion.formats.coco import read_coco
from dataset_conversion.formats.shapes import CROWD, OVERLAP, draw
from htunet.errors import HtunetError
from htunet.files import write_json

LABELS = {"background": 0, "lesion": 1, "cyst": 2}


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


def test_categories_become_labels_by_their_ids_and_unused_ones_none(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.labels == ("lesion", "cyst")
    assert found.unused == ("unused",)


def test_the_later_instance_wins_where_two_overlap(tmp_path: Path) -> None:
    labels, remarks = draw(read(tmp_path).images[0], LABELS, (6, 8))
    assert remarks == {OVERLAP}
    assert (labels[1, 1], labels[3, 3], labels[5, 7], labels[0, 0]) == (1, 2, 2, 0)
    assert (int((labels == 1).sum()), int((labels == 2).sum())) == (8, 15)


def test_crowds_are_counted_and_drawn(tmp_path: Path) -> None:
    runs = {"counts": [0, 48], "size": [6, 8]}
    crowd = {"image_id": "1", "category_id": 3, "iscrowd": 1, "segmentation": runs}
    image = read(tmp_path, annotations=[crowd]).images[0]
    labels, remarks = draw(image, LABELS, (6, 8))
    assert (labels.all(), remarks) == (True, {CROWD})


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"id": 1, "file_name": "a.png", "height": 60_000, "width": 60_000}, "size cannot be read"),
        ({"id": 1, "file_name": "a.png", "height": "6", "width": 8}, "size cannot be read"),
        ({"id": 1, "file_name": "a.png", "height": -6, "width": -8}, "size cannot be read"),
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
        ({"annotations": [{"image_id": 1, "segments_info": []}]}, "panoptic form, whose masks are PNG files"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HtunetError, match=message):
        read(tmp_path, **changes)


def test_ids_and_sizes_with_a_fraction_of_nought_are_whole(tmp_path: Path) -> None:
    """As pandas writes them."""
    square = [[1, 1, 4, 1, 4, 4, 1, 4]]
    found = read(
        tmp_path,
        images=[{"id": 1.0, "file_name": "a.png", "height": 6.0, "width": 8.0}],
        categories=[{"id": 7.0, "name": "cyst"}],
        annotations=[{"image_id": 1, "category_id": "7", "segmentation": square}],
    )
    assert (found.labels, found.images[0].size) == (("cyst",), (6, 8))
    assert int(draw(found.images[0], {"cyst": 1}, (6, 8))[0].sum()) == 9


def test_an_image_without_a_size_is_as_large_as_it_is(tmp_path: Path) -> None:
    image = read(tmp_path, images=[{"id": 1, "file_name": "a.png"}]).images[0]
    assert (image.size, image.problem) == (None, "")
    assert draw(image, LABELS, (6, 8))[0].sum() == 8 + 2 * 15


def test_a_mark_before_the_first_character_and_nan_are_read(tmp_path: Path) -> None:
    """NaN is no JSON; the one image with such a coordinate is left out, and not the whole file."""
    write_json(tmp_path / "coco.json", content())
    text = (tmp_path / "coco.json").read_text(encoding="utf-8")
    (tmp_path / "coco.json").write_text(text, encoding="utf-8-sig")
    assert read_coco(tmp_path / "coco.json").labels == ("lesion", "cyst")
    (tmp_path / "coco.json").write_text(text.replace("8,", "NaN,"), encoding="utf-8")
    with pytest.raises(HtunetError, match="not positions"):
        draw(read_coco(tmp_path / "coco.json").images[0], LABELS, (6, 8))


def test_the_category_background_is_no_label(tmp_path: Path) -> None:
    """LabelMe's exports have it under the first id, over the whole image."""
    whole = [[0, 0, 8, 0, 8, 6, 0, 6]]
    found = read(
        tmp_path,
        categories=[{"id": 0, "name": "_background_"}, {"id": 1, "name": "lesion"}, {"id": 2, "name": "ignore"}],
        annotations=[
            {"image_id": 1, "category_id": 0, "segmentation": whole},
            {"image_id": 1, "category_id": 1, "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]},
            {"image_id": 1, "category_id": 2, "segmentation": [[5, 1, 7, 1, 7, 3, 5, 3]]},
        ],
    )
    assert found.labels == ("lesion", "category_2")
    labels, _ = draw(found.images[0], {"background": 0, "lesion": 1, "category_2": 2}, (6, 8))
    assert [int((labels == label).sum()) for label in range(3)] == [35, 9, 4]


@pytest.mark.parametrize(("listed", "named"), [("001", 1), ("1", "01"), (1, "1.0"), (7.0, "007")])
def test_an_id_is_the_same_with_zeros_before_it_and_as_a_text(tmp_path: Path, listed: Any, named: Any) -> None:
    images = [{"id": listed, "file_name": "a.png", "height": 6, "width": 8}]
    annotations = [{**one, "image_id": named} for one in content()["annotations"]]
    assert len(read(tmp_path, images=images, annotations=annotations).images[0].shapes) == 2


def test_annotations_of_no_image_are_counted_and_of_none_at_all_refused(tmp_path: Path) -> None:
    annotations = content()["annotations"]
    found = read(tmp_path, annotations=[*annotations, {**annotations[0], "image_id": None}])
    assert found.notes == ("coco.json has 1 annotation of images that it does not list",)
    assert read(tmp_path).notes == ()
    with pytest.raises(
        HtunetError, match="no annotation has the id of an image; the first is of 'x', the images are 1"
    ):
        read(tmp_path, annotations=[{**one, "image_id": "x"} for one in annotations])


def test_two_categories_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HtunetError, match="two categories with the id 3, lesion and mass"):
        read(tmp_path, categories=[*content()["categories"], {"id": "3", "name": "mass"}])
