"""Frozen blocks with an adapter after each one: the whole forward pass in one loop.

Dimension key: B batch, C channels, H W pixels, T tokens = 1 + grid height * grid width, D width.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from htunet.models.adapters.base import Adapter
from htunet.models.backbones.base import Backbone


class AdaptedEncoder(nn.Module):
    """Turns images into the tokens seen after chosen blocks; only the adapters train.

    Blocks after the last chosen one feed nothing and are not computed. Nothing before the first adapter needs a
    graph; an encoder without adapters needs none at all.
    """

    def __init__(self, backbone: Backbone, make_adapter: Callable[[], Adapter] | None, taps: Sequence[int]) -> None:
        super().__init__()
        depth = len(backbone.blocks)
        if not taps or not set(taps) <= set(range(depth)):
            raise ValueError(f"taps must name blocks 0..{depth - 1}, got {list(taps)}.")
        self.backbone = backbone.requires_grad_(False).eval()
        self.adapters = nn.ModuleList(make_adapter() for _ in range(depth)) if make_adapter else None
        self.taps = tuple(taps)

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised images -> one (B, T, D) tensor per tap, shallow first."""
        grid_hw = self.backbone.grid_hw((images_BCHW.shape[-2], images_BCHW.shape[-1]))
        with torch.no_grad():
            tokens_BTD = self.backbone.embed(images_BCHW)
        seen = []
        for depth, block in enumerate(self.backbone.blocks[: max(self.taps) + 1]):
            with torch.set_grad_enabled(torch.is_grad_enabled() and tokens_BTD.requires_grad):
                tokens_BTD = block(tokens_BTD)
            if self.adapters is not None:
                tokens_BTD = self.adapters[depth](tokens_BTD, grid_hw)
            if depth in self.taps:
                seen.append(tokens_BTD)
        return seen

    def train(self, mode: bool = True) -> "AdaptedEncoder":
        """Frozen means frozen: the backbone's dropout and batch norm stay in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts that train, by the name that they have in a checkpoint."""
        if self.adapters is not None:
            yield "adapters", self.adapters
