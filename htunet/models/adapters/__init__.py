"""Adapters by name. To add one: write a module here and add a line below; the shared tests cover it."""

from typing import TYPE_CHECKING

from htunet.registry import Registry

if TYPE_CHECKING:
    from htunet.models.adapters.base import AdapterBuilder, WeightAdapter

_HYBRID, _LORA = "htunet.models.adapters.hybrid", "htunet.models.adapters.lora"

ADAPTERS: "Registry[AdapterBuilder]" = Registry(
    "adapter",
    {
        "HT": f"{_HYBRID}:ht",
        "HTNE": f"{_HYBRID}:htne",
        "HTFF": f"{_HYBRID}:htff",
        "HTSpectral": f"{_HYBRID}:ht_spectral",
        "Mona": f"{_HYBRID}:mona",
    },
    group="htunet.adapters",
)
"""Modules that follow a block: functions of (token width, patch grid of the plan's images, settings from the plan)."""

WEIGHT_ADAPTERS: "Registry[WeightAdapter]" = Registry(
    "weight adapter",
    {
        "LoRA": f"{_LORA}:LORA",
        "LoRAVT": f"{_LORA}:LORA_VT",
        "FullFT": "htunet.models.adapters.full:FULL",
    },
    group="htunet.weight_adapters",
)
"""Updates of the weights within a block."""
