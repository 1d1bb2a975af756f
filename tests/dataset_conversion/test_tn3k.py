import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from builders.tn3k import BuiltTn3k, build_tn3k, write_folds, write_jpeg
from PIL import Image

from dataset_conversion import convert
from dataset_conversion.common import ConversionReport, Options, read_mask
from dataset_conversion.tn3k import PUBLISHED_SPLITS, read_labels_table
from htunet.data.image_io import read_labels
from htunet.data.raw import read_excluded, read_raw
from htunet.data.split_files import load_splits, settle_splits
from htunet.data.verification import WARNING, verify
from htunet.errors import HtunetError
from htunet.paths import DatasetPaths

TN3K = DatasetPaths("Dataset505_TN3K")


def converted(source: Path) -> ConversionReport:
    return convert("TN3K", source, Options())


@pytest.fixture
def built(home: Path) -> BuiltTn3k:
    return build_tn3k(home / "download" / "tn3k")


@pytest.mark.parametrize("nested", [False, True])
def test_both_layouts_give_the_splits_and_name_every_oddity(home: Path, nested: bool) -> None:
    built = build_tn3k(home / "download" / "picture", nested=nested)
    report = converted(home / "download")
    assert report.found == built.found
    assert report.converted == {"test": 5, "train": 12}
    assert report.differences == (
        f"trainval: {built.found['trainval']} found, 2879 in the whole data set",
        f"test: {built.found['test']} found, 614 in the whole data set",
    )
    reasons = {one.source: one.reason for one in read_excluded(TN3K)}
    assert reasons.pop(built.orphan_mask) == "a mask without an image"
    assert reasons.pop(built.unmasked) == "an image without a mask"
    assert "cannot be read" in reasons.pop(built.unreadable)
    assert "differ in size" in reasons.pop(built.misfit)
    assert reasons.pop(built.second_number) == "a second file with the number 0, beside 0.jpg"
    assert {reasons.pop(stray) for stray in built.strays} == {"not a file of the data set"}
    assert reasons == {}


def test_like_names_of_both_splits_do_not_collide(built: BuiltTn3k) -> None:
    converted(built.folder)
    raw = read_raw(TN3K)
    images = {case.id: case for case in raw.cases}
    assert (images["trainval_0000"].split, images["test_0000"].split) == ("train", "test")
    assert images["test_0001"].source == "test-image/0001.jpg"
    assert not np.array_equal(*(read_labels(raw.label_path(images[case])) for case in ("trainval_0001", "test_0001")))
    assert {problem.severity for problem in verify(raw)} <= {WARNING}


def test_the_masks_are_cut_between_their_two_values(built: BuiltTn3k) -> None:
    converted(built.folder)
    gray = np.asarray(Image.open(built.folder / "test-mask" / "0003.jpg"))
    assert len(np.unique(gray)) > 2
    label = read_labels(TN3K.raw / "labelsTs" / "test_0003.png")
    assert (label == (gray > 127)).all()
    assert label[1, 1] == label[label.shape[0] // 2, label.shape[1] // 2] == 1
    assert label[8, 1] == 0


def test_without_labels_there_are_no_classes(built: BuiltTn3k) -> None:
    converted(built.folder)
    assert read_raw(TN3K).info.classes == {}


def test_the_tables_of_labels_give_the_classes(home: Path) -> None:
    built = build_tn3k(home / "tn3k", labels=True, quirks=False)
    report = converted(built.folder)
    assert report.converted == {"benign": 12, "malignant": 5}
    raw = read_raw(TN3K)
    assert raw.info.classes == {"benign": 0, "malignant": 1}
    classes = {case.id: case.class_name for case in raw.cases}
    assert (classes["trainval_0002"], classes["test_0001"], classes["test_0002"]) == (
        "malignant",
        "benign",
        "malignant",
    )


def test_labels_without_image_and_images_without_label_are_told(home: Path) -> None:
    built = build_tn3k(home / "tn3k", labels=True, quirks=False)
    (built.folder / "label4test.csv").write_text("image,label\n0000.jpg,1\n0099.jpg,0\n", encoding="utf-8")
    report = converted(built.folder)
    assert "label4test.csv: 4 images without class: 0001, 0002, 0003, 0004" in report.notes
    assert "label4test.csv: 1 label without image: 0099" in report.notes
    assert {problem.kind for problem in verify(read_raw(TN3K))} == {"no_class"}


@pytest.mark.parametrize("line", ["0000.jpg,2", "0000.jpg", "one.jpg,1", "0000.jpg,0,1"])
def test_a_label_that_cannot_be_meant_is_an_error(tmp_path: Path, line: str) -> None:
    table = tmp_path / "label4test.csv"
    table.write_text(f"0001.jpg,0\n{line}\n", encoding="utf-8")
    with pytest.raises(HtunetError, match=r"must read 0012\.jpg,0 or 0012\.jpg,1"):
        read_labels_table(table)


def test_an_image_of_two_classes_is_an_error(tmp_path: Path) -> None:
    table = tmp_path / "label4test.csv"
    table.write_text("0001.jpg,0\n1.jpg,1\n", encoding="utf-8")
    with pytest.raises(HtunetError, match="gives the image 1 two classes: benign and malignant"):
        read_labels_table(table)


def test_the_published_folds_are_kept_as_ids(home: Path) -> None:
    built = build_tn3k(home / "tn3k", quirks=False)
    report = converted(built.folder)
    folds = load_splits(TN3K.raw / PUBLISHED_SPLITS)
    assert len(folds) == 5
    assert folds[1]["val"] == ["trainval_0001", "trainval_0006", "trainval_0011"]
    assert folds[1]["train"][:4] == ["trainval_0000", "trainval_0002", "trainval_0003", "trainval_0004"]
    assert folds[4]["test"] == [f"test_{number:04d}" for number in range(5)]
    assert any(f"{PUBLISHED_SPLITS} has 5 published folds (fold 0: 9 / 3 / 5)" in note for note in report.notes)


def test_a_copy_of_the_published_folds_becomes_the_split(home: Path) -> None:
    converted(build_tn3k(home / "tn3k", quirks=False).folder)
    TN3K.preprocessed.mkdir(parents=True, exist_ok=True)
    content = (TN3K.raw / PUBLISHED_SPLITS).read_bytes()
    TN3K.splits_json.write_bytes(content)
    settled = settle_splits(read_raw(TN3K))
    assert len(settled.splits.folds) == 5
    assert settled.splits.folds[0]["val"] == ["trainval_0000", "trainval_0005", "trainval_0010"]
    assert TN3K.splits_json.read_bytes() == content


def test_positions_count_images_and_not_names(home: Path) -> None:
    built = build_tn3k(home / "tn3k", quirks=False)
    (built.folder / "trainval-image" / "0003.jpg").unlink()
    write_folds(built.folder, 11)
    converted(built.folder)
    folds = load_splits(TN3K.raw / PUBLISHED_SPLITS)
    assert folds[3]["val"] == ["trainval_0004", "trainval_0009"]
    assert folds[1]["val"] == ["trainval_0001", "trainval_0007"]


def test_images_that_became_no_case_are_in_no_fold_though_they_count(built: BuiltTn3k) -> None:
    converted(built.folder)
    for fold in load_splits(TN3K.raw / PUBLISHED_SPLITS):
        assert sorted(fold["train"] + fold["val"]) == [f"trainval_{number:04d}" for number in range(12)]
    write_folds(built.folder, built.found["trainval"] + 1)
    (note,) = (note for note in converted(built.folder).notes if "published" in note)
    assert "fold0.json divides 15 images (or names one twice), 14 are here" in note
    assert not (TN3K.raw / PUBLISHED_SPLITS).exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not a JSON object"),
        ("[" * 100_000, "is not a JSON object"),
        ("[1]", "is not a JSON object"),
        ('{"train": [0.5], "val": []}', "lists of numbers"),
        ('{"train": [true], "val": []}', "lists of numbers"),
        ('{"train": {"0": 1}, "val": []}', "lists of numbers"),
        (json.dumps({"train": list(range(11)), "val": [3]}), "or names one twice"),
        (None, "fold2.json is missing"),
    ],
)
def test_fold_files_that_cannot_be_meant_are_not_taken_over(home: Path, content: str | None, words: str) -> None:
    built = build_tn3k(home / "tn3k", quirks=False)
    path = built.folder / "tn3k-trainval-fold2.json"
    path.unlink() if content is None else path.write_text(content, encoding="utf-8")
    report = converted(built.folder)
    (note,) = (note for note in report.notes if "published" in note)
    assert note.startswith("the published folds are not taken over")
    assert words in note
    assert not (TN3K.raw / PUBLISHED_SPLITS).exists()


def test_the_zip_as_distributed_is_read(home: Path) -> None:
    built = build_tn3k(home / "unpacked" / "Thyroid Dataset" / "tn3k", quirks=False)
    write_jpeg(
        home / "unpacked" / "Thyroid Dataset" / "tg3k" / "thyroid-image" / "0000.jpg", np.zeros((8, 8), np.uint8)
    )
    archive = home / "Thyroid Dataset.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted((home / "unpacked").rglob("*")):
            target.write(path, path.relative_to(home / "unpacked"))
    assert sum(converted(archive).converted.values()) == built.cases


def truncated(path: Path) -> np.ndarray:
    """The mask as the loader published with TRFE-Net reads it: divided by its maximum, then cut to whole numbers."""
    gray = np.asarray(Image.open(path).convert("L"))
    return (gray / gray.max()).astype(np.uint8)


def test_real_masks_keep_the_foreground_that_truncation_loses(home: Path, samples: Path) -> None:
    """The 40 real masks beside stand-in images of their sizes: the images of their cases are not among the samples."""
    folder, masks = home / "tn3k", sorted((samples / "tn3k_sample" / "tn3k" / "test-mask").glob("*.jpg"))
    assert len(masks) == 40
    rng = np.random.default_rng(0)
    (folder / "test-mask").mkdir(parents=True)
    for path in masks:
        (folder / "test-mask" / path.name).write_bytes(path.read_bytes())
        size = Image.open(path).size[::-1]
        write_jpeg(folder / "test-image" / path.name, rng.integers(0, 255, size).astype(np.uint8))
    assert converted(folder).converted == {"test": 40}
    kept, left = [], []
    for path in masks:
        foreground = np.asarray(Image.open(path).convert("L")) > 127
        label = read_labels(TN3K.raw / "labelsTs" / f"test_{path.stem}.png")
        assert (label == foreground).all()
        kept.append(label.sum() / foreground.sum())
        left.append(truncated(path).sum() / foreground.sum())
    assert kept == [1.0] * 40
    assert np.median(left) == pytest.approx(0.907, abs=0.005)
    assert max(left) < 1


def test_the_real_sample_holds_no_pair_and_says_so(home: Path, samples: Path) -> None:
    with pytest.raises(HtunetError, match=r"Not one image.*a mask without an image"):
        converted(samples / "tn3k_sample")
    assert not TN3K.raw.exists()


def test_real_images_with_masks_are_read_in_their_sizes(home: Path, samples: Path) -> None:
    """The 40 real training images with masks made for them."""
    images = sorted((samples / "tn3k_sample" / "tn3k" / "trainval-image").glob("*.jpg"))
    folder = home / "tn3k"
    (folder / "trainval-image").mkdir(parents=True)
    for path in images:
        (folder / "trainval-image" / path.name).write_bytes(path.read_bytes())
        mask = np.zeros(Image.open(path).size[::-1], np.uint8)
        mask[30:90, 40:100] = 255
        write_jpeg(folder / "trainval-mask" / path.name, mask)
    report = converted(folder)
    assert report.converted == {"train": 40}
    label = read_labels(TN3K.raw / "labelsTr" / f"trainval_{images[0].stem}.png")
    assert label.sum() == pytest.approx(3600, rel=0.02)
    assert read_mask(folder / "trainval-mask" / images[0].name, 127).sum() == label.sum()


def test_a_file_name_that_is_no_text_is_named_too(home: Path) -> None:
    built = build_tn3k(home / "tn3k", quirks=False)
    (built.folder / os.fsdecode(b"\xff.jpg")).write_bytes(b"")
    main = "import sys; from htunet.cli.convert import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "TN3K", str(built.folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert r"1 x not a file of the data set: \udcff.jpg" in result.stdout
    assert [one.source for one in read_excluded(TN3K)] == [r"\udcff.jpg"]
