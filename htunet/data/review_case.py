"""A case that a reader is asked to look at and to correct, and its correction."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from htunet.data.formats.medical_file import Spacing
from htunet.data.image_io import UInt8
from htunet.data.raw import spacing_of

ACCEPTED = "accepted"


@dataclass(frozen=True, kw_only=True)
class ReviewCase:
    """A case to correct."""

    name: str
    """Name of its files, without an ending."""
    pixels: UInt8
    """(H, W) or (H, W, 3)."""
    labels: UInt8
    """(H, W) as predicted."""
    facts: Mapping[str, str]
    """``case`` (of a data set's), ``source``, ``group``, ``class``, ``spacing_mm``, ``why``, ``dice`` and
    ``predicted_dice`` in [0, 1], as text."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A case that a reader has corrected, or accepted as it was predicted.

    Raises HtunetError if the pixel size in ``facts`` is none.
    """

    name: str
    image: Path
    labels: UInt8
    """(H, W)"""
    facts: Mapping[str, str]
    """Its row of ``review.csv``."""
    form: str
    """What was corrected: ``LabelMe``, ``COCO`` or ``mask``; ``ACCEPTED`` if nothing was."""

    def __post_init__(self) -> None:
        _ = self.spacing_mm

    @property
    def case(self) -> str:
        """The case of the data set that it corrects; empty for a new image."""
        return self.facts["case"]

    @property
    def spacing_mm(self) -> Spacing | None:
        """Side of a pixel, or height and width; None if it is not known."""
        return spacing_of(self.facts["spacing_mm"], f"review.csv, {self.name}")

    @property
    def origin(self) -> str:
        """Where the image came from and how it was corrected."""
        of_what = f"case {self.case}" if self.case else f"image {self.facts['source']}"
        return f"{of_what}: {'prediction accepted' if self.form == ACCEPTED else f'corrected as {self.form}'}"
