"""Volumes become slices under the right name, the right way up, with their pixel size; nothing is lost unnamed."""

import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from builders.prostate import (
    SPACING,
    BuiltProstate,
    build_prostate,
    field_of_view,
    full_counts,
    save,
    upright_volume,
    write_volume,
)

from dataset_conversion import convert
from dataset_conversion.common import ConversionReport, Options
from dataset_conversion.prostate import ELSEWHERE, NARROW_TOP, NO_SPACING, OUTSIDE, collect, narrow_at_the_top
from dataset_conversion.prostate import PROSTATE as FACTS
from htunet.data.image_io import read_image, read_labels, write_png
from htunet.data.raw import TEST, TRAIN, Case, read_excluded, read_raw
from htunet.data.splits import make_splits
from htunet.data.verification import WARNING, verify
from htunet.errors import UsageError
from htunet.evaluation.evaluate import MaskPair, score_pairs
from htunet.evaluation.metrics import PENALISE
from htunet.evaluation.summary import ORIGINAL
from htunet.files import read_csv
from htunet.paths import DatasetPaths

PROSTATE = DatasetPaths("Dataset506_Prostate")
SIZE = (32, 40)


@pytest.fixture
def built(home: Path) -> BuiltProstate:
    return build_prostate(home / "download" / "Micro_Ultrasound_Prostate_Segmentation_Dataset", size=SIZE)


def converted(folder: Path, **options: Any) -> ConversionReport:
    return convert("Prostate", folder, Options(**options))


def cases() -> dict[str, Case]:
    return {case.id: case for case in read_raw(PROSTATE).cases}


def image_of(case: Case) -> np.ndarray:
    return read_image(read_raw(PROSTATE).image_path(case), 1)[0]


def label_of(case: Case) -> np.ndarray:
    return read_labels(read_raw(PROSTATE).label_path(case))


def test_the_counts_add_up_and_the_raw_folder_verifies(built: BuiltProstate) -> None:
    report = converted(built.folder.parent)
    assert report.found == built.found
    assert report.converted == built.cases
    assert report.empty_masks == built.empty
    assert report.differences[0] == f"train: {built.found[TRAIN]} found, 2152 in the whole data set"
    raw = read_raw(PROSTATE)
    assert raw.info.split_rule == "9:1"
    assert raw.info.classes == {}
    assert {problem.severity for problem in verify(raw)} == {WARNING}


def test_equal_numbers_of_train_and_test_are_two_patients(built: BuiltProstate) -> None:
    converted(built.folder)
    found = cases()
    assert (found["train_01_001"].split, found["train_01_001"].group) == (TRAIN, "train_01")
    assert (found["test_01_001"].split, found["test_01_001"].group) == (TEST, "test_01")
    for split in (TRAIN, TEST):
        expected = upright_volume(5 if split == TRAIN else 4, SIZE, 0, split, 1)[0][1]
        assert (image_of(found[f"{split}_01_001"]) == expected).all()


def test_only_the_experts_annotation_counts_and_the_others_are_named_by_kind(built: BuiltProstate) -> None:
    converted(built.folder)
    _, masks = upright_volume(5, SIZE, 0, TRAIN, 1)
    assert (label_of(cases()["train_01_002"]) == masks[2]).all()  # the others' annotations are full of ones
    reasons = {one.source: one.reason for one in read_excluded(PROSTATE) if one.source in built.others}
    assert sorted(reasons) == list(built.others)
    assert {reason.split("'")[0] for reason in reasons.values()} == {
        *("a non-expert", "a clinician", "a master student", "a medical student")
    }


def test_every_other_file_is_left_out_with_its_reason(built: BuiltProstate) -> None:
    converted(built.folder)
    reasons = {one.source: one.reason for one in read_excluded(PROSTATE) if one.source not in built.others}
    assert sorted(reasons) == sorted(built.excluded)
    for source, words in built.excluded.items():
        assert words in reasons[source]
    assert str(built.folder) not in "".join(reasons.values())


def test_no_volume_is_unaccounted_for(built: BuiltProstate) -> None:
    report = converted(built.folder)
    used = {case.source.removesuffix(f" slice {int(case.id[-3:])}") for case in cases().values()}
    used |= {
        source.replace("micro_ultrasound_scans/microUS", "expert_annotations/expert_annotation") for source in used
    }
    used |= {one.source for one in report.excluded}
    partners = {"expert_annotations/expert_annotation_train_11", "expert_annotations/expert_annotation_train_12"}
    files = {path.relative_to(built.folder).as_posix() for path in built.folder.rglob("*") if path.is_file()}
    assert {name.removeprefix("train/").removesuffix(".nii.gz") for name in files - used} == partners


@pytest.mark.parametrize("axes", ["RAS", "LAS", "LPS", "ARS"])
def test_image_and_mask_come_out_upright_whatever_the_file_says(home: Path, axes: str) -> None:
    images, masks = upright_volume(4, SIZE, axes)
    assert not (masks[1] == masks[1][:, ::-1]).all()
    assert not (masks[1] == masks[1][::-1]).all()
    write_volume(home / "in", TRAIN, 1, images, masks, axes=axes)
    report = converted(home / "in")
    assert not any(NARROW_TOP in note for note in report.notes)
    for z, case in enumerate(cases().values()):
        assert (image_of(case) == images[z]).all()
        assert (label_of(case) == masks[z]).all()
    assert {row["stored_axes"] for row in read_csv(PROSTATE.raw / "slices.csv", ["id"])} == {axes}


def test_what_was_turned_is_written_down_for_each_slice(built: BuiltProstate) -> None:
    converted(built.folder)
    rows = {row["id"]: row for row in read_csv(PROSTATE.raw / "slices.csv", ["id"])}
    assert sorted(rows) == sorted(cases())
    assert rows["train_01_003"] == {
        "id": "train_01_003",
        "volume": "train/micro_ultrasound_scans/microUS_train_01.nii.gz",
        "slice": "3",
        "stored_axes": "RAS",
        "turned": "rows reversed, columns reversed",
        "mask_pixels": str(int(upright_volume(5, SIZE, 0, TRAIN, 1)[1][3].sum())),
        "mask_pixels_outside_field": "0",
    }


def test_a_fan_that_stands_on_its_head_is_noted(home: Path) -> None:
    """The affine says upright, the anatomy does not: the affine is followed and the doubt is told."""
    images, masks = upright_volume(3, SIZE, "head")
    write_volume(home / "in", TRAIN, 1, images[:, ::-1], masks[:, ::-1])
    report = converted(home / "in")
    assert any(note.startswith(f"{NARROW_TOP}: 3 cases") for note in report.notes)


def test_the_narrow_side_is_told_from_fans_alone() -> None:
    fan = field_of_view(SIZE) > 0
    assert narrow_at_the_top(fan[::-1])
    assert not narrow_at_the_top(fan)
    assert not narrow_at_the_top(np.ones(SIZE, bool))
    assert not narrow_at_the_top(np.zeros(SIZE, bool))


def test_gray_values_stay_as_they_are_and_masks_of_any_type_become_0_and_1(home: Path) -> None:
    images, masks = upright_volume(2, SIZE, "values")
    images[0, 0, :3] = (0, 254, 255)
    for number in range(4):  # the builder deals the types of masks by number
        write_volume(home / "in", TRAIN, number, images.astype(np.float32), masks * np.uint8(255))
    converted(home / "in")
    for case in cases().values():
        assert (image_of(case) == images[int(case.id[-3:])]).all()
        assert set(np.unique(label_of(case))) == {0, 1}


def test_values_that_are_no_gray_values_leave_the_volume_out(home: Path) -> None:
    images, masks = upright_volume(2, SIZE, "values")
    for number, wrong in enumerate((-3.0, 300.0, np.nan), start=1):
        bad = images.astype(np.float32)
        bad[1, 5, 5] = wrong
        write_volume(home / "in", TRAIN, number, bad, masks)
    write_volume(home / "in", TRAIN, 4, images, masks)
    report = converted(home / "in")
    assert report.converted == {TRAIN: 2}
    assert [one.source[-9:-7] for one in report.excluded] == ["01", "02", "03"]
    assert all("gray values are 0 to 255" in one.reason for one in report.excluded)
    assert len(list((PROSTATE.raw / "imagesTr").iterdir())) == 2  # not the first slice of a volume with a bad second


def test_a_mask_outside_the_field_of_view_is_kept_counted_and_noted(built: BuiltProstate) -> None:
    report = converted(built.folder)
    assert f"{OUTSIDE}: 2 cases, {built.outside}_000, {built.outside}_001" in report.notes
    rows = {row["id"]: row for row in read_csv(PROSTATE.raw / "slices.csv", ["id"])}
    outside = label_of(cases()[f"{built.outside}_000"])[field_of_view(SIZE) == 0].sum()
    assert int(rows[f"{built.outside}_000"]["mask_pixels_outside_field"]) == outside > 0


def test_an_annotation_with_other_axes_is_paired_voxel_by_voxel(home: Path) -> None:
    images, masks = upright_volume(2, SIZE, "axes")
    write_volume(home / "in", TRAIN, 1, images, masks)
    stored = masks.transpose(2, 1, 0)[::-1, ::-1]  # the voxels of RAS under an affine that says LPS
    path = home / "in" / TRAIN / "expert_annotations" / "expert_annotation_train_01.nii.gz"
    save(path, np.ascontiguousarray(stored), np.diag([-1, -1, 1, 1]))
    report = converted(home / "in")
    assert any(note.startswith(ELSEWHERE) for note in report.notes)


@pytest.mark.parametrize(("shift", "is_named"), [(0.0, False), (30.0, True)])
def test_an_annotation_of_another_place_is_named(home: Path, shift: float, is_named: bool) -> None:
    images, masks = upright_volume(2, SIZE, "place")
    write_volume(home / "in", TRAIN, 1, images, masks)
    path = home / "in" / TRAIN / "expert_annotations" / "expert_annotation_train_01.nii.gz"
    stored = nib.load(path)
    affine = stored.affine.copy()
    affine[0, 3] += shift
    save(path, np.asarray(stored.dataobj), affine)
    report = converted(home / "in")
    assert any(note.startswith(ELSEWHERE) for note in report.notes) == is_named
    assert report.converted == {TRAIN: 2}
    assert (label_of(cases()["train_01_001"]) == masks[1]).all()


def test_empty_slices_are_dropped_by_name_only_when_asked_for(built: BuiltProstate) -> None:
    report = converted(built.folder, drop_empty_slices=True)
    assert report.empty_masks == ()
    assert not set(built.empty) & set(cases())
    dropped = [one.source for one in report.excluded if "--drop-empty-slices" in one.reason]
    assert len(dropped) == len(built.empty)
    assert "train/micro_ultrasound_scans/microUS_train_01.nii.gz slice 0" in dropped
    assert report.found == built.found


def test_the_option_is_refused_for_images_that_have_no_slices(home: Path) -> None:
    with pytest.raises(UsageError, match=r"--drop-empty-slices does nothing for BUSI; it is for .*Prostate"):
        convert("BUSI", home, Options(drop_empty_slices=True))


def test_distances_come_out_in_millimetres_where_the_file_states_the_pixel_size(built: BuiltProstate) -> None:
    report = converted(built.folder)
    assert f"{NO_SPACING}: 2 cases, {built.without_spacing}_000, {built.without_spacing}_001" in report.notes
    raw = read_raw(PROSTATE)
    pairs = []
    for case_id in ("train_01_001", f"{built.without_spacing}_000"):
        case = cases()[case_id]
        label = read_labels(raw.label_path(case))
        prediction = built.folder.parent / f"{case_id}.png"
        write_png(prediction, np.roll(label, 3, axis=0))
        files = {"prediction_file": prediction.name, "reference_file": "label"}
        pairs.append(MaskPair(case=case, resolution=ORIGINAL, prediction=(prediction,), reference=label, **files))
    known, unknown = (one.values(PENALISE) for one in score_pairs(pairs, [1]))
    assert known["hd95"] == 3.0
    assert known["hd95_mm"] == pytest.approx(3.0 * SPACING[0])
    assert known["asd_mm"] == pytest.approx(known["asd"] * SPACING[0])
    assert unknown["hd95"] == 3.0
    assert np.isnan(unknown["hd95_mm"])


def test_the_numbers_of_files_are_read_as_numbers(home: Path) -> None:
    for number in (2, 10, 100):
        write_volume(home / "in", TRAIN, number, *upright_volume(1, (8, 9), number))
    (home / "in" / TRAIN / "micro_ultrasound_scans" / "microUS_train_2.nii.gz").write_bytes(b"")
    found = collect(home / "in")
    assert [job.patient for job in found.jobs] == ["train_02", "train_10", "train_100"]
    assert [one.reason for one in found.excluded] == ["a second file of the number, beside microUS_train_02.nii.gz"]


def test_the_zip_gives_the_same_files_as_the_folder_and_processes_as_one_alone(built: BuiltProstate) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in PROSTATE.raw.rglob("*") if path.is_file()}

    converted(built.folder)
    expected = files()
    archive_path = built.folder.parent.parent / "10475293.zip"
    with zipfile.ZipFile(archive_path, "w") as archive:
        for path in built.folder.rglob("*"):
            archive.write(path, path.relative_to(built.folder.parent))
    assert converted(archive_path, workers=2).replaced
    assert files() == expected


def test_the_full_counts_are_those_of_whole_volumes(home: Path) -> None:
    """Every slice counts, empty ones too: 55 volumes of 35 to 44 slices and 20 of 34 to 42."""
    counts = full_counts()
    build_prostate(home / "in", **counts, size=(6, 8), quirks=False)
    found = collect(home / "in")
    assert len(found.jobs) == 75
    assert found.found == FACTS.expected == {TRAIN: 2152, TEST: 758}
    ids = [(split, n) for split, lengths in counts.items() for n in range(sum(lengths))]
    fold = make_splits([Case(id=f"{split}_{n:04d}", split=split) for split, n in ids], FACTS.split_rule).folds[0]
    assert [len(fold[split]) for split in ("train", "val", "test")] == [1937, 215, 758]
