"""What users have becomes a raw folder: every format, every way of naming, and nothing lost without a word."""

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from builders.medical import write_dicom, write_nifti
from builders.own import build_own, labelled
from PIL import Image

from dataset_conversion.common import ConversionReport
from dataset_conversion.own_images import convert as own_convert
from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from htunet.data.image_io import read_labels
from htunet.data.label_maps import survey
from htunet.data.raw import RawDataset, read_raw
from htunet.data.verification import verify
from htunet.errors import HtunetError, UsageError
from htunet.files import write_json
from htunet.parallel import parallel_map
from htunet.paths import DatasetPaths, root

NAMES = tuple(f"case {index}" for index in range(6))


def convert(images: Path, masks: Path | None = None, **changes: Any) -> tuple[ConversionReport, RawDataset]:
    report = convert_own(OwnData(**({"name": "Mine", "images": images, "masks": masks} | changes)))
    raw = read_raw(DatasetPaths(report.dataset))
    assert [problem.message for problem in verify(raw) if problem.severity == "error"] == []
    return report, raw


def ids(raw: RawDataset) -> list[str]:
    return [case.id for case in raw.cases]


def excluded(report: ConversionReport) -> dict[str, str]:
    return {one.source: one.reason for one in report.excluded}


def note(report: ConversionReport, word: str) -> str:
    return next(one for one in report.notes if word in one)


def test_images_and_masks_become_a_data_set_with_a_free_number(home: Path) -> None:
    report, raw = convert(*build_own(home, NAMES))
    assert report.dataset == "Dataset600_Mine"
    assert ids(raw) == [f"case_{index}" for index in range(6)]
    assert (raw.info.labels, raw.info.split_rule) == ({"background": 0, "lesion": 1}, "8:1:1")
    assert np.array_equal(read_labels(raw.label_path(raw.cases[2])), labelled(1, 2)[1])
    assert "255 = lesion (1)" in note(report, "labels inferred")
    assert (report.excluded, report.found) == ((), {"in the train split": 6})


def test_the_same_name_keeps_its_number_and_another_gets_the_next(home: Path) -> None:
    sources = build_own(home, NAMES)
    assert convert(*sources)[0].dataset == "Dataset600_Mine"
    again, _ = convert(*sources)
    assert (again.dataset, again.replaced) == ("Dataset600_Mine", True)
    assert convert(*sources, name="Other")[0].dataset == "Dataset601_Other"
    assert convert(*sources, name="Dataset777_Given")[0].dataset == "Dataset777_Given"


def test_what_does_not_match_is_named_and_nothing_else_is_lost(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    (masks / "case 0_mask.png").rename(masks / "orphan.png")
    (images / "case 1.png").write_bytes(b"broken")
    (masks / "case 2_mask.png").write_bytes(b"")
    Image.new("L", (9, 9), 255).save(masks / "case 3_mask.png")
    (images / "notes.doc").touch()
    report, raw = convert(images, masks)
    assert ids(raw) == ["case_4", "case_5"]
    found = excluded(report)
    assert found["orphan.png"] == "a mask without an image"
    assert found["case 0.png"] == "an image without a mask"
    assert found["notes.doc"] == "not an image that can be read"
    assert "cannot be read" in found["case 1.png"]
    assert "case 2_mask.png cannot be read" in found["case 2.png"]
    assert "mask and image differ in size: image 40x32, mask 9x9 (--fit-masks takes it)" in found["case 3.png"]
    assert str(home) not in " ".join(found.values())
    assert sum(report.found.values()) == 6
    fitted, _ = convert(images, masks, fit_masks=True)
    assert fitted.fitted == ("case_3",)


def test_images_and_masks_may_lie_in_one_folder(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    for path in masks.iterdir():
        path.rename(images / path.name)
    assert len(ids(convert(images, images)[1])) == 6


def test_masks_below_the_images_are_not_images(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    masks.rename(images / "masks")
    assert len(ids(convert(images, images / "masks")[1])) == 6


def test_no_match_at_all_says_what_there_is(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    for number, path in enumerate(sorted(masks.iterdir())):
        path.rename(masks / f"unlike {'abcdef'[number]}.png")
    with pytest.raises(
        HtunetError, match=r"No mask fits an image by its name: 6 images .*case 0\.png.* 6 masks .*unlike"
    ):
        convert(images, masks)
    assert not root("htunet_raw").exists()


def test_several_labels_are_inferred_or_given(home: Path) -> None:
    sources = build_own(home, NAMES, labels=3, values=(50, 150, 250))
    truth = labelled(3, 0)[1]
    _, raw = convert(*sources)
    assert raw.info.labels == {"background": 0, "value_50": 1, "value_150": 2, "value_250": 3}
    assert np.array_equal(read_labels(raw.label_path(raw.cases[0])), truth)
    _, raw = convert(*sources, labels="nodule=250,cyst=50,duct=150")
    assert raw.info.labels == {"background": 0, "cyst": 1, "duct": 2, "nodule": 3}
    assert np.array_equal(read_labels(raw.label_path(raw.cases[0])), truth)
    with pytest.raises(HtunetError, match="holds the values 150, 250, which are not labels"):
        convert(*sources, labels="lesion=50")


def test_lossy_masks_are_snapped_and_said(home: Path) -> None:
    report, raw = convert(*build_own(home, NAMES, ending=".jpg"))
    assert "6 cases" in note(report, "lossy mask values brought to the nearest label")
    assert (read_labels(raw.label_path(raw.cases[0])) != labelled(1, 0)[1]).mean() < 0.02


def test_several_masks_of_one_image_are_joined_and_the_later_wins(home: Path) -> None:
    images, masks = build_own(home, NAMES, values=(1,))
    extra = np.zeros((32, 40), np.uint8)
    extra[:, :20] = 2
    Image.fromarray(extra).save(masks / "case 0_mask_1.png")
    report, raw = convert(images, masks)
    labels = read_labels(raw.label_path(raw.cases[0]))
    assert report.merged == {"case_0": 2}
    assert (labels[:, :20] == 2).all()
    assert set(np.unique(labels[:, 20:])) <= {0, 1}


def test_classes_groups_and_pixel_size_come_from_the_options(home: Path) -> None:
    names = [f"{kind}/p{index // 2}_{index}" for index, kind in enumerate(("cyst", "benign", "malignant") * 2)]
    (home / "classes.csv").write_text("image,class\np0_0,cyst\np0_1,benign\np1_2,malignant\n", encoding="utf-8")
    sources = build_own(home, names)
    report, raw = convert(*sources, classes="^(cyst|benign|malignant)/", groups=r"/(p\d)", spacing="0.2")
    assert raw.info.classes == {"benign": 0, "cyst": 1, "malignant": 2}
    first = raw.cases[0]
    assert (first.id, first.class_name, first.group, first.spacing_mm) == ("p0_0", "cyst", "p0", 0.2)
    assert (first.source, report.converted) == ("cyst/p0_0.png", {"benign": 2, "cyst": 2, "malignant": 2})
    report, raw = convert(*sources, classes=str(home / "classes.csv"))
    assert excluded(report) == dict.fromkeys(
        ("cyst/p1_3.png", "benign/p2_4.png", "malignant/p2_5.png"), "an image without a class"
    )


def test_images_with_classes_and_no_masks_have_no_labels(home: Path) -> None:
    images, _ = build_own(home, [f"{kind}/{index}" for index in range(3) for kind in ("a", "b")])
    report, raw = convert(images, classes="^(a|b)")
    assert (raw.info.has_masks, raw.info.labels) == (False, {"background": 0})
    assert not (raw.paths.raw / "labelsTr").exists()
    assert ids(raw) == ["a_0", "a_1", "a_2", "b_0", "b_1", "b_2"]
    assert report.empty_masks == ()


def test_a_test_split_is_taken_and_shares_names(home: Path) -> None:
    images, masks = build_own(home / "train", NAMES)
    test_images, test_masks = build_own(home / "test", NAMES[:2], seed=50)
    _, raw = convert(images, masks, test_images=test_images, test_masks=test_masks)
    assert [case.id for case in raw.cases if case.split == "test"] == ["test_case_0", "test_case_1"]
    assert (len(raw.cases), raw.info.split_rule) == (8, "8:2")


@pytest.mark.parametrize("ending", [".nii.gz", ".dcm"])
def test_a_volume_becomes_its_slices_in_one_group(home: Path, ending: str) -> None:
    images, masks = home / "images", home / "masks"
    images.mkdir(), masks.mkdir()
    for name, depth in (("vol", 3), ("short", 2)):
        pairs = [labelled(2, seed) for seed in range(depth)]
        write = write_nifti if ending == ".nii.gz" else write_dicom
        write(images / f"{name}{ending}", np.stack([image for image, _ in pairs]))
        write_nifti(masks / f"{name}_seg.nii.gz", np.stack([mask for _, mask in pairs]))
    report, raw = convert(images, masks)
    assert ids(raw) == ["short__0001", "short__0002", "vol__0001", "vol__0002", "vol__0003"]
    assert {case.group for case in raw.cases} == {"short", "vol"}
    assert np.array_equal(read_labels(raw.label_path(raw.cases[4])), labelled(2, 2)[1])
    write_nifti(masks / "vol_seg.nii.gz", np.stack([labelled(2, 0)[1]] * 2))
    report, raw = convert(images, masks)
    assert excluded(report) == {f"vol{ending}": "the image has 3 frames, its mask 2"}
    assert len(list((raw.paths.raw / "imagesTr").iterdir())) == 2


def test_no_half_written_volume_stays_when_a_later_frame_is_broken(home: Path) -> None:
    images, masks = build_own(home, NAMES[:1])
    fractions = np.zeros((3, 32, 40), np.float32)
    fractions[0, 8:20, 8:20], fractions[2] = 1, 0.5
    write_dicom(images / "cine.dcm", np.stack([labelled(1, seed)[0] for seed in range(3)]))
    write_nifti(masks / "cine.nii", fractions)
    report, raw = convert(images, masks, labels="lesion=255")
    assert "fractions" in excluded(report)["cine.dcm"]
    assert [path.name for path in (raw.paths.raw / "imagesTr").iterdir()] == ["case_0_0000.png"]


def test_patients_of_dicom_files_are_numbered_and_never_named(home: Path) -> None:
    images, masks = home / "images", home / "masks"
    images.mkdir(), masks.mkdir()
    for index, patient in enumerate(("SECRET-7", "SECRET-7", "SECRET-3")):
        image, mask = labelled(1, index)
        write_dicom(images / f"{index}.dcm", image, PatientID=patient, PatientName="Doe^Jane", PixelSpacing=[0.3, 0.3])
        Image.fromarray(mask * 255).save(masks / f"{index}.png")
    report, raw = convert(images, masks)
    assert [case.group for case in raw.cases] == ["patient_0001", "patient_0001", "patient_0002"]
    assert [case.spacing_mm for case in raw.cases] == [0.3] * 3
    note(report, "2 patients")
    written = b"".join(path.read_bytes() for path in raw.paths.raw.rglob("*") if path.is_file())
    assert b"SECRET" not in written
    assert b"Doe" not in written
    assert "SECRET" not in repr(report)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif"])
def test_pictures_that_are_turned_by_a_tag_are_counted(home: Path, ending: str) -> None:
    images, masks = home / "images", home / "masks"
    images.mkdir(), masks.mkdir()
    exif = Image.Exif()
    for index in range(3):
        image, mask = labelled(1, index)
        exif[274] = 6 if index else 1
        Image.fromarray(np.rot90(image) if index else image).save(images / f"{index}{ending}", exif=exif)
        Image.fromarray(mask * 255).save(masks / f"{index}.png")
    report, _ = convert(images, masks)
    assert note(report, "rotated upright") == "rotated upright, according to the orientation in the file: 2 cases, 1, 2"


def test_a_folder_without_an_image_says_what_it_holds(home: Path) -> None:
    _, masks = build_own(home, NAMES)
    empty = home / "empty"
    empty.mkdir()
    (empty / "benign").write_text("../images")  # a link that a copy made a text of
    (empty / "gone").symlink_to(home / "nowhere")
    for taken in (masks, None):
        with pytest.raises(HtunetError, match=r"empty holds no image that can be read \(.*; it holds benign, gone\."):
            convert(empty, taken, **({} if taken else {"classes": "(b)"}))


def test_hostile_names_become_safe_ids_and_lines(home: Path) -> None:
    names = ["乳腺 1", "乳腺 2", "new\nline", "semi;colon,", "x..y", "-rf", "a" * 200]
    report, raw = convert(*build_own(home, names))
    assert len(raw.cases) == len(names)
    assert all(case.id.replace("_", "").replace("-", "").isalnum() and case.id.isascii() for case in raw.cases)
    assert "new\\nline.png" in {case.source for case in raw.cases}
    note(report, "with other letters than the file name")
    other, _ = convert(*build_own(home, names))
    assert [case.id for case in read_raw(DatasetPaths(other.dataset)).cases] == ids(raw)


def test_links_to_elsewhere_are_read_and_never_written_through(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    outside = home / "outside.png"
    (images / "case 0.png").rename(outside)
    (images / "case 0.png").symlink_to(outside)
    before = outside.read_bytes()
    _, raw = convert(images, masks)
    assert outside.read_bytes() == before
    assert not any(path.is_symlink() for path in raw.paths.raw.rglob("*"))
    assert not stat.S_ISLNK(raw.image_path(raw.cases[0]).lstat().st_mode)


def coco_of(folder: Path, names: Sequence[str]) -> Path:
    square = [[4, 4, 20, 4, 20, 20, 4, 20]]
    write_json(
        folder / "coco.json",
        {
            "images": [{"id": i, "file_name": name, "height": 32, "width": 40} for i, name in enumerate(names)],
            "categories": [{"id": 1, "name": "lesion"}],
            "annotations": [{"image_id": i, "category_id": 1, "segmentation": square} for i in range(1, len(names))],
        },
    )
    return folder / "coco.json"


def test_a_coco_file_gives_masks_and_labels(home: Path) -> None:
    images, _ = build_own(home, NAMES)
    names = [*(f"{name}.png" for name in NAMES[:4]), "../../etc/passwd", "/absolute/case 4.png"]
    report, raw = convert(images, annotations=(coco_of(home, names),))
    assert ids(raw) == ["case_0", "case_1", "case_2", "case_3", "case_4"]
    assert report.empty_masks == ("case_0",)
    assert read_labels(raw.label_path(raw.cases[1])).sum() == 256
    assert excluded(report) == {"../../etc/passwd": f"not in {images}", "case 5.png": "not in the annotations"}


def test_a_coco_file_of_another_size_is_left_out(home: Path) -> None:
    images, _ = build_own(home, NAMES[:3])
    Image.new("L", (10, 10)).save(images / "case 1.png")
    report, _ = convert(images, annotations=(coco_of(home, [f"{name}.png" for name in NAMES[:3]]),))
    assert "differ in size" in excluded(report)["case 1.png"]


def test_a_coco_file_of_other_images_says_so(home: Path) -> None:
    images, _ = build_own(home, NAMES[:3])
    with pytest.raises(HtunetError, match=r"it names x\.png, y\.png; the folder holds case 0\.png"):
        convert(images, annotations=(coco_of(home, ["x.png", "y.png"]),))


def test_an_nnunet_folder_of_volumes_is_converted(home: Path) -> None:
    folder = home / "Dataset050_Volumes"
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    pairs = [labelled(2, seed) for seed in range(3)]
    volume, mask = (np.stack(column) for column in zip(*pairs, strict=True))
    for channel in ("0000", "0001"):
        write_nifti(folder / "imagesTr" / f"p1_{channel}.nii.gz", volume, (0.4, 0.4, 1.0))
    write_nifti(folder / "labelsTr" / "p1.nii.gz", mask)
    write_nifti(folder / "imagesTs" / "p2_0000.nii.gz", volume)
    write_nifti(folder / "labelsTr" / "p3.nii.gz", mask)
    write_nifti(folder / "imagesTr" / "p3_0001.nii.gz", volume)
    labels = {"background": 0, "cyst": 1, "nodule": 2}
    content = {
        "channel_names": {"0": "US", "1": "Doppler"},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", content)
    report = convert_own(OwnData(name="Slices", nnunet=folder))
    raw = read_raw(DatasetPaths(report.dataset))
    assert ids(raw) == ["p1__0001", "p1__0002", "p1__0003"]
    assert (raw.info.labels, raw.cases[0].spacing_mm, raw.cases[0].group) == (labels, 0.4, "p1")
    assert np.array_equal(read_labels(raw.label_path(raw.cases[1])), pairs[1][1])
    note(report, "first one is used")
    note(report, "labelsTs has no label: 1 image of imagesTs")
    assert excluded(report) == {"labelsTr/p3.nii.gz": "a mask without an image _0000.nii.gz"}


def test_labels_may_say_what_the_values_of_an_nnunet_folder_are(home: Path) -> None:
    """Its dataset.json names the value 1, and its masks hold 255: the error names --labels."""
    folder, (image, mask) = home / "Dataset051_White", labelled(1, 0)
    for name, pixels in (("imagesTr/a_0000.png", image), ("labelsTr/a.png", mask * 255)):
        (folder / name).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / name)
    write_json(folder / "dataset.json", {"channel_names": {"0": "US"}, "labels": {"background": 0, "lesion": 1}})
    with pytest.raises(HtunetError, match="holds the values 255, which are not labels; name them with --labels"):
        convert_own(OwnData(name="White", nnunet=folder))
    raw = read_raw(DatasetPaths(convert_own(OwnData(name="White", nnunet=folder, labels="lesion=255")).dataset))
    assert np.array_equal(read_labels(raw.label_path(raw.cases[0])), mask)


FOLDER = Path("x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--images DIR"),
        ({"images": FOLDER}, "Images alone teach nothing"),
        ({"images": FOLDER, "masks": FOLDER, "annotations": (FOLDER,)}, "two sources of the same masks"),
        ({"images": FOLDER, "masks": FOLDER, "test_masks": FOLDER}, "need --test-images"),
        ({"images": FOLDER, "masks": FOLDER, "test_images": FOLDER}, "masks in the same form"),
        (
            {"images": FOLDER, "masks": FOLDER, "test_images": FOLDER, "test_annotations": (FOLDER,)},
            "masks in the same form",
        ),
        ({"images": FOLDER, "annotations": (FOLDER,), "labels": "a=1"}, "--labels says what mask values mean"),
        ({"images": FOLDER, "masks": FOLDER, "spacing": "0.0"}, "x is not a folder"),
        ({"nnunet": FOLDER, "images": FOLDER}, "--nnunet names a whole data set"),
        ({"images": FOLDER, "masks": FOLDER, "name": "../x"}, "DatasetNNN_NAME"),
        ({"images": FOLDER, "masks": FOLDER}, "x is not a folder"),
    ],
)
def test_options_that_do_not_go_together_are_refused(home: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert_own(OwnData(**({"name": "Mine"} | options)))
    assert not root("htunet_raw").exists()


def test_processes_and_one_process_agree(home: Path) -> None:
    sources = build_own(home, NAMES)
    _, raw = convert(*sources, workers=1)
    files = {path.name: path.read_bytes() for path in raw.paths.raw.rglob("*") if path.is_file()}
    convert(*sources, workers=2)
    assert {path.name: path.read_bytes() for path in raw.paths.raw.rglob("*") if path.is_file()} == files


def test_pictures_alone_are_read_in_threads(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers of other formats fork, which a process with threads must not."""
    sources, asked = build_own(home, NAMES), list[bool]()

    def note(*arguments: Any, **options: Any) -> Any:
        asked.extend([options["threads"]] * (arguments[0] is survey))
        return parallel_map(*arguments, **options)

    monkeypatch.setattr(own_convert, "parallel_map", note)
    convert(*sources, workers=2)
    numbered_masks(home, 1)
    convert(*sources, workers=2)
    assert asked == [True, False]


def numbered_masks(home: Path, *numbers: int, name: str = "cine", frames: int = 4) -> tuple[Path, Path]:
    """A loop of ``frames`` frames, frame n of seed n, and the masks of some as ``htunet_predict`` names them."""
    images, masks = home / "images", home / "masks"
    images.mkdir(exist_ok=True), masks.mkdir(exist_ok=True)
    loop = np.stack([labelled(1, number)[0] for number in range(1, frames + 1)])
    write_dicom(images / f"{name}.dcm", loop if frames > 1 else loop[0])
    for number in numbers:
        Image.fromarray(labelled(1, number)[1]).save(masks / f"{name}__{number:04d}.png")
    return images, masks


def test_a_mask_for_each_frame_goes_to_its_frame_and_frames_without_one_are_named(home: Path) -> None:
    report, raw = convert(*numbered_masks(home, 1, 2, 4))
    assert ids(raw) == ["cine__0001", "cine__0002", "cine__0004"]
    assert {case.group for case in raw.cases} == {"cine"}
    for case, number in zip(raw.cases, (1, 2, 4), strict=True):
        assert np.array_equal(read_labels(raw.label_path(case)), labelled(1, number)[1])
    assert excluded(report) == {"cine.dcm": "frames without a mask, 1 of 4: 3"}
    assert report.merged == {}
    Image.fromarray(labelled(2, 1)[1] // 2).save(home / "masks" / "cine__0001_mask.png")
    report, raw = convert(home / "images", home / "masks")
    assert report.merged == {"cine__0001": 2}


def test_masks_of_frames_may_lie_beside_the_images(home: Path) -> None:
    apart, raw = convert(*numbered_masks(home, 1, 2, 4))
    expected = {path.name: path.read_bytes() for path in raw.paths.raw.rglob("*.png")}
    for mask in (home / "masks").iterdir():
        mask.rename(home / "images" / mask.name)
    together, raw = convert(home / "images", home / "images")
    assert {path.name: path.read_bytes() for path in raw.paths.raw.rglob("*.png")} == expected
    assert excluded(together) == excluded(apart)


@pytest.mark.parametrize(("number", "frames"), [(5, 4), (0, 4), (2, 1)])
def test_a_mask_of_a_frame_that_the_image_lacks_excludes_the_image(home: Path, number: int, frames: int) -> None:
    images, masks = numbered_masks(home, 1, number, frames=frames)
    build_own(home, NAMES[:1], values=(1,))
    report, raw = convert(images, masks)
    assert excluded(report) == {
        "cine.dcm": f"cine__{number:04d}.png is the mask of frame {number}, the image has {frames}"
    }
    assert ids(raw) == ["case_0"]


def test_masks_that_a_table_gives_to_an_image_of_one_frame_are_joined_whatever_their_names(home: Path) -> None:
    images, masks = numbered_masks(home, 1, 2, frames=1)
    (home / "pairs.csv").write_text("image,mask\ncine.dcm,cine__0001.png\ncine.dcm,cine__0002.png\n")
    report, raw = convert(images, masks, pairs=(str(home / "pairs.csv"),))
    assert (report.merged, report.excluded) == ({"cine": 2}, ())
    union = np.maximum(labelled(1, 1)[1], labelled(1, 2)[1])
    assert np.array_equal(read_labels(raw.label_path(raw.cases[0])), union)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_a_mask_that_is_flipped_by_its_header_is_not_taken_pixel_for_pixel(home: Path, ending: str) -> None:
    images, masks = build_own(home, NAMES)
    for number, path in enumerate([*images.iterdir(), *masks.iterdir()]):
        volume = SimpleITK.GetImageFromArray(np.asarray(Image.open(path)))
        volume.SetSpacing((0.1, 0.1))
        volume.SetDirection((-1 if path.parent == masks and number % 2 else 1, 0, 0, 1))
        SimpleITK.WriteImage(volume, str(path.with_suffix(ending)))
        path.unlink()
    report, raw = convert(images, masks)
    assert (len(raw.cases), len(report.excluded)) == (3, 3)
    assert all("different orientations, RP and LP" in reason for reason in excluded(report).values())


@pytest.mark.parametrize("fit_masks", [False, True])
def test_a_mask_of_a_part_of_the_image_is_not_stretched_over_it(home: Path, fit_masks: bool) -> None:
    images, masks = build_own(home, NAMES)
    for number, path in enumerate([*sorted(images.iterdir()), *sorted(masks.iterdir())]):
        pixels = np.asarray(Image.open(path))
        volume = SimpleITK.GetImageFromArray(pixels[4:28, 4:36] if path.parent == masks and number % 2 else pixels)
        volume.SetSpacing((0.1, 0.1))
        SimpleITK.WriteImage(volume, str(path.with_suffix(".nrrd")))
        path.unlink()
    report, raw = convert(images, masks, fit_masks=fit_masks)
    assert (len(raw.cases), len(report.excluded)) == (3, 3)
    assert all("it is of a part of it. Resample it" in reason for reason in excluded(report).values())


def test_masks_that_are_stretched_are_named(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    for path, size in zip(sorted(masks.iterdir()), [(20, 16), (24, 24)], strict=False):
        Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)
    report, _ = convert(images, masks, fit_masks=True)
    assert report.fitted == ("case_0", "case_1")
    assert note(report, "other proportions than their images").endswith("that is wrong: 1 case, case_1")


def test_one_mask_under_many_names_is_named(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    report, _ = convert(images, masks)
    assert not any("pixel for pixel" in note for note in report.notes)
    paths = sorted(masks.iterdir())
    for path in paths[1:4]:
        path.write_bytes(paths[0].read_bytes())
    report, _ = convert(images, masks)
    assert "4 masks are the same, pixel for pixel: case 0_mask.png" in note(report, "pixel for pixel")


def test_masks_from_several_folders_are_not_merged_in_silence(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    for number, path in enumerate(sorted(masks.iterdir())):
        for folder in ("cyst", "duct"):
            (masks / folder).mkdir(exist_ok=True)
            if folder == "cyst" or number:
                (masks / folder / path.name).write_bytes(path.read_bytes())
        path.unlink()
    report, _ = convert(images, masks)
    assert note(report, "the masks of 5 images come from several folders (cyst, duct) and are merged")


def test_frames_that_may_be_colours_say_so_where_the_mask_has_one(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    path = sorted(images.iterdir())[0]
    frames = np.stack([np.asarray(Image.open(path))] * 3)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(frames), str(path.with_suffix(".mha")))
    path.unlink()
    report, _ = convert(images, masks)
    assert "the image has 3 frames, its mask 1 (the last axis has 3" in next(iter(excluded(report).values()))


def test_masks_that_the_orientation_of_their_files_turns_are_named(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    turned, invalid = Image.Exif(), Image.Exif()
    turned[274], invalid[274] = 3, 9
    paths = sorted(masks.iterdir())
    stored = np.asarray(Image.open(paths[0]))
    Image.fromarray(stored[::-1, ::-1]).save(paths[0], exif=turned)
    Image.open(paths[1]).save(paths[1], exif=invalid)
    report, raw = convert(images, masks)
    assert np.array_equal(read_labels(raw.label_path(raw.cases[0])), stored > 0)
    assert note(report, "masks rotated upright").endswith(": 1 case, case_0")


def test_masks_that_cannot_be_read_say_why(home: Path) -> None:
    images, masks = build_own(home, NAMES)
    for path in masks.iterdir():
        Image.fromarray(np.full((32, 40), 0.5, np.float32)).save(path.with_suffix(".tif"))
        path.unlink()
    with pytest.raises(HtunetError, match=r"None of 6 masks can be read.*holds fractions"):
        convert(images, masks)


def test_a_row_means_one_image_where_both_splits_have_its_name(home: Path) -> None:
    (images, masks), (test_images, test_masks) = (
        build_own(home / part, NAMES, seed=seed) for part, seed in (("a", 0), ("b", 50))
    )
    table = home / "t.csv"
    rows = [
        f"{part}/images/{name}.png,{kind},{size}"
        for part, kind, size in (("a", "x", 0.1), ("b", "y", 0.2))
        for name in NAMES
    ]
    table.write_text("\n".join(["image,class,spacing_mm", *rows]), encoding="utf-8")
    more = {"test_images": test_images, "test_masks": test_masks}
    report, raw = convert(images, masks, classes=str(table), groups=f"{table}:class", spacing=str(table), **more)
    found = {(case.split, case.class_name, case.group, case.spacing_mm) for case in raw.cases}
    assert (found, len(raw.cases)) == ({("train", "x", "x", 0.1), ("test", "y", "y", 0.2)}, 12)
    assert "with their folders, as a/images/case 0.png, b/images/case 5.png" in note(report, "same name")
    table.write_text("\n".join(["image,group", *(f"{name},p" for name in NAMES)]), encoding="utf-8")
    with pytest.raises(UsageError, match="says nothing of any image"):
        convert(images, masks, groups=str(table), **more)
    _, raw = convert(images, masks, classes="^(case)", **more)
    assert {case.class_name for case in raw.cases} == {"case"}


@pytest.mark.parametrize("value", [1, 128, 255])
def test_the_one_label_of_each_split_is_the_same_whatever_its_value(home: Path, value: int) -> None:
    images, masks = build_own(home / "a", NAMES)
    test_images, test_masks = build_own(home / "b", ["t"], values=(value,), seed=50)
    _, raw = convert(images, masks, test_images=test_images, test_masks=test_masks)
    assert raw.info.labels == {"background": 0, "lesion": 1}
    assert np.array_equal(read_labels(raw.label_path(raw.cases[-1])), labelled(1, 50)[1])


def test_splits_of_several_labels_without_a_common_one_are_refused(home: Path) -> None:
    images, masks = build_own(home / "a", NAMES, labels=2, values=(1, 2))
    test_images, test_masks = build_own(home / "b", NAMES, labels=2, values=(100, 200), seed=50)
    with pytest.raises(UsageError, match="no mask value in common: 1, 2 and 100, 200"):
        convert(images, masks, test_images=test_images, test_masks=test_masks)
