"""Annotations joined with the images that they are about: by names, over both splits, and over several readers."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.own import build_own
from PIL import Image

from dataset_conversion.common import ConversionReport
from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.find_images import find_images
from dataset_conversion.own_images.options import Findings, OwnData
from htunet.data.image_io import read_labels
from htunet.data.raw import read_raw
from htunet.errors import HtunetError, UsageError
from htunet.files import write_json
from htunet.paths import DatasetPaths

NAMES = tuple(f"c{index}" for index in range(4))


def coco(path: Path, categories: dict[str, int], *marked: tuple[str, str, int]) -> Path:
    """A file of 32 x 40 images; each of ``marked`` is an image's file name, a category and the side of its square."""
    names = list(dict.fromkeys(name for name, _, _ in marked))
    content = {
        "images": [{"id": i, "file_name": name, "height": 32, "width": 40} for i, name in enumerate(names)],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": [
            {
                "image_id": names.index(name),
                "category_id": categories[category],
                "segmentation": [[4, 4, 4 + side, 4, 4 + side, 4 + side, 4, 4 + side]],
            }
            for name, category, side in marked
            if side
        ],
    }
    path.parent.mkdir(exist_ok=True, parents=True)
    write_json(path, content)
    return path


def found(images: Path, *annotations: Path, **changes: Any) -> Findings:
    return find_images(OwnData(name="Mine", images=images, annotations=annotations, **changes))


def excluded(findings: Findings | ConversionReport) -> dict[str, str]:
    return {one.source: one.reason for one in findings.excluded}


def pixels(report: ConversionReport) -> dict[str, dict[int, int]]:
    """Of each label, of each case."""
    raw = read_raw(DatasetPaths(report.dataset))
    masks = {case.id: read_labels(raw.label_path(case)) for case in raw.cases}
    return {name: {int(v): int((mask == v).sum()) for v in np.unique(mask) if v} for name, mask in masks.items()}


def test_labels_are_those_of_both_splits_by_their_names(home: Path) -> None:
    """The test file lacks the rare category, has another one, and numbers them otherwise."""
    images, _ = build_own(home / "train", NAMES)
    test_images, _ = build_own(home / "test", NAMES[:2], seed=50)
    train = coco(home / "a.json", {"cyst": 1, "nodule": 2}, ("c0.png", "cyst", 4), ("c1.png", "nodule", 5))
    test = coco(home / "b.json", {"duct": 1, "cyst": 7}, ("c0.png", "cyst", 6), ("c1.png", "duct", 7))
    files: dict[str, Any] = {"annotations": (train,), "test_images": test_images, "test_annotations": (test,)}
    report = convert_own(OwnData(name="Mine", images=images, **files))
    assert read_raw(DatasetPaths(report.dataset)).info.labels == {"background": 0, "cyst": 1, "nodule": 2, "duct": 3}
    assert pixels(report) == {"c0": {1: 16}, "c1": {2: 25}, "test_c0": {1: 36}, "test_c1": {3: 49}}
    assert any("labels of the test split alone, which nothing can learn: duct" in note for note in report.notes)
    lacking = coco(home / "b.json", {"cyst": 1, "nodule": 2}, ("c0.png", "cyst", 6))
    report = convert_own(OwnData(name="Mine", images=images, **files | {"test_annotations": (lacking,)}))
    assert pixels(report)["test_c0"] == {1: 36}


def test_a_test_split_of_other_images_is_refused(home: Path) -> None:
    images, _ = build_own(home / "train", NAMES)
    test_images, _ = build_own(home / "test", NAMES[:2])
    train, test = (coco(home / f"{name}.json", {"cyst": 1}, (f"{name}.png", "cyst", 4)) for name in ("c0", "x"))
    with pytest.raises(HtunetError, match=r"No image of .*x\.json lies in .*test"):
        found(images, train, test_images=test_images, test_annotations=(test,))


@pytest.mark.parametrize(
    "name",
    [
        *("images%2Fc0.png", "c0.PNG", "C:\\us\\c0.png", "/data/us/c0.jpg", "C0.png", "./c0.png", "us%5Cc0.png"),
        *("https://x.org/us/c0.png?size=2", "upload/1a2b3c4d-c0.png", f"c0_png.rf.{'0a' * 16}.jpg"),
    ],
)
def test_annotations_may_spell_images_as_another_machine_does(home: Path, name: str) -> None:
    images, _ = build_own(home, NAMES)
    findings = found(images, coco(home / "x.json", {"cyst": 1}, (name, "cyst", 4)))
    assert [one.name for one in findings.images] == ["c0.png"]


def test_two_entries_of_one_image_give_it_to_none(home: Path) -> None:
    """Folders of another machine were cut off, and the second entry made a second case of the same picture."""
    images, _ = build_own(home, NAMES)
    entries = [("train/c0.png", "cyst", 4), ("val/c0.png", "cyst", 9), ("c1.png", "cyst", 4)]
    findings = found(images, coco(home / "x.json", {"cyst": 1}, *entries))
    assert [one.name for one in findings.images] == ["c1.png"]
    assert excluded(findings)["c0.png"] == "several entries of the annotations name this image"
    assert excluded(findings)["c2.png"] == "not in the annotations"


def test_labelme_files_beside_the_images(home: Path) -> None:
    images, _ = build_own(home, NAMES)
    for number, name in enumerate(NAMES[:3]):
        points = [[2, 2], [2 + number, 2], [2 + number, 4], [2, 4]]
        shapes = [{"label": "cyst", "points": points, "shape_type": "polygon"}] if number else []
        content = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": 32, "imageWidth": 40}
        (images / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    report = convert_own(OwnData(name="Mine", images=images, annotations=(images,)))
    assert pixels(report) == {"c0": {}, "c1": {1: 2}, "c2": {1: 4}}
    assert excluded(report) == {"c3.png": "not in the annotations"}
    with pytest.raises(HtunetError, match=r"Beside the images lie c0\.json, .*: for annotations use --annotations"):
        find_images(OwnData(name="Mine", images=images, masks=images))


def test_labelme_files_of_images_of_one_name_in_several_folders(home: Path) -> None:
    """Beside the images, and in folders of other names; imagePath is relative to its file."""
    images, _ = build_own(home, [f"{folder}/{number}" for folder in ("benign", "malignant") for number in (1, 2)])
    (images / "malignant" / "2.png").unlink()  # whose annotation is not that of benign/2.png
    for folder, other, side in (("benign", "reader/x", 3), ("malignant", "reader/y", 5)):
        for number in (1, 2):
            points = [[0, 0], [side, 0], [side, 1], [0, 1]]
            shapes = [{"label": "cyst", "points": points, "shape_type": "polygon"}]
            for place, name in ((images / folder, f"{number}.png"), (home / other, f"..\\x\\{folder}\\{number}.png")):
                place.mkdir(parents=True, exist_ok=True)
                content = {"shapes": shapes, "imagePath": name, "imageHeight": 32, "imageWidth": 40}
                (place / f"{number}.json").write_text(json.dumps(content), encoding="utf-8")
    for place in (images, home / "reader"):
        report = convert_own(OwnData(name="Mine", images=images, annotations=(place,)))
        assert pixels(report) == {"benign_1": {1: 3}, "2": {1: 3}, "malignant_1": {1: 5}}
        assert [*excluded(report)] == [f"{'malignant' if place == images else '../x/malignant'}/2.png"]


def test_a_mask_of_a_missing_image_is_not_joined_to_one_of_another_folder(home: Path) -> None:
    images, masks = build_own(home, ["benign/1", "benign/2", "malignant/1"])
    shutil.rmtree(images / "malignant")
    findings = find_images(OwnData(name="Mine", images=images, masks=masks))
    assert [len(one.mask_names) for one in findings.images] == [1, 1]
    assert list(excluded(findings)) == ["malignant/1_mask.png"]


def test_masks_among_the_images_of_a_classification_are_no_images(home: Path) -> None:
    masks = ["benign/1_mask.png", "benign/1_mask_1.png", "malignant/masks/1.png"]
    images = ["benign/1.png", "malignant/1.png", "malignant/2_mask.png"]  # the last one of no other image
    build_own(home, [name.removesuffix(".png") for name in [*images, *masks]])
    findings = find_images(OwnData(name="Mine", images=home / "images", classes="^(benign|malignant)"))
    assert sorted(one.name for one in findings.images) == images
    assert excluded(findings) == dict.fromkeys(masks, "a mask; without --masks only images are read")


def test_files_of_an_nnunet_folder_that_are_no_case_are_named(home: Path) -> None:
    of_cases = ["imagesTr/a_0000.png", "imagesTr/a_0001.png", "imagesTs/t_0000.PNG", "labelsTr/a.png"]
    strays = {
        "imagesTr": ["d_0000.tif", "e.png", "f_0000.jpg", "g_0001.png", "sub/a_0000.png"],
        "imagesTs": ["u.png"],
        "labelsTr": ["d.tif", "f.tif"],
    }
    for name in [*of_cases, *(f"{part}/{name}" for part, names in strays.items() for name in names)]:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(home / name)
    (home / "imagesTr" / "notes.txt").touch()
    write_json(home / "dataset.json", {"channel_names": {"0": "US"}, "labels": {"background": 0, "lesion": 1}})
    findings = find_images(OwnData(name="Mine", nnunet=home))
    assert [one.name for one in findings.images] == of_cases[:1]
    assert excluded(findings) == {
        f"{part}/{name}": f"not named {part}/ID{'' if part == 'labelsTr' else '_0000'}.png, as dataset.json requires"
        for part, names in strays.items()
        for name in names
    }


def test_a_folder_without_a_mask_that_can_be_read_says_what_it_holds(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    for path in masks.iterdir():
        path.rename(path.with_suffix(".npy"))
    with pytest.raises(HtunetError, match=r"masks holds no mask that can be read \(.*; it holds c0.*\.npy"):
        find_images(OwnData(name="Mine", images=images, masks=masks))


def test_annotations_without_a_size_are_drawn_at_that_of_the_image(home: Path) -> None:
    images, _ = build_own(home, NAMES)
    region = {"shape_attributes": {"name": "rect", "x": 3, "y": 2, "width": 5, "height": 4}, "region_attributes": {}}
    content = {"k": {"filename": "c0.png", "size": 1, "regions": [region]}}
    (home / "via.json").write_text(json.dumps(content), encoding="utf-8")
    assert pixels(convert_own(OwnData(name="Mine", images=images, annotations=(home / "via.json",)))) == {"c0": {1: 20}}


def test_two_readers_are_merged_or_one_is_chosen(home: Path) -> None:
    images, _ = build_own(home, NAMES)
    kim = coco(home / "kim.json", {"cyst": 1}, ("c0.png", "cyst", 6), ("c1.png", "cyst", 5), ("c2.png", "cyst", 0))
    lee = coco(home / "lee.json", {"cyst": 1}, ("c0.png", "cyst", 4), ("c2.png", "cyst", 7))
    report = convert_own(OwnData(name="Mine", images=images, annotations=(kim, lee)))
    assert pixels(report) == {"c0": {1: 16}, "c1": {1: 25}, "c2": {}}
    assert any(note.startswith("marked by several readers: 2 images (kim, lee)") for note in report.notes)
    assert any(note == "merged by majority vote of 2 readers: 2 cases, c0, c2" for note in report.notes)
    report = convert_own(OwnData(name="Mine", images=images, annotations=(kim, lee), annotator="lee"))
    assert pixels(report) == {"c0": {1: 16}, "c2": {1: 49}}
    with pytest.raises(UsageError, match=r"--annotator 'Lee' marked nothing in .*; the readers are kim, lee"):
        found(images, kim, lee, annotator="Lee")


def test_a_test_split_in_a_folder_below_the_images_is_no_part_of_them(home: Path) -> None:
    build_own(home / "all", NAMES)
    test_images, test_masks = build_own(home / "all/test", ["t0", "c0"], seed=50)
    both = home / "all"
    split = {"test_images": test_images, "test_masks": test_masks}
    for images, masks in ((both / "images", both / "masks"), (both, both)):
        findings = find_images(OwnData(name="Mine", images=images, masks=masks, **split))
        names = {one.split: [] for one in findings.images}
        for one in findings.images:
            names[one.split].append(one.image.relative_to(both).as_posix())
        assert names == {
            "train": [f"images/{name}.png" for name in NAMES],
            "test": ["test/images/c0.png", "test/images/t0.png"],
        }
    marked = coco(home / "all.json", {"a": 1}, *((f"{name}.png", "a", 4) for name in NAMES))
    tested = coco(home / "test.json", {"a": 1}, ("t0.png", "a", 4), ("c0.png", "a", 4))
    split = {"test_images": both / "test", "test_annotations": (tested,)}
    assert sorted(one.name for one in found(both, marked, **split).images if one.split == "train") == [
        f"images/{name}.png" for name in NAMES
    ]
    with pytest.raises(UsageError, match="are the same folder"):
        OwnData(name="Mine", images=both, masks=both, test_images=home / "x/../all", test_masks=both)
