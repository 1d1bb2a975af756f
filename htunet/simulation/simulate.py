"""One simulated image with its truth, as a function of (settings, seed, index) and of nothing else."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from htunet.errors import HtunetError
from htunet.reproducibility import generator
from htunet.simulation.artefacts import REVERBERATION, shade_all
from htunet.simulation.display import sample, to_gray
from htunet.simulation.distractors import add_distractors
from htunet.simulation.lesions import BENIGN, MALIGNANT, Lesion, draw_lesion, insert
from htunet.simulation.physics import (
    LINEAR,
    BeamGrid,
    Float,
    Receiver,
    Transducer,
    accumulated_loss,
    envelope,
    log_compress,
)
from htunet.simulation.sentences import caption
from htunet.simulation.settings import SimulationSettings
from htunet.simulation.tissue import build_tissue, draw_anatomy

UInt8 = NDArray[np.uint8]
NO_LESION = "none"
TISSUES = (
    "outside", "skin", "fat", "gland", "muscle", "bone", "vessel", "lesion", "thyroid", "air", "lymph node",
    "prostate", "other",
)  # fmt: skip
"""The classes of the map ``tissue``; the position is the label."""
SIGNS = {
    "shape": ("oval", "round", "lobulated", "irregular"),
    "orientation": ("parallel", "not parallel"),
    "margin": ("circumscribed", "indistinct", "angular", "microlobulated", "spiculated"),
    "echo pattern": ("anechoic", "hypoechoic", "isoechoic", "hyperechoic", "heterogeneous", "cystic and solid"),
    "posterior features": ("none", "enhancement", "shadowing"),
    "calcifications": ("none", "present"),
    "halo": ("none", "present"),
}
"""The signs of a lesion after BI-RADS, and the values that each may have."""


@dataclass(frozen=True, kw_only=True)
class SimulatedImage:
    """One simulated image and what is known about it. H and W are those of the settings."""

    image: UInt8
    """(H, W) gray values."""
    lesion: UInt8
    """(H, W) 1 inside a lesion, else 0."""
    dense: dict[str, NDArray]
    """(H, W) maps: ``tissue`` uint8, a position in TISSUES; ``shadow`` and ``reverberation`` bool; ``depth`` float16,
    mm from the face of the transducer; outside the insonified field all are 0."""
    lesion_class: str
    """benign, malignant or none."""
    signs: dict[str, str]
    """Those of SIGNS, of the first lesion; empty without a lesion."""
    caption: str
    organ: str


def simulate(settings: SimulationSettings, seed: int, index: int) -> SimulatedImage:
    """Image ``index`` of the stream ``seed``: any image can be made at any time, in any order, by any process.

    Raises HtunetError for a negative index.
    """
    if index < 0:
        raise HtunetError(f"The index of a simulated image must be at least 0, got {index}.")
    rng = generator(seed, "simulated image", index)
    grid = _draw_field(rng)
    lesions = _draw_lesions(settings, grid, rng)
    anatomy = draw_anatomy(rng, grid.depth_mm)
    tissue = build_tissue(anatomy, grid, lesions, rng)
    artefacts = add_distractors(tissue, grid, anatomy, lesions, rng)
    distances = [insert(lesion, tissue, grid, rng) for lesion in lesions]
    spans = [(item.outline.lateral_mm, item.outline.half_extent_mm[0]) for item in lesions]
    artefacts += shade_all(tissue, grid, rng, [(lateral - half, lateral + half) for lateral, half in spans])
    transducer = Transducer(
        frequency_mhz=rng.uniform(max(6.0, settings.frequency_mhz[0]), settings.frequency_mhz[1]),
        f_number=rng.uniform(2.0, 3.6),
        focus_mm=rng.uniform(0.3, 0.7) * grid.depth_mm,
    )
    receiver = Receiver(
        looks=int(rng.integers(1, 4)),
        noise_db=rng.uniform(-50, -38),
        noise_rise_db_per_mm=rng.uniform(0.05, 0.35),
        dynamic_range_db=rng.uniform(*settings.dynamic_range_db),
        gain_db=rng.uniform(*settings.gain_db),
        gamma=rng.uniform(1.0, 1.85),
        speckle_reduction=rng.uniform(0.0, 0.95),
    )
    gray = log_compress(envelope(rng, tissue, grid, transducer, receiver), receiver)
    shadow = (accumulated_loss(tissue.loss_db_per_mm, grid) > 8).astype(np.float32)
    columns = _middles(settings.width, grid.width_mm) - np.float32(grid.width_mm / 2)
    rows = _middles(settings.height, grid.depth_mm)
    depth: Float = np.broadcast_to(grid.sample_depth[:, None], grid.shape).astype(np.float32)
    inside, (picture, dark, deep, *far) = sample([gray, shadow, depth, *distances], grid, columns, rows)
    lesion = np.zeros(inside.shape, dtype=bool)
    for distance in far:
        lesion |= inside & (distance < 0)
    reverberation = inside & (deep < 9) & (REVERBERATION in artefacts)
    return SimulatedImage(
        image=to_gray(np.where(inside, picture, 0)),
        lesion=lesion.astype(np.uint8),
        dense={
            "tissue": np.where(lesion, TISSUES.index("lesion"), inside * TISSUES.index("gland")).astype(np.uint8),
            "shadow": inside & (dark > 0.5),
            "reverberation": reverberation,
            "depth": np.where(inside, deep, 0).astype(np.float16),
        },
        lesion_class=lesions[0].class_name if lesions else NO_LESION,
        signs=signs_of(lesions[0]) if lesions else {},
        caption=caption(lesions, grid.width_mm, rng),
        organ="breast",
    )


def _middles(count: int, length: float) -> Float:
    """(count,) middles of equal parts of 0..length."""
    return (np.arange(count, dtype=np.float32) + np.float32(0.5)) * np.float32(length / count)


def signs_of(lesion: Lesion) -> dict[str, str]:
    """The lesion's values of SIGNS."""
    return {
        "shape": lesion.shape,
        "orientation": "not parallel" if lesion.taller_than_wide else "parallel",
        "margin": lesion.margin,
        "echo pattern": lesion.pattern,
        "posterior features": lesion.posterior,
        "calcifications": "present" if lesion.calcifications else "none",
        "halo": "present" if lesion.halo_db else "none",
    }


def _draw_field(rng: np.random.Generator) -> BeamGrid:
    depth = rng.uniform(22, 50)
    return BeamGrid(
        geometry=LINEAR, depth_mm=depth, width_mm=rng.uniform(0.8, 1.5) * depth, num_samples=288, num_beams=224
    )


def _draw_lesions(settings: SimulationSettings, grid: BeamGrid, rng: np.random.Generator) -> list[Lesion]:
    if rng.random() < settings.no_lesion:
        return []
    class_name = MALIGNANT if rng.random() < settings.malignant else BENIGN
    area = np.exp(rng.uniform(*np.log(settings.area))) * grid.depth_mm * grid.width_mm
    lesion = draw_lesion(rng, class_name, float(area))
    half_width, half_height = lesion.outline.half_extent_mm
    side = max(grid.width_mm / 2 - half_width, 0.0)
    lateral = float(np.clip(rng.uniform(-0.4, 0.4) * grid.width_mm, -side, side))
    top = 1.5 + half_height
    depth = float(np.clip(rng.uniform(0.1, 0.7) * grid.depth_mm, top, max(top, grid.depth_mm - half_height - 1)))
    return [replace(lesion, outline=replace(lesion.outline, lateral_mm=lateral, depth_mm=depth))]
