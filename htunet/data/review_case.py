"""A case that somebody is asked to look at and to correct."""

from collections.abc import Mapping
from dataclasses import dataclass

from htunet.data.image_io import UInt8


@dataclass(frozen=True, kw_only=True)
class ReviewCase:
    """A case to correct."""

    name: str
    """Of its files."""
    pixels: UInt8
    """(H, W) or (H, W, 3)."""
    labels: UInt8
    """(H, W) as predicted."""
    facts: Mapping[str, str]
    """``case`` (of a data set's), ``source``, ``group``, ``class``, ``spacing_mm``, ``why``, ``dice`` and
    ``predicted_dice`` in [0, 1], as text."""
