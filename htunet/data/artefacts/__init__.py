"""Controlled artefacts of ultrasound by name. To add one: write a module here and add a line below."""

from typing import TYPE_CHECKING

from htunet.registry import Registry

if TYPE_CHECKING:
    from htunet.data.artefacts.base import Artefact

STRONGEST = 5.0
STRENGTHS = (1.0, 2.0, 3.0, 4.0, 5.0)
_KINDS = "htunet.data.artefacts.builtin"

ARTEFACTS: "Registry[Artefact]" = Registry(
    "artefact",
    {
        "attenuation": f"{_KINDS}:ATTENUATION",
        "gain": f"{_KINDS}:GAIN",
        "low_gain": f"{_KINDS}:LOW_GAIN",
        "reverberation": f"{_KINDS}:REVERBERATION",
        "shadow": f"{_KINDS}:SHADOW",
        "speckle": f"{_KINDS}:SPECKLE",
    },
    group="htunet.artefacts",
)
"""What each does to levels in decibels; ``htunet.data.artefacts.alter`` does it to images."""
