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
        (thumbnails, "file_without_case", WARNING, "labelsTr/Thumbs.db does not read ID.png and is ignored"),
        (same_id_in_both_splits, "case_in_two_splits", ERROR, "The case a is in the splits test and train"),
        (same_id_twice, "repeated_case", ERROR, "The case a is listed 2 times"),
        (
            same_group_in_both_splits,
            "group_in_two_splits",
            ERROR,
            "The group p1 has cases in the splits train and test",
        ),
        (class_not_named, "unknown_class", ERROR, "The case c has the class 'cyst'"),
        (class_not_known, "no_class", WARNING, "1 case without a class (c), for segmentation"),
    ],
)
def test_each_damage_is_named(
    raw_folder: Path, damage: Callable[[Path], None], kind: str, severity: str, words: str
) -> None:
    damage(raw_folder)
    problems = [one for one in check() if "duplicate" not in one.kind and one.kind != "large_label"]
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


def test_images_that_show_nothing_are_named(raw_folder: Path) -> None:
    """Black, and divided by 255 before it became whole numbers."""
    write_png(raw_folder / "imagesTr" / "a_0000.png", np.full((40, 50), 7, np.uint8))
    write_png(raw_folder / "imagesTr" / "b_0000.png", (np.indices((40, 50))[0] > 30).astype(np.uint8))
    (problem,) = check()
    assert (problem.kind, problem.severity) == ("image_values", WARNING)
    assert problem.message.endswith("show nothing, or are masks: look at these files: 2 cases, a, b.")


def test_of_very_many_errors_of_one_kind_ten_are_listed(raw_folder: Path) -> None:
    for number in range(24):
        write_png(raw_folder / "imagesTr" / f"x{number:02}.png", np.zeros((4, 4), np.uint8))
    (raw_folder / "labelsTr" / "b.png").unlink()
    with pytest.raises(HtunetError, match="25 errors") as caught:
        raise_for_errors("Check", check())
    lines = str(caught.value).splitlines()
    assert lines[1].endswith(
        "imagesTr/x00.png does not read ID_0000.png of cases.csv. Add a line for it, or take the file out."
    )
    assert lines[11:12] == ["  - and 14 more errors like these"]
    assert "labelsTr/b.png is missing" in lines[12]


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


def test_processes_and_one_process_agree(raw_folder: Path) -> None:
    (raw_folder / "labelsTr" / "b.png").unlink()
    raw = read_raw(PATHS)
    assert verify(raw, workers=2) == verify(raw, workers=1)


def kinds_of(masks: list[np.ndarray], **labels: int) -> dict[str, str]:
    """Problems of a folder of these masks and labels: kind to message; without same pictures."""
    cases = [Case(id=f"m{number}") for number in range(len(masks))]
    for number, (case, mask) in enumerate(zip(cases, masks, strict=True)):
        write_files(case, number)
        write_png(PATHS.raw / "labelsTr" / f"{case.id}.png", mask.astype(np.uint8))
    info = DatasetInfo(labels={"background": 0} | (labels or {"lesion": 1}))
    write_raw_index(PATHS.raw, "Check", info, cases, [])
    return {problem.kind: problem.message for problem in check() if problem.kind != "near_duplicates"}


def disc(radius: float, inner: float = 0, value: int = 1) -> np.ndarray:
    rows, columns = np.ogrid[:40, :50]
    distance = np.hypot(rows - 20, columns - 25)
    return value * ((distance <= radius) & (distance >= inner)).astype(np.uint8)


def test_inverted_masks_are_named_with_the_way_out(home: Path) -> None:
    found = kinds_of([1 - disc(8), 1 - disc(5), 1 - disc(9), disc(9)])
    assert "covers most of the image and its edge in 3 of 4 masks" in found["inverted_masks"]
    assert "--labels 'background=255,lesion=0'. Such as: m0, m1, m2." in found["inverted_masks"]
    assert "inverted_masks" not in kinds_of([disc(19), disc(18), disc(19), disc(19)])  # large, but not at the edge
    one = kinds_of([1 - disc(8), disc(5), disc(9), disc(9)])
    assert "inverted_masks" not in one
    assert "covers most of the image and its edge in 1 of 4 masks: check that these are not inv" in one["large_label"]
    assert one["large_label"].endswith("Such as: m0.")


def test_background_drawn_as_a_label_is_named(home: Path) -> None:
    found = kinds_of([1 + disc(8), 1 + disc(5)], _background_=1, lesion=2)
    assert set(found) == {"background_as_label"}
    assert "The label 1 (_background_) covers most" in found["background_as_label"]


def test_masks_that_are_closed_outlines_are_named(home: Path) -> None:
    found = kinds_of([disc(15, 14), disc(12, 10.5), np.zeros((40, 50)), disc(9, 8)])
    assert "3 of 3 masks are closed outlines" in found["outlines"]
    assert "--fill-outlines" in found["outlines"]
    assert "1 of 2 masks are closed outlines" in kinds_of([disc(15, 14), disc(12)])["outlines"]
    assert "outlines" not in kinds_of([disc(15, 4), disc(12)])  # a cyst in a lesion


@pytest.mark.parametrize("width", [1, 2])
def test_a_line_along_the_edge_of_masks_is_named_and_no_outline_to_be_filled(home: Path, width: int) -> None:
    frame = np.pad(np.zeros((40 - 2 * width, 50 - 2 * width), np.uint8), width, constant_values=1)
    found = kinds_of([np.maximum(disc(9), frame), disc(9), frame, disc(15, 14)])
    assert "2 of 4 masks mark a thin line along one or more whole sides of the image" in found["framed_masks"]
    assert found["framed_masks"].endswith("Such as: m0, m2.")
    assert "1 of 4 masks are closed outlines" in found["outlines"]
    assert "framed_masks" not in kinds_of([1 - disc(8), disc(15, 14), disc(30), disc(9)])


def test_a_line_along_some_sides_of_masks_is_named_and_a_band_or_a_part_of_a_side_is_not(home: Path) -> None:
    masks = [disc(9) for _ in range(6)]
    masks[0][0] = masks[1][-3:] = masks[2][:, 0] = masks[2][:, -1] = masks[3][:, -1] = masks[3][0] = masks[3][-1] = 1
    masks[4][-5:] = 1  # a lesion, or a layer
    masks[5][0, 1:] = 1
    found = kinds_of(masks)
    assert set(found) == {"framed_masks"}
    assert "4 of 6 masks mark a thin line" in found["framed_masks"]
    assert found["framed_masks"].endswith("Such as: m0, m1, m2, m3.")


def test_a_label_that_no_mask_holds_is_named_once(home: Path) -> None:
    found = kinds_of([disc(8), np.zeros((40, 50)), disc(5, value=3)], cyst=1, nodule=2, vessel=3)
    assert "No mask holds the label 2 (nodule)" in found.pop("label_never_occurs")
    assert set(found) == {"empty_mask"}


def test_when_all_masks_are_empty_one_warning_says_so(home: Path) -> None:
    nothing = np.zeros((40, 50), np.uint8)
    found = kinds_of([nothing, nothing])
    assert "Every mask is empty (2 files)" in found["all_masks_empty"]
    assert "label_never_occurs" not in found


def box(row: int, height: int = 9, width: int = 12) -> np.ndarray:
    mask = np.zeros((40, 50), np.uint8)
    mask[row : row + height, 5 : 5 + width] = 1
    return mask


def test_boxes_in_place_of_outlines_are_named(home: Path) -> None:
    """As exports of detection have them; masks of two lesions and of none do not count."""
    boxes = [box(row) for row in range(10)]
    others = [disc(8), disc(9), box(0) | box(20), np.zeros((40, 50))]
    found = kinds_of([*boxes, *others])
    assert found["boxes"].startswith("10 of 12 masks of one lesion are boxes: ")
    assert "boxes" not in kinds_of([*boxes[:9], disc(8), disc(9), disc(7)])  # three quarters
    assert "boxes" not in kinds_of(boxes[:9])  # few
    assert "boxes" not in kinds_of([box(row, 3, 3) for row in range(12)])  # tiny lesions look so
