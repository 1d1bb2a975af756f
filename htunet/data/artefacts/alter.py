"""Images with an artefact of a strength: from its name to pixels, with the random numbers that it needs."""

from collections.abc import Sequence

from htunet.data.artefacts import ARTEFACTS, STRONGEST
from htunet.data.artefacts.base import FieldCoordinates, to_gray, to_level
from htunet.data.field_of_view import insonified_pixels
from htunet.data.image_io import UInt8
from htunet.errors import UsageError
from htunet.reproducibility import generator


def physical_value(artefact: str, strength: float) -> float:
    """The physical value of a strength, in the artefact's unit; UsageError for an unknown artefact or strength."""
    found = ARTEFACTS[artefact]
    if not 0 <= strength <= STRONGEST:
        raise UsageError(f"The strength of an artefact lies in 0..{STRONGEST:g}, got {strength:g}.")
    return found.per_strength * strength + 0.0  # no -0


def apply(image: UInt8, artefact: str, strength: float, *, case: str, seed: int = 0) -> UInt8:
    """A gray (H, W) or a (C, H, W) image with one artefact of a strength 0..``STRONGEST``; the image at 0.

    ``case`` and ``seed`` choose what is random. The channels of one image share it. Raises UsageError as
    ``physical_value``.
    """
    return apply_all(image, artefact, [strength], case=case, seed=seed)[0]


def apply_all(image: UInt8, artefact: str, strengths: Sequence[float], *, case: str, seed: int = 0) -> list[UInt8]:
    """``apply`` for each of the strengths, (H, W) each; the field of place is looked for once."""
    values = [physical_value(artefact, strength) for strength in strengths]
    image_CHW = image if image.ndim == 3 else image[None]
    field_HW = insonified_pixels(image_CHW.max(axis=0))
    if not field_HW.any():
        return [image.copy() for _ in values]
    place, found = FieldCoordinates.of(field_HW), ARTEFACTS[artefact]

    def altered(value: float) -> UInt8:
        if value == 0:
            return image.copy()
        new_CHW = image_CHW.copy()
        for channel_HW in new_CHW:
            rng = generator(seed, "artefact", artefact, case)
            channel_HW[field_HW] = to_gray(found.alter(to_level(channel_HW), place, value, rng))[field_HW]
        return new_CHW.reshape(image.shape)

    return [altered(value) for value in values]
