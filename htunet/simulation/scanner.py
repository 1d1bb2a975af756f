"""A random machine: its transducer, field and receiver, its errors of gain compensation, and artefacts of its beams."""

from dataclasses import replace

import numpy as np

from htunet.simulation.artefacts import ligament_shadow, near_field, poor_contact, reverberation
from htunet.simulation.physics import (
    CURVED,
    LINEAR,
    TRAPEZOID,
    BeamGrid,
    Float,
    Geometry,
    Receiver,
    Transducer,
    envelope,
    level_db,
    log_compress,
    loudest_db,
    smooth_noise,
)
from htunet.simulation.scene import Scene, log_uniform
from htunet.simulation.settings import SimulationSettings, whole_number

MOST_LOSS_AT_LESION_DB = 12.0
"""Largest loss of gain compensation at the depth of a lesion: nobody measures one where the picture is black."""


def draw_grid(settings: SimulationSettings, organ: str, rng: np.random.Generator, size: tuple[int, int]) -> BeamGrid:
    """The field of a transducer that suits the organ, sampled about as finely as a panel of ``size`` (H, W) pixels."""
    draw = rng.random()
    geometry: Geometry = LINEAR
    if organ == "prostate" or draw < settings.curved:
        geometry = CURVED
    elif draw < settings.curved + settings.trapezoid:
        geometry = TRAPEZOID
    shallowest, deepest = settings.depth_mm
    if organ == "thyroid":  # behind the muscles of the neck
        shallowest = min(max(shallowest, settings.thyroid_depth_mm), deepest)
    deep = geometry == CURVED and organ in ("prostate", "muscle", "vessel")
    depth = log_uniform(rng, *(settings.curved_depth_mm if deep else (shallowest, deepest)))
    width = depth * rng.uniform(*(settings.linear_width if geometry == LINEAR else settings.curved_width))
    radius = settings.trapezoid_radius if geometry == TRAPEZOID else settings.curved_radius
    return BeamGrid(
        geometry=geometry,
        depth_mm=depth,
        width_mm=float(np.clip(width, *settings.face_mm)),
        apex_mm=depth * rng.uniform(*radius),
        num_samples=max(64, round(1.1 * size[0])),
        num_beams=max(64, round(size[1])),
        pad=8,
    )


def draw_transducer(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Transducer:
    """The deeper the field, the lower the frequency: sound of 12 MHz reaches some 60 mm."""
    low, high = settings.frequency_mhz
    usual = settings.penetration / grid.depth_mm * np.exp(rng.normal(0, settings.frequency_spread))
    return Transducer(
        frequency_mhz=float(np.clip(usual, low, high)),
        f_number=rng.uniform(*settings.f_number),
        focus_mm=rng.uniform(*settings.focus) * grid.depth_mm,
    )


def draw_receiver(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> Receiver:
    """Compounding, noise, and the way to gray values."""
    return Receiver(
        looks=round(rng.uniform(*settings.looks)),
        noise_db=rng.uniform(*settings.noise_db),
        noise_rise_db_per_mm=rng.uniform(*settings.noise_rise_db) / grid.depth_mm,
        dynamic_range_db=rng.uniform(*settings.dynamic_range_db),
        gain_db=0.0,  # set to the brightness in scan
        gamma=log_uniform(rng, *settings.gamma),
        speckle_reduction=rng.uniform(*settings.speckle_reduction),
    )


def scan(settings: SimulationSettings, scene: Scene, transducer: Transducer, receiver: Receiver) -> Float:
    """(Z, X) gray values 0..1 of the scene, which afterwards holds the losses and reverberation of the scan."""
    _disturb(settings, scene)
    detected = envelope(scene.rng, scene.tissue, scene.grid, transducer, receiver)
    return log_compress(detected, _with_gain(receiver, detected, scene.rng.uniform(*settings.brightness)))


def _with_gain(receiver: Receiver, detected: Float, brightness: float) -> Receiver:
    """The receiver with the gain that gives about that mean gray value, found by halving."""
    level = level_db(detected[::3, ::3])
    low, high = float(level.min()), float(level.max()) + receiver.dynamic_range_db
    for _ in range(10):
        top = (low + high) / 2
        share = np.clip((level - np.float32(top)) / np.float32(receiver.dynamic_range_db) + 1, 0, 1)
        if float((share ** np.float32(receiver.gamma)).mean()) > brightness:
            low = top
        else:
            high = top
    return replace(receiver, gain_db=float(loudest_db(detected)) - top)


def _disturb(settings: SimulationSettings, scene: Scene) -> None:
    """What lies between the face and the tissue, and what gain compensation misses, in place."""
    tissue, grid, rng = scene.tissue, scene.grid, scene.rng
    near_field(tissue, grid, rng)
    share = grid.sample_depth / np.float32(grid.depth_mm)
    fall = np.float32(rng.uniform(*settings.tgc_db)) * share ** np.float32(rng.uniform(*settings.tgc_bend))
    deepest = max((one.outline.depth_mm for one in scene.lesions), default=0.0)
    there = float(np.interp(deepest, grid.sample_depth, fall))
    fall *= min(1.0, MOST_LOSS_AT_LESION_DB / max(there, 1.0))
    knots = np.interp(share, np.linspace(0, 1, 7), rng.normal(0, settings.tgc_error_db, 7)).astype(np.float32)
    beams = smooth_noise(rng, grid, 0.8, grid.depth_mm)[0] * np.float32(0.35)
    tissue.echo_db += (knots - fall)[:, None] + beams
    tissue.mirror *= np.exp((knots - fall) * np.float32(np.log(10) / 20))[:, None]
    patchy = smooth_noise(rng, grid, 3.5, 6.0)
    tissue.loss_db_per_mm += patchy * np.float32(rng.uniform(*settings.uneven_db) / grid.depth_mm)
    if rng.random() < settings.contact:
        poor_contact(tissue, grid, rng, settings.contact_db)
    if rng.random() < settings.shadow:
        spans = [one.outline.span_mm for one in scene.lesions]
        for _ in range(whole_number(rng, *settings.shadows)):
            ligament_shadow(tissue, grid, rng, spans, settings.shadow_loss)
    if rng.random() < settings.broad_shadow:
        _broad_shadow(scene)
    if rng.random() < settings.reverberation:
        before = tissue.mirror.copy()
        reverberation(tissue, grid, rng, settings.reverberation_strength)
        scene.reverberating |= np.abs(tissue.mirror - before) > 0.03


def _broad_shadow(scene: Scene) -> None:
    """Behind the nipple, a scar or a fold of skin: a wide soft shadow with no lesion at its top, beside the lesions."""
    grid, rng = scene.grid, scene.rng
    place, half = rng.uniform(-0.5, 0.5) * grid.width_mm, rng.uniform(0.05, 0.2) * grid.width_mm
    for lesion in scene.lesions:
        if abs(place - lesion.outline.lateral_mm) < half + lesion.outline.half_extent_mm[0]:
            return
    top = rng.uniform(0.02, 0.4) * grid.depth_mm
    slant = np.float32(rng.normal(0, 0.15))
    face = grid.beam_lateral - np.float32(place)
    across = (face + slant * (grid.sample_depth[:, None] - np.float32(top))) / np.float32(half)
    weight = np.exp(-np.square(across * across)) * (1 + 0.3 * scene.noise(2.0, 8.0))
    start = np.clip((grid.sample_depth - np.float32(top)) / np.float32(3), 0, 1)[:, None]
    reach = np.exp(-np.clip(grid.sample_depth - np.float32(top), 0, None) / np.float32(0.35 * grid.depth_mm))[:, None]
    total = rng.uniform(*scene.settings.broad_shadow_db) / (0.35 * grid.depth_mm)
    scene.tissue.loss_db_per_mm += np.float32(total) * np.clip(weight, 0, 1.5) * start * reach
