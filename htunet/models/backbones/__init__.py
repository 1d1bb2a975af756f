"""Frozen image encoders. To add one: write a module here, import it below, and the shared tests cover it."""

from htunet.models.backbones import clip as _clip  # noqa: F401  (registers its entries)
from htunet.models.backbones import timm_vit as _timm_vit  # noqa: F401
from htunet.models.backbones.base import BACKBONES, Backbone, InputStatistics

__all__ = ["BACKBONES", "Backbone", "InputStatistics"]
