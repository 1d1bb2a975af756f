"""MHA, MHD and NRRD files: pictures, volumes, and the sequences of ultrasound research systems; and masks of them."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from htunet.data.formats.medical_file import (
    MAX_FRAMES,
    NRRD,
    MedicalFile,
    PlaceInSpace,
    Sides,
    in_a_process,
    readable,
    refuse_lines,
    remarks_on,
    undeclared_colours,
)
from htunet.data.image_io import MAX_PIXELS, UInt8
from htunet.data.names import printable
from htunet.errors import HtunetError
from htunet.files import check_file, open_file, whole_file

READERS = {**dict.fromkeys((".mha", ".mhd"), "MetaImageIO"), **dict.fromkeys(NRRD, "NrrdImageIO")}
MAX_BYTES = 2 * 2**30
"""Largest size of an unpacked file, which is read as a whole."""
LINE_BYTES = 2**20
"""Longest line of a header, in bytes."""
DATA_FILE = {
    **dict.fromkeys((".mha", ".mhd"), re.compile(rb"ElementDataFile(?:[ \t]*[=:](?P<name>.*)$)?", re.MULTILINE)),
    **dict.fromkeys(NRRD, re.compile(rb"^\s*data\s*file\s*:(?P<name>.*)$", re.IGNORECASE | re.MULTILINE)),
}
"""The line of a header that says where the pixels are."""
SLOPE = re.compile(rb"^\s*ElementToIntensityFunctionSlope\s*=\s*-\S*", re.MULTILINE)
ENCODING = re.compile(rb"^\s*encoding:\s*(?!(?:raw|gz|gzip|hex|ascii|text|txt)\s*$)\S+", re.IGNORECASE | re.MULTILINE)
REFUSED = {
    **dict.fromkeys((".mha", ".mhd"), (SLOPE, "Save the values after the slope")),
    **dict.fromkeys(NRRD, (ENCODING, "Save it with the encoding gzip")),
}
"""Lines of a header that ITK cannot follow, or ignores although they reverse the order of values; and ways out."""
COLOURS = re.compile("(8|16)-bit unsigned")
UNITS = re.compile(rb'^\s*(?:space )?units:\s*"([^"]*)"', re.IGNORECASE | re.MULTILINE)
SEGMENT = re.compile(rb"^Segment(?P<number>\d+)_(?P<key>Name|LabelValue|Layer):=(?P<text>.*)$", re.MULTILINE)
"""Fields of 3D Slicer's segmentations: what each value means in this file, and in which of several layers it lies."""
DIRECTIONS = re.compile(rb"^\s*space directions:", re.IGNORECASE | re.MULTILINE)
"""NRRD files without it state no place, such as those that pynrrd writes of an array."""
MILLIMETRES = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "\u00b5m": 0.001, "\u03bcm": 0.001, "in": 25.4}
AXES = ("LR", "PA", "SI")
"""The directions of ITK's three patient axes, positive and negative."""
KEPT = ("Seq_", "Ultrasound", "ultrasound")
"""Beginnings of the header fields that a mask copies: those of each frame, and of the orientation."""

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # it would name odd headers without their file


def open_metaimage(path: Path) -> MedicalFile:
    """One picture, or a volume or sequence whose third axis is the frames; gray values, or colours of 8 or 16 bits.

    Raises HtunetError for a broken file, more axes, other values, and a header that claims too much.
    """
    with readable(path):
        says_kinds = _check_header(path)
        size, components, kind, sides, axes, place = next(in_a_process(lambda: iter([_header(path)])))
        header = _nrrd_header(path) if path.suffix.lower() in NRRD else b""
        segments = _segments(path, header)  # refuses layers, which would be taken for colours
        factor, has_place = _unit_and_place(header) if header else (1.0, True)
        sides = (sides[0] * factor, sides[1] * factor) if sides and factor else None
        place = replace(place, origin=tuple(along * factor for along in place.origin), side=place.side * factor)
        further = [length for length in size[2:] if length != 1] or [1]
        if len(further) > 1:
            raise HtunetError(f"{path} has the axes {size}; a picture or a sequence has two or three.")
        if "complex" in kind or components not in (1, 3) or (components == 3 and not COLOURS.search(kind)):
            raise HtunetError(f"{path} holds {kind} of {components} components; read are gray values and RGB.")
        frames, pixels = further[0], size[0] * size[1]
        refuse_lines(size[0], size[1], frames)
        depth = next((bits // 8 for bits in (8, 16, 32, 64) if f"{bits}-bit" in kind), 8)  # bytes of one value
        declared = says_kinds or components > 1 or not COLOURS.search(kind)
        remarks = (*remarks_on(sides), *(() if declared else undeclared_colours(size[0], frames)))
        if pixels > MAX_PIXELS or frames > MAX_FRAMES or pixels * frames * components * depth > MAX_BYTES:
            raise HtunetError(
                f"{path} claims {' x '.join(map(str, size))} values; at most {MAX_PIXELS} a frame and "
                f"{MAX_BYTES >> 30} GiB in all are read. Cut it into smaller ones."
            )
    return MedicalFile(
        frames=frames,
        read=lambda: _frames(path, frames),
        eight_bits="8-bit unsigned" in kind,
        sides_mm=sides,
        axes=axes if sides and has_place else "",
        place=place if factor and has_place else None,
        remarks=remarks,
        segments=segments,
    )


def write_sequence_mask(source: Path, target: Path, masks_NHW: UInt8) -> None:
    """Write the masks of the frames of ``source`` in its shape, with its spacing, origin and direction."""
    with readable(source):
        reader = _reader(source)
    image = SimpleITK.GetImageFromArray(masks_NHW.reshape(reader.GetSize()[::-1]))
    image.SetSpacing(reader.GetSpacing())
    image.SetOrigin(reader.GetOrigin())
    image.SetDirection(reader.GetDirection())
    for key in reader.GetMetaDataKeys():
        if key.startswith(KEPT):
            image.SetMetaData(key, reader.GetMetaData(key))
    with whole_file(target) as part:
        written = part.with_name(f"{part.name}{target.suffix}")  # the ending decides how it is written
        SimpleITK.WriteImage(image, str(written), useCompression=True)
        written.replace(part)


def _check_header(path: Path) -> bool:
    """Raise HtunetError unless ITK finds the pixels in the file itself or in one other file of its folder.

    The formats allow any path, lists and patterns: a file from elsewhere could have others read in its place.
    Returns whether the header says which axis is colours, as NRRD's may.
    """
    ending, found, kinds = path.suffix.lower(), None, False
    nrrd = ending in NRRD
    with open_file(path) as stream:
        while (nrrd or not found) and (line := stream.readline(LINE_BYTES)) and not (nrrd and not line.strip()):
            line = line.replace(b"\r", b"\n")
            found, kinds = found or DATA_FILE[ending].search(line), kinds or line.startswith(b"kinds:")
            line_refused, way_out = REFUSED[ending]
            if refused := line_refused.search(line):
                shown = printable(os.fsdecode(refused[0].strip()))
                raise HtunetError(f"{path} says {shown!r} in its header, which is not read. {way_out}.")
    name = os.fsdecode((found["name"] or b"").strip()) if found else ""
    if (nrrd and not found) or name.upper() == "LOCAL":
        return kinds
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or "%" in name or name.upper().startswith("LIST"):
        raise HtunetError(
            f"The pixels of {path} are in {printable(name)!r}; read are those in the file itself or in one file beside "
            "it. Save it as one file, MHA or NRRD."
        )
    check_file(path.parent / name)
    return kinds


def _reader(path: Path) -> SimpleITK.ImageFileReader:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(READERS[path.suffix.lower()])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _header(path: Path) -> tuple[tuple[int, ...], int, str, Sides, str, PlaceInSpace]:
    """Lengths of the axes, components, kind of values, the sides of a pixel, where the axes lead, and the place."""
    reader = _reader(path)
    kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    return reader.GetSize(), reader.GetNumberOfComponents(), kind, _sides_mm(reader), *_directions(reader)


def _directions(reader: SimpleITK.ImageFileReader) -> tuple[str, PlaceInSpace]:
    """The letters of NIfTI: each axis by the direction of the patient that it follows most; and all of the place."""
    number = min(reader.GetDimension(), 3)
    directions = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:number, :number].T
    largest = [int(np.abs(along).argmax()) for along in directions]
    axes = "".join(AXES[at][int(along[at] < 0)] for at, along in zip(largest, directions, strict=True))
    vectors = tuple(tuple(along.tolist()) for along in directions[:2])
    return axes, PlaceInSpace(reader.GetOrigin()[:number], vectors, max(reader.GetSpacing()[:2]))


def _frames(path: Path, frames: int) -> Iterator[NDArray[np.generic]]:
    with readable(path):
        _check_header(path)

        def read() -> Iterator[NDArray[np.generic]]:
            values = SimpleITK.GetArrayFromImage(_reader(path).Execute())
            colour = values.shape[-1:] if values.ndim > 2 and _reader(path).GetNumberOfComponents() == 3 else ()
            height, width = values.shape[: -len(colour) or None][-2:]
            yield from values.reshape((frames, height, width, *colour))

        yield from in_a_process(read)


def _sides_mm(reader: SimpleITK.ImageFileReader) -> Sides:
    """None for 1 x 1, the value of a header that nobody filled in."""
    width, height = reader.GetSpacing()[:2]
    known = 0 < width < np.inf and 0 < height < np.inf and not width == height == 1
    return (height, width) if known else None


def _segments(path: Path, header: bytes) -> dict[int, str]:
    """The names of the values of a segmentation by 3D Slicer.

    Raises HtunetError where its segments overlap: they are then stored in several layers.
    """
    segments = dict[bytes, dict[bytes, str]]()
    for found in SEGMENT.finditer(header):
        segments.setdefault(found["number"], {})[found["key"]] = found["text"].decode("utf-8", "replace").strip()
    if any(one.get(b"Layer", "0") != "0" for one in segments.values()):
        raise HtunetError(
            f"{path} holds segments that overlap, in several layers. In 3D Slicer, export them as a labelmap, or let "
            "one segment cover the other (Segment Editor, Masking: Modify other segments: Overwrite all)."
        )
    values = {one.get(b"LabelValue", ""): one.get(b"Name", "") for one in segments.values()}
    return {int(value): name for value, name in values.items() if value.isascii() and value.isdigit() and name}


def _nrrd_header(path: Path) -> bytes:
    with open_file(path) as stream:
        return stream.read(LINE_BYTES).replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]


def _unit_and_place(header: bytes) -> tuple[float, bool]:
    """What ITK ignores of a NRRD header: its unit in millimetres (0: unknown, 1: none), whether it states a place."""
    found = UNITS.search(header)
    factor = MILLIMETRES.get(found[1].decode("utf-8", "replace").strip().lower(), 0.0) if found else 1.0
    return factor, DIRECTIONS.search(header) is not None
