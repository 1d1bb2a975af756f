"""Artefacts of the phantom's beams: poor contact, shadows, reverberation, uneven channels."""

import numpy as np

from htunet.simulation.physics import BeamGrid, Tissue, smooth_noise
from htunet.simulation.settings import USUAL, Range

EDGE_SHADOW = "edge shadow"
LIGAMENT_SHADOW = "ligament shadow"
REVERBERATION = "reverberation"


def uneven_gain(tissue: Tissue, grid: BeamGrid, rng: np.random.Generator) -> None:
    """Time-gain compensation that misses the true attenuation, and channels that differ a little."""
    knots = np.linspace(0, grid.depth_mm, 7)
    drift = rng.normal(0, 1.6, len(knots)) - rng.uniform(0.1, 0.75) * np.maximum(knots - 0.4 * grid.depth_mm, 0)
    gain_Z = np.interp(grid.sample_depth, knots, drift).astype(np.float32)
    channels_X = smooth_noise(rng, grid, 0.8, grid.depth_mm)[0] * np.float32(0.35)
    tissue.echo_db += gain_Z[:, None] + channels_X
    tissue.mirror *= np.exp(gain_Z * np.float32(np.log(10) / 20))[:, None]
    tissue.loss_db_per_mm += smooth_noise(rng, grid, 3.5, 6.0) * np.float32(rng.uniform(0.05, 0.28))


def poor_contact(tissue: Tissue, grid: BeamGrid, rng: np.random.Generator, loss_db: Range = USUAL.contact_db) -> None:
    """One edge of the face does not touch the skin: the beams there have little energy, from the first sample on."""
    side = 1 if rng.random() < 0.5 else -1
    start = np.float32(grid.width_mm * rng.uniform(0.28, 0.45))
    with np.errstate(over="ignore"):  # far from the edge the exponential is infinite, and nothing is missing
        missing_X = 1 / (1 + np.exp(-(side * grid.beam_lateral - start) / np.float32(rng.uniform(0.5, 2.2))))
    missing_X = missing_X * np.clip(1 + 0.25 * smooth_noise(rng, grid, 1.0, grid.depth_mm)[0], 0.3, 1.5)
    tissue.loss_db_per_mm[:8] += np.float32(rng.uniform(*loss_db) / (8 * grid.sample_mm)) * missing_X


def ligament_shadow(
    tissue: Tissue, grid: BeamGrid, rng: np.random.Generator, keep_off: list[Range], loss: Range = USUAL.shadow_loss
) -> None:
    """A ligament that runs along the beam takes its energy: a narrow shadow from there down.

    ``keep_off`` holds the lateral spans of lesions, whose posterior signs must stay readable; ``loss`` is that at
    its top, decibels per millimetre.
    """
    face = grid.beam_lateral
    place = rng.uniform(-0.45, 0.45) * grid.width_mm
    if any(low - 1 < place < high + 1 for low, high in keep_off):
        return
    top = rng.uniform(0.12, 0.45) * grid.depth_mm
    slant = np.float32(rng.normal(0, 0.25))
    depth = grid.sample_depth[:, None]
    beside = (face - np.float32(place) - slant * (depth - np.float32(top))) / np.float32(rng.uniform(0.35, 1.1))
    within = np.exp(-(((depth - np.float32(top)) / np.float32(1.5)) ** 2) - beside**2)
    tissue.loss_db_per_mm += np.float32(rng.uniform(*loss)) * within


def reverberation(
    tissue: Tissue, grid: BeamGrid, rng: np.random.Generator, strengths: Range = USUAL.reverberation_strength
) -> None:
    """Sound that runs between face and skin more than once: fading bright lines at equal distances."""
    distance = rng.uniform(0.9, 3.0)
    wobble_X = smooth_noise(rng, grid, 5.0, grid.depth_mm)[0] * np.float32(0.12)
    shown_X = np.clip(0.7 + 0.6 * smooth_noise(rng, grid, 6.0, grid.depth_mm)[0], 0, 1.5)
    strength = rng.uniform(*strengths)
    for order in range(1, int(rng.integers(3, 6))):
        line = np.exp(
            -0.5 * ((grid.sample_depth[:, None] - np.float32(order * distance) - order * wobble_X) / 0.1) ** 2
        )
        tissue.mirror += np.float32(strength * 0.6**order) * shown_X * line.astype(np.float32)


def near_field(tissue: Tissue, grid: BeamGrid, rng: np.random.Generator) -> None:
    """The main bang and the coupling gel: a bright band, then a thin dark one, at the very top."""
    depth_Z = grid.sample_depth
    bang = np.exp(-((depth_Z / np.float32(rng.uniform(0.15, 0.4))) ** 2)) * np.float32(rng.uniform(3, 10))
    gap_mm = rng.uniform(0.5, 0.9)
    gap = np.exp(-(((depth_Z - np.float32(gap_mm)) / np.float32(0.18)) ** 2)) * np.float32(rng.uniform(0, 9))
    tissue.echo_db += (bang - gap).astype(np.float32)[:, None]


def shade_all(
    tissue: Tissue, grid: BeamGrid, rng: np.random.Generator, keep_off: list[tuple[float, float]]
) -> tuple[str, ...]:
    """Apply the artefacts that this image has; returns the names of those that not every image has."""
    near_field(tissue, grid, rng)
    uneven_gain(tissue, grid, rng)
    names = []
    if rng.random() < 0.22:
        poor_contact(tissue, grid, rng)
        names.append(EDGE_SHADOW)
    if rng.random() < 0.45:
        for _ in range(int(rng.integers(1, 4))):
            ligament_shadow(tissue, grid, rng, keep_off)
        names.append(LIGAMENT_SHADOW)
    if rng.random() < 0.35:
        reverberation(tissue, grid, rng)
        names.append(REVERBERATION)
    return tuple(names)
