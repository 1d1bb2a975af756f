"""The MLP of a frozen CLIP block: QuickGELU between two products, with its factors inside the products.

Dimension key: B batch, T tokens, D width, M hidden width, N = B*T rows.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 1.702
"""QuickGELU is ``x * sigmoid(1.702 x) = silu(1.702 x) / 1.702`` (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""


class FrozenMLP(nn.Module):
    """``residual + c_proj(quick_gelu(c_fc(x)))`` with the key names of CLIP's blocks.

    Frozen, ``c_fc`` is scaled by 1.702 and ``c_proj`` by its inverse while they are multiplied, which costs nothing, so
    that only a SiLU is left between them; in the gradient the two factors cancel, and one hidden tensor is kept for it.
    """

    def __init__(self, mlp: nn.Sequential) -> None:
        super().__init__()
        self.c_fc = mlp.get_submodule("c_fc")
        self.c_proj = mlp.get_submodule("c_proj")

    def forward(self, tokens_BTD: Tensor, residual_BTD: Tensor) -> Tensor:
        """``residual + mlp(tokens)``: twice (B, T, D) -> the same shape."""
        weights = (*self.c_fc.parameters(), *self.c_proj.parameters())
        if any(weight.requires_grad for weight in weights):
            return residual_BTD + self.c_proj(F.silu(SLOPE * self.c_fc(tokens_BTD)) / SLOPE)
        device = tokens_BTD.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weights[0].dtype
        return _FrozenMLP.apply(tokens_BTD.to(kind), residual_BTD, *(weight.to(kind) for weight in weights))


class _FrozenMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x_BTD: Tensor,
        residual_BTD: Tensor,
        w1_MD: Tensor,
        b1_M: Tensor,
        w2_DM: Tensor,
        b2_D: Tensor,
    ) -> Tensor:
        hidden_NM = torch.addmm(b1_M, x_BTD.flatten(0, -2), w1_MD.t(), beta=SLOPE, alpha=SLOPE)
        ctx.save_for_backward(hidden_NM, w1_MD, w2_DM)
        result_ND = (residual_BTD + b2_D).flatten(0, -2)
        if result_ND.dtype == w2_DM.dtype:
            result_ND.addmm_(F.silu(hidden_NM), w2_DM.t(), alpha=1 / SLOPE)
        else:
            result_ND.add_(F.silu(hidden_NM) @ w2_DM.t(), alpha=1 / SLOPE)
        return result_ND.view_as(residual_BTD)

    @staticmethod
    def backward(ctx: Any, gradient_BTD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        hidden_NM, w1_MD, w2_DM = ctx.saved_tensors
        gradient_ND = gradient_BTD.flatten(0, -2).to(w2_DM.dtype)
        gradient_NM = torch.ops.aten.silu_backward(gradient_ND @ w2_DM, hidden_NM)
        return (gradient_NM @ w1_MD).view_as(gradient_BTD), gradient_BTD, None, None, None, None
