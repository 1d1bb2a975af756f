"""The interface of adapters: a small module that follows a frozen block, or an update of the weights within one.

Dimension key (whole package): B batch, T tokens = 1 + H*W, D width, R bottleneck, H W patch grid, K kernel side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from htunet.errors import UsageError, did_you_mean


class Adapter(nn.Module):
    """Maps the tokens that leave a block to tokens of the same shape. All its parameters train."""

    def forward(self, tokens_BTD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(B, T, D), class token first -> (B, T, D). ``grid_hw`` is (H, W) of the other T - 1 tokens."""
        raise NotImplementedError

    def merged(self) -> "Adapter":
        """An adapter with the same outputs in eval mode that computes each product of constants once and never trains.

        Itself, where there is nothing to gain.
        """
        return self


class Unchanged(Adapter):
    """Follows a block that the plan leaves without an adapter."""

    def forward(self, tokens_BTD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """The tokens themselves."""
        return tokens_BTD


class WeightUpdates(nn.ModuleList):
    """Trainable updates within frozen blocks, one entry for each block, with their names in checkpoints."""

    def merge(self) -> None:
        """Add the updates to the frozen weights permanently, so that the blocks are as fast as without them."""
        raise NotImplementedError


AdapterBuilder = Callable[[int, tuple[int, int], Mapping[str, Any]], Adapter]
"""A function of (token width, patch grid of the plan's images, settings from the plan)."""

WeightUpdatesBuilder = Callable[[Mapping[int, nn.Module], Mapping[str, Any]], WeightUpdates]


@dataclass(frozen=True, kw_only=True)
class WeightAdapter:
    """An adapter that acts within the blocks, not after them."""

    update: WeightUpdatesBuilder
    """Function of (frozen blocks by their number, settings from the plan) that changes the blocks in place."""
    texts_too: bool
    """Whether it also acts in the text tower, where a task has one."""
    keeps_weights: bool = True
    """Whether the weights of the blocks stay as they were loaded, beside what is added to them."""


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
