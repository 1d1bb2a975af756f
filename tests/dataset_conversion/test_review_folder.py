"""Cases go out for correction in three forms, and what was corrected in one of them comes back."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from dataset_conversion.review_folder import COLUMNS, REVIEW, read_review, write_review
from htunet.data.image_io import read_labels
from htunet.data.raw import read_raw
from htunet.data.review_case import ReviewCase
from htunet.errors import HtunetError, UsageError
from htunet.files import read_csv, write_csv
from htunet.paths import DatasetPaths

ONE, TWO = {"background": 0, "lesion": 1}, {"background": 0, "cyst": 1, "mass": 2}
FACTS = {"case": "a", "source": "a.png", "group": "p1", "class": "", "spacing_mm": "", "why": "missed", "dice": "0.000"}


def items(labels: dict[str, int]) -> list[ReviewCase]:
    rng, found = np.random.default_rng(0), []
    for number, name in enumerate(("a", "b", "empty")):
        mask = np.zeros((40, 60), np.uint8)
        if name != "empty":
            mask[10 : 20 + number, 15:40] = 1
            mask[12:14, 20:22] = 0  # a hole
        if name == "b" and len(labels) > 2:
            mask[25:35, 5:12] = 2
        found.append(ReviewCase(name=name, pixels=rng.integers(0, 256, mask.shape, dtype=np.uint8), labels=mask,
                                facts=FACTS | {"case": name}))  # fmt: skip
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_review(tmp_path / "review", items(ONE), ONE)
    return tmp_path / "review"


def edit(path: Path, change: object) -> None:
    content = json.loads(path.read_text())
    change(content)  # type: ignore[operator]
    path.write_text(json.dumps(content))


def shift(content: dict) -> None:
    for shape in content["shapes"]:
        shape["points"] = [[x + 3, y] for x, y in shape["points"]]


@pytest.mark.parametrize("labels", [ONE, TWO])
def test_what_nobody_corrected_is_no_correction_and_what_is_accepted_is_the_prediction(
    tmp_path: Path, labels: dict[str, int]
) -> None:
    folder = tmp_path / "review"
    write_review(folder, items(labels), labels)
    with pytest.raises(HtunetError, match=r"Nothing in .* was corrected"):
        read_review(folder, labels)
    rows = read_csv(folder / REVIEW, COLUMNS)
    write_csv(folder / REVIEW, COLUMNS, [row | {"accept": "Yes" if row["name"] == "b" else ""} for row in rows])
    (found,) = read_review(folder, labels)
    assert (found.name, found.form) == ("b", "accepted")
    assert np.array_equal(found.labels, items(labels)[1].labels)


@pytest.mark.parametrize("labels", [ONE, TWO])
def test_the_forms_are_read_by_the_converter_as_the_prediction(
    home: Path, tmp_path: Path, labels: dict[str, int]
) -> None:
    folder = tmp_path / "review"
    write_review(folder, items(labels), labels)
    for name, annotations in (("Coco", folder / "coco.json"), ("Labelme", folder / "images")):
        report = convert_own(OwnData(name=name, images=folder / "images", annotations=(annotations,)))
        raw = read_raw(DatasetPaths(report.dataset))
        assert raw.info.labels == labels
        for item in items(labels)[:2]:
            case = next(case for case in raw.cases if case.id == item.name)
            assert np.array_equal(read_labels(raw.label_path(case)), item.labels)


@pytest.mark.parametrize(("text", "sides"), [("", None), ("0.1", 0.1), ("0.1 0.2", (0.1, 0.2))])
def test_the_pixel_size_comes_back_whether_or_not_pixels_are_square(folder: Path, text: str, sides: object) -> None:
    rows = read_csv(folder / REVIEW, COLUMNS)
    write_csv(folder / REVIEW, COLUMNS, [row | {"spacing_mm": text, "accept": "yes"} for row in rows])
    assert [one.spacing_mm for one in read_review(folder, ONE)] == [sides] * 3


def test_a_corrected_labelme_file_comes_back(folder: Path) -> None:
    edit(folder / "images" / "a.json", shift)
    (found,) = read_review(folder, ONE)
    assert (found.name, found.form, found.facts["group"]) == ("a", "LabelMe", "p1")
    assert np.array_equal(found.labels[:, 3:], items(ONE)[0].labels[:, :-3])


def test_a_corrected_mask_comes_back_as_programs_save_it(folder: Path) -> None:
    mask = np.asarray(Image.open(folder / "masks" / "empty.png").convert("RGB")).copy()
    mask[5:10, 5:10] = 255
    Image.fromarray(mask).save(folder / "masks" / "empty.png")
    (found,) = read_review(folder, ONE)
    assert (found.name, found.form, int(found.labels.sum()), int(found.labels.max())) == ("empty", "mask", 25, 1)


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_a_mask_of_label_values_is_read_as_the_white_one(folder: Path, mode: str) -> None:
    """3D Slicer and ITK-SNAP write 1 for a single label: below half of 255, it was taken for an erased lesion."""
    mask = items(ONE)[0].labels.copy()
    mask[0:3, 0:3] = 1
    image = Image.fromarray(mask * np.uint8(255 if mode == "1" else 1)).convert(mode if mode != "P" else "L")
    if mode == "P":
        image.putpalette([0, 0, 0, 0, 0, 90])
    image.save(folder / "masks" / "a.png")
    (found,) = read_review(folder, ONE)
    assert np.array_equal(found.labels, mask)


def test_an_erased_mask_is_an_empty_one(folder: Path) -> None:
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(folder / "masks" / "a.png")
    (found,) = read_review(folder, ONE)
    assert (found.name, int(found.labels.sum())) == ("a", 0)


def test_a_table_that_a_spreadsheet_saved_is_read_and_an_unknown_answer_is_no_silence(folder: Path) -> None:
    table = folder / REVIEW
    rows = read_csv(table, COLUMNS)
    for answer, accepted in (("WAHR", ["a"]), ("ja ", ["a"]), ("certainly", None)):
        write_csv(table, COLUMNS, [row | {"accept": answer if row["name"] == "a" else "no"} for row in rows])
        table.write_text(table.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-16")
        if accepted:
            assert [one.name for one in read_review(folder, ONE)] == accepted
        else:
            with pytest.raises(HtunetError, match=r"has .certainly. in the column accept of a\. Write yes"):
                read_review(folder, ONE)


def test_a_corrected_coco_file_comes_back(folder: Path) -> None:
    def remove(content: dict) -> None:
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 2]
        content["images"][1]["file_name"] = "some/place/b.png"

    edit(folder / "coco.json", remove)
    (found,) = read_review(folder, ONE)
    assert (found.name, found.form, int(found.labels.sum())) == ("b", "COCO", 0)


def test_equal_corrections_in_two_forms_are_one_and_unlike_ones_are_refused(folder: Path) -> None:
    edit(folder / "images" / "a.json", shift)
    (found,) = read_review(folder, ONE)
    Image.fromarray(255 * found.labels).save(folder / "masks" / "a.png")
    assert len(read_review(folder, ONE)) == 1
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(folder / "masks" / "a.png")
    with pytest.raises(HtunetError, match="a was corrected in two ways, as mask and as LabelMe"):
        read_review(folder, ONE)


def test_what_cannot_be_meant_is_one_error_with_the_case(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(folder / "masks" / "a.png")
    with pytest.raises(HtunetError, match=r"masks/a.png is not as large as its image: draw it at 60 x 40"):
        read_review(folder, ONE)
    (folder / "masks" / "a.png").unlink()
    edit(folder / "images" / "b.json", lambda content: content["shapes"][0].update(label="cyst"))
    with pytest.raises(HtunetError, match="b, LabelMe: it has the labels cyst; the data set has background, lesion"):
        read_review(folder, ONE)
    rows = read_csv(folder / REVIEW, COLUMNS)
    write_csv(folder / REVIEW, COLUMNS, [row | {"name": f"../{row['name']}"} for row in rows])
    with pytest.raises(HtunetError, match="has a slash"):
        read_review(folder, ONE)
    with pytest.raises(UsageError, match=r"has no review\.csv"):
        read_review(tmp_path, ONE)
    with pytest.raises(UsageError, match="holds files already"):
        write_review(folder, items(ONE), ONE)


def test_annotations_of_a_resized_image_are_refused(folder: Path) -> None:
    """The images are 60 x 40; a tool that made them 120 x 80 has outlines of twice the size."""

    def enlarge(content: dict) -> None:
        content["shapes"][0]["points"] = [[2 * x, 2 * y] for x, y in content["shapes"][0]["points"]]

    edit(folder / "images" / "a.json", enlarge)
    with pytest.raises(HtunetError, match="a, LabelMe: shapes reach beyond the image"):
        read_review(folder, ONE)
    edit(folder / "images" / "a.json", lambda content: content.update(imageHeight=80, imageWidth=120))
    with pytest.raises(HtunetError, match="a, LabelMe: drawn on an image of 120 x 80 pixels, but the image has 60 x"):
        read_review(folder, ONE)
    (folder / "images" / "a.json").unlink()
    edit(folder / "coco.json", lambda content: content["images"][0].update(height=80, width=120))
    with pytest.raises(HtunetError, match="a, COCO: drawn on an image of 120 x 80"):
        read_review(folder, ONE)


def test_a_coco_file_without_any_annotation_means_that_nothing_is_there(folder: Path) -> None:
    edit(folder / "coco.json", lambda content: content.update(annotations=[]))
    found = read_review(folder, ONE)  # the third image had none before
    assert [(one.name, one.form, int(one.labels.sum())) for one in found] == [("a", "COCO", 0), ("b", "COCO", 0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "lacks the list 'annotations'"),
        ({"images": [{"id": 1}], "annotations": [], "categories": []}, r"\(its file_name is missing\) and none of a,"),
        ({"images": [7], "annotations": [], "categories": []}, r"\(no object {...}\) and none of a,"),
        ({"images": [{"id": 1, "file_name": "a_png.rf.3.jpg"}], "annotations": [], "categories": []}, "a_png.rf.3.jpg"),
    ],
)
def test_a_coco_file_of_other_names_is_refused(folder: Path, content: object, message: str) -> None:
    (folder / "coco.json").write_text(json.dumps(content))
    with pytest.raises(HtunetError, match=message):
        read_review(folder, ONE)


@pytest.mark.parametrize(
    "name", ["masks/b.tif", "masks/b_mask.png", "images/b_mask.png", "instances_default.json", "review.xlsx"]
)
def test_corrections_under_another_name_are_refused(folder: Path, name: str) -> None:
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(folder / "masks" / "a.png")
    assert len(read_review(folder, ONE)) == 1
    (folder / name).write_bytes((folder / "masks" / "b.png").read_bytes())
    with pytest.raises(HtunetError, match=f"holds files that are not read: {name}"):
        read_review(folder, ONE)


def test_an_image_that_somebody_adds_is_refused_and_a_row_that_was_deleted_is_not(folder: Path) -> None:
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(folder / "masks" / "a.png")
    rows = (folder / "review.csv").read_text().splitlines(keepends=True)
    (folder / "review.csv").write_text("".join(row for row in rows if not row.startswith("b,")))
    assert [one.name for one in read_review(folder, ONE)] == ["a"]
    for name in ("images/new.png", "masks/new.png", "images/new.json"):
        (folder / name).write_bytes((folder / name.replace("new", "b")).read_bytes())
        with pytest.raises(HtunetError, match=r"holds files that are not read: images/new\."):
            read_review(folder, ONE)
