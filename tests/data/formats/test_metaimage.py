"""MHA, MHD and NRRD files beyond what all formats share: their units and directions."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from htunet.data.formats.medical_file import NO_MILLIMETRES
from htunet.data.formats.stacks import open_stack


def write(path: Path, spacing: float, line: bytes = b"", direction: tuple[float, ...] = (1, 0, 0, 1)) -> Path:
    image = SimpleITK.GetImageFromArray(np.zeros((4, 6), np.uint8))
    image.SetSpacing((spacing, spacing))
    image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\n" + line + b"\n\n", 1) if line else path.read_bytes())
    return path


@pytest.mark.parametrize(
    ("spacing", "unit", "expected"),
    [(1e-4, "m", 0.1), (0.01, "cm", 0.1), (100, "um", 0.1), (0.1, "mm", 0.1), (0.1, "", 0.1), (0.1, "furlong", None)],
)
def test_the_unit_of_a_nrrd_file_counts(tmp_path: Path, spacing: float, unit: str, expected: float | None) -> None:
    path = write(tmp_path / "a.nrrd", spacing, f'space units: "{unit}" "{unit}"'.encode())
    assert open_stack(path).spacing_mm == expected
    assert NO_MILLIMETRES not in open_stack(path).remarks


@pytest.mark.parametrize(("spacing", "expected"), [(1e-4, 1e-4), (254.0, 254.0), (1e-9, None)])
def test_pixels_that_no_ultrasound_image_has_are_doubted(
    tmp_path: Path, spacing: float, expected: float | None
) -> None:
    found = open_stack(write(tmp_path / "a.mha", spacing))
    assert (found.spacing_mm, found.remarks) == (expected, (NO_MILLIMETRES,))


@pytest.mark.parametrize(
    ("direction", "axes"),
    [((1, 0, 0, 1), "LP"), ((-1, 0, 0, 1), "RP"), ((0, 1, 1, 0), "PL"), ((0.9, -0.4, 0.4, 0.9), "LP")],
)
def test_axes_are_called_by_the_directions_that_they_follow_most(
    tmp_path: Path, direction: tuple[float, ...], axes: str
) -> None:
    size = np.hypot(*direction[:2])
    exact = tuple(float(value / size) for value in direction)
    assert open_stack(write(tmp_path / "a.mha", 0.1, direction=exact)).axes == axes
    assert open_stack(write(tmp_path / "b.mha", 1.0)).axes == ""
