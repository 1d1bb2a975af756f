"""Adapters. To add one: write a module here, import it below, and the shared tests cover it."""

from htunet.models.adapters import hybrid as _hybrid  # noqa: F401  (registers its entries)
from htunet.models.adapters import lora as _lora  # noqa: F401  (registers its entries)
from htunet.models.adapters.base import ADAPTERS, WEIGHT_ADAPTERS, Adapter, WeightAdapter, WeightUpdates

__all__ = ["ADAPTERS", "WEIGHT_ADAPTERS", "Adapter", "WeightAdapter", "WeightUpdates"]
