"""The artefacts: speckle, shadow, reverberation, gain, attenuation with depth. See ``htunet.data.artefacts.base``."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from htunet.data.artefacts.base import FieldCoordinates, Float, amplitude, decibels

FWHM = 2 * np.sqrt(2 * np.log(2))
"""Full width at half maximum of a Gaussian, in standard deviations."""


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

    def alter(self, level_HW: Float, place: FieldCoordinates, value: float, rng: np.random.Generator) -> Float:
        """Multiply the amplitude with a fresh pattern, the stronger the larger ``value``; its mean stays."""
        sigmas = [cell * place.height_px / FWHM for cell in (self.axial_cell, self.lateral_cell)]
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
    """Half the width of the part that is darkened fully."""
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
        """Which fraction of the loss, 0..1, is met at positions that broadcast against each other."""
        below = np.clip((depth - np.float32(place.top)) / np.float32(self.obstacle), 0, 1)
        beyond = np.clip((np.abs(lateral - place.lateral) - place.half_width) / self.penumbra, 0, 1)
        return below * (0.5 + 0.5 * np.cos(np.pi * beyond)).astype(np.float32)

    def alter(self, level_HW: Float, place: FieldCoordinates, value: float, rng: np.random.Generator) -> Float:
        """Take up to ``value`` decibels from the part of the field behind an obstacle at a drawn place."""
        return level_HW - np.float32(value) * self.share(self.place(rng), place.depth_H[:, None], place.lateral_W)


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

    def alter(self, level_HW: Float, place: FieldCoordinates, value: float, rng: np.random.Generator) -> Float:
        """Add the echoes that return once, twice and so on to a layer's at a drawn depth."""
        distance = self.distance(rng)
        bend_W, shown_W = (_wave(rng, len(place.lateral_W)) for _ in range(2))
        power = amplitude(level_HW) ** 2
        for order in range(1, int(1 / distance) + 1):
            middle_W = np.float32(order) * (np.float32(distance) + np.float32(self.curvature) * bend_W)
            away = (place.depth_H[:, None] - middle_W) * np.float32(FWHM / self.thickness)
            echo = np.float32(amplitude(self.layer_db) * value**order) * np.clip(0.8 + 0.4 * shown_W, 0, 1)
            power += (echo * np.exp(-0.5 * away**2)) ** 2
        return decibels(np.sqrt(power))


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The receiver's gain set too high (or too low, ``per_strength`` negative): all levels move, and clip."""

    quantity: ClassVar[str] = "change of gain"
    unit: ClassVar[str] = "dB"
    per_strength: float = 4.0

    def alter(self, level_HW: Float, place: FieldCoordinates, value: float, rng: np.random.Generator) -> Float:
        """Add ``value`` decibels everywhere."""
        return level_HW + np.float32(value)


@dataclass(frozen=True, kw_only=True)
class Attenuation:
    """Time-gain compensation that takes back too little: the level falls by so many dB from top to bottom, evenly."""

    quantity: ClassVar[str] = "loss at the field's lower edge"
    unit: ClassVar[str] = "dB"
    per_strength: float = 6.0

    def alter(self, level_HW: Float, place: FieldCoordinates, value: float, rng: np.random.Generator) -> Float:
        """Take ``value`` decibels a field's depth: nothing at its upper edge, all at its lower one."""
        return level_HW - np.float32(value) * place.depth_H[:, None]


SPECKLE, SHADOW, REVERBERATION, ATTENUATION = Speckle(), Shadow(), Reverberation(), Attenuation()
GAIN, LOW_GAIN = Gain(), Gain(per_strength=-4.0)


def _wave(rng: np.random.Generator, length: int) -> Float:
    """(length,) smooth noise of mean 0 and standard deviation 1, in waves of about a quarter of the length."""
    noise = gaussian_filter1d(rng.standard_normal(length), length / 12, mode="wrap")
    return ((noise - noise.mean()) / max(noise.std(), 1e-9)).astype(np.float32)
