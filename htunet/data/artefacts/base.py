"""What an artefact is: a change of levels in decibels within the insonified field of a gray image.

A B-mode image shows the logarithm of the echoes' amplitude. So the gray value is turned back into a level in decibels
of amplitude, 0 at white and -``DYNAMIC_RANGE_DB`` at black; the artefact changes the level as physics says; the level
becomes a gray value again. The machine's own dynamic range is not known, and its curve need not be straight: decibels
mean those of a 60 dB display. A black pixel is taken to be at the floor.

A strength of 0 changes nothing, ``STRONGEST`` is the strongest that is offered, and between them the physical value
grows in proportion. Everything random, such as the place of a shadow, depends on (seed, artefact, case) alone: a
stronger version is the same artefact with a larger value, and every method sees the same pictures. Axes: H rows (depth
downwards), W columns. Lengths are fractions of the insonified field's depth or width; pixels outside it stay as they
are.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from htunet.data.image_io import UInt8

DYNAMIC_RANGE_DB = 60.0
WHITE = 255

Float = NDArray[np.float32]


@dataclass(frozen=True)
class FieldCoordinates:
    """Where the pixels of a picture lie in the insonified field, in fractions of its depth and of its width."""

    depth_H: Float
    """Depth of the middle of each row: 0 at the field's upper edge, 1 at its lower one; outside the field beyond."""
    lateral_W: Float
    """Position of the middle of each column: 0 at the left edge, 1 at the right one."""
    height_px: int
    """Depth of the field in pixels."""

    @classmethod
    def of(cls, field_HW: NDArray[np.bool_]) -> "FieldCoordinates":
        """The coordinates of a picture; ``field_HW`` is True in its insonified field."""
        rows, columns = np.flatnonzero(field_HW.any(axis=1)), np.flatnonzero(field_HW.any(axis=0))
        (top, bottom), (left, right) = ((found[0], found[-1] + 1) for found in (rows, columns))
        depth = (np.arange(field_HW.shape[0]) + 0.5 - top) / (bottom - top)
        lateral = (np.arange(field_HW.shape[1]) + 0.5 - left) / (right - left)
        return cls(depth.astype(np.float32), lateral.astype(np.float32), int(bottom - top))


class Artefact(Protocol):
    """One kind of artefact: dataclasses whose fields are what stays the same at every strength."""

    quantity: ClassVar[str]
    """What grows with the strength."""
    unit: ClassVar[str]

    @property
    def per_strength(self) -> float:
        """The physical value at strength 1."""

    def alter(self, level_HW: Float, place: FieldCoordinates, value: float, rng: np.random.Generator) -> Float:
        """The levels (dB, 0 is white) with the artefact of a physical value; they may leave the display's range."""


def to_level(gray: UInt8) -> Float:
    """Gray values as levels in dB: 255 is 0, 0 is -``DYNAMIC_RANGE_DB``."""
    return gray.astype(np.float32) * np.float32(DYNAMIC_RANGE_DB / WHITE) - np.float32(DYNAMIC_RANGE_DB)


def to_gray(level: Float) -> UInt8:
    """Levels (H, W) in dB as gray values 0..255; louder than white is white, weaker than black is black."""
    gray = (level + np.float32(DYNAMIC_RANGE_DB)) * np.float32(WHITE / DYNAMIC_RANGE_DB)
    return np.rint(np.clip(gray, 0, WHITE)).astype(np.uint8)


def amplitude(level_db: Float | float) -> Float:
    """Decibels to amplitude, elementwise."""
    return np.power(np.float32(10), np.asarray(level_db, dtype=np.float32) / np.float32(20))


def decibels(amplitudes: Float) -> Float:
    """Amplitude to decibels, elementwise; far below any display where there is none."""
    return np.float32(20) * np.log10(np.maximum(amplitudes, np.float32(1e-9)))
