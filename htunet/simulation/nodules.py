"""Lesions of every organ, drawn from the ranges of the settings, and put into a scene with their finer parts."""

from dataclasses import dataclass, replace

import numpy as np

from htunet.simulation.lesions import (
    BENIGN,
    CYST,
    ENHANCEMENT,
    HETEROGENEOUS,
    HYPOECHOIC,
    ISOECHOIC,
    NO_POSTERIOR,
    SHADOW,
    Lesion,
    draw_lesion,
    insert,
)
from htunet.simulation.physics import BeamGrid, Float
from htunet.simulation.scene import LABEL, Scene, log_uniform
from htunet.simulation.settings import SimulationSettings, whole_number

HYPERECHOIC, CYSTIC_AND_SOLID = "hyperechoic", "cystic and solid"


@dataclass(frozen=True, kw_only=True)
class Nodule:
    """A lesion with the finer parts that ``Lesion`` does not have."""

    lesion: Lesion
    cystic_share: float = 0.0
    """Share of the inside that is fluid."""
    dark_rim_db: float = 0.0
    coarse_calcification: bool = False
    hilum: bool = False
    """A bright middle, as lymph nodes have."""
    tissue: str = "lesion"


def draw_nodule(settings: SimulationSettings, organ: str, rng: np.random.Generator, field_mm2: float) -> Nodule:
    """A lesion around (0, 0); ``field_mm2`` is the area of the field, of which it takes a share."""
    class_name = "malignant" if rng.random() < settings.malignant else BENIGN
    area = log_uniform(rng, *settings.area) * field_mm2
    if organ == "thyroid":  # whose pictures are cut closer
        area = min(1.4 * area, settings.area[1] * field_mm2)
    if area > 0.08 * field_mm2 and rng.random() < settings.large_shrunk:  # large ones are rarer than their range says
        area *= rng.uniform(0.2, 0.7)
    lesion = draw_lesion(rng, class_name, area, settings)
    pattern = _draw_pattern(settings, class_name, rng)
    contrast = {
        CYST: rng.uniform(*settings.cyst_db),
        HYPERECHOIC: -rng.uniform(*settings.hyperechoic_db),
        ISOECHOIC: rng.uniform(*settings.isoechoic_db),
        CYSTIC_AND_SOLID: rng.uniform(-1.0, settings.mixed_contrast * settings.contrast_db[1]),
    }.get(pattern, rng.uniform(*settings.contrast_db))
    posterior = lesion.posterior
    if organ == "thyroid" and posterior == SHADOW and rng.random() < settings.thyroid_no_shadow:
        posterior = NO_POSTERIOR
    strength = {ENHANCEMENT: rng.uniform(*settings.enhancement_db), SHADOW: -rng.uniform(*settings.shadowing_db)}
    thyroid = organ == "thyroid"
    if thyroid and pattern != CYST:
        contrast *= 0.65
    lesion = replace(
        lesion,
        pattern=pattern,
        contrast_db=contrast,
        texture_db=rng.uniform(0.4, 1.6) if pattern in (CYST, ISOECHOIC) else rng.uniform(0.5, 4.5),
        posterior=posterior,
        posterior_db=strength.get(posterior, 0.0),
        blur_mm=_draw_blur(settings, lesion.margin, rng),
        halo_db=0.0 if thyroid else lesion.halo_db,
        strands=lesion.strands and not thyroid,
        capsule=rng.uniform(0.3, 1.2)
        if pattern == ISOECHOIC and rng.random() < settings.isoechoic_capsule
        else lesion.capsule,
        calcifications=whole_number(rng, *settings.thyroid_calcifications)
        if thyroid and rng.random() < settings.thyroid_calcified
        else lesion.calcifications,
    )
    if rng.random() < settings.flat and lesion.margin != "spiculated":
        lesion = _reshaped(lesion, rng.uniform(0.2, 0.42))
    elif rng.random() < (0.5 if thyroid else 0.35):
        lesion = _reshaped(lesion, rng.uniform(0.45, 1.2 if thyroid else 0.9))
    dark_rim = thyroid and pattern != CYST and rng.random() < settings.dark_halo
    return Nodule(
        lesion=lesion,
        cystic_share=rng.uniform(*settings.cystic_part) if pattern == CYSTIC_AND_SOLID else 0.0,
        dark_rim_db=rng.uniform(*settings.dark_halo_db) if dark_rim else 0.0,
        coarse_calcification=bool(pattern != CYST and rng.random() < settings.coarse_calcification),
    )


def _draw_pattern(settings: SimulationSettings, class_name: str, rng: np.random.Generator) -> str:
    benign = class_name == BENIGN
    shares = {
        CYST: settings.anechoic * benign,
        ISOECHOIC: settings.isoechoic,
        HYPERECHOIC: settings.hyperechoic * (1.0 if benign else settings.malignant_hyperechoic),
        CYSTIC_AND_SOLID: settings.mixed * (1.0 if benign else settings.malignant_mixed),
    }
    rest = 1 - sum(shares.values())
    even = settings.homogeneous if benign else settings.malignant_homogeneous
    shares |= {HYPOECHOIC: rest * even, HETEROGENEOUS: rest * (1 - even)}
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))


def _draw_blur(settings: SimulationSettings, margin: str, rng: np.random.Generator) -> float:
    """Circumscribed lesions take the lower part of the range, indistinct ones the upper."""
    low, high = settings.blur_mm
    middle = float(np.sqrt(low * high))
    if margin == "indistinct":
        return log_uniform(rng, middle, high)
    return log_uniform(rng, low, middle if margin == "circumscribed" else float(np.sqrt(middle * high)))


def _reshaped(lesion: Lesion, aspect: float) -> Lesion:
    """The lesion with another height over width and the same area."""
    outline = lesion.outline
    mean = np.sqrt(outline.half_width_mm * outline.half_height_mm)
    width, height = float(mean / np.sqrt(aspect)), float(mean * np.sqrt(aspect))
    shape = "oval" if lesion.shape == "round" else lesion.shape
    outline = replace(outline, half_width_mm=width, half_height_mm=height, tilt=outline.tilt * min(aspect, 1.0))
    return replace(lesion, outline=outline, shape=shape)


def moved(nodule: Nodule, lateral_mm: float, depth_mm: float) -> Nodule:
    """The nodule at that place."""
    outline = replace(nodule.lesion.outline, lateral_mm=float(lateral_mm), depth_mm=float(depth_mm))
    return replace(nodule, lesion=replace(nodule.lesion, outline=outline))


def placed(
    nodule: Nodule, grid: BeamGrid, settings: SimulationSettings, rng: np.random.Generator, top_mm: float
) -> Nodule:
    """Anywhere in the field below ``top_mm``, or right at it; now and then an edge of the field cuts it."""
    half_width, half_height = nodule.lesion.outline.half_extent_mm
    side = max(grid.width_mm / 2 - half_width * rng.choice([1.0, 1.0, 0.6]), 0.0)
    share = rng.normal(0, 0.14) if rng.random() < 0.75 else rng.uniform(-0.45, 0.45)
    lateral = np.clip(share * grid.width_mm, -side, side)
    top = top_mm + half_height
    bottom = max(top, grid.depth_mm - half_height * rng.choice([1.1, 1.1, 0.5]))
    depth = top + rng.uniform(-0.2, 1.0) if rng.random() < settings.superficial else rng.beta(1.7, 3.0) * grid.depth_mm
    return moved(nodule, lateral, np.clip(depth, top, bottom))


def insert_nodule(nodule: Nodule, scene: Scene) -> Float:
    """Put it into the scene; returns its (Z, X) distance map, negative inside."""
    rng, grid = scene.rng, scene.grid
    distance = insert(nodule.lesion, scene.tissue, grid, rng)
    small = min(nodule.lesion.outline.half_extent_mm)
    if nodule.cystic_share:
        grain = small * rng.uniform(0.12, 0.6)
        field = scene.noise(grain, grain)
        within = (distance < -0.08 * small) & (distance > -9 * small)
        if within.any():
            limit = np.quantile(field[within], 1 - nodule.cystic_share)
            fluid = np.clip((field - limit) * np.float32(rng.uniform(1.5, 6)), 0, 1) * np.clip(
                -distance / np.float32(0.3), 0, 1
            )
            scene.tissue.echo_db -= np.float32(rng.uniform(*scene.settings.fluid_db)) * fluid
    if nodule.dark_rim_db:
        width = np.float32(rng.uniform(0.25, 0.8))
        patchy = np.clip(0.8 + 0.5 * scene.noise(3.0, 3.0), 0, 1.4)
        scene.tissue.echo_db -= nodule.dark_rim_db * patchy * np.exp(-np.square(distance / width))
    if nodule.hilum:
        scene.fill(distance + np.float32(0.45 * small), nodule.tissue, rng.uniform(-3, 4), scene.noise(0.8, 0.4), 0.8)
    scene.labels[distance < 0] = LABEL[nodule.tissue]
    if nodule.coarse_calcification:
        _calcify_coarsely(scene, distance)
    scene.lesions.append(nodule.lesion)
    scene.distances.append(distance)
    return distance


def _calcify_coarsely(scene: Scene, distance: Float) -> None:
    """A bright plate of a few millimetres with a shadow behind."""
    places = np.argwhere(distance < 0)
    if not len(places):
        return
    row, column = places[scene.rng.integers(len(places))]
    lateral = scene.lateral - scene.lateral[row, column]
    depth = scene.depth - scene.depth[row, column]
    half = np.float32(scene.rng.uniform(0.6, 2.5))
    plate = np.exp(-np.square(np.square(lateral / half)) - np.square((depth + lateral * lateral / (6 * half)) / 0.35))
    scene.tissue.echo_db += np.float32(scene.rng.uniform(8, 18)) * plate
    scene.tissue.loss_db_per_mm += np.float32(scene.rng.uniform(4, 18)) * plate
