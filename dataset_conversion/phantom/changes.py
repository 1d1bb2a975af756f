"""The phantom scanned with one thing changed: the artefacts of ``htunet.data.artefacts``, simulated and not painted.

A change acts on what the simulator is given, and at the same place as in an image of the same case: losses in the
tissue, smooth reflectors, the receiver's gain, its compounding and speckle reduction.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from htunet.data.artefacts import ARTEFACTS
from htunet.data.artefacts.alter import physical_value
from htunet.data.artefacts.builtin import Reverberation, Shadow
from htunet.registry import Registry
from htunet.reproducibility import generator
from htunet.simulation.physics import BeamGrid, Float, Receiver, Tissue, Transducer, envelope, spread

LINE_MM = 0.1
"""Standard deviation of a reverberation's line before the pulse widens it."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """All that the simulator needs to scan a scene."""

    tissue: Tissue
    grid: BeamGrid
    transducer: Transducer
    receiver: Receiver

    def envelope(self, rng: np.random.Generator) -> Float:
        """(Z, X) detected amplitude."""
        return envelope(rng, self.tissue, self.grid, self.transducer, self.receiver)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One artefact of a strength 0..5; ``case`` and ``seed`` choose what is random, as in ``artefacts.apply``."""

    artefact: str
    strength: float
    case: str
    seed: int = 0

    def applied(self, scan: Scan, top_db: float) -> Scan:
        """The scan with the change, the given one untouched; ``top_db`` is the level that is shown white.

        Raises UsageError for an artefact that the simulator cannot make.
        """
        value = physical_value(self.artefact, self.strength)
        rng = generator(self.seed, "artefact", self.artefact, self.case)
        return CHANGES[self.artefact](scan, value, top_db, rng)


Changer = Callable[[Scan, float, float, np.random.Generator], Scan]
CHANGES: Registry[Changer] = Registry("rendered artefact")


@CHANGES.register("speckle")
def less_averaging(scan: Scan, value: float, top_db: float, rng: np.random.Generator) -> Scan:
    """Fewer looks and less speckle reduction; at 1 one look and none: fully developed speckle."""
    receiver = scan.receiver
    looks = round(receiver.looks + (1 - receiver.looks) * value)
    return replace(
        scan, receiver=replace(receiver, looks=looks, speckle_reduction=receiver.speckle_reduction * (1 - value))
    )


@CHANGES.register("shadow")
def obstacle(scan: Scan, value: float, top_db: float, rng: np.random.Generator) -> Scan:
    """An obstacle that takes ``value`` dB, as deep, as wide and where the artefact's is."""
    shadow, grid = ARTEFACTS["shadow"], scan.grid
    assert isinstance(shadow, Shadow)
    depth_Z1 = grid.sample_depth[:, None] / np.float32(grid.depth_mm)
    lateral_X = grid.beam_lateral / np.float32(grid.width_mm) + np.float32(0.5)  # 0 at the left edge, 1 at the right
    share = shadow.share(shadow.place(rng), depth_Z1, lateral_X)
    loss = np.diff(share, axis=0, prepend=np.float32(0)) * np.float32(value / grid.sample_mm)
    return _with_loss(scan, loss)


@CHANGES.register("attenuation")
def stronger_attenuation(scan: Scan, value: float, top_db: float, rng: np.random.Generator) -> Scan:
    """Tissue that takes ``value`` dB more from top to bottom than is compensated. The electronic noise stays."""
    return _with_loss(scan, np.full(scan.grid.shape, value / scan.grid.depth_mm, dtype=np.float32))


@CHANGES.register("gain")
@CHANGES.register("low_gain")
def other_gain(scan: Scan, value: float, top_db: float, rng: np.random.Generator) -> Scan:
    """The receiver's gain, ``value`` dB higher."""
    return replace(scan, receiver=replace(scan.receiver, gain_db=scan.receiver.gain_db + value))


@CHANGES.register("reverberation")
def smooth_layers(scan: Scan, value: float, top_db: float, rng: np.random.Generator) -> Scan:
    """Smooth reflectors at the artefact's distances, each ``value`` times as strong as the one before."""
    artefact, grid = ARTEFACTS["reverberation"], scan.grid
    assert isinstance(artefact, Reverberation)
    distance_mm = artefact.distance(rng) * grid.depth_mm

    def line(order: int) -> Float:
        away_Z = (grid.sample_depth - np.float32(order * distance_mm)) / np.float32(LINE_MM)
        return np.exp(np.float32(-0.5) * away_Z**2)[:, None] * np.ones(grid.shape, dtype=np.float32)

    echo = float(np.abs(spread(line(1).astype(np.complex64), grid, scan.transducer)).max())
    layer = 10 ** ((top_db + artefact.layer_db) / 20) / echo
    orders = range(1, int(grid.depth_mm / distance_mm) + 1)
    mirror = scan.tissue.mirror + sum(np.float32(layer * value**order) * line(order) for order in orders)
    return replace(scan, tissue=replace(scan.tissue, mirror=mirror.astype(np.float32)))


def _with_loss(scan: Scan, loss_db_per_mm: Float) -> Scan:
    return replace(
        scan, tissue=replace(scan.tissue, loss_db_per_mm=scan.tissue.loss_db_per_mm + loss_db_per_mm)
    )  # fmt: skip
