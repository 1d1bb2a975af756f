import csv
from pathlib import Path

import numpy as np
import pytest
from builders.busi import BuiltBusi, build_busi
from PIL import Image

from dataset_conversion import common, convert
from dataset_conversion.busi import collect
from dataset_conversion.common import ConversionReport, Options
from htunet.data.image_io import read_image, read_labels
from htunet.data.raw import read_excluded, read_raw
from htunet.data.verification import WARNING, verify
from htunet.errors import HtunetError, UsageError
from htunet.files import PART, write_csv
from htunet.paths import DatasetPaths, root

BUSI = DatasetPaths("Dataset503_BUSI")


@pytest.fixture
def built(home: Path) -> BuiltBusi:
    return build_busi(home / "download" / "Dataset_BUSI_with_GT")


def converted(built: BuiltBusi, **options: object) -> ConversionReport:
    return convert("BUSI", built.folder.parent, Options(**options))  # type: ignore[arg-type]


def reasons() -> dict[str, str]:
    return {one.source: one.reason for one in read_excluded(BUSI)}


def test_the_counts_add_up(built: BuiltBusi) -> None:
    report = converted(built)
    assert report.found == built.found
    assert report.converted == built.cases
    assert report.differences[0] == f"benign: {built.found['benign']} found, 437 in the whole data set"
    assert not report.replaced


def test_the_raw_folder_reads_and_verifies_without_an_error(built: BuiltBusi) -> None:
    converted(built)
    raw = read_raw(BUSI)
    assert len(raw.cases) == sum(built.cases.values())
    assert raw.info.classes == {"benign": 0, "malignant": 1}
    assert raw.info.split_rule == "8:1:1"
    assert raw.cases[0].id == "benign_0001"
    assert raw.cases[0].source == "benign/benign (1).png"
    assert {problem.severity for problem in verify(raw)} == {WARNING}
    folders = sorted(path.name for path in BUSI.raw.iterdir())
    assert folders == ["cases.csv", "dataset.json", "excluded.csv", "imagesTr", "labelsTr"]


def test_every_oddity_is_left_out_with_its_reason(built: BuiltBusi) -> None:
    converted(built)
    found = reasons()
    assert "differ in size" in found.pop(built.misfit)
    assert found.pop(built.unmasked) == "an image without a mask"
    assert "cannot be read" in found.pop(built.unreadable)
    assert found.pop(built.orphan_mask) == "a mask without an image"
    assert {found.pop(stray) for stray in built.strays} == {"not a file of the data set"}
    assert {source.split("/")[0] for source in found} == {"normal"}
    assert len(found) == built.found["normal"]


def test_no_file_of_the_download_is_unaccounted_for(built: BuiltBusi) -> None:
    report = converted(built)
    images = {path for path in built.folder.rglob("*.png") if "_mask" not in path.name}
    cases = {case.source for case in read_raw(BUSI).cases}
    named = cases | {one.source for one in report.excluded}
    assert {path.relative_to(built.folder).as_posix() for path in images} <= named


def test_the_masks_of_an_image_are_joined(built: BuiltBusi) -> None:
    report = converted(built)
    assert report.merged == {built.merged: 2}
    label = read_labels(BUSI.raw / "labelsTr" / f"{built.merged}.png")
    first = np.asarray(Image.open(built.folder / "benign" / "benign (2)_mask.png").convert("L")) > 0
    expected = first.copy()
    expected[2:6, 2:6] = True
    assert expected.sum() > first.sum()
    assert (label == expected).all()


def test_turned_pictures_are_rotated_upright_and_named(built: BuiltBusi) -> None:
    path, exif = built.folder / "benign" / "benign (1).png", Image.Exif()
    pixels = read_image(path, 1)[0]
    exif[274] = 6  # to be turned clockwise
    Image.fromarray(np.rot90(pixels)).save(path, exif=exif)
    report = converted(built)
    assert [note for note in report.notes if "upright" in note] == [
        "rotated upright, according to the orientation in the file: 1 case, benign_0001"
    ]
    np.testing.assert_array_equal(read_image(BUSI.raw / "imagesTr" / "benign_0001_0000.png", 1)[0], pixels)


def test_an_empty_mask_of_a_lesion_is_kept_and_reported(built: BuiltBusi) -> None:
    assert converted(built).empty_masks == (built.empty,)


def test_like_pictures_share_a_group_and_two_classes_are_reported(built: BuiltBusi) -> None:
    report = converted(built)
    assert report.duplicates == (built.two_classes, built.near_copy)
    assert report.contradictions == (built.two_classes,)
    groups = {case.id: case.group for case in read_raw(BUSI).cases}
    for ids in report.duplicates:
        assert {groups.pop(case) for case in ids} == {ids[0]}
    assert set(groups.values()) == {""}


def test_fit_masks_takes_the_misfit_at_the_size_of_its_image(built: BuiltBusi) -> None:
    report = converted(built, fit_masks=True)
    assert report.converted["benign"] == built.cases["benign"] + 1
    (case,) = report.fitted
    image, label = BUSI.raw / "imagesTr" / f"{case}_0000.png", BUSI.raw / "labelsTr" / f"{case}.png"
    assert Image.open(image).size == Image.open(label).size
    assert read_labels(label).min() == 1
    assert built.misfit not in reasons()


def test_running_again_replaces_and_another_name_stands_beside(built: BuiltBusi) -> None:
    converted(built)
    (built.folder / "benign" / "benign (3).png").unlink()
    assert converted(built).replaced
    assert not (BUSI.raw / "imagesTr" / "benign_0003_0000.png").exists()
    other = converted(built, name="Dataset510_Other")
    assert other.folder == root("htunet_raw") / "Dataset510_Other"
    assert not other.replaced
    assert BUSI.raw.is_dir()


def test_a_wrong_full_name_is_told_before_anything_is_read(home: Path) -> None:
    with pytest.raises(UsageError, match="DatasetNNN_NAME"):
        convert("BUSI", home / "nowhere", Options(name="BUSI2"))


def test_an_error_in_the_middle_leaves_the_folder_as_it_was(built: BuiltBusi, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def failing(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise MemoryError("as if killed")
        original(*arguments, **options)  # type: ignore[arg-type]

    original = common.write_png
    monkeypatch.setattr(common, "write_png", failing)
    with pytest.raises(MemoryError, match="as if killed"):
        converted(built)
    assert not BUSI.raw.exists()
    assert [path.name for path in root("htunet_raw").iterdir() if path.name.startswith(PART)] == []
    monkeypatch.setattr(common, "write_png", original)
    converted(built)
    before = sorted(BUSI.raw.rglob("*"))
    calls.clear()
    monkeypatch.setattr(common, "write_png", failing)
    with pytest.raises(MemoryError):
        converted(built)
    assert sorted(BUSI.raw.rglob("*")) == before


def test_a_second_conversion_at_the_same_time_is_refused(built: BuiltBusi, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert_meanwhile(*arguments: object) -> None:
        with pytest.raises(HtunetError, match="in use by another process"):
            converted(built)
        raise KeyError("enough")

    monkeypatch.setattr(common, "write_raw_index", convert_meanwhile)
    with pytest.raises(KeyError):
        converted(built)


def test_processes_write_the_same_files(built: BuiltBusi) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    one = files(converted(built, workers=1).folder)
    assert files(converted(built, workers=2).folder) == one


def test_a_data_set_of_unreadable_images_is_an_error_that_names_some(home: Path) -> None:
    built = build_busi(home / "download", benign=2, malignant=1, normal=0, quirks=False)
    for path in built.folder.rglob("*).png"):
        path.write_bytes(b"broken")
    with pytest.raises(HtunetError, match=r"Not one image.*benign \(1\)\.png: "):
        convert("BUSI", built.folder, Options())
    assert not BUSI.raw.exists()


def test_a_file_in_the_wrong_class_folder_or_with_a_number_twice_is_named(home: Path) -> None:
    built = build_busi(home / "download", quirks=False)
    (built.folder / "benign" / "malignant (9).png").write_bytes(b"")
    (built.folder / "benign" / "benign (01).png").write_bytes(b"")
    found = {one.source: one.reason for one in collect(built.folder).excluded}
    assert found["benign/malignant (9).png"] == "its name says malignant, its folder benign"
    assert found["benign/benign (1).png"].startswith("a second image with the number 1")


def write_patients(folder: Path, sources: list[str]) -> None:
    rows = [{"image": source, "patient": f"P{number // 2}"} for number, source in enumerate(sources)]
    write_csv(folder / "patients.csv", ("image", "patient"), rows)


def lesion_images(folder: Path) -> list[str]:
    paths = sorted(path for name in ("benign", "malignant") for path in (folder / name).glob("*).png"))
    return [path.relative_to(folder).as_posix() for path in paths]


def test_the_phantom_is_grouped_by_its_patients(home: Path) -> None:
    built = build_busi(home / "download", normal=1, quirks=False)
    write_patients(built.folder, [*lesion_images(built.folder), "normal/normal (1).png", "benign/benign (99).png"])
    report = convert("Phantom", home / "download", Options())
    assert report.dataset == "Dataset509_Phantom"
    assert report.differences == ()
    assert report.notes == ("patients.csv names 1 image not in the folder: benign/benign (99).png",)
    assert [one.source for one in report.excluded] == ["normal/normal (1).png"]
    cases = read_raw(DatasetPaths(report.dataset)).cases
    assert [case.group for case in cases] == ["P0", "P0", "P1", "P1", "P2", "P2", "P3", "P3", "P4", "P4"]


def test_a_table_of_patients_that_lacks_an_image_is_an_error(home: Path) -> None:
    built = build_busi(home / "download", normal=0, quirks=False)
    write_patients(built.folder, lesion_images(built.folder)[1:])
    with pytest.raises(HtunetError, match=r"no patient for 1 image: benign/benign \(1\)\.png"):
        convert("Phantom", home / "download", Options())
    write_patients(built.folder, [*lesion_images(built.folder), "benign/benign (1).png"])
    with pytest.raises(HtunetError, match=r"gives benign/benign \(1\)\.png to the patients P0 and P5"):
        convert("Phantom", home / "download", Options())


def test_the_real_sample_leaves_out_the_one_misfit_and_the_normal_images(home: Path, samples: Path) -> None:
    report = convert("BUSI", samples / "busi_subset", Options())
    assert report.found == {"benign": 35, "malignant": 35, "normal": 35}
    assert report.converted == {"benign": 34, "malignant": 35}
    assert report.merged == {"benign_0025": 2}
    (misfit,) = (one for one in report.excluded if one.class_name != "normal")
    assert misfit.source == "benign/benign (4).png"
    assert "416x416" in misfit.reason
    assert "benign (4)_mask_1.png 555x465" in misfit.reason
    with (BUSI.excluded_csv).open(newline="") as stream:
        assert len([row for row in csv.DictReader(stream) if row["class"] == "normal"]) == 35
    assert report.empty_masks == ()


def test_the_real_sample_with_fitted_masks_is_whole(home: Path, samples: Path) -> None:
    report = convert("BUSI", samples / "busi_subset", Options(fit_masks=True))
    assert report.converted == {"benign": 35, "malignant": 35}
    assert report.fitted == ("benign_0004",)
    assert report.merged == {"benign_0004": 2, "benign_0025": 2}
    assert all(problem.severity == WARNING for problem in verify(read_raw(BUSI)))


def test_the_raw_folder_of_busi_tells_its_contradictions_and_copies_again(built: BuiltBusi) -> None:
    converted(built)
    problems = verify(read_raw(BUSI))
    named = {problem.kind: problem.files for problem in problems}
    assert named["contradicting_classes"] == tuple(f"imagesTr/{case}_0000.png" for case in built.two_classes)
    assert named["near_duplicates"] == tuple(f"imagesTr/{case}_0000.png" for case in built.near_copy)
    assert {problem.severity for problem in problems} == {"warning"}
