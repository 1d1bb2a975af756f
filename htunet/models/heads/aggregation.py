"""Multi-level feature aggregation: the tokens after several blocks become one feature map.

Source: arXiv 2506.08849, section III-B. Dimension key: B batch, T tokens, D width, M feature width, H W patch grid.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class FeatureAggregation(nn.Module):
    """Each level: Linear D -> M, then LayerNorm, Linear, GELU, Linear; the levels are summed."""

    def __init__(self, levels: int, width: int, features: int = 512) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Linear(width, features) for _ in range(levels))
        self.refine = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(features), nn.Linear(features, features), nn.GELU(), nn.Linear(features, features)
            )
            for _ in range(levels)
        )

    def forward(self, levels_BTD: Sequence[Tensor], grid_hw: tuple[int, int]) -> Tensor:
        """One (B, T, D) a level, class token first (not used) -> (B, M, H, W)."""
        pairs = zip(levels_BTD, self.reduce, self.refine, strict=True)
        # the class token goes last: without it the tokens would have to be copied before each product
        summed_BTM = sum(refine(reduce(tokens_BTD)) for tokens_BTD, reduce, refine in pairs)[:, 1:]
        return summed_BTM.transpose(1, 2).unflatten(2, grid_hw)
