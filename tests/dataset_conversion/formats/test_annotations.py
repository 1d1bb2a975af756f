"""Annotations of each tool, as it writes them: every shape with its area by hand, and which tool wrote a file."""

import base64
import csv
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataset_conversion.formats.annotations import read_annotations
from dataset_conversion.formats.shapes import NO_AREA, AnnotationFile, draw
from htunet.errors import HtunetError

SIZE = (20, 30)


def areas(file: AnnotationFile, name: str = "a.png") -> dict[str, int]:
    """The pixels of each label of one image."""
    (image,) = [one for one in file.images if one.file_name == name]
    numbers = {label: index for index, label in enumerate(("background", *file.labels))}
    labels, _ = draw(image, numbers, image.size or SIZE)
    return {label: int((labels == index).sum()) for label, index in numbers.items() if index}


def problems(files: list[AnnotationFile]) -> list[str]:
    return [image.problem for file in files for image in file.images]


def in_base64(mask: np.ndarray) -> str:
    stream = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert("1").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def labelme(path: Path, *shapes: dict[str, Any], **changes: Any) -> Path:
    entries = [{"shape_type": "polygon", "group_id": None, "flags": {}} | shape for shape in shapes]
    size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "imageData": None}
    content = {"version": "5.4.1", "flags": {}, "shapes": entries, "imagePath": f"{path.stem}.png"} | size | changes
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


BOX = [[1, 2], [5, 2], [5, 5], [1, 5]]


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ({"points": BOX}, 12),
        ({"points": BOX, "shape_type": None}, 12),
        ({"shape_type": "rectangle", "points": [[5, 5], [1, 2]]}, 12),
        ({"shape_type": "rectangle", "points": BOX}, 12),
        ({"shape_type": "circle", "points": [[10, 10], [10, 11.5]]}, 4),
        ({"shape_type": "mask", "points": [[3, 4], [5, 5]], "mask": in_base64(np.eye(2, 3))}, 2),
    ],
)
def test_shapes_of_labelme(tmp_path: Path, shape: dict[str, Any], area: int) -> None:
    path = labelme(tmp_path / "a.json", {"label": "cyst"} | shape)
    (file,) = read_annotations(path)
    assert areas(file) == {"cyst": area}


def test_labelme_files_of_a_folder(tmp_path: Path) -> None:
    """A file for each image, several labels, lines beside them, and the background as a shape."""
    labelme(tmp_path / "us" / "a.json", {"label": "_background_", "points": [[0, 0], [30, 0], [30, 20], [0, 20]]},
            {"label": "cyst", "points": BOX}, {"label": "x", "shape_type": "line", "points": [[0, 0], [9, 9]]},
            {"label": "nodule", "points": [[10, 10], [12, 10], [12, 12], [10, 12]]})  # fmt: skip
    labelme(tmp_path / "us" / "b.json", imagePath="..\\us\\b.jpg")
    (tmp_path / "us" / "settings.json").write_text("{}", encoding="utf-8")
    (file,) = read_annotations(tmp_path)
    assert (file.reader, file.labels) == ("us", ("cyst", "nodule"))
    assert areas(file, "us/a.png") == {"cyst": 12, "nodule": 4}
    assert file.images[0].remarks == {NO_AREA}
    assert [(image.file_name, image.shapes) for image in file.images[1:]] == [("..\\us\\b.jpg", [])]


@pytest.mark.parametrize(
    ("shape", "changes", "problem"),
    [
        ({"shape_type": "cuboid", "points": BOX}, {}, "its shape 'cuboid' of 4 points is not read"),
        ({"shape_type": "circle", "points": BOX}, {}, "its shape 'circle' of 4 points is not read"),
        ({"shape_type": "mask", "points": BOX[:2]}, {}, "its shape 'mask' has no picture"),
        ({"label": "__ignore__", "points": BOX}, {}, "regions __ignore__"),
        ({"points": 5}, {}, "no list of points"),
        ({"points": BOX}, {"imageWidth": "30"}, "its size cannot be read: '30' x 20"),
        ({"points": BOX}, {"imagePath": "b.png"}, "its imagePath names b.png, the file is a.json"),
    ],
)
def test_what_is_wrong_with_an_image_of_labelme(
    tmp_path: Path, shape: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    path = labelme(tmp_path / "a.json", {"label": "cyst"} | shape, **changes)
    assert problem in problems(read_annotations(path))[0]


VIA = [
    ({"name": "polygon", "all_points_x": [1, 5, 5, 1], "all_points_y": [2, 2, 5, 5]}, 12),
    ({"name": "rect", "x": 1, "y": 2, "width": 4, "height": 3}, 12),
    ({"name": "circle", "cx": 10, "cy": 10, "r": 1.5}, 4),
    ({"name": "ellipse", "cx": 10, "cy": 10, "rx": 2.5, "ry": 1, "theta": 0}, 8),
    ({"name": "ellipse", "cx": 10, "cy": 10, "rx": 1, "ry": 2.5}, 8),
]


def via_entry(name: str, *regions: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    listed = [{"shape_attributes": shape, "region_attributes": named} for shape, named in regions]
    return {"filename": name, "size": 1234, "regions": listed, "file_attributes": {}}


def via_files(folder: Path, entries: list[dict[str, Any]]) -> list[Path]:
    """The same content as VIA's project, its export as JSON (of version 1, too), and as CSV."""
    by_key = {f"{entry['filename']}1234": entry for entry in entries}
    project = {"_via_settings": {"ui": {}}, "_via_img_metadata": by_key, "_via_attributes": {"region": {}, "file": {}}}
    former = {key: entry | {"regions": dict(enumerate(entry["regions"]))} for key, entry in by_key.items()}
    paths = []
    for name, content in (("project", project), ("export", by_key), ("former", former)):
        paths.append(folder / name / "via.json")
        paths[-1].parent.mkdir()
        paths[-1].write_text(json.dumps(content), encoding="utf-8")
    paths.append(folder / "via.csv")
    with paths[-1].open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        columns = ("file_size", "file_attributes", "region_count", "region_id")
        writer.writerow(["#filename", *columns, "region_shape_attributes", "region_attributes"])
        for entry in entries:
            regions = entry["regions"] or [{"shape_attributes": {}, "region_attributes": {}}]
            for number, region in enumerate(regions):
                pair = (json.dumps(region["shape_attributes"]), json.dumps(region["region_attributes"]))
                writer.writerow([entry["filename"], 1234, "{}", len(entry["regions"]), number, *pair])
    return paths


@pytest.mark.parametrize(("shape", "area"), VIA)
def test_shapes_of_via_in_all_its_files(tmp_path: Path, shape: dict[str, Any], area: int) -> None:
    line = ({"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]}, {"label": "cyst"})
    entries = [via_entry("a.png", (shape, {"label": "cyst", "quality": "good"}), line), via_entry("b.png")]
    for path in via_files(tmp_path, entries):
        (file,) = read_annotations(path)
        assert (file.reader, file.labels, areas(file)) == ("via", ("cyst",), {"cyst": area}), path
        assert [image.file_name for image in file.images] == ["a.png", "b.png"]
        assert (file.images[0].remarks, file.images[1].shapes) == ({NO_AREA}, [])


def test_two_entries_of_via_with_one_name_are_a_problem_of_this_image(tmp_path: Path) -> None:
    """VIA tells images by name and size: of another folder, or saved again."""
    shape = (VIA[0][0], {"label": "cyst"})
    entries = {
        "a.png10": via_entry("a.png", shape),
        "a.png20": via_entry("a.png"),
        "b.png10": via_entry("b.png", shape),
    }
    (tmp_path / "via.json").write_text(json.dumps(entries), encoding="utf-8")
    shapes = json.dumps(VIA[0][0]).replace('"', '""')
    rows = "".join(f'{name},{size},"{shapes}","{{}}"\n' for name, size in (("a.png", 1), ("a.png", 2), ("b.png", 1)))
    header = "filename,file_size,region_shape_attributes,region_attributes\n"
    (tmp_path / "via.csv").write_text(header + rows, encoding="utf-8")
    for name in ("via.json", "via.csv"):
        (file,) = read_annotations(tmp_path / name)
        problems = {image.file_name: image.problem for image in file.images}
        assert problems["a.png"] == "several entries of the file, of images of unlike size, have this name"
        assert problems["b.png"] == ""


def test_files_of_a_folder_that_are_no_annotations_are_named_beside_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "kim.json").write_text(json.dumps({"k": via_entry("a.png", (VIA[0][0], {}))}), encoding="utf-8")
    (tmp_path / "lee.json").write_text("[]", encoding="utf-8")
    (tmp_path / "park.csv").write_text("image,x\na.png,1\n", encoding="utf-8")
    (tmp_path / "kira.json").write_bytes((tmp_path / "kim.json").read_bytes())
    files = read_annotations(tmp_path)
    assert [file.reader for file in files] == ["kim", "kira"]
    for file in files:  # --annotator leaves some of them out
        assert file.notes[0].startswith("not read, because they are none of COCO")
        assert file.notes[0].endswith("lee.json, park.csv")


def test_labels_of_via_by_any_attribute(tmp_path: Path) -> None:
    shape = VIA[0][0]

    def labels(*named: dict[str, Any]) -> tuple[str, ...]:
        path = tmp_path / "via.json"
        path.write_text(json.dumps({"k": via_entry("a.png", *((shape, one) for one in named))}), encoding="utf-8")
        return read_annotations(path)[0].labels

    assert labels({}, {}) == ("lesion",)
    assert labels({"BI-RADS": 4}, {"BI-RADS": 2}) == ("2", "4")
    assert labels({"type": {"cyst": True, "nodule": False}}) == ("cyst",)
    assert labels({"class": "cyst", "margin": "spiculated"}) == ("cyst",)
    with pytest.raises(HtunetError, match=r"attributes \['margin', 'echo'\], and none is called label"):
        labels({"margin": "spiculated", "echo": "hypo"})
    labels({"class": "cyst"}, {"class": ""})
    assert problems(read_annotations(tmp_path / "via.json")) == ["a region without a label"]


def test_choices_of_via_are_called_as_its_project_says(tmp_path: Path) -> None:
    options = {"region": {"label": {"type": "dropdown", "options": {"1": "cyst", "2": "nodule"}}}}
    content = {"_via_attributes": options, "_via_img_metadata": {"k": via_entry("a.png", (VIA[0][0], {"label": "2"}))}}
    (tmp_path / "via.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_annotations(tmp_path / "via.json")[0].labels == ("nodule",)


def test_an_attribute_of_via_may_name_the_reader(tmp_path: Path) -> None:
    box, circle = VIA[0][0], VIA[2][0]
    regions = [(box, {"label": "cyst", "Annotator": "Kim"}), (circle, {"label": "cyst", "Annotator": "Lee"})]
    for path in via_files(tmp_path, [via_entry("a.png", *regions), via_entry("b.png", regions[0])]):
        kim, lee = read_annotations(path)
        assert (kim.reader, areas(kim), areas(kim, "b.png")) == ("Kim", {"cyst": 12}, {"cyst": 12})
        assert (lee.reader, areas(lee), len(lee.images)) == ("Lee", {"cyst": 4}, 1)
    nobodys = via_entry("a.png", *regions, (box, {"label": "cyst"}))
    (tmp_path / "x.json").write_text(json.dumps({"k": nobodys}), encoding="utf-8")
    assert all("without the attribute 'Annotator'" in one for one in problems(read_annotations(tmp_path / "x.json")))


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><job><labels>
    <label><name>nodule</name></label><label><name>cyst</name></label><label><name>never</name></label>
  </labels></job></meta>
  <image id="0" name="us/a.png" width="30" height="20">{}</image>
  <image id="1" name="b.png" width="30" height="20"></image>
</annotations>"""


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ('<polygon label="cyst" occluded="0" points="1.00,2.00;5.00,2.00;5.00,5.00;1.00,5.00" z_order="0"/>', 12),
        ('<box label="cyst" xtl="1" ytl="2" xbr="5" ybr="5"/>', 12),
        ('<box label="cyst" xtl="1" ytl="2" xbr="4" ybr="3" rotation="90.0"/>', 3),
        ('<ellipse label="cyst" cx="10" cy="10" rx="2.5" ry="1"/>', 8),
        ('<ellipse label="cyst" cx="10" cy="10" rx="2.5" ry="1" rotation="90"/>', 8),
        ('<mask label="cyst" rle="1, 2, 1, 2" left="1" top="2" width="3" height="2"/>', 4),
    ],
)
def test_shapes_of_cvat(tmp_path: Path, shape: str, area: int) -> None:
    (tmp_path / "x.xml").write_text(CVAT.format(f"{shape}<points label='cyst' points='1,1'/><tag label='q'/>"))
    (file,) = read_annotations(tmp_path / "x.xml")
    assert (file.labels, file.unused) == (("cyst",), ("nodule", "never"))
    assert areas(file, "us/a.png") == {"cyst": area}
    assert [(image.file_name, image.size) for image in file.images] == [("us/a.png", SIZE), ("b.png", SIZE)]
    assert file.images[0].remarks == {NO_AREA}


def test_what_lies_above_in_cvat_is_drawn_later(tmp_path: Path) -> None:
    shapes = (
        '<box label="nodule" xtl="2" ytl="2" xbr="4" ybr="4" z_order="10"/>'
        '<box label="cyst" xtl="0" ytl="0" xbr="6" ybr="6" z_order="9"/>'
    )
    (tmp_path / "x.xml").write_text(CVAT.format(shapes))
    assert areas(read_annotations(tmp_path / "x.xml")[0], "us/a.png") == {"nodule": 4, "cyst": 32}


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ('<cuboid label="cyst" xtl1="1"/>', "its shape 'cuboid' is not read"),
        ('<mask label="cyst" rle="1, x" left="1" top="2" width="3" height="2"/>', "its shape 'mask' is not read"),
    ],
)
def test_what_is_wrong_with_an_image_of_cvat(tmp_path: Path, shape: str, problem: str) -> None:
    (tmp_path / "x.xml").write_text(CVAT.format(shape))
    assert problems(read_annotations(tmp_path / "x.xml")) == [problem, ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.xml", "<annotations><track id='0'/></annotations>", "not CVAT's XML for images"),
        ("x.xml", "<a><!DOCTYPE", "not valid XML"),
        ("x.xml", '<!DOCTYPE a [<!ENTITY e "x">]><annotations>&e;</annotations>', "defines entities"),
        ("x.json", "[]", "holds no annotations that are read: COCO, LabelMe, VIA"),
        ("x.json", '{"project": {}, "metadata": {}}', "holds no annotations that are read"),
        ("x.json", "{", "not valid JSON"),
        ("x.json", '{"images": []}', "lacks the list 'annotations'"),
        ("x.csv", "image,class\n", "holds no annotations that are read"),
        (
            "x.csv",
            "filename,region_shape_attributes,region_attributes\na.png,{,{}\n",
            "line 2: a region is not valid JSON",
        ),
    ],
)
def test_a_file_of_no_tool_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(HtunetError, match=message):
        read_annotations(tmp_path / name)
    if "holds no" in message:
        with pytest.raises(HtunetError, match=f"found {name}"):
            read_annotations(tmp_path)


def test_fractions_in_place_of_pixels_are_refused(tmp_path: Path) -> None:
    points = [[x / SIZE[1], y / SIZE[0]] for x, y in BOX]
    path = labelme(tmp_path / "a.json", {"label": "a", "points": points})
    with pytest.raises(HtunetError, match="all coordinates lie between 0 and 1, as fractions of the image do"):
        read_annotations(path)
    labelme(path, {"label": "a", "points": points}, {"label": "a", "points": BOX})
    assert areas(read_annotations(path)[0]) == {"a": 12}
