"""The maps of a simulated section, and the operations that put its anatomy together.

Lengths are millimetres, levels decibels; maps are (Z, X) on the beam grid. Lateral positions count from the middle of
the field, depths from the face.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from htunet.simulation.lesions import Lesion, Outline
from htunet.simulation.physics import BeamGrid, Float, Tissue, across_beam, smooth_noise, soft_step
from htunet.simulation.settings import USUAL, SimulationSettings
from htunet.simulation.tissue import follower

TISSUES = (
    *("outside", "skin", "fat", "gland", "muscle", "bone", "vessel", "lesion"),
    *("thyroid", "air", "lymph node", "prostate", "other"),
)
"""The classes of the tissue map; the position is the label."""
LABEL = {name: label for label, name in enumerate(TISSUES)}


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One sheet of tissue, from the skin down."""

    tissue: str
    thickness_mm: float
    level_db: float
    fibres: float = 0.0
    """Strength of bright lines along the layer."""
    clouds_db: float = 1.0
    """Spread of slow changes of the level."""
    fascia: float = 0.0
    """Strength of the bright sheet at its lower edge."""


@dataclass
class Scene:
    """The maps of a section, which are changed in place while it is put together."""

    grid: BeamGrid
    rng: np.random.Generator
    tissue: Tissue
    labels: NDArray[np.uint8]
    """(Z, X) positions in TISSUES."""
    lateral: Float
    depth: Float
    reverberating: NDArray[np.bool_]
    settings: SimulationSettings
    lesions: list[Lesion] = field(default_factory=list)
    distances: list[Float] = field(default_factory=list)
    """(Z, X) of each lesion, negative inside."""

    @classmethod
    def empty(cls, grid: BeamGrid, rng: np.random.Generator, settings: SimulationSettings = USUAL) -> "Scene":
        """Level 0 everywhere; nothing reverberates yet."""
        lateral, depth = grid.positions()
        maps = [np.zeros(grid.shape, dtype=np.float32) for _ in range(3)]
        tissue = Tissue(echo_db=maps[0], mirror=maps[1], loss_db_per_mm=maps[2])
        labels = np.full(grid.shape, LABEL["other"], dtype=np.uint8)
        lateral, depth = lateral.astype(np.float32), np.ascontiguousarray(depth, dtype=np.float32)
        return cls(grid, rng, tissue, labels, lateral, depth, np.zeros(grid.shape, dtype=bool), settings)

    def noise(self, lateral_mm: float, axial_mm: float) -> Float:
        """(Z, X) noise of mean 0 and variance 1 with grains of that size."""
        return smooth_noise(self.rng, self.grid, lateral_mm, axial_mm)

    def layers(self, layers: Sequence[Layer], waviness_mm: float, slope: float, septa: float) -> None:
        """Fill the field with sheets of tissue that swing and lean together."""
        fade = np.clip(self.depth / np.float32(6), 0, 1)
        swing = self.noise(9.0, 9.0) * np.float32(waviness_mm) + np.float32(slope) * self.lateral
        bent = self.depth + fade * swing + self.noise(2.0, 1.0) * np.float32(0.12)
        fine, long, clouds = self.noise(1.4, 0.25), self.noise(6.0, 0.25), self.noise(3.0, 1.3)
        bright = np.clip(long - np.float32(0.7), 0, 1.3) * np.clip(0.8 + 0.6 * self.noise(3.0, 2.0), 0, 2)
        sheet = np.clip(0.7 + 0.5 * long, 0, 2) * np.float32(septa)
        below = np.ones(self.grid.shape, dtype=np.float32)
        bottom = 0.0
        for number, layer in enumerate(layers):
            bottom += layer.thickness_mm
            last = number == len(layers) - 1
            above = np.ones_like(below) if last else soft_step(bent - np.float32(bottom), 0.18)
            weight = below * above
            level = np.float32(layer.level_db) + np.float32(layer.clouds_db) * (clouds + fine)
            level += np.float32(9 * layer.fibres) * bright + np.float32(1.5 * layer.fibres) * fine
            self.tissue.echo_db += weight * level
            edge = 4 * below * above * (1 - above) * sheet * np.float32(layer.fascia)
            self.tissue.echo_db += 9 * edge
            self.tissue.mirror += 0.4 * edge
            self.labels[weight > 0.5] = LABEL[layer.tissue]
            below = below * (1 - above)

    def streaks(self, weight: Float, strength: float, blotches_db: float) -> None:
        """Fibres that swing and lean on their own and soft dark blotches, by ``weight``, (Z, X) in 0..1."""
        rng = self.rng
        swing = self.noise(rng.uniform(5, 12), rng.uniform(5, 12)) * np.float32(rng.uniform(0.5, 5))
        leaning = self.depth + swing + np.float32(rng.normal(0, 0.2)) * self.lateral
        follow = follower(leaning.astype(np.float32), self.grid)
        length, thickness = rng.uniform(2, 6), rng.uniform(0.2, 0.6)
        lines = follow(self.noise(length, thickness))
        shown = np.clip(0.6 + 0.8 * self.noise(3.0, 2.5), 0, 2) * np.float32(strength)
        bright, dark = np.clip(lines - 0.7, 0, 1.5), np.clip(-lines - 0.8, 0, 1.3)
        grain = rng.uniform(1.5, 5)
        spots = follow(self.noise(1.3 * grain, 0.7 * grain))
        level = np.float32(8) * shown * bright - np.float32(6) * shown * dark
        level -= np.float32(blotches_db) * (np.clip(spots - 0.4, 0, 1.6) - np.float32(0.25) * self.noise(11.0, 8.0))
        self.tissue.echo_db += weight * level
        self.tissue.mirror += weight * np.float32(0.3) * shown * bright

    def fill(
        self, distance: Float, tissue: str, level_db: float, texture: Float | float = 0.0, blur: float = 0.3
    ) -> None:
        """Replace what is inside (negative ``distance``) by the tissue; ``texture`` is added to its level."""
        inside = soft_step(distance, 0.35 * blur)
        self.tissue.echo_db += inside * (np.float32(level_db) + texture - self.tissue.echo_db)
        self.tissue.mirror *= 1 - inside
        self.labels[distance < 0] = LABEL[tissue]

    def interface(self, distance: Float, strength: float, width_mm: float) -> None:
        """A bright line where ``distance``, (Z, X) in mm, is 0 and the surface lies across the beam."""
        facing = across_beam(distance, self.grid)
        line = np.exp(np.square(distance / np.float32(max(width_mm, 0.7 * self.grid.sample_mm))) * np.float32(-0.5))
        shown = line * facing * facing * np.clip(0.8 + 0.4 * self.noise(2.0, 2.0), 0, 1.6)
        self.tissue.mirror += np.float32(0.5 * strength) * shown
        self.tissue.echo_db += np.float32(6 * strength) * shown

    def vessel(self, outline: Outline, wall: float) -> None:
        """Blood: echo-free, with a wall that is bright across the beam, and little loss behind."""
        distance = outline.distance(self.lateral, self.depth)
        self.fill(distance, "vessel", self.rng.uniform(*self.settings.blood_db), 2 * self.noise(2.0, 1.0))
        self.interface(distance - np.float32(0.2), wall, 0.25)
        inside = np.clip(-distance, 0, 1)
        self.tissue.loss_db_per_mm -= inside * np.float32(self.rng.uniform(0, 5) / (2 * outline.half_height_mm))

    def opaque(self, distance: Float, tissue: str, *, repeats_mm: float = 0.0) -> None:
        """Bone or air from its surface (``distance`` 0) down the beams: a bright front and a shadow.

        ``repeats_mm``: the front is seen again at each multiple of that distance, fainter each time.
        """
        inside = distance < 0
        behind = np.maximum.accumulate(inside, axis=0)
        self.interface(distance, self.rng.uniform(1.0, 2.5), 0.3)
        self.labels[inside] = LABEL[tissue]
        soft_behind = gaussian_filter1d(behind.astype(np.float32), self.rng.uniform(1, 3.5), axis=1)
        below = np.cumsum(soft_behind, axis=0, dtype=np.float32) * np.float32(self.grid.sample_mm)
        soft = np.clip(below / np.float32(0.8), 0, 1)
        self.tissue.loss_db_per_mm += soft * np.float32(log_uniform(self.rng, *self.settings.bone_loss)) * (below < 10)
        self.tissue.echo_db -= soft * np.float32(self.rng.uniform(2, 14))
        if not repeats_mm:
            return
        self.reverberating |= behind & (below < 6 * repeats_mm)
        for order in range(1, 6):
            line = np.exp(np.square((below - np.float32(order * repeats_mm)) / np.float32(0.35)) * np.float32(-0.5))
            gain = np.float32(0.7**order * self.rng.uniform(8, 20))  # against the shadow in which it lies
            self.tissue.echo_db += line * behind * gain
