"""What the header of an image file says, and how its frames are read; shared by the readers beside it."""

import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from htunet.errors import HtunetError
from htunet.files import check_file

MAX_FRAMES = 100_000
NRRD = (".nrrd", ".nhdr")
SQUARE = 0.01
"""Pixels whose sides differ by at most this fraction are square; scanners round them."""
NOT_SQUARE = "pixels are not square: millimetres are measured with their height and their width"

FINEST, COARSEST = 0.005, 2.0
"""Millimetres: the pixels of ultrasound images are neither smaller nor larger."""
NO_MILLIMETRES = (
    f"pixels of ultrasound images have sides of {FINEST} to {COARSEST:g} mm; check that these are millimetres"
)

COLOUR_CHANNELS = (3, 4)
MAYBE_COLOURS = (
    "the last axis has 3 or 4 entries, read as frames, because the header declares no colours: if they are colours, "
    "declare them (NRRD: kinds: domain domain RGB-color) or save PNG"
)

T = TypeVar("T")
Sides = tuple[float, float] | None
"""Height and width of a pixel, millimetres; None where they are not known."""


Spacing = float | tuple[float, float]
"""Pixel size in millimetres: one side, or height and width of a pixel that is not square."""


SAME_DIRECTION = 0.005
"""Largest difference of two unit vectors that rounding in headers explains: five pixels in a thousand."""
NO_ORIGIN = "headers with the origin 0 where the other file has one: taken pixel for pixel"


class NoPictureError(HtunetError):
    """An intact file that holds no image, although its format can: a report, a directory, a segmentation object."""


@dataclass(frozen=True)
class PlaceInSpace:
    """Position and directions of an image in the patient, by its header, along ITK's axes (LPS)."""

    origin: tuple[float, ...]
    """Position of the first pixel, two or three coordinates in millimetres."""
    directions: tuple[tuple[float, ...], ...]
    """Unit vectors of the first two axes of the file."""
    side: float
    """The longer side of a pixel, millimetres."""


@dataclass(frozen=True, kw_only=True)
class MedicalFile:
    """What a header says, and how to read the frames: (H, W) of any number type, or (H, W, 3) uint8 or uint16."""

    frames: int
    read: Callable[[], Iterator[NDArray[np.generic]]]
    eight_bits: bool
    """Whether the values are gray values or colours 0..255, to be taken as they are."""
    sides_mm: Sides = None
    inverted: bool = False
    """Whether the smallest value is white."""
    rescale: tuple[float, float] = (1.0, 0.0)
    """Slope and intercept that turn the stored values of a mask into labels; for an image only the sign matters."""
    axes: str = ""
    """Directions of the axes in the patient, such as ``LPS``; empty if the header does not state them."""
    place: PlaceInSpace | None = None
    """None if the header cannot state it."""
    remarks: tuple[str, ...] = ()
    segments: Mapping[int, str] = field(default_factory=dict)
    """What 3D Slicer calls the values of a segmentation."""


def check_place(one: str, first: MedicalFile, other: str, second: MedicalFile) -> str:
    """Raise HtunetError where the headers of two files say that their pixels are not of the same place.

    Then the axes lead in different directions, or the first pixels are more than a pixel apart. Of a picture and a
    volume the axes that both have are compared, of pixels of different sizes the first ones; a header that says nothing
    fits any. Returns a remark where one header has the origin 0, as programs write it that do not know the place.
    """
    if any(here != there for here, there in zip(first.axes, second.axes, strict=False)):
        raise HtunetError(
            f"{one} and {other} are stored in different orientations, {first.axes} and {second.axes}: pixel for pixel "
            "one of them is flipped or rotated. Resample it onto the other, such as with SimpleITK.Resample"
        )
    here, there = first.place, second.place
    if here is None or there is None:
        return ""
    axes = min(len(here.origin), len(there.origin))
    apart = math.dist(here.origin[:axes], there.origin[:axes])
    angles = zip(here.directions, there.directions, strict=True)
    turned = max(math.dist(along[:axes], other_along[:axes]) for along, other_along in angles)
    is_far = apart > max(here.side, there.side)
    if not is_far and turned <= SAME_DIRECTION:
        return ""
    if not any(here.origin) or (not any(there.origin) and second.sides_mm is None):
        return NO_ORIGIN
    raise HtunetError(
        f"{one} and {other} lie in different places by their headers ("
        + (f"the first pixels are {apart:.3g} mm apart" if is_far else "rotated against each other")
        + "). Resample it onto the other, such as with SimpleITK.Resample; if they fit pixel for pixel and a header is "
        "wrong, correct it (SimpleITK: CopyInformation)"
    )


def pixel_spacing(sides_mm: Sides) -> Spacing | None:
    """The side of a square pixel, else its height and width, millimetres; None where they are not known."""
    if sides_mm is None or not min(round(side, 6) for side in sides_mm):
        return None
    if not not_square(sides_mm):
        return round(sum(sides_mm) / 2, 6)
    return round(sides_mm[0], 6), round(sides_mm[1], 6)


def not_square(sides_mm: Sides) -> tuple[str, ...]:
    """A remark where the sides of a pixel differ."""
    is_square = sides_mm is None or max(sides_mm) - min(sides_mm) <= SQUARE * max(sides_mm)
    return () if is_square else (NOT_SQUARE,)


def is_plausible(sides_mm: Sides) -> bool:
    """Whether an ultrasound image can have pixels of this size; an unknown size is plausible."""
    return sides_mm is None or all(FINEST <= side <= COARSEST for side in sides_mm)


def remarks_on(sides_mm: Sides) -> tuple[str, ...]:
    """Remarks on a pixel size that a header states: not square, or not plausible."""
    return (*not_square(sides_mm), *(() if is_plausible(sides_mm) else (NO_MILLIMETRES,)))


def refuse_lines(width: int, height: int, frames: int) -> None:
    """Raise ValueError for a volume whose frames are lines: an array whose first axis was a channel."""
    if frames > 1 and min(width, height) == 1:
        raise ValueError(
            f"its axes are {width} x {height} x {frames}, so that each of its {frames} frames would be a line; save it "
            "without the axis of length 1 (numpy.squeeze)"
        )


def undeclared_colours(width: int, frames: int) -> tuple[str, ...]:
    """A remark where the frames of an unsigned file that declares no colours may be colours.

    Raises ValueError where its columns may be: an image of this width would have no use. ITK and 3D Slicer read both as
    gray values.
    """
    if frames > 1 and width in COLOUR_CHANNELS:
        raise ValueError(
            f"its first axis has {width} entries, as colours have, and its header declares no colours; declare them "
            "(NRRD: kinds: RGB-color domain domain) or save PNG"
        )
    return (MAYBE_COLOURS,) if frames in COLOUR_CHANNELS else ()


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


def in_a_process(read: Callable[[], Iterator[T]]) -> Iterator[T]:
    """Yield what ``read`` yields, in a forked process if the system can: GDCM and ITK crash over some damaged files.

    Raises what ``read`` raises, HtunetError as it is and anything else as ValueError, which it also raises where the
    process ended.
    """
    if not hasattr(os, "fork"):
        yield from read()
        return
    receiver, sender = Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a library says as it ends
            for item in read():
                sender.send((item, None))
            sender.send((None, StopIteration()))
        except Exception as error:
            known = isinstance(error, HtunetError | MemoryError)  # of others not all can be sent
            sender.send((None, error if known else ValueError(str(error))))
        finally:
            os._exit(0)
    sender.close()
    try:
        while not isinstance((received := receiver.recv())[1], StopIteration):
            item, raised = received
            if raised:
                raise raised
            yield item
    except EOFError:
        raise ValueError("the library that decodes it crashed, because the file is damaged") from None
    finally:
        receiver.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
