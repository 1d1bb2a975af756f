"""Controlled artefacts of ultrasound in a gray image: speckle, shadow, reverberation, gain, attenuation with depth.

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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from htunet.data.field_of_view import insonified_pixels
from htunet.data.image_io import UInt8
from htunet.errors import UsageError
from htunet.registry import Registry
from htunet.reproducibility import generator

DYNAMIC_RANGE_DB = 60.0
STRONGEST = 5.0
STRENGTHS = (1.0, 2.0, 3.0, 4.0, 5.0)
WHITE = 255
FWHM = 2 * np.sqrt(2 * np.log(2))
"""Full width at half maximum of a Gaussian, in standard deviations."""

Float = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """Where the pixels of a picture lie in the insonified field, in fractions of its depth and of its width."""

    depth_H: Float
    """Of the middle of each row: 0 at the field's upper edge, 1 at its lower one, beyond them outside."""
    lateral_W: Float
    """Of the middle of each column: 0 at the left edge, 1 at the right one."""
    height_px: int
    """Depth of the field in pixels."""

    @classmethod
    def of(cls, field_HW: NDArray[np.bool_]) -> "View":
        """The view of a picture whose insonified pixels are True."""
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

    def alter(self, level_HW: Float, view: View, value: float, rng: np.random.Generator) -> Float:
        """The levels (dB, 0 is white) with the artefact of a physical value; they may leave the display's range."""


ARTEFACTS: Registry[Artefact] = Registry("artefact")


@dataclass(frozen=True, kw_only=True)
class Speckle:
    """Multiplicative speckle on top of what the image has.

    The amplitude is multiplied by R^t, divided by its mean over the picture. R is the magnitude of complex Gaussian
    noise blurred by a resolution cell, so Rayleigh distributed: fully developed speckle (Wagner et al. 1983,
    Statistics of speckle in ultrasound B-scans). The exponent t scales the speckle in decibels, as compounding and
    speckle reduction weaken it; R^t is Weibull distributed, of contrast sqrt(G(1 + t) / G(1 + t/2)^2 - 1), G the gamma
    function: 0.12 at t = 0.2, 0.52 at 1. Speckle times speckle is what the K distribution describes.
    """

    quantity: ClassVar[str] = "exponent of Rayleigh speckle"
    unit: ClassVar[str] = ""
    per_strength: float = 0.2
    axial_cell: float = 0.0075
    """Full width at half maximum of the point-spread function downwards, fraction of depth: 0.3 mm of 40 mm."""
    lateral_cell: float = 0.015

    def alter(self, level_HW: Float, view: View, value: float, rng: np.random.Generator) -> Float:
        """Multiply the amplitude with a fresh pattern, the stronger the larger ``value``; its mean stays."""
        sigmas = [cell * view.height_px / FWHM for cell in (self.axial_cell, self.lateral_cell)]
        parts = (gaussian_filter(rng.standard_normal(level_HW.shape, dtype=np.float32), sigmas) for _ in range(2))
        magnitude = np.hypot(*parts)
        speckle_db = decibels(magnitude / np.sqrt(np.mean(magnitude**2)))
        factor_db = np.float32(value) * speckle_db
        return level_HW + factor_db - decibels(amplitude(factor_db).mean())


@dataclass(frozen=True)
class ShadowPlace:
    """Where a shadow lies, fractions of the field."""

    lateral: float
    half_width: float
    """Of the part that is darkened fully."""
    top: float
    """Depth at which the obstacle begins."""


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """The acoustic shadow of an obstacle: from a depth downwards a strip that the sound hardly reaches.

    The loss (two-way, dB) builds up within the obstacle and then stays. At its sides it falls off as a cosine over the
    width of the penumbra, because an aperture looks around an obstacle. Nothing else changes.
    """

    quantity: ClassVar[str] = "loss behind the obstacle"
    unit: ClassVar[str] = "dB"
    per_strength: float = 6.0
    lateral: tuple[float, float] = (0.25, 0.75)
    half_width: tuple[float, float] = (0.05, 0.1)
    top: tuple[float, float] = (0.1, 0.4)
    obstacle: float = 0.03
    """Depth over which the loss builds up."""
    penumbra: float = 0.04

    def place(self, rng: np.random.Generator) -> ShadowPlace:
        """Drawn evenly from the ranges; the first three numbers of ``rng``."""
        return ShadowPlace(*(float(rng.uniform(*span)) for span in (self.lateral, self.half_width, self.top)))

    def share(self, place: ShadowPlace, depth: Float, lateral: Float) -> Float:
        """Which part of the loss, 0..1, is met at positions that broadcast against each other."""
        below = np.clip((depth - np.float32(place.top)) / np.float32(self.obstacle), 0, 1)
        beyond = np.clip((np.abs(lateral - place.lateral) - place.half_width) / self.penumbra, 0, 1)
        return below * (0.5 + 0.5 * np.cos(np.pi * beyond)).astype(np.float32)

    def alter(self, level_HW: Float, view: View, value: float, rng: np.random.Generator) -> Float:
        """Take up to ``value`` decibels from the part of the field behind an obstacle at a drawn place."""
        return level_HW - np.float32(value) * self.share(self.place(rng), view.depth_H[:, None], view.lateral_W)


@dataclass(frozen=True, kw_only=True)
class Reverberation:
    """Sound that runs to and fro between the transducer and a smooth layer: fading bright lines at equal distances.

    The echo of order k has r^k of the amplitude that the layer's own echo would have, r the part that one more way to
    and fro leaves. Echoes and image have no fixed phase to each other, so their powers add up. Lines are gently curved,
    twice, three times, ... as strongly with each order, and not equally strong everywhere.
    """

    quantity: ClassVar[str] = "ratio of successive echoes"
    unit: ClassVar[str] = ""
    per_strength: float = 0.16
    spacing: tuple[float, float] = (0.06, 0.11)
    layer_db: float = -6.0
    """Level of the layer's own echo."""
    thickness: float = 0.012
    """Full width of a line at half of its amplitude."""
    curvature: float = 0.0025
    """Standard deviation of the first line's depth across the picture."""

    def distance(self, rng: np.random.Generator) -> float:
        """Depth of the layer and distance of the lines; the first number of ``rng``."""
        return float(rng.uniform(*self.spacing))

    def alter(self, level_HW: Float, view: View, value: float, rng: np.random.Generator) -> Float:
        """Add the echoes that return once, twice and so on to a layer's at a drawn depth."""
        distance = self.distance(rng)
        bend_W, shown_W = (_wave(rng, len(view.lateral_W)) for _ in range(2))
        power = amplitude(level_HW) ** 2
        for order in range(1, int(1 / distance) + 1):
            middle_W = np.float32(order) * (np.float32(distance) + np.float32(self.curvature) * bend_W)
            away = (view.depth_H[:, None] - middle_W) * np.float32(FWHM / self.thickness)
            echo = np.float32(amplitude(self.layer_db) * value**order) * np.clip(0.8 + 0.4 * shown_W, 0, 1)
            power += (echo * np.exp(-0.5 * away**2)) ** 2
        return decibels(np.sqrt(power))


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The receiver's gain set too high (or too low, ``per_strength`` negative): all levels move, and clip."""

    quantity: ClassVar[str] = "change of gain"
    unit: ClassVar[str] = "dB"
    per_strength: float = 4.0

    def alter(self, level_HW: Float, view: View, value: float, rng: np.random.Generator) -> Float:
        """Add ``value`` decibels everywhere."""
        return level_HW + np.float32(value)


@dataclass(frozen=True, kw_only=True)
class Attenuation:
    """Time-gain compensation that takes back too little: the level falls by so many dB from top to bottom, evenly."""

    quantity: ClassVar[str] = "loss at the field's lower edge"
    unit: ClassVar[str] = "dB"
    per_strength: float = 6.0

    def alter(self, level_HW: Float, view: View, value: float, rng: np.random.Generator) -> Float:
        """Take ``value`` decibels a field's depth: nothing at its upper edge, all at its lower one."""
        return level_HW - np.float32(value) * view.depth_H[:, None]


ARTEFACTS.register("speckle")(Speckle())
ARTEFACTS.register("shadow")(Shadow())
ARTEFACTS.register("reverberation")(Reverberation())
ARTEFACTS.register("gain")(Gain())
ARTEFACTS.register("low_gain")(Gain(per_strength=-4.0))
ARTEFACTS.register("attenuation")(Attenuation())


def physical_value(artefact: str, strength: float) -> float:
    """What a strength stands for, in the artefact's unit; raises UsageError for an unknown artefact or strength."""
    found = ARTEFACTS[artefact]
    if not 0 <= strength <= STRONGEST:
        raise UsageError(f"The strength of an artefact lies in 0..{STRONGEST:g}, got {strength:g}.")
    return found.per_strength * strength + 0.0  # no -0


def apply(image: UInt8, artefact: str, strength: float, *, case: str, seed: int = 0) -> UInt8:
    """A gray (H, W) or a (C, H, W) image with one artefact of a strength 0..``STRONGEST``; the image at 0.

    ``case`` and ``seed`` choose what is random. The channels of one image share it. Raises UsageError as
    ``physical_value``.
    """
    return apply_all(image, artefact, [strength], case=case, seed=seed)[0]


def apply_all(image: UInt8, artefact: str, strengths: Sequence[float], *, case: str, seed: int = 0) -> list[UInt8]:
    """``apply`` for each of the strengths; the field of view is looked for once."""
    values = [physical_value(artefact, strength) for strength in strengths]
    image_CHW = image if image.ndim == 3 else image[None]
    field_HW = insonified_pixels(image_CHW.max(axis=0))
    if not field_HW.any():
        return [image.copy() for _ in values]
    view, found = View.of(field_HW), ARTEFACTS[artefact]

    def altered(value: float) -> UInt8:
        if value == 0:
            return image.copy()
        new_CHW = image_CHW.copy()
        for channel_HW in new_CHW:
            rng = generator(seed, "artefact", artefact, case)
            channel_HW[field_HW] = to_gray(found.alter(to_level(channel_HW), view, value, rng))[field_HW]
        return new_CHW.reshape(image.shape)

    return [altered(value) for value in values]


def to_level(gray: UInt8) -> Float:
    """Gray values as levels in dB: 255 is 0, 0 is -``DYNAMIC_RANGE_DB``."""
    return gray.astype(np.float32) * np.float32(DYNAMIC_RANGE_DB / WHITE) - np.float32(DYNAMIC_RANGE_DB)


def to_gray(level: Float) -> UInt8:
    """Levels in dB as gray values; what is louder than white is white, what is weaker than black is black."""
    gray = (level + np.float32(DYNAMIC_RANGE_DB)) * np.float32(WHITE / DYNAMIC_RANGE_DB)
    return np.rint(np.clip(gray, 0, WHITE)).astype(np.uint8)


def amplitude(level_db: Float | float) -> Float:
    """Decibels to amplitude."""
    return np.power(np.float32(10), np.asarray(level_db, dtype=np.float32) / np.float32(20))


def decibels(amplitudes: Float) -> Float:
    """Amplitude to decibels; far below any display where there is none."""
    return np.float32(20) * np.log10(np.maximum(amplitudes, np.float32(1e-9)))


def _wave(rng: np.random.Generator, length: int) -> Float:
    """(length,) smooth noise of mean 0 and standard deviation 1, in waves of about a quarter of the length."""
    noise = gaussian_filter1d(rng.standard_normal(length), length / 12, mode="wrap")
    return ((noise - noise.mean()) / max(noise.std(), 1e-9)).astype(np.float32)
