"""One simulated image with its truth, as a function of (settings, seed, index) and of nothing else."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from htunet.errors import HtunetError
from htunet.reproducibility import generator
from htunet.simulation.display import to_gray
from htunet.simulation.lesions import Lesion
from htunet.simulation.organs import SCENES
from htunet.simulation.physics import BeamGrid, Float, accumulated_loss, smooth_noise
from htunet.simulation.scanner import draw_grid, draw_receiver, draw_transducer, scan
from htunet.simulation.scene import LABEL, Scene
from htunet.simulation.screen import Panel, annotated, developed, draw_panels, draw_window, stored
from htunet.simulation.sentences import caption
from htunet.simulation.settings import SimulationSettings

UInt8 = NDArray[np.uint8]
NO_LESION = "none"
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
SHADOW_DB = 8.0
"""Loss from which on a pixel counts as shadowed."""
LESION_LABELS = (LABEL["lesion"], LABEL["lymph node"])
"""The tissues that count as a lesion."""
FEWEST_PIXELS = 12
"""A lesion with fewer pixels in the picture does not count, because nobody could see it."""


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


@dataclass(frozen=True, kw_only=True)
class PanelView:
    """One panel's pixels."""

    gray: Float
    lesion: NDArray[np.bool_]
    tissue: UInt8
    shadow: NDArray[np.bool_]
    reverberation: NDArray[np.bool_]
    depth: Float
    lesions: list[Lesion]
    width_mm: float


def simulate(settings: SimulationSettings, seed: int, index: int) -> SimulatedImage:
    """Image ``index`` of the stream ``seed``: any image can be made at any time, in any order, by any process.

    Raises HtunetError for a negative index.
    """
    if index < 0:
        raise HtunetError(f"The index of a simulated image must be at least 0, got {index}.")
    rng = generator(seed, "simulated image", index)
    weights = np.array(list(settings.organs.values()))
    organ = str(rng.choice(list(settings.organs), p=weights / weights.sum()))
    panels = draw_panels(settings, organ, rng)
    shown = [_show(settings, organ, panel, rng) for panel in panels]
    size = (settings.height, settings.width)
    picture = np.full(size, rng.uniform(0, 0.12) if rng.random() < settings.gray else 0.0, dtype=np.float32)
    lesion = np.zeros(size, dtype=np.uint8)
    dense: dict[str, NDArray] = {
        "tissue": np.zeros(size, dtype=np.uint8),
        "shadow": np.zeros(size, dtype=np.bool_),
        "reverberation": np.zeros(size, dtype=np.bool_),
        "depth": np.zeros(size, dtype=np.float16),
    }
    for panel, one in zip(panels, shown, strict=True):
        picture[panel.place] = np.where(one.tissue > 0, one.gray, picture[panel.place])
        lesion[panel.place] = one.lesion
        for name, values in dense.items():
            values[panel.place] = getattr(one, name)
    lesions = [item for one in shown for item in one.lesions]
    image = annotated(to_gray(picture), panels, lesion, settings, rng)
    return SimulatedImage(
        image=stored(image, settings, rng),
        lesion=lesion,
        dense=dense,
        lesion_class=lesions[0].class_name if lesions else NO_LESION,
        signs=signs_of(lesions[0]) if lesions else {},
        caption=caption(lesions, shown[0].width_mm, rng, organ),
        organ=organ,
    )


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


def _show(settings: SimulationSettings, organ: str, panel: Panel, rng: np.random.Generator) -> PanelView:
    """Scan a scene of the organ and look at it through the panel."""
    grid = draw_grid(settings, organ, rng, (panel.height, panel.width))
    scene = SCENES[organ](settings, grid, rng)
    gray = scan(settings, scene, draw_transducer(settings, grid, rng), draw_receiver(settings, grid, rng))
    middles = [(one.outline.lateral_mm, one.outline.depth_mm) for one in scene.lesions]
    left, right, top, bottom = draw_window(settings, grid, middles, rng)
    columns = left + _middles(panel.width, right - left)
    rows = top + _middles(panel.height, bottom - top)
    lateral, depth = np.meshgrid(columns, rows)
    sample, beam = grid.indices(lateral.astype(np.float32), depth.astype(np.float32))
    inside = grid.shows(sample, beam)
    from_face = np.where(inside, (sample + np.float32(0.5)) * np.float32(grid.sample_mm), 0)
    sample, beam = _warped(sample, beam, grid, rng.uniform(*settings.warp), rng)
    nearest = (np.clip(np.rint(sample), 0, grid.shape[0] - 1).astype(np.intp),
               np.clip(np.rint(beam), 0, grid.shape[1] - 1).astype(np.intp))  # fmt: skip
    places = np.stack([sample, beam])
    picture = map_coordinates(gray, places, order=1, mode="nearest")
    lesions, lesion = _lesions_shown(scene, places, inside)
    shadow = accumulated_loss(scene.tissue.loss_db_per_mm, grid) > SHADOW_DB
    tissue = np.where(inside, scene.labels[nearest], 0)
    scene_lesion = np.isin(tissue, LESION_LABELS)
    tissue[lesion & ~scene_lesion] = LABEL["lesion"]
    tissue[scene_lesion & ~lesion] = LABEL["other"]
    return PanelView(
        gray=developed(picture, settings, rng),
        lesion=lesion,
        tissue=tissue,
        shadow=inside & shadow[nearest],
        reverberation=inside & scene.reverberating[nearest],
        depth=from_face,
        lesions=lesions,
        width_mm=right - left,
    )


def _warped(
    sample: Float, beam: Float, grid: BeamGrid, strength: float, rng: np.random.Generator
) -> tuple[Float, Float]:
    """Coordinates on the beam grid, moved smoothly by about that share of the field: no ellipse stays one."""
    flat = replace(grid, num_samples=sample.shape[0], num_beams=sample.shape[1], pad=0)
    grain = rng.uniform(0.08, 0.25)
    moves = [smooth_noise(rng, flat, grain * grid.width_mm, grain * grid.depth_mm) for _ in range(2)]
    down, across = (np.float32(strength * grid.shape[axis]) * move for axis, move in enumerate(moves))
    return np.clip(sample + down, 0, grid.shape[0] - 1), np.clip(beam + across, 0, grid.shape[1] - 1)


def _lesions_shown(scene: Scene, places: Float, inside: NDArray[np.bool_]) -> tuple[list[Lesion], NDArray[np.bool_]]:
    """The lesions of which the panel shows enough, and where they are."""
    lesions, together = [], np.zeros(inside.shape, dtype=bool)
    for lesion, distance in zip(scene.lesions, scene.distances, strict=True):
        here = inside & (map_coordinates(distance, places, order=1, mode="nearest") < 0)
        if here.sum() >= FEWEST_PIXELS:
            lesions.append(lesion)
            together |= here
    return lesions, together


def _middles(count: int, length: float) -> Float:
    """(count,) middles of equal parts of 0..length."""
    return (np.arange(count, dtype=np.float32) + np.float32(0.5)) * np.float32(length / count)
