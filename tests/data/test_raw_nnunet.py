"""A folder that nnU-Net's users made is read as it is, or refused with the way out."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from htunet.data.raw import RawDataset, read_raw
from htunet.data.verification import ERROR, raise_for_errors, verify
from htunet.errors import HtunetError
from htunet.files import write_json
from htunet.paths import DatasetPaths

PATHS = DatasetPaths("Dataset600_Theirs")
LABELS = {"background": 0, "lesion": 1, "cyst": 2}


def build_nnunet(ending: str = ".png", *, channels: int = 1, test_labels: int = 0, **changes: Any) -> Path:
    """Two training and two test images of 20 x 30 pixels; ``changes`` go into dataset.json."""
    rng, shape = np.random.default_rng(0), (20, 30, 3) if channels == 3 else (20, 30)
    ids = {"Tr": ["a", "case (1)"], "Ts": ["x", "y"]}
    for split, names in ids.items():
        for index, name in enumerate(names):
            for folder in (f"images{split}", f"labels{split}"):
                (PATHS.raw / folder).mkdir(parents=True, exist_ok=True)
            image = rng.integers(0, 255, shape).astype(np.uint8)
            Image.fromarray(image).save(PATHS.raw / f"images{split}" / f"{name}_0000{ending}")
            if split == "Tr" or index < test_labels:
                mask = np.zeros((20, 30), np.uint8)
                mask[5:10, 5:10], mask[12:15, 5:10] = 1, 2
                Image.fromarray(mask).save(PATHS.raw / f"labels{split}" / f"{name}{ending}")
    names = ["R", "G", "B"] if channels == 3 else ["US"]
    content = {"channel_names": {str(i): name for i, name in enumerate(names)}, "labels": LABELS, "numTraining": 2}
    write_json(PATHS.raw / "dataset.json", content | {"file_ending": ending} | changes)
    return PATHS.raw


def ids(raw: RawDataset, split: str) -> list[str]:
    return [case.id for case in raw.cases if case.split == split]


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_its_files_are_found_by_their_names(home: Path, ending: str, channels: int) -> None:
    build_nnunet(ending, channels=channels, overwrite_image_reader_writer="NaturalImage2DIO")
    raw = read_raw(PATHS)
    assert (ids(raw, "train"), ids(raw, "test")) == (["a", "case (1)"], [])
    assert (raw.info.channels, raw.info.labels, raw.info.split_rule) == (channels, LABELS, "8:1:1")
    assert any(note.endswith("2 images of imagesTs") for note in raw.notes)
    assert [problem for problem in verify(raw) if problem.severity == "error"] == []


def test_images_that_are_scaled_are_named_once(home: Path) -> None:
    folder = build_nnunet(".tif")
    for name in ("a", "case (1)"):
        path = folder / "imagesTr" / f"{name}_0000.tif"
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 200).save(path)
    (found,) = [problem for problem in verify(read_raw(PATHS)) if problem.kind == "image_values"]
    assert (found.severity, len(found.files)) == ("warning", 2)
    assert "scaled from each file's own lowest and highest" in found.message
    assert found.message.endswith("2 cases, a, case (1).")


@pytest.mark.parametrize("declared", [".png", ".PNG"])
def test_endings_match_in_any_letter_case(home: Path, declared: str) -> None:
    folder = build_nnunet(file_ending=declared, test_labels=1)
    for name in ("imagesTr/a_0000", "labelsTr/case (1)", "imagesTs/x_0000", "labelsTs/x"):
        (folder / f"{name}.png").rename(folder / f"{name}.PNG")
    raw = read_raw(PATHS)
    assert (ids(raw, "train"), ids(raw, "test")) == (["a", "case (1)"], ["x"])
    assert [problem for problem in verify(raw) if problem.severity == ERROR] == []
    for case in raw.cases:
        assert raw.image_path(case).exists()
        assert raw.label_path(case).exists()


def test_labels_may_have_names_as_macos_writes_them(home: Path) -> None:
    folder = build_nnunet(test_labels=1)
    for name, composed, decomposed in (("a", "ä", "a\u0308"), ("case (1)", "é", "é")):
        (folder / "imagesTr" / f"{name}_0000.png").rename(folder / "imagesTr" / f"{composed}_0000.png")
        (folder / "labelsTr" / f"{name}.png").rename(folder / "labelsTr" / f"{decomposed}.png")
    raw = read_raw(PATHS)
    assert [problem for problem in verify(raw) if problem.severity == ERROR] == []
    assert sorted(path.name for path in map(raw.label_path, raw.cases) if path.exists()) == [
        "a\u0308.png",
        "x.png",
        "é.png",
    ]


def test_a_file_of_several_pages_is_no_case(home: Path) -> None:
    """nnU-Net would take it for a volume; its first page alone would be trained on in silence."""
    folder = build_nnunet(".tif")
    page = Image.fromarray(np.zeros((20, 30), np.uint8))
    page.save(folder / "imagesTr" / "a_0000.tif", save_all=True, append_images=[page])
    (problem,) = (problem for problem in verify(read_raw(PATHS)) if problem.severity == ERROR)
    assert "holds 2 pages or frames" in problem.message


def test_a_labelled_test_split_is_the_test_split(home: Path) -> None:
    build_nnunet(test_labels=1)
    raw = read_raw(PATHS)
    assert (ids(raw, "test"), raw.info.split_rule) == (["x"], "8:2")
    assert [path.name for path in raw.unlabelled] == ["y_0000.png"]


def test_a_missing_label_and_a_lost_label_are_both_named(home: Path) -> None:
    folder = build_nnunet()
    (folder / "labelsTr" / "a.png").rename(folder / "labelsTr" / "b.png")
    with pytest.raises(HtunetError) as caught:
        raise_for_errors("it", verify(read_raw(PATHS)))
    assert "a.png is missing" in str(caught.value)
    assert "labelsTr/b.png belongs to no case. Add its image" in str(caught.value)


def test_the_shadow_files_of_macos_are_no_cases(home: Path) -> None:
    folder = build_nnunet()
    before = read_raw(PATHS).cases
    for name in ("imagesTr/._a_0000.png", "labelsTr/._a.png"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07")
    raw = read_raw(PATHS)
    assert raw.cases == before
    assert not [problem for problem in verify(raw) if problem.severity == ERROR]


def test_palette_and_bilevel_masks_hold_their_indices(home: Path) -> None:
    folder = build_nnunet(labels={"background": 0, "lesion": 1})
    palette = Image.fromarray(np.eye(20, 30, dtype=np.uint8), "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    palette.save(folder / "labelsTr" / "a.png")
    Image.fromarray(np.eye(20, 30) > 0).save(folder / "labelsTr" / "case (1).png")
    assert [problem.kind for problem in verify(read_raw(PATHS))] == []


@pytest.mark.parametrize("split", ["split", "part"])
def test_classes_of_an_added_table_count_under_the_present_and_the_former_name_of_a_column(
    home: Path, split: str
) -> None:
    folder = build_nnunet()
    rows = f"id,{split},class,group,source,spacing_mm\na,train,malignant,,,\ncase (1),train,benign,,,0.1\n"
    (folder / "cases.csv").write_text(rows, encoding="utf-8")
    raw = read_raw(PATHS)
    assert raw.info.classes == {"benign": 0, "malignant": 1}
    assert [case.spacing_mm for case in raw.cases] == [None, 0.1]


@pytest.mark.parametrize(("nothing", "delimiter"), [("NA", ","), ("nan", ";"), ("#NV", ";"), ("", ";")])
def test_what_is_not_known_in_an_added_table_is_no_patient_and_no_class(
    home: Path, nothing: str, delimiter: str
) -> None:
    """R writes NA: all images without a patient were one patient, and a third class was trained."""
    folder = build_nnunet()
    rows = f"id,split,class,group,source,spacing_mm\na,train,{nothing},{nothing},,\ncase (1),train,b,p1,,0.1\n"
    (folder / "cases.csv").write_text(rows.replace(",", delimiter), encoding="utf-8")
    raw = read_raw(PATHS)
    assert raw.info.classes == {"b": 0}
    assert [(case.class_name, case.group) for case in raw.cases] == [("", ""), ("b", "p1")]
    note = f"in cases.csv 1 class or groups are {nothing!r}: nothing is known there"
    assert (note in raw.notes) == (nothing != "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "the labels ['whole'] are regions"),
        ({"labels": LABELS | {"ignore": 3}}, "has nnU-Net's 'ignore' label"),
        ({"labels": {"background": 0, "lesion": 255}}, "labels must be numbered 0"),
        ({"labels": {"background": 0, "lesion": "1"}}, "labels.lesion must be a whole number"),
        ({"file_ending": ".nii.gz"}, "files that end in '.nii.gz'"),
        ({"file_ending": ".jpg"}, "files that end in '.jpg'"),
        ({"channel_names": {"0": "B-mode", "1": "Doppler"}}, "has 2 channels"),
        ({"dataset": {"a": {"images": ["a.png"], "label": "b.png"}}}, "names its files one by one"),
    ],
)
def test_what_cannot_be_read_in_place_is_refused(home: Path, changes: dict[str, Any], message: str) -> None:
    build_nnunet(**changes)
    with pytest.raises(HtunetError, match=re.escape(message)):
        read_raw(PATHS)


def test_a_file_for_each_channel_is_sent_to_the_converter(home: Path) -> None:
    folder = build_nnunet(channels=3)
    (folder / "imagesTr" / "a_0000.png").rename(folder / "imagesTr" / "a_0001.png")
    with pytest.raises(HtunetError, match="htunet_convert --nnunet"):
        read_raw(PATHS)


def test_our_own_folder_without_its_table_is_an_error(home: Path) -> None:
    folder = build_nnunet(htunet={"format": 1})
    with pytest.raises(HtunetError, match=r"cases\.csv is missing"):
        read_raw(PATHS)
    assert folder.exists()
