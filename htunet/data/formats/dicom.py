"""DICOM files: what their headers say, and their frames one after another. Patients' names are never read."""

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.formats.medical_file import (
    MAX_FRAMES,
    MedicalFile,
    NoPictureError,
    PlaceInSpace,
    Sides,
    in_a_process,
    readable,
    remarks_on,
)
from htunet.data.image_io import MAX_PIXELS
from htunet.errors import HtunetError, counted
from htunet.files import open_file

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_MARK, MARK_AT = b"DICM", 128
ENDINGS = (".dcm", ".dicom", ".ima")
DEFLATED, PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1"
"""Transfer syntaxes: explicit values, little-endian, with and without the compression of zip files."""
MAX_INFLATED = 2**29
"""Largest size of an unpacked deflated file, in bytes; such a file is unpacked as a whole."""
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""First bytes of a file without a preamble: the group of its first tag, 0002 or 0008, little-endian."""
CENTIMETRES, TISSUE = 3, 1
"""DICOM PS3.3, C.8.5.5: Physical Units X Direction, and Region Spatial Format 2D."""
INVERTED = "values inverted, so that high values are bright: MONOCHROME1, or a negative RescaleSlope"
LOSSY = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81))
"""Transfer syntaxes: JPEG of 8 and of 12 bits, and JPEG-LS near-lossless; JPEG 2000 and others may be both."""
LUT = "ModalityLUTSequence"
"""The tag of a lookup table in place of a slope."""
OBJECTS = {"SEG": "segmentation object", "RTSTRUCT": "structure set"}
"""What marks regions of other files, by its modality."""
PATIENT_TAGS = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID")
warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)\.")  # they quote odd values, patients' names among them


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its ending, by the mark DICM, or because it begins with DICOM's first tags."""
    head = _head(path)
    return path.suffix.lower() in ENDINGS or head[MARK_AT:] == DICOM_MARK or _begins_with_tags(head)


def _head(path: Path) -> bytes:
    try:
        with open_file(path) as stream:
            return stream.read(MARK_AT + len(DICOM_MARK))
    except (HtunetError, OSError):
        return b""


def _begins_with_tags(head: bytes) -> bool:
    """An element below 0100 of such a group, with a value representation of two letters or a short length."""
    has_tag = len(head) == MARK_AT + len(DICOM_MARK) and head[:2] in FIRST_GROUPS and head[3:4] == b"\0"
    return has_tag and ((head[4:6].isalpha() and head[4:6].isupper()) or head[6:8] == b"\0\0")


def open_dicom(path: Path) -> MedicalFile:
    """A single image or a cine loop. Colours come as RGB, the window is ignored.

    Marked as inverted is MONOCHROME1, or a negative rescale slope; both together are not (PS3.3, C.11.1 and C.7.6.3).
    Raises NoPictureError for one without pixels and a segmentation object, HtunetError for a broken file, or one that
    is too large.
    """
    with readable(path):
        header = read_header(path)
        if kind := OBJECTS.get(str(header.get("Modality"))):
            raise NoPictureError(f"{path} is a DICOM {kind}, which is not read. Export it as NIfTI or PNG masks.")
        rows, columns = int(header.get("Rows", 0)), int(header.get("Columns", 0))
        if _head(path)[MARK_AT:] != DICOM_MARK and not (rows and columns):
            raise HtunetError(f"{path} has no DICM mark and no image that can be read without it. Replace it.")
        frames = int(header.get("NumberOfFrames", 1) or 1)
        if rows < 1 or columns < 1:
            raise NoPictureError(f"{path} has no pixels (no Rows or Columns): it is a report or another object.")
        if rows * columns > MAX_PIXELS or not 1 <= frames <= MAX_FRAMES:
            raise HtunetError(
                f"{path} claims {counted(frames, 'frame')} of {columns} x {rows} pixels; at most {MAX_FRAMES} frames "
                f"of {MAX_PIXELS} pixels are read."
            )
        sides, remarks = _sides_mm(header)
        rescale = _rescale(path, header)
        inverted = (str(header.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1") != (rescale[0] < 0)
        place = _place(header, sides)
        signed = int(header.get("PixelRepresentation", 0) or 0) == 1
        eight_bits = int(header.get("BitsAllocated", 16)) == 8 and not signed and not header.get(LUT)
    return MedicalFile(
        frames=frames,
        read=lambda: _dicom_frames(path),
        sides_mm=sides,
        place=place,
        eight_bits=eight_bits,
        inverted=inverted,
        rescale=rescale,
        remarks=(
            *remarks,
            *remarks_on(sides),
            *([INVERTED] if inverted else []),
        ),
    )


def _rescale(path: Path, header: "Dataset") -> tuple[float, float]:
    """Slope and intercept where high stored values stand for low ones, which neither images nor masks may ignore.

    (1, 0) for all others: headers copy slopes from images to masks whose labels are the stored values. NaN where frames
    differ, so that they are no mask; raises HtunetError where they do in their order.
    """
    if header.get(LUT):
        return 1.0, 0.0
    items = [header, *_groups(header, "PixelValueTransformationSequence")]
    found = [
        (float(item.RescaleSlope), float(item.get("RescaleIntercept") or 0))
        for item in items
        if item.get("RescaleSlope") is not None
    ]
    if min(found, default=(1.0, 0.0))[0] >= 0:
        return 1.0, 0.0
    if max(found)[0] >= 0:
        raise HtunetError(f"{path} has rescale slopes above and below 0. Save its frames with values of one order.")
    return found[0] if len(set(found)) == 1 else (-1.0, np.nan)


def _groups(header: "Dataset", macro: str) -> list["Dataset"]:
    """The items of a functional group, those of all frames first, then frame by frame."""
    sequences = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    groups = [group for name in sequences for group in header.get(name, None) or ()]
    return [item for group in groups for item in group.get(macro, None) or ()]


def _place(header: "Dataset", sides_mm: Sides) -> PlaceInSpace | None:
    """Of the first frame (PS3.3, C.7.6.2.1.1); None where it is not stated with two unit vectors and a pixel size."""
    positions = [header, *_groups(header, "PlanePositionSequence")]
    angles = [header, *_groups(header, "PlaneOrientationSequence")]
    origin: Any = next((found for one in positions if (found := one.get("ImagePositionPatient"))), ())
    cosines: Any = next((found for one in angles if (found := one.get("ImageOrientationPatient"))), ())
    if not (sides_mm and np.size(origin) == 3 and np.size(cosines) == 6):
        return None
    place, directions = np.array(origin, float), np.array(cosines, float).reshape(2, 3)
    if not (np.isfinite(place).all() and np.allclose(np.linalg.norm(directions, axis=1), 1, atol=0.01)):
        return None
    return PlaceInSpace(tuple(place.tolist()), tuple(map(tuple, directions.tolist())), max(sides_mm))


def patient_of(path: Path) -> tuple[str, ...]:
    """PatientID, its issuer, and the study, never to be written; each empty where the file does not say."""
    unknown = ("",) * len(PATIENT_TAGS)
    if not is_dicom(path):
        return unknown
    try:
        with readable(path):
            header = read_header(path)
            return tuple(str(header.get(tag, "") or "").strip() for tag in PATIENT_TAGS)
    except HtunetError:
        return unknown  # whoever reads its pixels names it


def read_header(path: Path) -> "Dataset":
    """Everything but the pixels; raises HtunetError as ``_opened``, and whatever pydicom raises over a broken file."""
    from pydicom import dcmread

    with _opened(path) as source:
        return dcmread(source, stop_before_pixels=True, force=True)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file for pydicom, inflated if it is deflated; raises HtunetError if it is too large."""
    with open_file(path) as source:
        content = _inflated(path, source)
        source.seek(0)
        yield io.BytesIO(content) if content else source


def _inflated(path: Path, stream: io.BufferedReader) -> bytes:
    """The content of a deflated file; empty for another one."""
    from pydicom.filereader import read_dataset

    start = MARK_AT + len(DICOM_MARK) if _head(path)[MARK_AT:] == DICOM_MARK else 0
    stream.seek(start)
    if not start and DEFLATED not in stream.read(2**16):
        return b""
    stream.seek(start)
    information = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    if str(information.get("TransferSyntaxUID", "")).encode() != DEFLATED:
        return b""
    end = stream.tell()
    stream.seek(start)
    head = stream.read(end - start).replace(DEFLATED, PLAIN.ljust(len(DEFLATED), b"\0"))
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    content = unpacking.decompress(stream.read(), MAX_INFLATED)
    if not unpacking.eof:
        problem = "is cut off" if not unpacking.unconsumed_tail else f"unpacks to more than {MAX_INFLATED >> 20} MiB"
        raise HtunetError(f"{path} is a deflated DICOM file that {problem}. Save it uncompressed (dcmconv +te).")
    return bytes(MARK_AT) + DICOM_MARK + head + content


def _dicom_frames(path: Path) -> Iterator[NDArray[np.generic]]:
    with readable(path):
        yield from in_a_process(lambda: _decoded(path)) if _is_compressed(path) else _decoded(path)


def is_lossy_dicom(path: Path) -> bool:
    """Whether its pixels are stored with a loss; what a header says of an earlier one does not count."""
    with readable(path):
        header = read_header(path)
        syntax = header.file_meta.get("TransferSyntaxUID")
        return syntax in LOSSY or (_is_compressed(path) and header.get("LossyImageCompression") == "01")


def _is_compressed(path: Path) -> bool:
    """Whether another library has to decode the pixels."""
    syntax = read_header(path).file_meta.get("TransferSyntaxUID")
    return syntax is not None and not (syntax.is_private or not syntax.is_transfer_syntax) and syntax.is_compressed


def _decoded(path: Path) -> Iterator[NDArray[np.generic]]:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, iter_pixels

    header = read_header(path)
    colours = str(header.get("PhotometricInterpretation", "")).strip()
    palette = colours == "PALETTE COLOR"
    if colours.startswith("YBR") and int(header.get("BitsAllocated", 8)) > 8:
        raise HtunetError(f"{path} has {colours} colours of more than 8 bits, which are not read. Save it as RGB.")
    with _opened(path) as source:
        is_marked = source.read(MARK_AT + len(DICOM_MARK))[MARK_AT:] == DICOM_MARK
        source.seek(0)
        shift = int(header.get("HighBit", 0)) + 1 - int(header.get("BitsStored", 0) or 0)
        above = max(shift, 0) * (not _is_compressed(path))  # values in the upper bits, as DICOM allowed until 2014
        for frame in iter_pixels(source if is_marked else _without_mark(source), correct_unused_bits=not above):
            pixels = apply_color_lut(frame, header) if palette else frame >> above if above else frame
            if palette and pixels.dtype == np.uint16:
                pixels = (pixels >> 8).astype(np.uint8)
            yield apply_modality_lut(pixels, header) if header.get(LUT) and pixels.ndim == 2 else pixels


def _without_mark(source: Any) -> "Dataset":  # noqa: ANN401
    """All of a file without a preamble; without a transfer syntax it is the one that could be parsed."""
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset: Any = dcmread(source, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _sides_mm(header: "Dataset") -> tuple[Sides, tuple[str, ...]]:
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
    regions = [sides for sides in regions if all(0 < side < np.inf for side in sides)]
    if len({(round(y, 4), round(x, 4)) for y, x in regions}) > 1:
        return None, ("several regions of different scale, so the pixel size is left unknown",)
    names = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    items = [header, *_groups(header, "PixelMeasuresSequence")]
    pair = next((found for item in items for name in names if (found := item.get(name))), None)
    texts = np.atleast_1d(pair).astype(str) if pair else np.array(["0"])  # a broken file may have one, or 0,1
    values = np.char.replace(texts, ",", ".").astype(float)
    row, column = regions[0] if regions else (float(values[0]), float(values[-1]))
    return ((row, column) if 0 < row < np.inf and 0 < column < np.inf else None), ()
