"""Who is scanned, and how: patients, their lesions, and the machine's settings for one image of them."""

from dataclasses import dataclass, replace

import numpy as np

from htunet.reproducibility import generator
from htunet.simulation.display import Screen
from htunet.simulation.lesions import BENIGN, MALIGNANT, NORMAL, Lesion, draw_lesion, seen_again
from htunet.simulation.physics import CURVED, LINEAR, TRAPEZOID, BeamGrid, Geometry, Receiver, Transducer
from htunet.simulation.tissue import Anatomy, draw_anatomy

VISITS = (4, 3, 2, 1, 1, 1)
"""Images per patient; every block of sum(VISITS) images holds one patient of each entry, in an order of its own."""

MALIGNANT_SHARE = 1 / 3
"""Share of malignant among the patients with a lesion."""


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What all images of one patient share."""

    id: str
    class_name: str
    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    grid: BeamGrid
    transducer: Transducer
    receiver: Receiver
    screen: Screen


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """One image of a patient: the lesions at their places in this scan plane, and this image's settings."""

    lesions: tuple[Lesion, ...]
    transducer: Transducer
    receiver: Receiver


def patient_of(seed: int, index: int, normal_share: float) -> tuple[int, str]:
    """(number of the patient, class) of an image.

    Classes are drawn in six strata per block, so that even 12 images hold all classes when ``normal_share`` is at
    least a sixth.
    """
    block, place = divmod(index, sum(VISITS))
    rng = generator(seed, "phantom block", block)
    last = np.cumsum(rng.permutation(VISITS))
    within = int(np.searchsorted(last, place, side="right"))
    draws = (rng.permutation(len(VISITS)) + rng.random(len(VISITS))) / len(VISITS)
    draw = float(draws[within])
    if draw < normal_share:
        class_name = NORMAL
    else:
        class_name = MALIGNANT if draw < normal_share + (1 - normal_share) * MALIGNANT_SHARE else BENIGN
    return block * len(VISITS) + within, class_name


def draw_patient(seed: int, number: int, class_name: str) -> Patient:
    """The patient, from (seed, number) alone."""
    rng = generator(seed, "phantom patient", number)
    grid, screen = _draw_field(rng)
    height, width = (side / screen.pixels_per_mm for side in screen.shape(grid))
    lesions = _draw_lesions(rng, class_name, grid, height * width)
    frequency = rng.uniform(8.5, 15)
    return Patient(
        id=f"patient_{number + 1:04d}",
        class_name=class_name,
        anatomy=draw_anatomy(rng, grid.depth_mm),
        lesions=lesions,
        grid=grid,
        transducer=Transducer(frequency_mhz=frequency, f_number=rng.uniform(2.0, 3.6), focus_mm=15.0),
        receiver=Receiver(
            looks=int(rng.choice([1, 2, 3, 4], p=[0.04, 0.3, 0.36, 0.3])),
            noise_db=rng.uniform(-50, -38),
            noise_rise_db_per_mm=rng.uniform(0.05, 0.35),
            dynamic_range_db=rng.uniform(45, 65),
            gain_db=rng.uniform(-5, 3),
            gamma=rng.uniform(1.15, 1.85),
            speckle_reduction=rng.uniform(0.25, 0.95),
        ),
        screen=screen,
    )


def draw_acquisition(patient: Patient, rng: np.random.Generator) -> Acquisition:
    """Another section through the same lesions: shifted and turned, with another focus and gain."""
    focus = rng.uniform(0.3, 0.7) * patient.grid.depth_mm
    lesions = []
    for lesion in patient.lesions:
        lateral = lesion.outline.lateral_mm + rng.normal(0, 0.05) * patient.grid.width_mm
        depth = lesion.outline.depth_mm + rng.normal(0, 0.6)
        focus = float(np.clip(depth + rng.normal(0, 5), 4, patient.grid.depth_mm))
        lesions.append(seen_again(lesion, rng, *_kept_inside(lesion, patient.grid, lateral, depth)))
    receiver = replace(
        patient.receiver,
        gain_db=patient.receiver.gain_db + rng.normal(0, 1.2),
        dynamic_range_db=float(np.clip(patient.receiver.dynamic_range_db + rng.normal(0, 1), 45, 65)),
    )
    return Acquisition(
        lesions=tuple(lesions), transducer=replace(patient.transducer, focus_mm=focus), receiver=receiver
    )


def _draw_field(rng: np.random.Generator) -> tuple[BeamGrid, Screen]:
    """Field of view and scale; both sides of the picture end up between 250 and 800 pixels."""
    geometry: Geometry = (LINEAR, TRAPEZOID, CURVED)[int(rng.choice(3, p=[0.86, 0.09, 0.05]))]
    depth = rng.uniform(24, 42)
    width = rng.uniform(0.8, 1.6) * depth if geometry == LINEAR else rng.uniform(0.75, 1.05) * depth
    width = float(np.clip(width, 22, 52))
    apex = depth * rng.uniform(2.2, 5.0) if geometry == TRAPEZOID else rng.uniform(40, 70)
    grid = BeamGrid(
        geometry=geometry,
        depth_mm=depth,
        width_mm=width,
        apex_mm=apex,
        num_samples=int(np.clip(depth / 0.095, 280, 400)),
        num_beams=int(np.clip(width / 0.16, 170, 300)),
    )
    top, right, bottom, left = (int(pixels) for pixels in rng.integers(0, (30, 55, 35, 55)))
    border = (top, right, bottom, left) if rng.random() < 0.35 else (0, 0, 0, 0)
    longest = rng.uniform(430, 790)
    scale = max((longest - 55) / max(grid.field_mm), 262 / min(grid.field_mm))
    return grid, Screen(pixels_per_mm=min(scale, 700 / max(grid.field_mm)), border=border)


def _draw_lesions(rng: np.random.Generator, class_name: str, grid: BeamGrid, picture_mm2: float) -> tuple[Lesion, ...]:
    """None, one, or seldom two lesions, placed in the field; areas are 3..24 %, more than most of BUSI's."""
    if class_name == NORMAL:
        return ()
    low, high = (0.03, 0.18) if class_name == BENIGN else (0.05, 0.24)
    count = 2 if rng.random() < 0.06 else 1
    placed: list[Lesion] = []
    for number in range(count):
        share = np.exp(rng.uniform(np.log(low), np.log(high))) / (1 if count == 1 else 2.2)
        lesion = draw_lesion(rng, class_name, float(share * picture_mm2))
        lateral = rng.uniform(-0.28, 0.28) if count == 1 else (number - 0.5) * rng.uniform(0.44, 0.56)
        depth = rng.uniform(0.24, 0.6) * grid.depth_mm
        lateral, depth = _kept_inside(lesion, grid, lateral * grid.width_mm, depth)
        placed.append(replace(lesion, outline=replace(lesion.outline, lateral_mm=lateral, depth_mm=depth)))
    return tuple(placed)


def _kept_inside(lesion: Lesion, grid: BeamGrid, lateral: float, depth: float) -> tuple[float, float]:
    """The nearest place where nearly all of the lesion is in the field and under the skin."""
    half_width, half_height = lesion.outline.half_extent_mm
    side = max(grid.width_mm / 2 - half_width, 0.0)
    top, bottom = 2.4 + half_height, grid.depth_mm - half_height - 1
    return float(np.clip(lateral, -side, side)), float(np.clip(depth, top, max(top, bottom)))
