"""What the headers of images and masks say: their places, and their patients."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from builders.medical import write_dicom
from builders.own import build_own, labelled
from PIL import Image

from dataset_conversion.own_images.convert import convert_own
from dataset_conversion.own_images.options import OwnData
from htunet.data.formats.stacks import NO_COLOURS
from htunet.data.image_io import read_labels
from htunet.data.label_maps import OVERLAP
from htunet.data.raw import read_raw
from htunet.paths import DatasetPaths

PLACES = {
    "same": {},
    "rounded": {"origin": (10.06, 20.0, 3.0), "spacing": 0.1003},
    "beside": {"origin": (10.5, 20.0, 3.0)},
    "next slice": {"origin": (10.0, 20.0, 4.0)},
    "turned": {"angle": 0.1},
    "no origin": {"origin": (0.0, 0.0, 0.0)},
    "other pixels": {"spacing": 0.2},
}
"""How the header of a mask differs from that of its image."""
ORIGIN = (10.0, 20.0, 3.0)


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".nii.gz", ".dcm"])
def test_a_mask_that_lies_elsewhere_by_its_header_is_not_taken_pixel_for_pixel(home: Path, ending: str) -> None:
    images, masks = build_own(home, [*PLACES])
    for path in [*images.iterdir(), *masks.iterdir()]:
        place: dict[str, Any] = PLACES[path.stem.removesuffix("_mask")] if path.parent == masks else {}
        pixels, side, origin = np.asarray(Image.open(path)), place.get("spacing", 0.1), place.get("origin", ORIGIN)
        cosine, sine = np.cos(place.get("angle", 0.0)), np.sin(place.get("angle", 0.0))
        target = path.with_name(path.stem + ending)
        if ending == ".dcm":
            along = [float(f"{value:.9f}") for value in (cosine, sine, 0, -sine, cosine, 0)]  # of a row, of a column
            tags = {"ImagePositionPatient": [*origin], "ImageOrientationPatient": along, "PixelSpacing": [side] * 2}
            write_dicom(target, pixels, **tags)
        else:
            volume = SimpleITK.GetImageFromArray(pixels[None])
            volume.SetSpacing((side, side, 1.0))
            volume.SetOrigin(origin)
            volume.SetDirection((cosine, -sine, 0, sine, cosine, 0, 0, 0, 1))
            SimpleITK.WriteImage(volume, str(target))
        path.unlink()
    report = convert_own(OwnData(name="Mine", images=images, masks=masks))
    reasons = {one.source.split(".")[0]: one.reason for one in report.excluded}
    assert reasons.keys() == {"beside", "next slice", "turned"}
    assert "lie in different places by their headers (the first pixels are 0.5 mm apart)" in reasons["beside"]
    assert "(the first pixels are 1 mm apart)" in reasons["next slice"]
    assert "(rotated against each other)" in reasons["turned"]
    assert any(
        note.startswith("headers with the origin 0") and note.endswith("1 case, no_origin") for note in report.notes
    )
    assert any("another pixel size" in note and note.endswith("1 case, other_pixels") for note in report.notes)


def test_images_that_were_all_given_one_patient_are_named(home: Path) -> None:
    images, masks = build_own(home, [f"c{number}" for number in range(10)])
    for number, path in enumerate(sorted(images.iterdir())):
        write_dicom(images / f"{path.stem}.dcm", labelled(1, number)[0], PatientID="ANON")
        path.unlink()
    report = convert_own(OwnData(name="Mine", images=images, masks=masks))
    assert "the group 'patient_0001' has 10 of 10 images: check that it is one patient" in report.notes


def test_a_patient_whose_files_say_more_and_less_of_it_is_one_group(home: Path) -> None:
    """A study and a PatientID without an issuer join; another issuer, or another PatientID, is another patient."""
    tags = [("17", "H", "1.1"), ("17", "", "1.2"), ("", "", "1.2"), ("18", "H", "1.3"), ("18", "G", "1.4")]
    images, masks = build_own(home, [str(number) for number in range(6)])
    for number, (patient, issuer, study) in enumerate([*tags, ("19", "H", "1.3")]):
        more = {"PatientID": patient, "IssuerOfPatientID": issuer, "StudyInstanceUID": study}
        write_dicom(images / f"{number}.dcm", labelled(1, number)[0], **more)
        (images / f"{number}.png").unlink()
    report = convert_own(OwnData(name="Mine", images=images, masks=masks))
    groups = [case.group for case in read_raw(DatasetPaths(report.dataset)).cases]
    assert groups == [f"patient_000{number}" for number in (1, 1, 1, 2, 3, 4)]
    assert any("headers (4 patients)" in note for note in report.notes)
    assert any("without its issuer, were joined" in note for note in report.notes)


def test_masks_of_one_image_that_overlap_with_different_labels_are_named(home: Path) -> None:
    """20 columns: rows 10-39 and 20-49 are 600 pixels each, and the later mask takes 400 of the earlier one."""
    for part in ("images", "masks"):
        (home / part).mkdir()
    for name, values in (("a", (1, 2)), ("b", (1, 1))):
        Image.fromarray(labelled(1, values[1], (60, 20))[0]).save(home / "images" / f"{name}.png")
        for number, value in enumerate(values):
            mask = np.zeros((60, 20), np.uint8)
            mask[10 * (number + 1) : 10 * (number + 1) + 30] = value
            Image.fromarray(mask).save(home / "masks" / f"{name}_mask_{number}.png")
    report = convert_own(OwnData(name="Mine", images=home / "images", masks=home / "masks", labels="x=1,y=2"))
    raw = read_raw(DatasetPaths(report.dataset))
    found = [np.bincount(read_labels(raw.label_path(case)).ravel(), minlength=3).tolist() for case in raw.cases]
    assert found == [[400, 200, 600], [400, 800, 0]]
    assert [note for note in report.notes if "different labels" in note] == [f"{OVERLAP}: 1 case, a"]


@pytest.mark.parametrize(
    ("size", "writer", "named"),
    [((40, 40), "nibabel", True), ((40, 40), "pynrrd", True), ((32, 40), "nibabel", False), ((32, 40), "pynrrd", False)]
    + [((40, 40), ending, False) for ending in (".nii.gz", ".nrrd", ".mha")],
)
def test_masks_that_may_be_transposed_are_named(home: Path, size: tuple[int, int], writer: str, named: bool) -> None:
    """nibabel stores (rows, columns) of an array as (x, y): nothing but the note tells it in a square picture."""
    for part in ("images", "masks"):
        (home / part).mkdir()
    for number in range(3):
        image, mask = labelled(1, number, size)
        Image.fromarray(image).save(home / "images" / f"{number}.png")
        path = home / "masks" / str(number)
        if writer == "nibabel":
            nibabel.save(nibabel.Nifti1Image(mask.T, np.eye(4)), f"{path}.nii.gz")
        elif writer == "pynrrd":
            header = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: {size[1]} {size[0]}\nencoding: raw\n\n"
            path.with_suffix(".nrrd").write_bytes(header.encode() + mask.tobytes())
        else:
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask), f"{path}{writer}")
    report = convert_own(OwnData(name="Mine", images=home / "images", masks=home / "masks"))
    assert any("they are transposed" in note for note in report.notes) is named


def test_an_image_that_may_be_transposed_against_its_mask_is_named(home: Path) -> None:
    for part in ("images", "masks"):
        (home / part).mkdir()
    image, mask = labelled(1, 0, (40, 40))
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), home / "images" / "a.nii.gz")
    Image.fromarray(mask).save(home / "masks" / "a.png")
    report = convert_own(OwnData(name="Mine", images=home / "images", masks=home / "masks"))
    assert any("they are transposed" in note for note in report.notes)


def test_masks_in_which_low_values_are_white_are_named(home: Path) -> None:
    images, masks = build_own(home, ["a", "b"])
    for path in [*masks.iterdir()]:
        mask = np.asarray(Image.open(path))
        write_dicom(path.with_suffix(".dcm"), mask, PhotometricInterpretation="MONOCHROME1")
        path.unlink()
    report = convert_own(OwnData(name="Mine", images=images, masks=masks))
    assert any("masks are MONOCHROME1" in note and "2 cases" in note for note in report.notes)


@pytest.mark.parametrize(("side", "named"), [("0.007", True), ("0.25", False), ("2", False), ("20", True), ("", False)])
def test_a_pixel_size_that_makes_images_of_no_ultrasound_is_named(home: Path, side: str, named: bool) -> None:
    """The longer side of 40 pixels: 0.28, 10, 80 and 800 mm; not known."""
    images, masks = build_own(home, ["a", "b"])
    report = convert_own(OwnData(name="Mine", images=images, masks=masks, spacing=side))
    assert any(note.startswith("by their pixel size images are not 8 to 600 mm") for note in report.notes) == named


def test_colours_that_become_gray_are_said(home: Path) -> None:
    """A Doppler box of 4 x 4 of 1280 pixels; a yellowish screenshot whose channels differ by 9 has no colours."""
    images, masks = build_own(home, ["doppler", "photo", "gray"])
    for name, colour in (("doppler", (255, 40, 0)), ("photo", None)):
        pixels = np.dstack([np.asarray(Image.open(images / f"{name}.png"))] * 3)
        if colour:
            pixels[:4, :4] = colour
        else:
            pixels[..., 2] = np.maximum(pixels[..., 2], 9) - 9
        Image.fromarray(pixels).save(images / f"{name}.png")
    report = convert_own(OwnData(name="Mine", images=images, masks=masks))
    assert [note for note in report.notes if "colours" in note] == [f"{NO_COLOURS}: 1 case, doppler"]
