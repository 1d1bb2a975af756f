"""From an adapter's name and settings to an adapted tower, whatever the task is.

Two settings under ``adapter`` in a plan belong to no single adapter and are read here: ``layers``, the numbers of
the vision tower's blocks that are adapted (all by default), and ``input_size``, (height, width) of the plan's images.
Settings under an adapter's name are for that one alone: ``{"LoRA": {"rank_stabilised": true}}``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from htunet.errors import UsageError
from htunet.models.adapters import ADAPTERS, WEIGHT_ADAPTERS
from htunet.models.adapters.base import WeightUpdates
from htunet.models.backbones.base import Backbone
from htunet.models.encoder import AdaptedEncoder

LAYERS, INPUT_SIZE = "layers", "input_size"
USUAL_INPUT_SIZE = (224, 224)


def adapter_names() -> list[str]:
    """Every name that may follow a backbone's, sorted."""
    return sorted([*ADAPTERS.names(), *WEIGHT_ADAPTERS.names()])


def adapted_encoder(
    backbone: Backbone, adapter: str | None, out_indices: Sequence[int], settings: Mapping[str, Any]
) -> AdaptedEncoder:
    """Freeze a backbone and adapt its blocks; raises UsageError for a setting that the adapter cannot take."""
    depth = len(backbone.blocks)
    layers = _layers(settings.get(LAYERS), depth)
    if adapter is None:
        return AdaptedEncoder(backbone, None, out_indices)
    own = own_settings(adapter, settings)
    if adapter in WEIGHT_ADAPTERS:
        update = WEIGHT_ADAPTERS[adapter].update
        return AdaptedEncoder(
            backbone, None, out_indices, layers=layers, update_weights=lambda blocks: update(blocks, own)
        )
    build = ADAPTERS[adapter]
    height, width = settings.get(INPUT_SIZE, USUAL_INPUT_SIZE)
    grid_hw = backbone.grid_hw((height, width))
    return AdaptedEncoder(backbone, lambda: build(backbone.width, grid_hw, own), out_indices, layers=layers)


def adapt_text(blocks: Sequence[nn.Module], adapter: str | None, settings: Mapping[str, Any]) -> WeightUpdates | None:
    """Adapt all blocks of a frozen text tower in place; None, and nothing done, where an adapter is not for texts."""
    if adapter is None or adapter not in WEIGHT_ADAPTERS or not WEIGHT_ADAPTERS[adapter].texts_too:
        return None
    own = own_settings(adapter, settings)
    return WEIGHT_ADAPTERS[adapter].update(dict(enumerate(blocks)), own)


def own_settings(adapter: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those for all adapters, and those under the adapter's name; UsageError where these are no object."""
    names = adapter_names()
    for_all = {key: value for key, value in settings.items() if key not in (LAYERS, INPUT_SIZE, *names)}
    own = settings.get(adapter, {})
    if not isinstance(own, Mapping):
        raise UsageError(f"The settings of {adapter} under 'adapter' in the plan must be an object, got {own!r}.")
    return for_all | dict(own)


def _layers(layers: object, depth: int) -> list[int]:
    if layers is None:
        return list(range(depth))
    if not isinstance(layers, list | tuple) or not layers or not all(type(number) is int for number in layers):
        raise UsageError(f"The adapter's setting {LAYERS!r} must be a list of block numbers, got {layers!r}.")
    if len(set(layers)) < len(layers) or not set(layers) <= set(range(depth)):
        raise UsageError(f"The adapter's setting {LAYERS!r} must name blocks 0..{depth - 1} once each, got {layers!r}.")
    return sorted(layers)
