"""Slices come out upright whatever the file's axes are; SimpleITK's own reorientation is the independent judge."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from builders.prostate import affine_for, as_stored, save, upright_volume

from htunet.data.formats.nifti import AS_STORED, open_volume, upright
from htunet.errors import HtunetError

IN_PLANE = ("LPS", "RAS", "LAS", "RPS", "RAI", "PLS", "ARS", "ALI", "PRS")


@pytest.fixture
def volume() -> np.ndarray:
    """(slices, H, W), upright and unlike every flipped or turned copy of itself."""
    return upright_volume(3, (20, 26), "asymmetric")[0]


def read(path: Path) -> np.ndarray:
    found = open_volume(path)
    return np.stack(list(found.planes(upright(found.axes))))


@pytest.mark.parametrize("axes", IN_PLANE)
def test_every_stored_orientation_comes_out_upright(tmp_path: Path, volume: np.ndarray, axes: str) -> None:
    save(tmp_path / "v.nii.gz", as_stored(volume, axes), affine_for(axes))
    assert open_volume(tmp_path / "v.nii.gz").axes == axes
    assert (read(tmp_path / "v.nii.gz") == volume).all()


@pytest.mark.parametrize("axes", IN_PLANE)
def test_simpleitk_turns_the_slices_alike(tmp_path: Path, volume: np.ndarray, axes: str) -> None:
    save(tmp_path / "v.nii.gz", as_stored(volume, axes), affine_for(axes))
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / "v.nii.gz")), f"LP{axes[2]}")
    assert (read(tmp_path / "v.nii.gz") == SimpleITK.GetArrayFromImage(image)).all()


def test_a_sagittal_plane_has_anterior_at_the_top_and_the_order_of_the_file() -> None:
    turn = upright("SAR")
    stored = np.array([[1, 2, 3], [4, 5, 6]])  # rows lead up, columns lead to anterior
    assert turn(stored).tolist() == [[6, 3], [5, 2], [4, 1]]
    assert str(turn) == "rows reversed, columns reversed"


def test_a_header_that_states_no_orientation_reverses_the_rows_alone(tmp_path: Path, volume: np.ndarray) -> None:
    image = nib.Nifti1Image(volume.transpose(2, 1, 0), None)
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 0
    nib.save(image, tmp_path / "v.nii.gz")
    assert open_volume(tmp_path / "v.nii.gz").axes == ""
    assert (read(tmp_path / "v.nii.gz") == volume[:, ::-1]).all()


@pytest.mark.parametrize(
    ("spacing", "unit", "found"),
    [
        ((0.05, 0.05, 1.5), "mm", 0.05),
        ((50.0, 50.0, 900.0), "micron", 0.05),
        ((0.00005, 0.00005, 0.0015), "meter", 0.05),
        ((0.0403, 0.0401, 1.0), "unknown", 0.0402),
        ((1.0, 1.0, 1.0), "mm", None),
        ((1.0, 1.0, 2.5), "unknown", None),
        ((0.05, 0.07, 1.0), "mm", (0.07, 0.05)),
    ],
)
def test_the_pixel_size_is_in_millimetres_or_not_known(
    tmp_path: Path, spacing: tuple[float, float, float], unit: str, found: float | tuple[float, float] | None
) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 2), np.uint8), affine_for("RAS", spacing))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "v.nii")
    assert open_volume(tmp_path / "v.nii").spacing_mm(AS_STORED) == (found and pytest.approx(found, rel=1e-5))
    if isinstance(found, tuple):
        assert open_volume(tmp_path / "v.nii").spacing_mm(upright("ARS")) == pytest.approx(found[::-1], rel=1e-5)


def test_a_pixel_size_that_the_affine_contradicts_is_not_known(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 2), np.uint8), affine_for("RAS", (1.0, 1.0, 1.0)))
    image.header.set_zooms((0.05, 0.05, 1.0))
    nib.save(image, tmp_path / "v.nii")
    image = nib.load(tmp_path / "v.nii")
    assert [float(side) for side in image.header.get_zooms()[:2]] == pytest.approx([0.05, 0.05])
    assert open_volume(tmp_path / "v.nii").spacing_mm(AS_STORED) is None


def test_further_axes_of_length_one_are_dropped(tmp_path: Path, volume: np.ndarray) -> None:
    save(tmp_path / "v.nii.gz", as_stored(volume, "RAS")[..., None, None], affine_for("RAS"))
    assert open_volume(tmp_path / "v.nii.gz").shape == (26, 20, 3)
    assert (read(tmp_path / "v.nii.gz") == volume).all()


def write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def one_axis(path: Path) -> None:
    save(path, np.zeros(4, np.uint8), affine_for("RAS"))


def four_axes(path: Path) -> None:
    save(path, np.zeros((4, 5, 2, 3), np.uint8), affine_for("RAS"))


def colours(path: Path) -> None:
    save(path, np.zeros((4, 5, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), affine_for("RAS"))


def claims_too_much(path: Path) -> None:
    save(path, np.zeros((4, 5, 2), np.uint8), affine_for("RAS"))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([32767] * 3, "<i2").tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: write_bytes(path, b""), "cannot be read"),
        (lambda path: write_bytes(path, b"not a volume" * 50), "cannot be read"),
        (one_axis, "has two or three axes"),
        (four_axes, "has two or three axes"),
        (colours, "not gray values"),
        (claims_too_much, r"it claims \(32767, 32767, 32767\) voxels"),
        (lambda path: None, "is missing"),
    ],
)
def test_what_is_no_volume_is_named_with_the_reason(tmp_path: Path, make, words: str) -> None:  # noqa: ANN001
    path = tmp_path / "v.nii"
    make(path)
    with pytest.raises(HtunetError, match=words) as caught:
        open_volume(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_cut_off_fails_where_the_voxels_end(tmp_path: Path, volume: np.ndarray) -> None:
    path = tmp_path / "v.nii.gz"
    save(path, as_stored(volume, "RAS"), affine_for("RAS"))
    path.write_bytes(path.read_bytes()[:-200])
    found = open_volume(path)
    assert found.slices == 3
    with pytest.raises(HtunetError, match=r"v\.nii\.gz cannot be read"):
        list(found.planes(upright(found.axes)))


def test_mutated_files_are_read_or_named_but_never_crash(tmp_path: Path, volume: np.ndarray) -> None:
    path = tmp_path / "v.nii"
    save(path, as_stored(volume, "RAS"), affine_for("RAS"))
    whole, rng, named = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(400):
        content = bytearray(whole)
        for position in rng.integers(0, 352, rng.integers(1, 12)):
            content[position] = rng.integers(0, 256)
        path.write_bytes(content[: rng.integers(0, len(content) + 1)] if rng.random() < 0.3 else content)
        try:
            found = open_volume(path)
            for plane in found.planes(upright(found.axes)):
                assert plane.ndim == 2
        except HtunetError as error:
            named += str(path) in str(error)
    assert named > 50
