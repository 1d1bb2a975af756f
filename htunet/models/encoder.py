"""Frozen blocks with an adapter after each one, or with updates within: the whole forward pass in one loop.

Dimension key: B batch, C channels, H W pixels, T tokens = 1 + grid height * grid width, D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from htunet.models.adapters.base import Adapter, Unchanged, WeightUpdates
from htunet.models.backbones.base import Backbone


class AdaptedEncoder(nn.Module):
    """Turns images into the tokens after chosen blocks; only adapters and updates train.

    Blocks after the last chosen one feed nothing and are not computed. Nothing before the first trainable parameter
    needs a graph; an encoder without any needs none at all.

    Args:
        backbone: Is frozen here.
        make_adapter: Builds the adapter that follows a block; None for none.
        out_indices: Numbers of the blocks whose tokens, after the adapter, are returned.
        layers: Numbers of the blocks that are adapted; None for all.
        update_weights: Puts trainable updates into the adapted blocks, in place; None for none.
    """

    def __init__(
        self,
        backbone: Backbone,
        make_adapter: Callable[[], Adapter] | None,
        out_indices: Sequence[int],
        *,
        layers: Sequence[int] | None = None,
        update_weights: Callable[[Mapping[int, nn.Module]], WeightUpdates] | None = None,
    ) -> None:
        super().__init__()
        depths = range(len(backbone.blocks))
        if not out_indices or not set(out_indices) <= set(depths):
            raise ValueError(f"out_indices must name blocks 0..{len(depths) - 1}, got {list(out_indices)}.")
        adapted = depths if layers is None else layers
        self.backbone = backbone.requires_grad_(False).eval()
        self.adapters = (
            nn.ModuleList(make_adapter() if depth in adapted else Unchanged() for depth in depths)
            if make_adapter
            else None
        )
        self.updates = update_weights({depth: backbone.blocks[depth] for depth in adapted}) if update_weights else None
        self.out_indices = tuple(out_indices)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised images -> one (B, T, D) tensor for each of ``out_indices``, shallow first."""
        grid_hw = self.backbone.grid_hw((images_BCHW.shape[-2], images_BCHW.shape[-1]))
        with torch.no_grad():
            tokens_BTD = self.backbone.embed(images_BCHW)
        features_BTD = []
        for depth, block in enumerate(self.backbone.blocks[: max(self.out_indices) + 1]):
            trains = any(parameter.requires_grad for parameter in block.parameters())
            with torch.set_grad_enabled(torch.is_grad_enabled() and (tokens_BTD.requires_grad or trains)):
                tokens_BTD = block(tokens_BTD)
            if self.adapters is not None:
                tokens_BTD = self.adapters[depth](tokens_BTD, grid_hw)
            if depth in self.out_indices:
                features_BTD.append(tokens_BTD)
        return features_BTD

    def train(self, mode: bool = True) -> "AdaptedEncoder":
        """Frozen means frozen: the backbone's dropout and batch norm stay in eval mode."""
        super().train(mode)
        self.backbone.eval()
        if self.updates is not None:
            self.updates.train(mode)  # their dropout, within the frozen blocks
        return self

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that train, by the name that they have in a checkpoint."""
        if self.adapters is not None:
            yield "adapters", self.adapters
        if self.updates is not None:
            yield "updates", self.updates

    def merge(self) -> None:
        """Compute once, in place, what training computes in each step; see ``Network.merge_for_inference``."""
        if self.adapters is not None:
            self.adapters = nn.ModuleList(cast(Adapter, adapter).merged() for adapter in self.adapters)
        if self.updates is not None:
            self.updates.merge()
            self.updates = None
