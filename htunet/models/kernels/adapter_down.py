"""Two operations of the hybrid adapters with gradients written by hand, for speed; the values are the plain formulas'.

Dimension key: B batch, T tokens, N = B*T rows, D width, R bottleneck, G = B*R maps, H W patch grid, K kernel side.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from htunet.models.kernels.autocast import product_type


def project_down(
    tokens_BTD: Tensor, normed_RD: Tensor, raw_RD: Tensor, bias_R: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """``N(Z) A^T + Z C^T + b`` with N the normalisation of each token to mean 0 and variance 1; (B, T, D) -> (B, T, R).

    As ``N(Z) = (Z - m) r`` with the token's mean m and inverse deviation r, ``N(Z) A^T = r (Z A^T - m (A 1))``: both
    products are one, of Z with A and C stacked, and the normalised tokens are never kept.

    The second result are the tokens themselves, for the residual connection: what is taken from here adds its gradient
    within a product.
    """
    return _ProjectDown.apply(tokens_BTD, normed_RD, raw_RD, bias_R, eps, product_type(tokens_BTD))


class _ProjectDown(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        tokens_BTD: Tensor,
        normed_RD: Tensor,
        raw_RD: Tensor,
        bias_R: Tensor,
        eps: float,
        kind: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        tokens_ND = tokens_BTD.flatten(0, -2)
        exact_ND = tokens_ND.to(torch.promote_types(tokens_ND.dtype, torch.float32))
        # torch.var_mean takes ten times as long on a CPU
        _, mean_N1, inverse_N1 = torch.native_layer_norm(exact_ND, exact_ND.shape[1:], None, None, eps)
        stacked_2RD = torch.cat([normed_RD, raw_RD]).to(kind)
        rows_ND = tokens_ND.to(kind)
        normed_NR, raw_NR = (rows_ND @ stacked_2RD.t()).chunk(2, dim=1)
        centred_NR = torch.addcmul(normed_NR.to(mean_N1.dtype), mean_N1, normed_RD.sum(dim=1), value=-1)
        ctx.save_for_backward(rows_ND, stacked_2RD, normed_RD, mean_N1, inverse_N1, centred_NR)
        result_NR = torch.addcmul(raw_NR + bias_R, inverse_N1, centred_NR)
        return result_NR.to(kind).unflatten(0, tokens_BTD.shape[:-1]), tokens_BTD.view_as(tokens_BTD)

    @staticmethod
    def backward(ctx: Any, gradient_BTR: Tensor, gradient_BTD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        rows_ND, stacked_2RD, normed_RD, mean_N1, inverse_N1, centred_NR = ctx.saved_tensors
        gradient_NR = gradient_BTR.flatten(0, -2).to(mean_N1.dtype)
        scaled_NR = inverse_N1 * gradient_NR
        # through r and m, which each token has one of: d r / d z = -r^3 (z - m) / D, d m / d z = 1 / D
        width = rows_ND.shape[1]
        slope_N1 = (gradient_NR * centred_NR).sum(dim=1, keepdim=True) * inverse_N1**3 / -width
        shift_N1 = (scaled_NR @ normed_RD.sum(dim=1))[:, None] / -width - slope_N1 * mean_N1
        all_NP = torch.cat([scaled_NR, gradient_NR, shift_N1], dim=1).to(rows_ND.dtype)
        normed_gradient_RD, raw_gradient_RD = (all_NP[:, :-1].t() @ rows_ND).to(normed_RD.dtype).chunk(2)
        weights = normed_gradient_RD - (mean_N1.t() @ scaled_NR).t(), raw_gradient_RD, gradient_NR.sum(dim=0)
        if not ctx.needs_input_grad[0]:
            return None, *weights, None, None
        stacked_PD = torch.cat([stacked_2RD, torch.ones_like(stacked_2RD[:1])])
        tokens_gradient_ND = torch.addcmul(gradient_BTD.flatten(0, -2), rows_ND, slope_N1)
        if tokens_gradient_ND.dtype == all_NP.dtype:
            tokens_gradient_ND.addmm_(all_NP, stacked_PD)
        else:
            tokens_gradient_ND += all_NP @ stacked_PD
        return tokens_gradient_ND.view_as(gradient_BTD), *weights, None, None


def convolve_each(grid_GHW: Tensor, kernel_GKK: Tensor) -> Tensor:
    """Each map with its own kernel of an odd side, zeros around it; (G, H, W) -> (G, H, W).

    On a CPU the gradients are computed as convolutions of the same kind: four times as fast as the library's.
    """
    kind = product_type(grid_GHW)
    if grid_GHW.device.type == "cpu":
        return _ConvolveEach.apply(grid_GHW.to(kind), kernel_GKK.to(kind))
    return _correlate(grid_GHW, kernel_GKK, kernel_GKK.shape[-1] // 2)


class _ConvolveEach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grid_GHW: Tensor, kernel_GKK: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(grid_GHW, kernel_GKK)
        return _correlate(grid_GHW, kernel_GKK, kernel_GKK.shape[-1] // 2)

    @staticmethod
    def backward(ctx: Any, gradient_GHW: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        grid_GHW, kernel_GKK = ctx.saved_tensors
        margin = kernel_GKK.shape[-1] // 2
        grid_gradient = _correlate(gradient_GHW, kernel_GKK.flip(1, 2), margin)
        return grid_gradient, _correlate(grid_GHW, gradient_GHW, margin)


def _correlate(maps_GHW: Tensor, kernels_GKL: Tensor, margin: int) -> Tensor:
    return F.conv2d(maps_GHW[None], kernels_GKL[:, None], padding=margin, groups=len(maps_GHW))[0]
