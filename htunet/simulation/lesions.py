"""Lesions of the ultrasound phantom: outlines, the clinical signs of each class, and how they change the tissue.

The signs follow the usual descriptors of breast ultrasound (shape, orientation, margin, echo pattern, posterior
features, calcifications). Each is drawn from the class's own distribution; the distributions overlap, as in life.
Lengths are millimetres, angles radians, levels decibels; lateral positions count from the middle, depths from the face.
"""

from dataclasses import dataclass, replace

import numpy as np

from htunet.simulation.physics import BeamGrid, Float, Tissue, across_beam, smooth_noise, soft_step
from htunet.simulation.settings import USUAL, SimulationSettings, whole_number

BENIGN, MALIGNANT, NORMAL = "benign", "malignant", "normal"
CYST, HYPOECHOIC, ISOECHOIC, HETEROGENEOUS = "anechoic", "hypoechoic", "isoechoic", "heterogeneous"
ENHANCEMENT, SHADOW, NO_POSTERIOR = "enhancement", "shadowing", "none"
ANGLES = np.linspace(-np.pi, np.pi, 721, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A closed curve around a centre: an ellipse whose radius is scaled by a factor that depends on the angle."""

    lateral_mm: float
    depth_mm: float
    half_width_mm: float
    half_height_mm: float
    tilt: float = 0.0
    radius: tuple[float, ...] = ()
    """Factors at ANGLES (in the ellipse's own frame); empty: 1 everywhere."""

    def distance(self, lateral: Float, depth: Float) -> Float:
        """Approximate distance of points, of any shape, from the curve, mm; negative inside, exact along rays."""
        across, down = lateral - np.float32(self.lateral_mm), depth - np.float32(self.depth_mm)
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        along = (across * cos + down * sin) / np.float32(self.half_width_mm)
        over = (down * cos - across * sin) / np.float32(self.half_height_mm)
        tiny = 1e-4  # at the centre itself, where no ray has a direction, the mean half axis is taken for the distance
        scaled = np.hypot(along, over) + np.float32(tiny)
        from_centre = np.hypot(across, down) + np.float32(tiny * np.sqrt(self.half_width_mm * self.half_height_mm))
        reach = np.float32(1)
        if self.radius:
            angle = np.arctan2(over, along)
            reach = np.interp(angle, ANGLES, np.asarray(self.radius)).astype(np.float32)
        return (1 - reach / scaled) * from_centre

    @property
    def half_extent_mm(self) -> tuple[float, float]:
        """Half the width and half the height of the box around the unscaled ellipse, after tilting."""
        cos, sin = abs(np.cos(self.tilt)), abs(np.sin(self.tilt))
        width = np.hypot(self.half_width_mm * cos, self.half_height_mm * sin)
        return float(width), float(np.hypot(self.half_width_mm * sin, self.half_height_mm * cos))

    @property
    def span_mm(self) -> tuple[float, float]:
        """Lateral positions of that box's left and right edge."""
        half = self.half_extent_mm[0]
        return self.lateral_mm - half, self.lateral_mm + half


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One lesion: its outline and its signs."""

    class_name: str
    outline: Outline
    shape: str
    """oval, round, lobulated or irregular."""
    margin: str
    """circumscribed, indistinct, angular, microlobulated or spiculated."""
    pattern: str
    """anechoic, hypoechoic, isoechoic, hyperechoic, heterogeneous, or cystic and solid."""
    posterior: str
    """enhancement, shadowing or none."""
    contrast_db: float
    """How much weaker than its surroundings the lesion's echoes are."""
    texture_db: float
    """Standard deviation of the slow changes inside."""
    blur_mm: float
    """Width of the transition from inside to outside."""
    posterior_db: float
    """Change of the level behind the lesion, negative for a shadow."""
    capsule: float = 0.0
    """Amplitude of a thin bright line on the boundary where it faces the beam."""
    halo_db: float = 0.0
    """Excess of a bright rim around the lesion."""
    calcifications: int = 0
    strands: bool = False
    """Bright strands that run outwards from a spiculated margin."""

    @property
    def taller_than_wide(self) -> bool:
        """Whether it is deeper than it is wide, which speaks for malignancy."""
        width, height = self.outline.half_extent_mm
        return height > width


def is_free(outline: Outline, lesions: list[Lesion], gap: float = 0.0) -> bool:
    """Whether the box around the outline keeps clear of those around the lesions."""
    width, height = outline.half_extent_mm
    for lesion in lesions:
        other_width, other_height = lesion.outline.half_extent_mm
        beside = abs(outline.lateral_mm - lesion.outline.lateral_mm) - width - other_width
        below = abs(outline.depth_mm - lesion.outline.depth_mm) - height - other_height
        if max(beside, below) < gap:
            return False
    return True


def draw_lesion(
    rng: np.random.Generator, class_name: str, area_mm2: float, settings: SimulationSettings = USUAL
) -> Lesion:
    """A lesion of the class around (0, 0) whose ellipse has the area; ValueError for another class."""
    if class_name == BENIGN:
        return _benign(settings, rng, area_mm2)
    if class_name == MALIGNANT:
        return _malignant(settings, rng, area_mm2)
    raise ValueError(f"A lesion is benign or malignant, got {class_name!r}.")


def seen_again(lesion: Lesion, rng: np.random.Generator, lateral_mm: float, depth_mm: float) -> Lesion:
    """The lesion in another scan plane: a little deformed and turned, at a new place, with slightly other levels."""
    outline = lesion.outline
    ripple = _ripple(rng, low=2, high=4, strength=0.02)
    radius = np.asarray(outline.radius or np.ones(len(ANGLES))) * (1 + ripple)
    moved = replace(
        outline,
        lateral_mm=lateral_mm,
        depth_mm=depth_mm,
        half_width_mm=outline.half_width_mm * rng.uniform(0.9, 1.1),
        half_height_mm=outline.half_height_mm * rng.uniform(0.92, 1.08),
        tilt=outline.tilt + rng.normal(0, 0.08),
        radius=tuple(radius),
    )
    return replace(
        lesion,
        outline=moved,
        contrast_db=lesion.contrast_db * rng.uniform(0.85, 1.1),
        posterior_db=lesion.posterior_db * rng.uniform(0.8, 1.2),
    )


def _benign(settings: SimulationSettings, rng: np.random.Generator, area_mm2: float) -> Lesion:
    # simulated images draw their pattern later; of this first one they keep what lies behind, and the capsule
    pattern = str(rng.choice([HYPOECHOIC, CYST, ISOECHOIC, HETEROGENEOUS], p=[0.6, 0.24, 0.06, 0.1]))
    shape = str(rng.choice(["oval", "round", "lobulated", "irregular"], p=settings.benign_shapes))
    aspect = rng.uniform(0.86, 1.05) if shape == "round" else rng.uniform(0.42, 0.85)
    if shape != "round" and rng.random() < settings.benign_upright:
        aspect = rng.uniform(1.02, 1.25)
    margin = str(rng.choice(["circumscribed", "indistinct", "microlobulated"], p=settings.benign_margins))
    posterior_odds = settings.behind_cyst if pattern == CYST else settings.behind
    posterior = str(rng.choice([ENHANCEMENT, SHADOW, NO_POSTERIOR], p=posterior_odds))
    strength = rng.uniform(4, 10) if pattern == CYST else rng.uniform(2.5, 7)
    contrast = {CYST: (24, 38), HYPOECHOIC: (16, 30), ISOECHOIC: (9, 13), HETEROGENEOUS: (12, 22)}[pattern]
    has_capsule = pattern == ISOECHOIC or rng.random() < settings.capsule
    return Lesion(
        class_name=BENIGN,
        outline=_outline(rng, area_mm2, aspect, tilt=rng.normal(0, 0.13), radius=_radius(rng, shape, margin)),
        shape=shape,
        margin=margin,
        pattern=pattern,
        posterior=posterior,
        contrast_db=rng.uniform(*contrast),
        texture_db=rng.uniform(2.0, 4.0) if pattern == HETEROGENEOUS else rng.uniform(0.7, 2.2),
        blur_mm=rng.uniform(0.7, 1.6) if margin == "indistinct" else rng.uniform(0.2, 0.7),
        posterior_db={ENHANCEMENT: strength, SHADOW: -strength, NO_POSTERIOR: 0.0}[posterior],
        capsule=rng.uniform(0.3, 1.2) if has_capsule else 0.0,
        halo_db=rng.uniform(*settings.halo_db) if rng.random() < settings.halo else 0.0,
        calcifications=whole_number(rng, *settings.calcifications) if rng.random() < settings.calcified else 0,
    )


def _malignant(settings: SimulationSettings, rng: np.random.Generator, area_mm2: float) -> Lesion:
    pattern = str(rng.choice([HETEROGENEOUS, HYPOECHOIC, ISOECHOIC], p=[0.62, 0.34, 0.04]))
    shape = str(rng.choice(["irregular", "lobulated", "oval"], p=settings.malignant_shapes))
    margins = ["spiculated", "angular", "microlobulated", "indistinct", "circumscribed"]
    margin = str(rng.choice(margins, p=settings.malignant_margins))
    tall = rng.random() < settings.malignant_upright
    aspect = rng.uniform(1.05, 1.6) if tall else rng.uniform(0.6, 0.98)
    posterior = str(rng.choice([SHADOW, NO_POSTERIOR, ENHANCEMENT], p=settings.behind_malignant))
    strength = rng.uniform(5, 17) if posterior == SHADOW else rng.uniform(2, 6)
    contrast = {HETEROGENEOUS: (11, 22), HYPOECHOIC: (14, 25), ISOECHOIC: (9, 13)}[pattern]
    return Lesion(
        class_name=MALIGNANT,
        outline=_outline(rng, area_mm2, aspect, tilt=rng.normal(0, 0.2), radius=_radius(rng, shape, margin)),
        shape=shape,
        margin=margin,
        pattern=pattern,
        posterior=posterior,
        contrast_db=rng.uniform(*contrast),
        texture_db=rng.uniform(2.5, 5.0) if pattern == HETEROGENEOUS else rng.uniform(1.0, 2.0),
        blur_mm=rng.uniform(0.8, 2.2) if margin == "indistinct" else rng.uniform(0.35, 1.2),
        posterior_db={ENHANCEMENT: strength, SHADOW: -strength, NO_POSTERIOR: 0.0}[posterior],
        halo_db=rng.uniform(*settings.malignant_halo_db) if rng.random() < settings.malignant_halo else 0.0,
        calcifications=whole_number(rng, *settings.malignant_calcifications)
        if rng.random() < settings.malignant_calcified
        else 0,
        strands=margin == "spiculated",
    )


def _outline(rng: np.random.Generator, area_mm2: float, aspect: float, *, tilt: float, radius: Float) -> Outline:
    """``aspect`` is height over width of the ellipse before tilting; the curve is scaled to enclose the area."""
    width = np.sqrt(area_mm2 / (np.pi * aspect * float(np.mean(radius**2))))
    flipped = radius[::-1] if rng.random() < 0.5 else radius
    return Outline(
        lateral_mm=0.0,
        depth_mm=0.0,
        half_width_mm=float(width),
        half_height_mm=float(width * aspect),
        tilt=float(tilt),
        radius=tuple(float(value) for value in flipped),
    )


def _radius(rng: np.random.Generator, shape: str, margin: str) -> Float:
    """Factors at ANGLES: the shape's slow waves and the margin's fine ones."""
    waves = {"oval": (2, 4, 0.018), "round": (2, 4, 0.012), "lobulated": (2, 3, 0.07), "irregular": (2, 7, 0.06)}
    low, high, strength = waves[shape]
    radius = 1 + _ripple(rng, low=low, high=high, strength=strength)
    if margin == "angular":
        radius = 0.35 * radius + 0.65 * _polygon(rng)
    elif margin == "microlobulated":
        lobes, start = int(rng.integers(8, 15)), rng.uniform(0, np.pi)
        radius += rng.uniform(0.05, 0.09) * (np.abs(np.sin(lobes / 2 * ANGLES + start)) - 0.6)
    elif margin == "spiculated":
        radius = 0.9 * radius + _spicules(rng)
    radius[-1] = radius[0]
    return np.clip(radius, 0.35, 1.9).astype(np.float32)


def _ripple(rng: np.random.Generator, *, low: int, high: int, strength: float) -> Float:
    """A random periodic curve at ANGLES of the orders ``low``..``high``; higher orders are weaker."""
    orders = np.arange(low, high + 1)
    heights = rng.normal(0, strength, len(orders)) * np.sqrt(low / orders)
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    return (heights * np.cos(orders * ANGLES[:, None] + phases)).sum(axis=1).astype(np.float32)


def _polygon(rng: np.random.Generator) -> Float:
    """Distance from the centre to a random polygon of 5..8 corners, at ANGLES."""
    corners = int(rng.integers(5, 9))
    angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * (2 * np.pi / corners) - np.pi
    reach = rng.uniform(0.78, 1.3, corners)
    points = np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1)
    steps = np.linspace(0, 1, 64, endpoint=False)[:, None, None]
    edge = (points * (1 - steps) + np.roll(points, -1, axis=0) * steps).reshape(-1, 2)
    around = np.arctan2(edge[:, 1], edge[:, 0])
    order = np.argsort(around)
    length = np.hypot(edge[:, 0], edge[:, 1])[order]
    return np.interp(ANGLES, around[order], length, period=2 * np.pi).astype(np.float32)


def _spicules(rng: np.random.Generator) -> Float:
    """Narrow peaks at ANGLES."""
    total = np.zeros(len(ANGLES), dtype=np.float32)
    for _ in range(int(rng.integers(6, 12))):
        away = np.angle(np.exp(1j * (ANGLES - rng.uniform(-np.pi, np.pi))))
        width = rng.uniform(0.07, 0.17)
        total += (rng.uniform(0.12, 0.42) * np.exp(-(np.abs(away / width) ** 1.5))).astype(np.float32)
    return total


def insert(lesion: Lesion, tissue: Tissue, grid: BeamGrid, rng: np.random.Generator) -> Float:
    """Put the lesion into the tissue, in place; returns its (Z, X) distance map, negative inside."""
    lateral, depth = grid.positions()
    distance = lesion.outline.distance(lateral, depth)
    roughness = smooth_noise(rng, grid, 0.5, 0.4) * np.float32(0.5 * lesion.blur_mm)
    inside = soft_step(distance + roughness, 0.35 * lesion.blur_mm)
    _surround(lesion, tissue, distance, grid, rng)
    ring = (distance > 0) & (distance < 3)
    around = float(tissue.echo_db[ring].mean()) if ring.any() else -4.0
    texture = smooth_noise(rng, grid, 1.2, 0.8) + 0.6 * smooth_noise(rng, grid, 3.5, 2.5)
    deep = np.clip(-distance / np.float32(0.6 * min(lesion.outline.half_extent_mm)), 0, 1)
    level = np.float32(around) - np.float32(lesion.contrast_db) * (0.8 + 0.3 * deep)
    within = level + texture * np.float32(lesion.texture_db)
    tissue.echo_db += inside * (within - tissue.echo_db)
    tissue.mirror *= 1 - np.clip(1.3 * inside, 0, 1)
    _face_beam(lesion, tissue, distance, grid, rng)
    _calcify(lesion, tissue, distance, rng)
    _change_behind(lesion, tissue, inside, distance, lateral)
    return distance


def _surround(lesion: Lesion, tissue: Tissue, distance: Float, grid: BeamGrid, rng: np.random.Generator) -> None:
    """Halo and strands outside the boundary."""
    if lesion.halo_db:
        patchy = np.clip(0.6 + 0.5 * smooth_noise(rng, grid, 2.5, 2.0), 0, 1.4)
        rim = np.exp(-(((distance - np.float32(1.0)) / np.float32(1.2)) ** 2))
        tissue.echo_db += np.float32(lesion.halo_db) * rim * patchy
    if lesion.strands:
        lateral, depth = grid.positions()
        angle = np.arctan2(depth - np.float32(lesion.outline.depth_mm), lateral - np.float32(lesion.outline.lateral_mm))
        curve = _ripple(rng, low=9, high=22, strength=0.35)
        rays = np.interp(angle, ANGLES, curve).astype(np.float32)
        reach = np.exp(-(np.clip(distance, 0, None) / np.float32(0.45 * lesion.outline.half_width_mm + 1)))
        tissue.echo_db += np.where(distance > 0, 7 * np.clip(rays, -0.6, 1) * reach, 0)


def _face_beam(lesion: Lesion, tissue: Tissue, distance: Float, grid: BeamGrid, rng: np.random.Generator) -> None:
    """The capsule's echo: strong where the boundary lies across the beam, absent where it runs along it."""
    if not lesion.capsule:
        return
    line = np.exp(np.square(distance - np.float32(0.15)) * np.float32(-0.5 / 0.1**2))
    facing = across_beam(distance, grid) * np.clip(0.7 + 0.5 * smooth_noise(rng, grid, 1.5, 1.5), 0, 1.4)
    tissue.mirror += np.float32(lesion.capsule) * line * facing * facing * facing
    tissue.echo_db += 4 * facing * np.exp(np.square(distance - np.float32(0.2)) * np.float32(-0.5 / 0.18**2))


def _calcify(lesion: Lesion, tissue: Tissue, distance: Float, rng: np.random.Generator) -> None:
    places = np.argwhere(distance < -0.15 * min(lesion.outline.half_extent_mm))
    if not lesion.calcifications or not len(places):
        return
    spots = places[rng.integers(0, len(places), lesion.calcifications)]
    tissue.mirror[spots[:, 0], spots[:, 1]] += rng.uniform(2, 6, len(spots)).astype(np.float32)


def _change_behind(lesion: Lesion, tissue: Tissue, inside: Float, distance: Float, lateral: Float) -> None:
    """Spread the posterior change over the path through the lesion; round smooth lesions also shade at their edges."""
    path_mm = 2 * lesion.outline.half_extent_mm[1]
    tissue.loss_db_per_mm -= inside * np.float32(lesion.posterior_db / path_mm)
    if lesion.margin == "circumscribed":
        half_width = lesion.outline.half_extent_mm[0]
        offset = np.abs(lateral - np.float32(lesion.outline.lateral_mm)) - np.float32(half_width)
        edge = np.exp(-((offset / np.float32(0.35)) ** 2)) * (np.abs(distance) < np.float32(0.8))
        tissue.loss_db_per_mm += np.float32(1.6) * edge
