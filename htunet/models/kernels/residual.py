"""A residual connection around a linear layer: the sum is formed within the product.

Dimension key: B batch, T tokens, N = B*T rows, D width, K inputs of the layer.
"""

from typing import Any

import torch
from torch import Tensor, nn

from htunet.models.kernels.autocast import product_type
from htunet.models.kernels.frozen_linear import FrozenProducts, project


def add_projected(
    residual_BTD: Tensor, hidden_BTK: Tensor, layer: nn.Module, products: FrozenProducts | None = None
) -> Tensor:
    """``residual + layer(hidden)``: (B, T, D) and (B, T, K) -> (B, T, D).

    A plain linear layer that trains, without autocast, adds its product to ``residual + bias`` in place: one tensor of
    the tokens' size in place of three. One that is frozen uses its ``products``. Any other layer is called.
    """
    if type(layer) is nn.Linear:
        if products is not None and not layer.weight.requires_grad:
            return residual_BTD + project(hidden_BTK, layer, products)
        if product_type(residual_BTD) == residual_BTD.dtype == hidden_BTK.dtype == layer.weight.dtype:
            return _AddProjected.apply(residual_BTD, hidden_BTK, layer.weight, layer.bias)
    return residual_BTD + layer(hidden_BTK)


class _AddProjected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, residual_BTD: Tensor, hidden_BTK: Tensor, weight_DK: Tensor, bias_D: Tensor) -> Tensor:  # noqa: ANN401
        hidden_NK = hidden_BTK.flatten(0, -2)
        ctx.save_for_backward(hidden_NK if ctx.needs_input_grad[2] else None, weight_DK)
        return (residual_BTD + bias_D).flatten(0, -2).addmm_(hidden_NK, weight_DK.t()).view_as(residual_BTD)

    @staticmethod
    def backward(ctx: Any, gradient_BTD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        hidden_NK, weight_DK = ctx.saved_tensors
        gradient_ND = gradient_BTD.flatten(0, -2)
        hidden_gradient = (gradient_ND @ weight_DK).unflatten(0, gradient_BTD.shape[:-1])
        if hidden_NK is None:
            return gradient_BTD, hidden_gradient, None, None
        return gradient_BTD, hidden_gradient, (hidden_NK.t() @ gradient_ND).t(), gradient_ND.sum(dim=0)
