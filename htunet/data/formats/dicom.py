"""DICOM and NIfTI files: what their headers say, and their frames one after another. Patients' names are never read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.image_io import MAX_PIXELS
from htunet.errors import HtunetError

if TYPE_CHECKING:
    from pydicom import Dataset

NIFTI = (".nii", ".nii.gz")
MAX_VOLUME_BYTES = 2 * 2**30
"""Of one NIfTI volume, unpacked; it is read as a whole."""
MAX_FRAMES = 100_000
DICOM_MARK, MARK_AT = b"DICM", 128
DEFLATED = "1.2.840.10008.1.2.1.99"
CENTIMETRES, TISSUE = 3, 1
"""DICOM PS3.3, C.8.5.5: Physical Units X Direction, and Region Spatial Format 2D."""
SQUARE = 0.01
"""Pixels whose sides differ by at most this fraction are square."""
NOT_SQUARE = "pixels are not square, so the pixel size is left unknown"
MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
PATIENT_TAGS = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID")


@dataclass(frozen=True, kw_only=True)
class MedicalFile:
    """What a header says, and how to read the frames: (H, W) of any number type, or (H, W, 3) uint8."""

    frames: int
    read: Callable[[], Iterator[NDArray[np.generic]]]
    spacing_mm: float | None
    eight_bits: bool
    """The values are gray values or colours as they are."""
    inverted: bool = False
    remarks: tuple[str, ...] = ()


def is_nifti(path: Path) -> bool:
    """By the ending."""
    return path.name.lower().endswith(NIFTI)


def is_dicom(path: Path) -> bool:
    """By the mark that every DICOM file has behind its preamble; the ending says nothing."""
    try:
        with path.open("rb") as stream:
            return stream.read(MARK_AT + len(DICOM_MARK))[MARK_AT:] == DICOM_MARK
    except OSError:
        return False


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever the libraries raise over a broken file into one HtunetError that names it."""
    try:
        yield
    except HtunetError:
        raise
    except FileNotFoundError:
        raise HtunetError(f"The image {path} is missing.") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise HtunetError(f"The image {path} cannot be read ({reason}). Replace it or take it out.") from None


def open_nifti(path: Path) -> MedicalFile:
    """A 2D or 3D volume whose third axis is the frames; rows are the second axis, as ITK-SNAP and nnU-Net show it.

    Raises HtunetError for a broken file, more than three axes, or a volume that is too large.
    """
    import nibabel

    with _readable(path):
        volume: Any = nibabel.load(path)
        shape = tuple(int(side) for side in volume.shape)
        while len(shape) > 2 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise HtunetError(f"{path} has the axes {tuple(volume.shape)}; a slice or a volume has two or three.")
        dtype = volume.get_data_dtype()
        if dtype.fields is not None or dtype.kind not in "iufb":
            raise HtunetError(f"{path} holds {dtype}, not gray values. Save it as gray values.")
        if shape[0] * shape[1] > MAX_PIXELS or np.prod(shape, dtype=np.float64) * dtype.itemsize > MAX_VOLUME_BYTES:
            raise HtunetError(
                f"{path} claims {' x '.join(map(str, shape))} values; at most {MAX_PIXELS} a slice and "
                f"{MAX_VOLUME_BYTES >> 30} GiB in all are read. Cut it into smaller volumes."
            )
        plain = (volume.dataobj.slope, volume.dataobj.inter) == (1.0, 0.0)
        unit = volume.header.get_xyzt_units()[0]
        sides = [float(side) * MILLIMETRES.get(unit, 1.0) for side in volume.header.get_zooms()[:2]]
    # A header that nobody filled in says 1 of an unknown unit.
    spacing, remarks = (None, ()) if unit == "unknown" and sides == [1.0, 1.0] else _square(sides[1], sides[0])
    frames = 1 if len(shape) == 2 else shape[2]
    return MedicalFile(
        frames=frames,
        read=lambda: _nifti_frames(path, shape, frames),
        spacing_mm=spacing,
        eight_bits=dtype == np.uint8 and plain,
        remarks=remarks,
    )


def _nifti_frames(path: Path, shape: tuple[int, ...], frames: int) -> Iterator[NDArray[np.generic]]:
    import nibabel

    with _readable(path):
        volume: Any = nibabel.load(path)
        values = np.asanyarray(volume.dataobj.get_unscaled()).reshape((*shape[:2], frames))
        slope, inter = float(volume.dataobj.slope), float(volume.dataobj.inter)
        for index in range(frames):
            frame = values[:, :, index].T
            yield np.ascontiguousarray(frame if (slope, inter) == (1.0, 0.0) else frame * slope + inter)


def open_dicom(path: Path) -> MedicalFile:
    """A single image or a cine loop. MONOCHROME1 is marked as inverted, colours come as RGB, the window is ignored.

    Raises HtunetError for a broken file, one without pixels, a segmentation object, or one that is too large.
    """
    with _readable(path):
        header = _header(path)
        if header.get("Modality") == "SEG":
            raise HtunetError(f"{path} is a DICOM segmentation object. Export it as NIfTI or PNG masks.")
        rows, columns = int(header.get("Rows", 0)), int(header.get("Columns", 0))
        frames = int(header.get("NumberOfFrames", 1) or 1)
        if rows < 1 or columns < 1:
            raise HtunetError(f"{path} has no pixels (no Rows or Columns): it is a report or another object.")
        if rows * columns > MAX_PIXELS or not 1 <= frames <= MAX_FRAMES:
            raise HtunetError(
                f"{path} claims {frames} frames of {columns} x {rows} pixels; at most {MAX_FRAMES} frames "
                f"of {MAX_PIXELS} pixels are read."
            )
        spacing, remarks = _dicom_spacing(header)
        inverted = str(header.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1"
        eight_bits = int(header.get("BitsAllocated", 16)) <= 8 or int(header.get("SamplesPerPixel", 1)) == 3
    return MedicalFile(
        frames=frames,
        read=lambda: _dicom_frames(path),
        spacing_mm=spacing,
        eight_bits=eight_bits,
        inverted=inverted,
        remarks=(*remarks, *(["MONOCHROME1 inverted, so that high values are bright"] if inverted else [])),
    )


def patient_of(path: Path) -> str:
    """What distinguishes patients within a data set, never to be written; empty where the file does not say."""
    if not is_dicom(path):
        return ""
    try:
        with _readable(path):
            header = _header(path)
            known = [str(header.get(tag, "") or "").strip() for tag in PATIENT_TAGS]
    except HtunetError:
        return ""  # whoever reads its pixels names it
    patient, issuer, study = known
    return f"{issuer}\n{patient}" if patient else study


def _header(path: Path) -> "Dataset":
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == DEFLATED:
        raise HtunetError(f"{path} is a deflated DICOM file, which is not read. Save it uncompressed (dcmconv +te).")
    return dcmread(path, stop_before_pixels=True)


def _dicom_frames(path: Path) -> Iterator[NDArray[np.generic]]:
    from pydicom.pixels import apply_color_lut, iter_pixels

    with _readable(path):
        header = _header(path)
        palette = str(header.get("PhotometricInterpretation", "")).strip() == "PALETTE COLOR"
        for frame in iter_pixels(path):
            pixels = apply_color_lut(frame, header) if palette else frame
            if palette and pixels.dtype == np.uint16:
                pixels = (pixels >> 8).astype(np.uint8)
            if pixels.ndim == 3 and pixels.dtype != np.uint8:
                raise HtunetError(f"{path} has colours of more than 8 bits, which are not read. Save it with 8 bits.")
            yield pixels


def _dicom_spacing(header: "Dataset") -> tuple[float | None, tuple[str, ...]]:
    """Millimetres from the tissue regions of an ultrasound image, else from its pixel spacing."""
    regions = [
        (abs(float(region.PhysicalDeltaY)) * 10, abs(float(region.PhysicalDeltaX)) * 10)
        for region in header.get("SequenceOfUltrasoundRegions", None) or []
        if int(region.get("RegionSpatialFormat", TISSUE)) == TISSUE
        and int(region.get("PhysicalUnitsXDirection", 0)) == CENTIMETRES
        and int(region.get("PhysicalUnitsYDirection", 0)) == CENTIMETRES
        and "PhysicalDeltaX" in region
        and "PhysicalDeltaY" in region
    ]
    if len({(round(y, 4), round(x, 4)) for y, x in regions}) > 1:
        return None, ("several regions of different scale, so the pixel size is left unknown",)
    if regions:
        return _square(*regions[0])
    pair = header.get("PixelSpacing") or header.get("ImagerPixelSpacing") or header.get("NominalScannedPixelSpacing")
    return _square(float(pair[0]), float(pair[1])) if pair else (None, ())


def _square(row: float, column: float) -> tuple[float | None, tuple[str, ...]]:
    """The side of a square pixel; None, with a remark, where it is not square, and where it is no length at all."""
    if not (0 < row < np.inf and 0 < column < np.inf):
        return None, ()
    if abs(row - column) > SQUARE * max(row, column):
        return None, (NOT_SQUARE,)
    return round((row + column) / 2, 6), ()
