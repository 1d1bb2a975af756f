"""Healthy breast tissue of the phantom: layers, septa, fibres."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from htunet.simulation.lesions import Lesion
from htunet.simulation.physics import BeamGrid, Float, Tissue, smooth_noise, soft_step
from htunet.simulation.settings import USUAL, SimulationSettings


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One patient's breast: thicknesses in mm from the skin down, levels in dB against glandular tissue."""

    skin_mm: float
    fat_mm: float
    gland_mm: float
    deep_fat_mm: float
    muscle_mm: float
    fat_db: float
    muscle_db: float
    gland_texture_db: float
    septa: float
    """Strength of the septa between fat lobules, 1 is usual."""
    waviness_mm: float
    slope: float
    """Tilt of the layers, mm of depth per mm across."""


def draw_anatomy(rng: np.random.Generator, depth_mm: float, settings: SimulationSettings = USUAL) -> Anatomy:
    """Layers that together fill more or less the depth."""
    weights = (settings.fat_layer, settings.gland_layer, settings.deep_fat_layer, settings.muscle_layer)
    shares = rng.dirichlet(weights) * (depth_mm - 2) * rng.uniform(0.75, 1.1)
    return Anatomy(
        skin_mm=rng.uniform(0.9, 2.0),
        fat_mm=float(shares[0]),
        gland_mm=float(shares[1]),
        deep_fat_mm=float(shares[2]),
        muscle_mm=float(shares[3]),
        fat_db=rng.uniform(-13, -5),
        muscle_db=rng.uniform(-13, -5),
        gland_texture_db=rng.uniform(1.5, 4.0),
        septa=rng.uniform(0.4, 1.6),
        waviness_mm=rng.uniform(0.4, 1.8),
        slope=rng.normal(0, 0.06),
    )


def layered_tissue(
    anatomy: Anatomy, grid: BeamGrid, lesions: list[Lesion], rng: np.random.Generator
) -> tuple[Tissue, list[Float]]:
    """Layered tissue without the lesions, but already bent around benign and drawn towards malignant ones.

    Also how much of each point is skin, fat, gland, deep fat, muscle, and what lies below, (Z, X) each.
    """
    depth = _tissue_depth(anatomy, grid, lesions, rng)
    weights = _layer_weights(anatomy, grid, depth, rng)
    skin, fat, gland, deep_fat, muscle, deep = weights
    follow = follower(depth, grid)
    fibres = follow(smooth_noise(rng, grid, 1.6, 0.2))
    long_fibres = follow(smooth_noise(rng, grid, 5.0, 0.22))
    clouds = follow(smooth_noise(rng, grid, 3.0, 1.3))
    patches = follow(smooth_noise(rng, grid, 1.1, 0.5))
    all_fat = fat + deep_fat
    strength = np.float32(anatomy.gland_texture_db)
    echo = 5 * skin + np.float32(anatomy.fat_db) * all_fat + np.float32(anatomy.muscle_db) * muscle - 10 * deep
    echo += gland * strength * (0.9 * clouds + 0.7 * patches + 0.7 * fibres + 0.4 * long_fibres)
    echo += all_fat * (1.2 * patches + 1.2 * clouds + 1.2 * fibres) + skin * 2 * long_fibres
    echo += (muscle + 0.4 * deep) * (2.0 * fibres + 1.5 * clouds + 9 * np.clip(long_fibres - 0.6, 0, 1.2))
    echo += (gland + 0.5 * muscle) * 7 * np.clip(0.8 * fibres + 0.5 * long_fibres + 0.3 * clouds - 1.0, 0, 1.4)
    echo -= gland * 6 * np.clip(0.8 * patches - 0.5 * clouds - 0.9, 0, 1.2)
    sheets = _septa(anatomy, grid, follow, rng) * (all_fat + 0.3 * gland + 0.3 * muscle) + _fasciae(
        weights, long_fibres
    )
    sheets *= np.clip(1 + 0.5 * patches, 0.1, 2)
    echo += 9 * sheets
    zero = np.zeros(grid.shape, dtype=np.float32)
    mirror = (0.45 * sheets).astype(np.float32)
    return Tissue(echo_db=echo.astype(np.float32), mirror=mirror, loss_db_per_mm=zero), weights


def _tissue_depth(anatomy: Anatomy, grid: BeamGrid, lesions: list[Lesion], rng: np.random.Generator) -> Float:
    """(Z, X) depth at which flat tissue would show what is seen here: bent layers without bending any layer."""
    lateral, _ = grid.positions()
    depth = np.broadcast_to(grid.sample_depth[:, None], grid.shape)
    fade = np.clip(depth / np.float32(6), 0, 1)
    waves = smooth_noise(rng, grid, 8.0, 7.0) + 0.35 * smooth_noise(rng, grid, 2.5, 3.0)
    bent = depth + fade * (np.float32(anatomy.waviness_mm) * waves + np.float32(anatomy.slope) * lateral)
    for lesion in lesions:
        outline = lesion.outline
        width, height = outline.half_extent_mm
        across = (lateral - np.float32(outline.lateral_mm)) / np.float32(1.3 * width)
        down = depth - np.float32(outline.depth_mm)
        near = np.exp(-(across**2) - (down / np.float32(1.5 * height)) ** 2)
        pull = 0.45 if lesion.class_name == "benign" else -0.35
        bent = bent - np.float32(pull) * near * down
    return bent.astype(np.float32)


def follower(depth: Float, grid: BeamGrid) -> Callable[[Float], Float]:
    """Turns a texture of flat tissue into that of the bent one: sampled at each point's tissue depth, linearly."""
    position = np.clip(depth / np.float32(grid.sample_mm) - np.float32(0.5), 0, grid.num_samples - 1.001)
    above = position.astype(np.int32)
    share = position - above
    flat = above * grid.shape[1] + np.arange(grid.shape[1], dtype=np.int32)

    def follow(texture: Float) -> Float:
        upper = texture.ravel().take(flat)
        lower = texture.ravel().take(flat + grid.shape[1])
        return upper + share * (lower - upper)

    return follow


def _layer_weights(anatomy: Anatomy, grid: BeamGrid, depth: Float, rng: np.random.Generator) -> list[Float]:
    """How much of each point is skin, subcutaneous fat, gland, deep fat, muscle, and what lies below; they add to 1."""
    thicknesses = [anatomy.skin_mm, anatomy.fat_mm, anatomy.gland_mm, anatomy.deep_fat_mm, anatomy.muscle_mm]
    bumps = smooth_noise(rng, grid, 2.5, 2.0)
    roughness = [0.02, 0.7, 0.6, 0.25, 0.2]
    widths = [0.12, 0.3, 0.35, 0.25, 0.2]
    below = np.ones(grid.shape, dtype=np.float32)
    weights, bottom = [], 0.0
    for thickness, rough, width in zip(thicknesses, roughness, widths, strict=True):
        bottom += thickness
        above = soft_step(depth + np.float32(rough) * bumps - np.float32(bottom), width)
        weights.append(below * above)
        below = below * (1 - above)
    return [*weights, below]


def _septa(anatomy: Anatomy, grid: BeamGrid, follow: Callable[[Float], Float], rng: np.random.Generator) -> Float:
    """Thin curved lines between fat lobules: where a smooth field is zero, seen where they lie across the beam."""
    folds = smooth_noise(rng, grid, 3.6, 0.9) + np.float32(0.35) * smooth_noise(rng, grid, 1.2, 0.5)
    field = follow(folds)
    slope_z, slope_x = np.gradient(field, grid.sample_mm, grid.beam_mm)
    steepness_squared = slope_z * slope_z + slope_x * slope_x + np.float32(1e-6)
    line = np.exp(field * field / steepness_squared * np.float32(-0.5 / 0.075**2))
    facing = slope_z * slope_z / steepness_squared
    shown = np.clip(0.5 + 0.8 * smooth_noise(rng, grid, 3.0, 1.5), 0, 1.6)
    return np.float32(anatomy.septa) * line * facing * facing * shown


def _fasciae(weights: list[Float], along: Float) -> Float:
    """Bright sheets where one layer ends: the skin's lower edge and the fascia over the muscle."""
    skin, fat, _, deep_fat, muscle, deep = weights
    strength = np.clip(0.7 + 0.5 * along, 0, 2)
    edges = [4 * skin * fat, 4 * deep_fat * muscle, 2 * muscle * deep]
    return strength * sum(edge * edge for edge in edges)
