"""An artefact: dark strips from top to bottom, where crystals of the transducer have failed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from htunet.data.artefacts.base import FieldCoordinates, Float


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """The strips lie at random places, which depend on the case and the seed alone."""

    quantity: ClassVar[str] = "loss below a failed crystal"
    unit: ClassVar[str] = "dB"
    per_strength: float = 6.0
    strips: int = 3
    width: float = 0.03
    """Of the field's width."""

    def alter(self, level_HW: Float, place: FieldCoordinates, value: float, rng: np.random.Generator) -> Float:
        """Take ``value`` decibels from the strips."""
        middles = rng.uniform(0, 1, self.strips)
        inside_W = (np.abs(place.lateral_W[:, None] - middles) < self.width / 2).any(axis=1)
        return level_HW - np.float32(value) * inside_W.astype(np.float32)


DROPOUT = Dropout()
