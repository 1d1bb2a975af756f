from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.busi import speckled

from htunet.data.image_io import write_png
from htunet.data.raw import TEST, TRAIN, Case, DatasetInfo, RawDataset, read_raw, write_raw_index
from htunet.data.verification import ERROR, WARNING, Problem, raise_for_errors, verify
from htunet.errors import HtunetError
from htunet.paths import DatasetPaths

PATHS = DatasetPaths("Dataset700_Check")
INFO = DatasetInfo(classes={"benign": 0, "malignant": 1})
CASES = (
    Case(id="a", class_name="benign", group="p1"),
    Case(id="b", class_name="malignant", group="p1"),
    Case(id="c", class_name="malignant", group="p2", split=TEST),
)


def write_files(case: Case, number: int) -> None:
    ending = "Tr" if case.split == TRAIN else "Ts"
    image, mask = speckled(40, 50, "verification", number)
    write_png(PATHS.raw / f"images{ending}" / f"{case.id}_0000.png", image)
    write_png(PATHS.raw / f"labels{ending}" / f"{case.id}.png", mask)


def write_table(*cases: Case) -> None:
    write_raw_index(PATHS.raw, "Check", INFO, cases, [])


@pytest.fixture
def raw_folder(home: Path) -> Path:
    """A sound raw folder of three cases."""
    for number, case in enumerate(CASES):
        write_files(case, number)
    write_table(*CASES)
    return PATHS.raw


def check() -> list[Problem]:
    return verify(read_raw(PATHS))


def test_a_sound_folder_has_no_problems(raw_folder: Path) -> None:
    assert check() == []
    raise_for_errors("Check", [])


def overwrite_label(folder: Path, values: np.ndarray) -> None:
    write_png(folder / "labelsTr" / "a.png", values.astype(np.uint8))


def other_size(folder: Path) -> None:
    overwrite_label(folder, np.ones((40, 51)))


def values_of_255(folder: Path) -> None:
    overwrite_label(folder, np.eye(40, 50) * 255)


def empty_mask(folder: Path) -> None:
    overwrite_label(folder, np.zeros((40, 50)))


def missing_image(folder: Path) -> None:
    (folder / "imagesTr" / "a_0000.png").unlink()


def missing_label(folder: Path) -> None:
    (folder / "labelsTr" / "a.png").unlink()


def broken_image(folder: Path) -> None:
    (folder / "imagesTr" / "a_0000.png").write_bytes(b"\x89PNG nothing more")


def unlisted_image(folder: Path) -> None:
    write_png(folder / "imagesTr" / "z_0000.png", speckled(40, 50, "unlisted")[0])


def unlisted_label(folder: Path) -> None:
    write_png(folder / "labelsTs" / "z.png", np.zeros((4, 4), np.uint8))


def foreign_file(folder: Path) -> None:
    (folder / "imagesTr" / "a.jpg").write_text("not ours")


def thumbnails(folder: Path) -> None:
    (folder / "labelsTr" / "Thumbs.db").write_text("of Windows")


def same_id_in_both_splits(folder: Path) -> None:
    twin = replace(CASES[0], split=TEST, group="p3")
    write_files(twin, 9)
    write_table(*CASES, twin)


def same_id_twice(folder: Path) -> None:
    write_table(*CASES, CASES[0])


def same_group_in_both_splits(folder: Path) -> None:
    write_table(*CASES[:2], replace(CASES[2], group="p1"))


def class_not_named(folder: Path) -> None:
    write_table(*CASES[:2], replace(CASES[2], class_name="cyst"))


def class_not_known(folder: Path) -> None:
    write_table(*CASES[:2], replace(CASES[2], class_name=""))


@pytest.mark.parametrize(
    ("damage", "kind", "severity", "words"),
    [
        (other_size, "size_mismatch", ERROR, "labelsTr/a.png is 51x40 but imagesTr/a_0000.png is 50x40"),
        (values_of_255, "unexpected_mask_values", ERROR, "labelsTr/a.png holds the values 255"),
        (empty_mask, "empty_mask", WARNING, "labelsTr/a.png is empty"),
        (missing_image, "missing_file", ERROR, "a_0000.png is missing"),
        (missing_label, "missing_file", ERROR, "labelsTr/a.png is missing"),
        (broken_image, "unreadable_file", ERROR, "a_0000.png cannot be read"),
        (unlisted_image, "file_without_case", ERROR, "imagesTr/z_0000.png belongs to no case"),
        (unlisted_label, "file_without_case", ERROR, "labelsTs/z.png belongs to no case"),
        (foreign_file, "file_without_case", ERROR, "imagesTr/a.jpg does not read ID_0000.png"),
        (thumbnails, "file_without_case", WARNING, "labelsTr/Thumbs.db does not read ID.png"),
        (same_id_in_both_splits, "case_in_two_splits", ERROR, "The case a is in the splits test and train"),
        (same_id_twice, "repeated_case", ERROR, "The case a is listed 2 times"),
        (
            same_group_in_both_splits,
            "group_in_two_splits",
            ERROR,
            "The group p1 has cases in the splits train and test",
        ),
        (class_not_named, "unknown_class", ERROR, "The case c has the class 'cyst'"),
        (class_not_known, "no_class", WARNING, "1 cases have no class (c): they serve segmentation"),
    ],
)
def test_each_damage_is_named(
    raw_folder: Path, damage: Callable[[Path], None], kind: str, severity: str, words: str
) -> None:
    damage(raw_folder)
    problems = [problem for problem in check() if "duplicate" not in problem.kind]
    assert [(problem.kind, problem.severity) for problem in problems] == [(kind, severity)]
    assert words in problems[0].message


def test_all_damages_are_told_at_once_with_errors_first(raw_folder: Path) -> None:
    overwrite_label(raw_folder, np.zeros((40, 50)))
    (raw_folder / "labelsTr" / "b.png").unlink()
    (raw_folder / "imagesTs" / "c_0000.png").write_bytes(b"")
    unlisted_image(raw_folder)
    problems = check()
    kinds = [problem.kind for problem in problems]
    assert kinds == ["file_without_case", "missing_file", "unreadable_file", "empty_mask"]
    with pytest.raises(HtunetError, match="3 errors") as caught:
        raise_for_errors("Check", problems)
    for name in ("z_0000.png", "b.png", "c_0000.png"):
        assert name in str(caught.value)
    assert "a.png is empty" not in str(caught.value)


def copy_image(folder: Path, source: str, target: str) -> None:
    (folder / target).write_bytes((folder / source).read_bytes())


def test_equal_pictures_are_a_warning_and_their_two_classes_another(raw_folder: Path) -> None:
    copy_image(raw_folder, "imagesTr/a_0000.png", "imagesTr/b_0000.png")
    contradiction, exact = check()
    files = ("imagesTr/a_0000.png", "imagesTr/b_0000.png")
    assert (contradiction.kind, contradiction.severity, contradiction.files) == (
        "contradicting_classes",
        WARNING,
        files,
    )
    assert "imagesTr/a_0000.png (benign) and imagesTr/b_0000.png (malignant)" in contradiction.message
    assert (exact.kind, exact.severity, exact.files) == ("exact_duplicates", WARNING, files)
    assert "--split-by group" in exact.message


def test_a_near_copy_across_the_splits_says_that_the_test_split_is_not_independent(raw_folder: Path) -> None:
    image = speckled(40, 50, "verification", 1)[0]
    write_png(raw_folder / "imagesTs" / "c_0000.png", np.minimum(image, 250) + np.uint8(4))
    (problem,) = check()
    assert (problem.kind, problem.severity) == ("near_duplicates", WARNING)
    assert problem.files == ("imagesTr/b_0000.png", "imagesTs/c_0000.png")
    assert "the test split is not independent" in problem.message


def test_an_unknown_split_is_named(raw_folder: Path) -> None:
    raw = read_raw(PATHS)
    changed = RawDataset(raw.paths, raw.info, (raw.cases[0], raw.cases[1], replace(raw.cases[2], split="hidden")))
    assert [problem.kind for problem in verify(changed)] == ["unknown_split"]


def test_region_labels_of_nnunet_are_lists_of_values(raw_folder: Path) -> None:
    raw = read_raw(PATHS)
    overwrite_label(raw_folder, np.eye(40, 50) * 2)
    regions = replace(raw.info, labels={"background": 0, "whole": [1, 2], "core": [2]})  # type: ignore[dict-item]
    assert verify(RawDataset(raw.paths, regions, raw.cases)) == []


def test_processes_and_one_process_agree(raw_folder: Path) -> None:
    (raw_folder / "labelsTr" / "b.png").unlink()
    raw = read_raw(PATHS)
    assert verify(raw, workers=2) == verify(raw, workers=1)
