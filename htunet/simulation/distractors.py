"""Structures that look like lesions and are none: fat lobules in the gland, vessels, ribs."""

from dataclasses import replace

import numpy as np

from htunet.simulation.lesions import Lesion, Outline, is_free
from htunet.simulation.physics import BeamGrid, Tissue, across_beam, smooth_noise, soft_step
from htunet.simulation.tissue import Anatomy

FAT_LOBULE, VESSEL, RIB = "fat lobule", "vessel", "rib"


def add_distractors(
    tissue: Tissue, grid: BeamGrid, anatomy: Anatomy, lesions: list[Lesion], rng: np.random.Generator
) -> tuple[str, ...]:
    """Put a random choice of distractors beside the lesions, in place; returns the names of those that are there."""
    names = []
    for _ in range(int(rng.choice([0, 1, 2, 3, 4], p=[0.3, 0.25, 0.2, 0.15, 0.1]))):
        half_width = rng.uniform(1.5, 5.5)
        lobule = Outline(
            lateral_mm=rng.uniform(-0.5, 0.5) * grid.width_mm,
            depth_mm=rng.uniform(0.2, 0.75) * grid.depth_mm,
            half_width_mm=half_width,
            half_height_mm=half_width * rng.uniform(0.3, 0.65),
            tilt=rng.normal(0, 0.25),
        )
        if is_free(replace(lobule, half_height_mm=0.6 * half_width, tilt=0.0), lesions):
            add_fat_lobule(tissue, grid, anatomy, rng, lobule)
            names.append(FAT_LOBULE)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.65, 0.25, 0.1]))):
        lateral, depth = rng.uniform(-0.45, 0.45) * grid.width_mm, rng.uniform(0.2, 0.7) * grid.depth_mm
        if is_free(Outline(lateral_mm=lateral, depth_mm=depth, half_width_mm=1.0, half_height_mm=0.6), lesions):
            add_vessel(tissue, grid, rng, lateral, depth)
            names.append(VESSEL)
    floors = [lesion.outline.depth_mm + lesion.outline.half_extent_mm[1] for lesion in lesions]
    bottom = max([0.68 * grid.depth_mm, *(floor + 1 for floor in floors)])
    if rng.random() < 0.15 and bottom < 0.95 * grid.depth_mm:
        add_rib(tissue, grid, rng, rng.uniform(bottom, 0.97 * grid.depth_mm))
        names.append(RIB)
    return tuple(dict.fromkeys(names))


def add_fat_lobule(
    tissue: Tissue, grid: BeamGrid, anatomy: Anatomy, rng: np.random.Generator, outline: Outline
) -> None:
    """An island of fat in the gland: as dark as fat, soft-edged, with a bright roof and floor. It is no lesion."""
    distance = outline.distance(*grid.positions())
    inside = soft_step(distance, rng.uniform(0.12, 0.35))
    level = np.float32(min(anatomy.fat_db, -4) + rng.normal(0, 1.5)) + smooth_noise(rng, grid, 2.0, 0.5)
    tissue.echo_db += inside * (level - tissue.echo_db)
    facing = across_beam(distance, grid)
    rim = np.exp(np.square(distance) * np.float32(-0.5 / 0.12**2)) * facing * facing
    rim *= np.clip(0.4 + 0.8 * smooth_noise(rng, grid, 1.5, 1.0), 0, 1.5) * np.float32(rng.uniform(0.1, 1))
    tissue.mirror += 0.4 * rim
    tissue.echo_db += 6 * rim


def add_vessel(tissue: Tissue, grid: BeamGrid, rng: np.random.Generator, lateral_mm: float, depth_mm: float) -> None:
    """A duct or vessel cut lengthwise: a narrow dark band, gently curved, of a few millimetres' length."""
    lateral, depth = grid.positions()
    across = lateral - np.float32(lateral_mm)
    length, bend, slope = rng.uniform(2, 7), rng.normal(0, 0.02), rng.normal(0, 0.25)
    axis = np.float32(depth_mm) + np.float32(slope) * across + np.float32(bend) * across**2
    half = np.float32(rng.uniform(0.35, 0.9))
    end = np.clip(1 - np.square(across / np.float32(length)), 0, 1)
    inside = end * soft_step(np.abs(depth - axis) - half * end, 0.15)
    tissue.echo_db -= inside * np.float32(rng.uniform(8, 20))
    wall = np.exp(-0.5 * ((np.abs(depth - axis) - half) / np.float32(0.1)) ** 2)
    tissue.mirror += np.float32(rng.uniform(0.05, 0.3)) * wall * end


def add_rib(tissue: Tissue, grid: BeamGrid, rng: np.random.Generator, depth_mm: float) -> None:
    """A rib at the bottom: a bright arc and next to nothing behind it."""
    lateral, depth = grid.positions()
    across = lateral - np.float32(rng.uniform(-0.5, 0.5) * grid.width_mm)
    half = np.float32(rng.uniform(5, 11))
    ripple_X = smooth_noise(rng, grid, 3.0, grid.depth_mm)[0] * np.float32(0.35)
    surface = np.float32(depth_mm) + ripple_X + across * across / (rng.uniform(2.5, 6) * half)
    on_rib = np.square(np.clip(1.5 * (1 - np.abs(across) / half), 0, 1))
    line = np.exp(-0.5 * ((depth - surface) / np.float32(0.2)) ** 2) * on_rib
    tissue.mirror += np.float32(rng.uniform(0.3, 1.2)) * line
    tissue.echo_db += 9 * line
    behind = np.clip((depth - surface) / np.float32(0.6), 0, 1) * on_rib
    tissue.loss_db_per_mm += behind * np.float32(rng.uniform(4, 9))
    tissue.echo_db -= 14 * behind
