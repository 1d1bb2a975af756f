"""Image and mask files of any format that people have, as frames that are read one at a time.

PNG, JPEG, BMP and TIFF (each page a frame), DICOM (single and multi-frame), NIfTI (a slice of the third axis a frame).
A header that claims too much is refused before its pixels are read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from htunet.data.formats.dicom import is_dicom, is_nifti, open_dicom, open_nifti
from htunet.data.image_io import (
    MAX_PIXELS,
    READABLE,
    UInt8,
    gray_range,
    is_wide,
    opened,
    pixels_of,
    scaled_to_8_bits,
    upright,
)
from htunet.errors import HtunetError

Levels = NDArray[np.int32]
"""(H, W) mask values: a gray value as it is, a colour as COLOUR + 0xRRGGBB."""
COLOUR = 1 << 24
LARGEST_LEVEL = 65_535
LOSSY = (".jpg", ".jpeg")
SCALED = "values beyond 8 bits scaled from the file's own lowest and highest to 0..255"


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One opened file. Its frames are read when they are asked for; each reading may raise HtunetError."""

    path: Path
    frames: int
    read: Callable[[], Iterator[NDArray[np.generic]]]
    """(H, W) of any number type, or (H, W, 3) uint8, one frame after another."""
    eight_bits: bool
    """Known from the header: the values are gray values or colours as they are."""
    inverted: bool = False
    """The smallest value is white."""
    spacing_mm: float | None = None
    remarks: tuple[str, ...] = ()

    def gray(self) -> Iterator[UInt8]:
        """(H, W) gray values 0..255: colours by luminance, what does not fit 8 bits scaled over all frames."""
        low, high = self._range
        for frame in self.read():
            gray = (
                scaled_to_8_bits(frame, low, high)
                if frame.ndim == 2
                else np.asarray(Image.fromarray(frame).convert("L"))
            )
            yield 255 - gray if self.inverted else gray

    def levels(self) -> Iterator[Levels]:
        """(H, W) mask values; raises HtunetError for negative ones, fractions, and above 65535."""
        for frame in self.read():
            yield _colour_levels(frame) if frame.ndim == 3 else self._gray_levels(frame)

    @property
    def is_scaled(self) -> bool:
        """Whether ``gray`` changes the values."""
        return self._range != (0.0, 255.0)

    @cached_property
    def _range(self) -> tuple[float, float]:
        """The values that become 0 and 255; (0, 255) where all of them are gray values already."""
        if self.eight_bits:
            return 0.0, 255.0
        low, high = 0.0, 0.0
        for number, frame in enumerate(self.read()):
            if not np.isfinite(frame).all():
                raise HtunetError(f"The image {self.path} holds values that are no numbers. Repair it or take it out.")
            least, most = float(frame.min()), float(frame.max())
            low, high = (least, most) if number == 0 else (min(low, least), max(high, most))
        return gray_range(low, high)

    def _gray_levels(self, frame: NDArray[np.generic]) -> Levels:
        values = np.asarray(frame)
        if values.dtype == np.uint8 or values.dtype == np.bool_:
            return values.astype(np.int32)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > LARGEST_LEVEL:
            raise HtunetError(f"The mask {self.path} holds values outside 0..{LARGEST_LEVEL}: it is no label map.")
        levels = values.astype(np.int32)
        if not np.array_equal(levels, values):
            raise HtunetError(f"The mask {self.path} holds fractions: it is no label map. Round it, or cut it in two.")
        return levels


def open_stack(path: Path) -> Stack:
    """Open any readable file; raises HtunetError that names it when it is missing, broken, too large or unknown."""
    if is_nifti(path):
        return Stack(path=path, **vars(open_nifti(path)))
    if path.suffix.lower() in READABLE:
        return _open_picture(path)
    if is_dicom(path):
        return Stack(path=path, **vars(open_dicom(path)))
    raise HtunetError(f"{path} is no image that can be read: PNG, JPEG, BMP, TIFF, DICOM or NIfTI.")


def is_image(path: Path) -> bool:
    """Whether ``open_stack`` knows the format, by the ending; of a file with another ending, by DICOM's mark in it."""
    return path.suffix.lower() in READABLE or is_nifti(path) or is_dicom(path)


def is_lossy(path: Path) -> bool:
    """Whether the format changes mask values when it is written."""
    return path.suffix.lower() in LOSSY


def _open_picture(path: Path) -> Stack:
    with opened(path) as image:
        frames = getattr(image, "n_frames", 1) if path.suffix.lower() in (".tif", ".tiff") else 1
        wide = is_wide(image)
    return Stack(path=path, frames=frames, read=lambda: _pages(path, frames), eight_bits=not wide)


def _pages(path: Path, frames: int) -> Iterator[NDArray[np.generic]]:
    with opened(path) as image:
        for _, page in zip(range(frames), ImageSequence.Iterator(image), strict=False):
            if page.width * page.height > MAX_PIXELS:
                raise HtunetError(f"{path} claims {page.width} x {page.height} pixels; at most {MAX_PIXELS} are read.")
            page.load()
            yield pixels_of(upright(page))


def _colour_levels(frame: NDArray[np.generic]) -> Levels:
    red, green, blue = (frame[..., channel].astype(np.int32) for channel in range(3))
    packed = COLOUR + (red << 16) + (green << 8) + blue
    return np.where((red == green) & (green == blue), red, packed)
