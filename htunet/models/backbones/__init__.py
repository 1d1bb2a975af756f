"""Frozen image encoders by name. To add one: write a module here and add a line below; the shared tests cover it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from htunet.registry import Registry

if TYPE_CHECKING:
    from htunet.models.backbones.base import Backbone

_CLIP = "htunet.models.backbones.clip"

BACKBONES: "Registry[Callable[[], Backbone]]" = Registry(
    "backbone",
    {
        "BiomedCLIP": "htunet.models.backbones.timm_vit:biomedclip",
        "CLIP": f"{_CLIP}:clip",
        "MetaCLIP": f"{_CLIP}:metaclip",
        "PhantomCLIP": "htunet.models.backbones.phantom:PhantomVision",
        "UniMedCLIP": f"{_CLIP}:unimedclip",
    },
    group="htunet.backbones",
)
"""Builders of backbones with weights that are not loaded yet; ``htunet.models.weights.load`` loads them."""
