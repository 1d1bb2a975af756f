"""The MLP of a frozen CLIP block: QuickGELU between two products, with its factors inside the products.

Dimension key: B batch, T tokens, D width, M hidden width, N = B*T rows.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.kernels.autocast import product_type
from htunet.models.kernels.frozen_linear import FrozenProducts

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
        self.products = FrozenProducts(), FrozenProducts()

    def pack(self, rows: int, *, back: bool) -> None:
        """Prepare the products; see ``FrozenProducts.pack``."""
        for layer, products in zip((self.c_fc, self.c_proj), self.products, strict=True):
            products.pack(layer, rows, back=back)

    def forward(self, tokens_BTD: Tensor, residual_BTD: Tensor) -> Tensor:
        """``residual + mlp(tokens)``: twice (B, T, D) -> the same shape."""
        weights = (*self.c_fc.parameters(), *self.c_proj.parameters())
        if any(weight.requires_grad for weight in weights):
            return residual_BTD + self.c_proj(F.silu(SLOPE * self.c_fc(tokens_BTD)) / SLOPE)
        kind = product_type(weights[0])
        return _FrozenMLP.apply(
            tokens_BTD.to(kind), residual_BTD, *(weight.to(kind) for weight in weights), self.products
        )


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
        products: tuple[FrozenProducts, FrozenProducts],
    ) -> Tensor:
        hidden_NM = torch.addmm(b1_M, x_BTD.flatten(0, -2), products[0].ordered(w1_MD), beta=SLOPE, alpha=SLOPE)
        ctx.save_for_backward(hidden_NM, w1_MD, w2_DM)
        ctx.products = products
        added_ND = products[1].forward(F.silu(hidden_NM), w2_DM)
        return (residual_BTD + b2_D).add_(added_ND.view_as(x_BTD), alpha=1 / SLOPE)

    @staticmethod
    def backward(ctx: Any, gradient_BTD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        hidden_NM, w1_MD, w2_DM = ctx.saved_tensors
        into, out = ctx.products
        gradient_NM = out.back(gradient_BTD.flatten(0, -2).to(w2_DM.dtype), w2_DM)
        torch.ops.aten.silu_backward.grad_input(gradient_NM, hidden_NM, grad_input=gradient_NM)
        return into.back(gradient_NM, w1_MD).view_as(gradient_BTD), gradient_BTD, None, None, None, None, None
