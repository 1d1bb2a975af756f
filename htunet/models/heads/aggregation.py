"""Multi-level feature aggregation: the tokens after several blocks become one feature map.

Source: arXiv 2506.08849, section III-B.
Dimension key: B batch, T tokens, D width, M feature width, K outputs of a linear map, H W patch grid.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


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

    def forward(self, levels_BTD: Sequence[Tensor], grid_hw: tuple[int, int], then: nn.Conv2d | None = None) -> Tensor:
        """One (B, T, D) a level, class token first (not used) -> (B, M, H, W), or (B, K, H, W) after ``then``.

        ``then`` is a 1x1 convolution that follows. The last layer of a level, the sum and this convolution are linear,
        so their matrices are multiplied first, (K, M) by (M, M): the tokens never meet the M x M matrices.
        """
        summed_BTM: Tensor | float = 0.0
        for tokens_BTD, reduce, refine in zip(levels_BTD, self.reduce, self.refine, strict=True):
            *first, last = cast(nn.Sequential, refine)
            hidden_BTM = nn.Sequential(*first)(reduce(tokens_BTD))
            weight, bias = _followed_by(then, cast(nn.Linear, last))
            summed_BTM = summed_BTM + F.linear(hidden_BTM, weight, bias)
        if then is not None and then.bias is not None:
            summed_BTM = summed_BTM + then.bias
        # the class token goes last: without it the tokens would have to be copied before each product
        return cast(Tensor, summed_BTM)[:, 1:].transpose(1, 2).unflatten(2, grid_hw)


def _followed_by(then: nn.Conv2d | None, last: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight (K or M, M) and bias of ``last``, with ``then`` behind it."""
    if then is None:
        return last.weight, last.bias
    matrix_KM = then.weight.flatten(1)
    return matrix_KM @ last.weight, matrix_KM @ last.bias
