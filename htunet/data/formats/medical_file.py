"""What the header of an image file says, and how its frames are read; shared by the readers beside it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from htunet.errors import HtunetError
from htunet.files import check_file

MAX_FRAMES = 100_000
SQUARE = 0.01
"""Pixels whose sides differ by at most this fraction are square; scanners round them."""
NOT_SQUARE = "pixels are not square, so the pixel size is left unknown"

Sides = tuple[float, float] | None
"""Height and width of a pixel, millimetres; None where they are not known."""


class NoPictureError(HtunetError):
    """A whole file of a format that may hold images and does not: a report, a directory, a segmentation object."""


@dataclass(frozen=True, kw_only=True)
class MedicalFile:
    """What a header says, and how to read the frames: (H, W) of any number type, or (H, W, 3) uint8."""

    frames: int
    read: Callable[[], Iterator[NDArray[np.generic]]]
    eight_bits: bool
    """The values are gray values or colours as they are."""
    sides_mm: Sides = None
    inverted: bool = False
    """The smallest value is white."""
    remarks: tuple[str, ...] = ()


def square(sides_mm: Sides) -> float | None:
    """The side of a square pixel, millimetres; None where it is not square or not known."""
    if sides_mm is None or not_square(sides_mm):
        return None
    return round(sum(sides_mm) / 2, 6)


def not_square(sides_mm: Sides) -> tuple[str, ...]:
    """A remark where the sides of a pixel differ."""
    is_square = sides_mm is None or max(sides_mm) - min(sides_mm) <= SQUARE * max(sides_mm)
    return () if is_square else (NOT_SQUARE,)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever the libraries raise over a broken file into one HtunetError that names it."""
    check_file(path)
    try:
        yield
    except (HtunetError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise HtunetError(f"The image {path} cannot be read ({reason}). Replace it or take it out.") from None
