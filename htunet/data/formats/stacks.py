"""Image and mask files of any format that people have, as frames that are read one at a time.

PNG, JPEG, BMP, TIFF, GIF and WebP (each page or frame of a file a frame), DICOM (single and multi-frame), NIfTI, MHA,
MHD and NRRD (a step along the third axis a frame). A header that claims too much is refused before its pixels are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from htunet.data.formats.dicom import is_dicom, is_lossy_dicom, open_dicom
from htunet.data.formats.medical_file import MAX_FRAMES, NRRD, MedicalFile, Spacing, pixel_spacing
from htunet.data.image_io import (
    MAX_PIXELS,
    READABLE,
    ROUNDING,
    TURNED,
    UInt8,
    gray_range,
    in_channels,
    is_deep,
    is_turned,
    is_wide,
    opened,
    pages_of,
    read_pixels,
    scaled_to_8_bits,
)
from htunet.errors import HtunetError
from htunet.files import open_file

Levels = NDArray[np.int32]
"""(H, W) mask values: a gray value as it is, a colour as COLOUR + 0xRRGGBB."""
COLOUR = 1 << 24
LARGEST_LEVEL = 65_535
JPEG, WEBP, TIFF = b"\xff\xd8\xff", b"WEBP", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of such files; WebP's stand behind eight others."""
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
"""Pillow's names of the compressions."""
NIFTI = (".nii", ".nii.gz")
METAIMAGE = (".mha", ".mhd", *NRRD)
ENDINGS = (*READABLE, *NIFTI, *METAIMAGE)
"""Endings of readable files; DICOM files are recognised by their first bytes, too."""
FORMATS = "PNG, JPEG, BMP, TIFF, GIF, WebP, DICOM, NIfTI, MHA, MHD or NRRD"
SCALED = (
    "values of more than 8 bits scaled from each file's own lowest and highest to 0..255, so that the brightness of an "
    "image depends on itself: to keep it, save all images, and those to predict, in 8 bits with one scale"
)
TRANSPOSED = (
    "square NIfTI or NRRD files beside pictures such as PNG, with a header as nibabel, pynrrd and MATLAB write it: "
    "their first axis is read as columns, and if it is rows, they are transposed: look at the masks over the images"
)
NO_COLOURS = "colours (Doppler, elastography, drawn marks) became gray values, by their luminance"
COLOURFUL, COLOURED = 48, 0.002
"""Channels of a coloured pixel differ by more than that; more than this fraction of a coloured image are such."""
FRACTIONS = "floats from 0 to 1 taken as fractions of 255"


@dataclass(frozen=True, kw_only=True)
class Stack(MedicalFile):
    """One opened file. Its frames are read when they are needed; each reading may raise HtunetError."""

    path: Path
    is_dicom: bool = False
    seen: set[str] = field(default_factory=set)
    """Remarks on the pixels that were read so far."""

    def images(self, channels: int) -> Iterator[UInt8]:
        """(C, H, W) values 0..255 with ``channels`` 1 (gray) or 3 (RGB), as ``read_image`` gives them of a picture.

        Colours become gray by luminance; what does not fit 8 bits is scaled over all frames.
        """
        low, high = self._range
        for frame in self._checked_frames():
            pixels = scaled_to_8_bits(frame, low, high)
            if channels == 1 and pixels.ndim == 3 and (np.ptp(pixels, axis=2) > COLOURFUL).mean() > COLOURED:
                self.seen.add(NO_COLOURS)
            image_CHW = in_channels(pixels, channels)
            yield 255 - image_CHW if self.inverted else image_CHW

    def gray(self) -> Iterator[UInt8]:
        """(H, W) gray values 0..255, as ``images``."""
        return (image_CHW[0] for image_CHW in self.images(1))

    @property
    def spacing_mm(self) -> Spacing | None:
        """Pixel size in millimetres; None if it is not known."""
        return pixel_spacing(self.sides_mm)

    def levels(self) -> Iterator[Levels]:
        """(H, W) mask values; raises HtunetError for negative ones, fractions, and above 65535."""
        slope, intercept = self.rescale
        for frame in self._checked_frames():
            if frame.ndim == 3:
                wide = frame.dtype == np.uint16 and frame.max() > 255
                yield _colour_levels(frame.astype(np.uint16) >> 8 if wide else frame)
            else:
                yield self._gray_levels(frame if slope == 1 else frame.astype(np.float64) * slope + intercept)

    def _checked_frames(self) -> Iterator[NDArray[np.generic]]:
        """The frames; raises HtunetError if there are more or fewer than the header states."""
        number = 0
        for number, frame in enumerate(self.read(), start=1):
            if number > self.frames:
                break
            yield frame
        if number != self.frames:
            found = f"only {number}" if number < self.frames else "more"
            raise HtunetError(
                f"{self.path} has {found} frames, its header says {self.frames}. Replace it or take it out."
            )

    @property
    def scaling(self) -> tuple[str, ...]:
        """A remark where ``images`` changes the values."""
        return {(0.0, 255.0): (), (0.0, 1.0): (FRACTIONS,)}.get(self._range, (SCALED,))

    @cached_property
    def _range(self) -> tuple[float, float]:
        """The values that become 0 and 255; (0, 255) where all of them are gray values already."""
        if self.eight_bits:
            return 0.0, 255.0
        low, high, floats = 0.0, 0.0, False
        for number, frame in enumerate(self._checked_frames()):
            if not np.isfinite(frame).all():
                raise HtunetError(
                    f"The image {self.path} contains values that are not numbers. Repair it or take it out."
                )
            least, most, floats = float(frame.min()), float(frame.max()), frame.dtype.kind == "f"
            low, high = (least, most) if number == 0 else (min(low, least), max(high, most))
        return gray_range(low, high, floats=floats)

    def _gray_levels(self, frame: NDArray[np.generic]) -> Levels:
        values = np.asarray(frame)
        if values.dtype == np.uint8 or values.dtype == np.bool_:
            return values.astype(np.int32)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > LARGEST_LEVEL:
            raise HtunetError(f"The mask {self.path} holds values outside 0..{LARGEST_LEVEL}: it is not a label map.")
        levels = np.rint(values).astype(np.int32)
        if np.abs(levels - values.astype(np.float64)).max() > ROUNDING:
            raise HtunetError(
                f"The mask {self.path} holds fractions: it is not a label map. Round it, or cut it in two."
            )
        return levels


def open_stack(path: Path) -> Stack:
    """Open any readable file; raises HtunetError that names it when it is missing, broken, too large or unknown."""
    name = path.name.lower()
    if name.endswith(NIFTI):
        from htunet.data.formats.nifti import open_nifti

        return Stack(path=path, **vars(open_nifti(path)))
    if name.endswith(METAIMAGE):
        from htunet.data.formats.metaimage import open_metaimage

        return Stack(path=path, **vars(open_metaimage(path)))
    if is_picture(path):
        return _open_picture(path)
    if is_dicom(path):
        return Stack(path=path, is_dicom=True, **vars(open_dicom(path)))
    raise HtunetError(f"{path} is not a readable image: {FORMATS}. Save it as one of them, a video frame by frame.")


def is_image(path: Path) -> bool:
    """Whether ``open_stack`` knows the format, by the ending; of a file with another ending, by DICOM's first bytes."""
    return path.name.lower().endswith(ENDINGS) or is_dicom(path)


def may_be_transposed(mask: Stack, picture: Stack) -> bool:
    """Whether a volume is of a picture, and nothing in its header says which axis are the rows."""
    is_array = mask.place is None or mask.place.directions[0][0] < 0  # ITK writes a picture the other way round
    return is_array and mask.path.name.lower().endswith((*NIFTI, *NRRD)) and is_picture(picture.path)


def is_picture(path: Path) -> bool:
    """Whether Pillow alone reads it; the readers of the other formats may fork a process, which no thread must do."""
    return path.name.lower().endswith(READABLE)


def is_lossy(path: Path) -> bool:
    """Whether a file, whatever its ending, was compressed so that mask values changed when it was written.

    Raises HtunetError as ``open_file``, and for a broken TIFF or DICOM file.
    """
    with open_file(path) as stream:
        head = stream.read(4096)
    if head[8:12] == WEBP:
        return b"VP8L" not in head
    if head.startswith(TIFF):
        with opened(path) as image:
            return image.info.get("compression") in LOSSY_TIFF
    return head.startswith(JPEG) or (not is_picture(path) and is_dicom(path) and is_lossy_dicom(path))


def masks_ending(path: Path) -> str:
    """The ending of the file that holds the masks of all frames of ``path``; empty where each frame has a PNG."""
    name = path.name.lower()
    found = next((ending for ending in (*NIFTI, *METAIMAGE) if name.endswith(ending)), "")
    return {".mhd": ".mha", ".nhdr": ".nrrd"}.get(found, found)


def write_masks(source: Path, target: Path, masks_NHW: UInt8) -> None:
    """Write the masks of a file's frames in its own format, as ``masks_ending`` names it, at its place in space."""
    if target.name.endswith(NIFTI):
        from htunet.data.formats.nifti import write_volume_mask as write
    else:
        from htunet.data.formats.metaimage import write_sequence_mask as write
    write(source, target, masks_NHW)


def _open_picture(path: Path) -> Stack:
    with opened(path) as image:
        pages, wide, remarks = pages_of(image), is_wide(image) or is_deep(image), (TURNED,) * is_turned(image)
        for position in pages[1:] if image.format == "TIFF" else ():
            image.seek(position)
            wide = wide or is_wide(image) or is_deep(image)
    if len(pages) > MAX_FRAMES:
        raise HtunetError(f"{path} claims {len(pages)} pages; at most {MAX_FRAMES} are read.")
    return Stack(path=path, frames=len(pages), read=lambda: _pages(path, pages), eight_bits=not wide, remarks=remarks)


def _pages(path: Path, pages: list[int]) -> Iterator[NDArray[np.generic]]:
    with opened(path) as image:
        for position in pages:
            image.seek(position)
            if image.width * image.height > MAX_PIXELS:
                raise HtunetError(
                    f"{path} claims {image.width} x {image.height} pixels; at most {MAX_PIXELS} are read."
                )
            yield read_pixels(path, image)


def _colour_levels(frame: NDArray[np.generic]) -> Levels:
    """In place: a picture of 64 million pixels would take gigabytes otherwise."""
    whole = frame if frame.dtype in (np.uint8, np.uint16) else frame.astype(np.int32)
    red, green, blue = (whole[..., channel] for channel in range(3))
    levels: Levels = np.left_shift(red, 16, dtype=np.int32)
    np.add(levels, np.left_shift(green, 8, dtype=np.int32), out=levels)
    np.add(levels, blue, out=levels)
    levels += COLOUR
    np.copyto(levels, red, where=(red == green) & (green == blue))
    return levels
