"""Every format as frames of gray values or mask values, and files that claim too much or are broken."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from builders.medical import us_region, write_dicom, write_nifti
from PIL import Image

from htunet.data.formats.dicom import patient_of
from htunet.data.formats.stacks import COLOUR, is_image, open_stack
from htunet.errors import HtunetError

RAMP = np.arange(40, dtype=np.uint8).reshape(5, 8)
"""5 rows, 8 columns: a transposed reading cannot pass."""
TWO = np.stack([RAMP, RAMP + 100])


def frames(path: Path) -> list[np.ndarray]:
    stack = open_stack(path)
    found = list(stack.gray())
    assert len(found) == stack.frames
    return found


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".TIFF", ".nii", ".nii.gz", ".dcm", ".IMA", ""])
def test_all_lossless_formats_give_the_same_rows_and_columns(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    if "nii" in ending:
        write_nifti(path, RAMP)
    elif ending in (".dcm", ".IMA", ""):
        write_dicom(path, RAMP)
    else:
        Image.fromarray(RAMP).save(path)
    assert is_image(path)
    assert np.array_equal(frames(path), [RAMP])


def test_pages_slices_and_frames_come_one_after_another(tmp_path: Path) -> None:
    pages = [Image.fromarray(page) for page in TWO]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    write_nifti(tmp_path / "a.nii.gz", TWO)
    write_dicom(tmp_path / "a.dcm", TWO)
    for path in sorted(tmp_path.iterdir()):
        assert np.array_equal(frames(path), TWO), path


def test_wide_values_are_scaled_over_all_frames_and_narrow_ones_are_kept(tmp_path: Path) -> None:
    wide = np.stack([np.full((2, 2), 1000), np.full((2, 2), 3000)]).astype(np.uint16)
    write_nifti(tmp_path / "wide.nii", wide)
    write_dicom(tmp_path / "wide.dcm", wide)
    write_nifti(tmp_path / "narrow.nii", TWO.astype(np.float64))
    for name in ("wide.nii", "wide.dcm"):
        assert [int(frame[0, 0]) for frame in frames(tmp_path / name)] == [0, 255]
        assert open_stack(tmp_path / name).is_scaled
    assert np.array_equal(frames(tmp_path / "narrow.nii"), TWO)
    assert not open_stack(tmp_path / "narrow.nii").is_scaled


def test_monochrome1_is_inverted_and_colours_become_luminance(tmp_path: Path) -> None:
    write_dicom(tmp_path / "inverted.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    write_dicom(tmp_path / "red.dcm", red)
    assert np.array_equal(frames(tmp_path / "inverted.dcm"), [255 - RAMP])
    assert any("MONOCHROME1" in remark for remark in open_stack(tmp_path / "inverted.dcm").remarks)
    assert int(frames(tmp_path / "red.dcm")[0][0, 0]) == round(0.299 * 200)


def test_the_pixel_size_comes_from_the_header_in_millimetres(tmp_path: Path) -> None:
    def spacing(**tags: object) -> float | None:
        write_dicom(tmp_path / "x.dcm", RAMP, **tags)
        return open_stack(tmp_path / "x.dcm").spacing_mm

    assert spacing() is None
    assert spacing(PixelSpacing=[0.2, 0.2]) == 0.2
    assert spacing(PixelSpacing=[0.2, 0.3]) is None
    assert spacing(SequenceOfUltrasoundRegions=[us_region((0.01, 0.01))], PixelSpacing=[0.2, 0.2]) == 0.1
    doppler_beside_tissue = [us_region((0.5, 0.5), tissue=False), us_region((0.02, 0.02))]
    assert spacing(SequenceOfUltrasoundRegions=doppler_beside_tissue) == 0.2
    assert spacing(SequenceOfUltrasoundRegions=[us_region((0.01, 0.01)), us_region((0.03, 0.03))]) is None
    write_nifti(tmp_path / "x.nii", TWO, (0.3, 0.3, 2.0))
    assert open_stack(tmp_path / "x.nii").spacing_mm == pytest.approx(0.3)
    write_nifti(tmp_path / "x.nii", TWO, unit="unknown")
    assert open_stack(tmp_path / "x.nii").spacing_mm is None


def test_patients_are_told_apart_by_their_id_and_else_by_their_study(tmp_path: Path) -> None:
    for name, tags in {
        "a": {"PatientID": "1"},
        "b": {"PatientID": "1"},
        "c": {"StudyInstanceUID": "1.2"},
        "d": {},
    }.items():
        write_dicom(tmp_path / name, RAMP, PatientName="Doe^Jane", **tags)
    found = [patient_of(tmp_path / name) for name in "abcd"]
    assert found[0] == found[1]
    assert found[2] == "1.2"
    assert found[3] == ""
    assert not any("Doe" in one for one in found)


def test_mask_values_are_kept_and_colours_are_marked(tmp_path: Path) -> None:
    write_nifti(tmp_path / "m.nii", RAMP.astype(np.int16) * 100)
    assert np.array_equal(next(open_stack(tmp_path / "m.nii").levels()), RAMP.astype(int) * 100)
    Image.fromarray(np.uint8([[[255, 0, 0], [7, 7, 7]]])).save(tmp_path / "m.png")
    assert next(open_stack(tmp_path / "m.png").levels()).tolist() == [[COLOUR + 0xFF0000, 7]]
    transparent = Image.fromarray(np.uint8([[[255, 255, 255, 0], [255, 255, 255, 255]]]), "RGBA")
    transparent.save(tmp_path / "m.png")
    assert next(open_stack(tmp_path / "m.png").levels()).tolist() == [[0, 255]]


@pytest.mark.parametrize("values", [np.float32([[0.5, 1.0]]), np.int16([[-1, 1]]), np.float32([[np.nan, 1]])])
def test_a_mask_that_is_no_label_map_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    write_nifti(tmp_path / "m.nii", values)
    with pytest.raises(HtunetError, match="it is no label map"):
        list(open_stack(tmp_path / "m.nii").levels())


def test_headers_that_claim_too_much_are_refused_before_the_pixels_are_read(tmp_path: Path) -> None:
    write_dicom(tmp_path / "huge.dcm", RAMP, Rows=60_000, Columns=60_000)
    write_dicom(tmp_path / "long.dcm", RAMP, NumberOfFrames=2_000_000)
    write_nifti(tmp_path / "huge.nii", RAMP)
    content = bytearray((tmp_path / "huge.nii").read_bytes())
    content[40:48] = np.array([3, 30_000, 30_000, 30_000], dtype="<i2").tobytes()
    (tmp_path / "huge.nii").write_bytes(content)
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(content)))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(HtunetError, match="claims"):
            open_stack(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "SEG"}, "segmentation object"),
        ({"Rows": None}, "no pixels"),
        ({"PixelData": None}, "cannot be read"),
        ({"PixelData": b"\0" * 4}, "cannot be read"),
    ],
)
def test_dicom_files_without_an_image_are_named(tmp_path: Path, tags: dict[str, object], message: str) -> None:
    write_dicom(tmp_path / "x.dcm", RAMP, **tags)
    with pytest.raises(HtunetError, match=message):
        list(open_stack(tmp_path / "x.dcm").gray())


@pytest.mark.parametrize("ending", [".png", ".tif", ".nii", ".nii.gz", ".dcm"])
@pytest.mark.parametrize("kept", [0, 10, 140, 200])
def test_a_file_that_is_cut_off_is_named_and_never_a_traceback(tmp_path: Path, ending: str, kept: int) -> None:
    path = tmp_path / f"x{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (50, 60)).astype(np.uint8)
    if "nii" in ending:
        write_nifti(path, noise)
    elif ending == ".dcm":
        write_dicom(path, noise)
    else:
        Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(HtunetError, match=r"x\."):
        list(open_stack(path).gray())
