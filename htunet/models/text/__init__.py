"""Frozen text encoders, one for each backbone that was trained with texts, under the backbone's name."""

from htunet.models.text import bert as _bert  # noqa: F401  (registers its entries)
from htunet.models.text import clip as _clip  # noqa: F401
from htunet.models.text.base import TEXT_TOWERS, TextTower

__all__ = ["TEXT_TOWERS", "TextTower"]
