"""NIfTI volumes as slices, which are read one at a time, and masks of them as volumes.

A slice is a step along the third axis of the file. As stored, its rows are the second axis and its columns the first,
as ITK-SNAP and nnU-Net show it. Upright, by the header: rows go from anterior to posterior and columns from the
patient's right to the left, as on the screen of a scanner; where the plane lacks one of the two, towards inferior.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from htunet.data.formats.medical_file import (
    MAX_FRAMES,
    SQUARE,
    MedicalFile,
    PlaceInSpace,
    Spacing,
    pixel_spacing,
    refuse_lines,
    remarks_on,
    undeclared_colours,
)
from htunet.data.image_io import MAX_PIXELS, UInt8
from htunet.errors import HtunetError
from htunet.files import check_file, whole_file

MAX_VOXELS = 2**31
"""A header that claims more is refused unread; a volume of the prostate has 45 slices and 59 million voxels."""
ROW_AXES = ("AP", "SI", "RL")
"""Which axis of a plane becomes its rows: the first of these that it has."""
TOWARDS_THE_START = "RAS"
"""A stored axis that leads there is reversed, so that it leads to the patient's left, posterior or inferior."""
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres for each unit code of a header: not stated, metres, millimetres, micrometres."""
READ_ERRORS = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError, ArithmeticError, TypeError)


@dataclass(frozen=True)
class Turn:
    """How a stored slice (first file axis, second file axis) becomes an upright one (rows, columns)."""

    row_axis: int
    """0 or 1: the file axis that becomes the rows."""
    flip_rows: bool
    flip_columns: bool

    def __call__(self, stored: NDArray[Any]) -> NDArray[Any]:
        """An upright view of ``stored``."""
        plane = stored if self.row_axis == 0 else stored.T
        return plane[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def __str__(self) -> str:
        words = {"rows reversed": self.flip_rows, "columns reversed": self.flip_columns}
        return ", ".join(word for word, done in words.items() if done) or "as stored"


AS_STORED = Turn(1, flip_rows=False, flip_columns=False)


@dataclass(frozen=True)
class Volume:
    """What the header of a NIfTI file says."""

    path: Path
    image: nib.Nifti1Image
    shape: tuple[int, int, int]
    """Along the first two axes, and along the only further one that is longer than 1, else 1."""
    axes: str
    """Directions of the axes, such as ``RAS``; empty if the header does not state them."""
    sides_mm: tuple[float, float] | None
    """Sides of a voxel along the first two axes; None if the header does not state them."""

    @property
    def slices(self) -> int:
        """Number of slices."""
        return self.shape[2]

    def spacing_mm(self, turn: "Turn") -> Spacing | None:
        """Pixel size of the slices after ``turn``; None if the header does not state it."""
        sides = self.sides_mm
        return pixel_spacing(sides and (sides[turn.row_axis], sides[1 - turn.row_axis]))

    def planes(self, turn: Turn) -> Iterator[NDArray[Any]]:
        """The slices in the order of the file, turned; holds one at a time. Raises HtunetError for a broken file."""
        third = next((axis for axis, length in enumerate(self.image.shape) if axis > 1 and length > 1), 2)
        for position in range(self.slices):
            place = [slice(None)] * len(self.image.shape)
            if len(place) > 2:
                place[third] = slice(position, position + 1)
            try:
                stored = np.asarray(self.image.dataobj[tuple(place)])
            except READ_ERRORS as error:
                raise unreadable(self.path, error) from None
            yield turn(stored.reshape(self.shape[:2]))


def open_volume(path: Path) -> Volume:
    """Read the header; raises HtunetError that names the file when it is missing, broken or no gray volume."""
    check_file(path)
    try:
        with LoggingOutputSuppressor():  # it would name odd headers without their file
            image = nib.load(path, mmap=False, keep_file_open=True)  # else each slice would unpack from the start
        if not isinstance(image, nib.Nifti1Image):
            raise ValueError(f"a {type(image).__name__}, not a NIfTI file")
        return Volume(path, image, _shape(image), _axes(image), _sides_mm(image))
    except READ_ERRORS as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> HtunetError:
    """The error for a file that cannot be used, and why."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return HtunetError(f"The volume {path} cannot be read ({reason}). Replace it or take it out.")


def upright(axes: str) -> Turn:
    """How slices of a file with ``axes`` are turned; the order of the slices stays.

    Without ``axes`` the rows, which are then the second axis, are reversed: such files store slices from the bottom up.

    >>> upright("LPS"), str(upright("RAS")), upright("ARS").row_axis
    (Turn(row_axis=1, flip_rows=False, flip_columns=False), 'rows reversed, columns reversed', 0)
    """
    if not axes:
        return Turn(1, flip_rows=True, flip_columns=False)
    row_axis = min((0, 1), key=lambda axis: next(rank for rank, pair in enumerate(ROW_AXES) if axes[axis] in pair))
    rows, columns = axes[row_axis], axes[1 - row_axis]
    return Turn(row_axis, rows in TOWARDS_THE_START, columns in TOWARDS_THE_START)


def open_nifti(path: Path) -> MedicalFile:
    """A slice or a volume, as stored; raises HtunetError as ``open_volume``, and for colours along its first axis."""
    volume = open_volume(path)
    try:
        unsigned = volume.image.get_data_dtype() in (np.uint8, np.uint16)
        remarks = undeclared_colours(volume.shape[0], volume.slices) if unsigned else ()
    except ValueError as error:
        raise unreadable(path, error) from None
    sides = volume.sides_mm and volume.sides_mm[::-1]
    proxy: Any = volume.image.dataobj
    return MedicalFile(
        frames=volume.slices,
        read=lambda: volume.planes(AS_STORED),
        sides_mm=sides,
        axes=volume.axes if sides else "",
        place=_place(volume.image),
        eight_bits=volume.image.get_data_dtype() == np.uint8 and (proxy.slope, proxy.inter) == (1.0, 0.0),
        remarks=(*remarks_on(sides), *remarks),
    )


def write_volume_mask(source: Path, target: Path, masks_NHW: UInt8) -> None:
    """Write the masks of the slices of ``source`` (as stored) in its shape, with its affine, without its texts."""
    image = open_volume(source).image
    header = image.header.copy()
    header.extensions.clear()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    for name in ("descrip", "aux_file", "intent_name", "cal_min", "cal_max"):
        header[name] = np.zeros_like(header[name])
    kind = nib.Nifti2Image if isinstance(image, nib.Nifti2Image) else nib.Nifti1Image
    content = kind(masks_NHW.transpose(2, 1, 0).reshape(image.shape), None, header).to_bytes()
    with whole_file(target) as part:
        part.write_bytes(gzip.compress(content, mtime=0) if target.suffix.lower() == ".gz" else content)


def _shape(image: nib.Nifti1Image) -> tuple[int, int, int]:
    """The lengths of the first two axes and of the only further one that is longer than 1."""
    sides = tuple(int(length) for length in image.shape)
    further = [length for length in sides[2:] if length != 1] or [1]
    kind = image.get_data_dtype()
    if len(sides) < 2 or len(further) > 1:
        raise ValueError(f"its shape is {sides}, a slice or a volume has two or three axes")
    shape = (*sides[:2], *further)
    refuse_lines(*shape)
    if kind.names or np.issubdtype(kind, np.complexfloating):
        what = "colours" if kind.names else "complex numbers"
        raise ValueError(f"its voxels are {what}, not gray values: save them as gray values, or its slices as PNG")
    area = shape[0] * shape[1]
    if min(shape) < 1 or area > MAX_PIXELS or shape[2] > MAX_FRAMES or area * shape[2] > MAX_VOXELS:
        raise ValueError(f"it claims {shape} voxels; at most {MAX_VOXELS} in {MAX_FRAMES} slices are read")
    return shape[0], shape[1], shape[2]


def _axes(image: nib.Nifti1Image) -> str:
    """Empty where neither form is stated or where the affine is degenerate."""
    if not (int(image.header["qform_code"]) > 0 or int(image.header["sform_code"]) > 0):
        return ""
    if not np.isfinite(image.affine).all() or np.linalg.matrix_rank(image.affine[:3, :3]) < 3:
        return ""
    return "".join(str(code) for code in nib.aff2axcodes(image.affine))


def _place(image: nib.Nifti1Image) -> PlaceInSpace | None:
    """None where neither form is stated or where the affine is degenerate."""
    if not _axes(image):
        return None
    affine = np.diag((-1, -1, 1)) @ image.affine[:3]  # NIfTI's first two axes lead to the right and to anterior
    factor, lengths = MILLIMETRES.get(int(image.header["xyzt_units"]) % 8, 1.0), np.linalg.norm(affine, axis=0)
    directions = (affine[:, :2] / lengths[:2]).T.tolist()
    origin = (affine[:, 3] * factor).tolist()
    return PlaceInSpace(tuple(origin), tuple(map(tuple, directions)), float(lengths[:2].max()) * factor)


def _sides_mm(image: nib.Nifti1Image) -> tuple[float, float] | None:
    """None for 1 x 1 (the value of a header that nobody filled in), and where the affine contradicts the header."""
    first, second = (float(side) for side in image.header.get_zooms()[:2])
    unit = int(image.header["xyzt_units"]) % 8
    if not (0 < first < np.inf and 0 < second < np.inf) or first == second == 1 or unit not in MILLIMETRES:
        return None
    if _axes(image) and not np.allclose(nib.affines.voxel_sizes(image.affine)[:2], (first, second), rtol=SQUARE):
        return None
    return float(f"{first * MILLIMETRES[unit]:.6g}"), float(f"{second * MILLIMETRES[unit]:.6g}")
