"""Frozen text encoders, one for each backbone that was trained with texts, under the backbone's name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from htunet.registry import Registry

if TYPE_CHECKING:
    from htunet.models.text.base import TextTower

TEXT_TOWERS: "Registry[Callable[[Path | None], TextTower]]" = Registry(
    "text tower",
    {
        "BiomedCLIP": "htunet.models.text.bert:biomedclip",
        "CLIP": "htunet.models.text.clip:clip",
        "MetaCLIP": "htunet.models.text.clip:metaclip",
        "PhantomCLIP": "htunet.models.text.phantom:PhantomText",
        "UniMedCLIP": "htunet.models.text.bert:unimedclip",
    },
    group="htunet.text_towers",
)
"""Builders of text towers with weights that are not loaded yet, by the backbone's name.

They take the file with the tokenizer's words, or None: for a tower whose tokenizer a library brings along, and for
random weights without the words (see ``bert.StandInWords``).
"""
