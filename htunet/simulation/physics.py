"""From tissue maps to a gray image: scatterers, point-spread function, envelope, attenuation, log compression.

Everything happens on the beam grid, depth first: Z samples along a beam, X beams. Lengths are millimetres, levels
decibels of amplitude (20 log10), losses two-way.

The radio-frequency carrier is taken out beforehand: scatterers carry a complex phase and the axial pulse is its
envelope alone, so the magnitude after the convolution is the envelope that a quadrature detector gives for the
carrier-modulated pulse. This is why a sample spacing above half a wavelength is enough.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d

SPEED_OF_SOUND_MM_PER_US = 1.54

Geometry = Literal["linear", "trapezoid", "curved"]
LINEAR: Geometry = "linear"
TRAPEZOID: Geometry = "trapezoid"
CURVED: Geometry = "curved"
Float = NDArray[np.float32]
Complex = NDArray[np.complex64]


def soft_step(distance: Float, width: float) -> Float:
    """1 / (1 + exp(distance / width)): from 1 (far negative) over 1/2 (at 0) to 0 (far positive)."""
    return 1 / (1 + np.exp(np.clip(distance / np.float32(width), -30, 30)))


@dataclass(frozen=True, kw_only=True)
class Transducer:
    """The transducer, which determines the size of the speckle grain."""

    frequency_mhz: float
    f_number: float
    focus_mm: float

    @property
    def wavelength_mm(self) -> float:
        """In soft tissue, at the centre frequency."""
        return SPEED_OF_SOUND_MM_PER_US / self.frequency_mhz

    @property
    def axial_sigma_mm(self) -> float:
        """Standard deviation of the pulse's envelope; a pulse of about two periods, halved by the return path."""
        return 0.8 * self.wavelength_mm

    def lateral_sigma_mm(self, depth_mm: Float) -> Float:
        """Standard deviation of the two-way beam profile at each depth: a Gaussian beam, narrowest at the focus."""
        waist = 0.45 * self.wavelength_mm * self.f_number
        depth_of_field = 14.0 * self.wavelength_mm * self.f_number**2
        away = (np.asarray(depth_mm, dtype=np.float32) - np.float32(self.focus_mm)) / np.float32(depth_of_field)
        return np.float32(waist) * np.sqrt(1 + away**2)


@dataclass(frozen=True, kw_only=True)
class BeamGrid:
    """The insonified field and how it is sampled; ``pad`` beams on each side are simulated and not shown."""

    geometry: Geometry
    depth_mm: float
    width_mm: float
    """Width of the transducer's face."""
    apex_mm: float = 0.0
    """How far behind the face the beams of a trapezoid or curved field meet."""
    num_samples: int = 400
    num_beams: int = 256
    pad: int = 12

    @property
    def shape(self) -> tuple[int, int]:
        """(Z, X), padding included."""
        return self.num_samples, self.num_beams + 2 * self.pad

    @property
    def sample_mm(self) -> float:
        """Distance of neighbouring samples along a beam."""
        return self.depth_mm / self.num_samples

    @property
    def beam_mm(self) -> float:
        """Distance of neighbouring beams at the face."""
        return self.width_mm / (self.num_beams - 1)

    @property
    def sample_depth(self) -> Float:
        """(Z,) distances from the face along a beam."""
        return (np.arange(self.num_samples, dtype=np.float32) + np.float32(0.5)) * np.float32(self.sample_mm)

    @property
    def beam_lateral(self) -> Float:
        """(X,) positions in which the beams leave the face, 0 in the middle."""
        beams = np.arange(self.shape[1], dtype=np.float32) - np.float32((self.shape[1] - 1) / 2)
        return beams * np.float32(self.beam_mm)

    @property
    def beam_spread(self) -> Float:
        """(Z,) factors: how much wider apart than at the face the beams are at each depth."""
        if self.geometry == LINEAR:
            return np.ones(self.num_samples, dtype=np.float32)
        return 1 + self.sample_depth / np.float32(self.apex_mm)

    @property
    def field_mm(self) -> tuple[float, float]:
        """(height, width) of the smallest upright rectangle around the field."""
        if self.geometry == CURVED:
            return self.depth_mm, 2 * (self.apex_mm + self.depth_mm) * float(np.sin(self.width_mm / 2 / self.apex_mm))
        if self.geometry == TRAPEZOID:
            return self.depth_mm, self.width_mm * (1 + self.depth_mm / self.apex_mm)
        return self.depth_mm, self.width_mm

    def positions(self) -> tuple[Float, Float]:
        """Lateral position and depth (mm) of every sample, both (Z, X); (0, 0) is the middle of the face."""
        depth_Z1 = self.sample_depth[:, None]
        if self.geometry == CURVED:
            angle_X = self.beam_lateral / np.float32(self.apex_mm)
            radius_Z1 = depth_Z1 + np.float32(self.apex_mm)
            return radius_Z1 * np.sin(angle_X), radius_Z1 * np.cos(angle_X) - np.float32(self.apex_mm)
        lateral = self.beam_lateral * self.beam_spread[:, None]
        return lateral, np.broadcast_to(depth_Z1, lateral.shape)

    def indices(self, lateral_mm: Float, depth_mm: Float) -> tuple[Float, Float]:
        """(sample, beam) coordinates of positions, padding included; outside the shown field they leave the grid."""
        apex = np.float32(self.apex_mm)
        along, face = depth_mm, lateral_mm
        if self.geometry == TRAPEZOID:
            face = lateral_mm / (1 + depth_mm / apex)
        elif self.geometry == CURVED:
            along = np.hypot(lateral_mm, depth_mm + apex) - apex
            face = apex * np.arctan2(lateral_mm, depth_mm + apex)
        sample = along / np.float32(self.sample_mm) - np.float32(0.5)
        return sample, face / np.float32(self.beam_mm) + np.float32((self.shape[1] - 1) / 2)

    def shows(self, sample: Float, beam: Float) -> NDArray[np.bool_]:
        """Whether coordinates of ``indices``, elementwise, lie in the shown field."""
        face = np.abs(beam - np.float32((self.shape[1] - 1) / 2)) * np.float32(self.beam_mm)
        return (face <= self.width_mm / 2) & (sample > -0.5) & (sample < self.num_samples - 0.5)


@dataclass
class Tissue:
    """Acoustic properties of the tissue; all maps are (Z, X) and changed in place while the anatomy is put together."""

    echo_db: Float
    """Strength of the diffuse echoes; 0 is glandular tissue."""
    mirror: Float
    """Amplitude of smooth reflectors (septa, fasciae, capsules), whose echoes add up coherently."""
    loss_db_per_mm: Float
    """Loss beyond that of average tissue, which time-gain compensation takes back; negative where less is lost."""


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """How the machine turns echoes into gray values."""

    looks: int
    """Number of independent frames that are averaged (compounding); 1 gives fully developed speckle."""
    noise_db: float
    """Level of the electronic noise at the face."""
    noise_rise_db_per_mm: float
    """How fast the noise rises with depth, since time-gain compensation amplifies it."""
    dynamic_range_db: float
    gain_db: float
    gamma: float
    speckle_reduction: float = 0.0
    """Share of a locally smoothed picture that is mixed in after compression, 0..1."""


def smooth_noise(rng: np.random.Generator, grid: BeamGrid, lateral_mm: float, axial_mm: float) -> Float:
    """(Z, X) Gaussian noise of mean 0 and variance 1 whose grains have the given standard deviations in mm.

    Drawn on a grid as coarse as the grains allow and interpolated.
    """
    per_grain = 1.6
    sigmas = np.array([axial_mm / grid.sample_mm, lateral_mm / grid.beam_mm])
    coarse = np.clip(np.ceil(np.array(grid.shape) * per_grain / sigmas), 4, grid.shape).astype(int)
    white = rng.standard_normal(tuple(coarse), dtype=np.float32)
    grains = gaussian_filter(white, sigmas * coarse / grid.shape, mode="wrap")
    grains -= grains.mean()
    grains /= grains.std() + np.float32(1e-6)
    resized = Image.fromarray(grains).resize(grid.shape[::-1], Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float32)


def across_beam(distance: Float, grid: BeamGrid) -> Float:
    """(Z, X) in 0..1: how squarely the surfaces of equal ``distance``, mm, lie across the beam."""
    slope_z, slope_x = np.gradient(distance, grid.sample_mm, grid.beam_mm)
    return np.asarray(slope_z**2 / (slope_z**2 + slope_x**2 + np.float32(1e-6)), dtype=np.float32)


def white_scatterers(rng: np.random.Generator, shape: tuple[int, int]) -> Complex:
    """Complex Gaussian scatterers of mean power 1: very many per resolution cell, none of them dominant."""
    parts = rng.standard_normal((*shape, 2), dtype=np.float32)
    parts *= np.float32(np.sqrt(0.5))
    return parts.view(np.complex64)[..., 0]


def spread(scatterers: Complex, grid: BeamGrid, transducer: Transducer) -> Complex:
    """Convolve with the point-spread function, whose lateral width depends on depth; white input keeps its power.

    Laterally each depth is multiplied by its own Gaussian in the frequency domain; periodic there, hence the padding.
    """
    sigma_Z = transducer.lateral_sigma_mm(grid.sample_depth) / (np.float32(grid.beam_mm) * grid.beam_spread)
    frequency_X = scipy.fft.fftfreq(grid.shape[1]).astype(np.float32)
    transfer = np.exp(np.float32(-2 * np.pi**2) * (sigma_Z[:, None] * frequency_X) ** 2)
    transfer /= np.sqrt((transfer**2).mean(axis=1, keepdims=True))
    blurred = scipy.fft.ifft(scipy.fft.fft(scatterers, axis=1) * transfer, axis=1)
    axial = transducer.axial_sigma_mm / grid.sample_mm
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / axial) ** 2)
    loss = np.float32(kernel.sum() / np.sqrt((kernel**2).sum()))
    return gaussian_filter1d(blurred, axial, axis=0, mode="constant", truncate=3.0) * loss


def accumulated_loss(loss_db_per_mm: Float, grid: BeamGrid) -> Float:
    """(Z, X) decibels lost up to each sample, blurred across beams: an aperture looks around a small obstacle."""
    total = np.cumsum(loss_db_per_mm, axis=0, dtype=np.float32) * np.float32(grid.sample_mm)
    return gaussian_filter1d(total, 2.0, axis=1, mode="nearest")


def amplitude(level_db: Float) -> Float:
    """Decibels to amplitude, elementwise."""
    return np.exp(level_db * np.float32(np.log(10) / 20))


def level_db(detected: Float) -> Float:
    """Amplitude to decibels, elementwise."""
    return np.float32(20) * np.log10(np.maximum(detected, np.float32(1e-6)))


def loudest_db(detected: Float) -> np.float32:
    """The level that a hundredth of the samples exceeds, from every ninth of them."""
    return np.float32(np.percentile(level_db(detected[::3, ::3]), 99))


def envelope(
    rng: np.random.Generator, tissue: Tissue, grid: BeamGrid, transducer: Transducer, receiver: Receiver
) -> Float:
    """(Z, X) detected amplitude, noise included, averaged over the looks."""
    loss = accumulated_loss(tissue.loss_db_per_mm, grid)
    diffuse = amplitude(tissue.echo_db - loss)
    phase = smooth_noise(rng, grid, 4.0, 1.5) * np.float32(np.pi)
    mirror = tissue.mirror * amplitude(-loss) * np.exp(1j * phase)
    noise_Z = amplitude(np.float32(receiver.noise_db) + np.float32(receiver.noise_rise_db_per_mm) * grid.sample_depth)
    total = np.zeros(grid.shape, dtype=np.float32)
    noise = gaussian_filter1d(white_scatterers(rng, grid.shape), 0.7, axis=0) * noise_Z[:, None]
    for look in range(receiver.looks):
        echoes = spread(white_scatterers(rng, grid.shape) * diffuse + mirror, grid, transducer)
        total += np.abs(echoes + np.roll(noise, 17 * look, axis=1))  # shifted by 17 beams it is a new draw of the noise
    return total / np.float32(receiver.looks)


def log_compress(detected: Float, receiver: Receiver, reference: Float | None = None) -> Float:
    """Gray values 0..1 from amplitudes, both (Z, X).

    The loudest hundredth sits at the top of the dynamic range, ``gain_db`` moves the rest. With a ``reference`` its
    loudest hundredth sits there: what another scan of the same scene looks like when nobody turns the gain.
    """
    level = level_db(detected)
    top = np.float32(loudest_db(detected if reference is None else reference) - receiver.gain_db)
    gray = np.clip((level - top) / np.float32(receiver.dynamic_range_db) + 1, 0, 1)
    gray = np.power(gray, np.float32(receiver.gamma))
    if receiver.speckle_reduction:
        gray += np.float32(receiver.speckle_reduction) * (gaussian_filter(gray, (1.3, 1.6), truncate=2.5) - gray)
    return gray
