"""What every adapter is: a small trainable module that follows one frozen block.

Dimension key (whole package): B batch, T tokens = 1 + H*W, D width, R bottleneck, H W patch grid, K kernel side.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from htunet.errors import UsageError, did_you_mean
from htunet.registry import Registry


class Adapter(nn.Module):
    """Maps tokens to tokens of the same shape. All its parameters train; nothing else in the encoder does."""

    def forward(self, tokens_BTD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(B, T, D), class token first -> (B, T, D). ``grid_hw`` is (H, W) of the other T - 1 tokens."""
        raise NotImplementedError


AdapterBuilder = Callable[[int, Mapping[str, Any]], Adapter]
ADAPTERS: Registry[AdapterBuilder] = Registry("adapter")
"""Name -> function of (token width, settings from the plan) that builds one adapter."""


def checked_settings(config_class: type, settings: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Build a config dataclass; an unknown key or an impossible value raises UsageError that names it and the rule."""
    known = [field.name for field in fields(config_class)]
    for key in settings:
        if key not in known:
            hint = did_you_mean(key, known)
            raise UsageError(f"{config_class.__name__} has no setting {key!r}; known: {', '.join(known)}.{hint}")
    try:
        return config_class(**settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{config_class.__name__} cannot take {dict(settings)}: {error}") from error
