"""Attention of many heads from one tensor of queries, keys and values.

Dimension key: B batch, T tokens, D width, E = 3 D, N heads, G = B*N, d width of a head.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

HEADS_AT_A_TIME = 24
"""On the way back on a CPU: 24 matrices of 197 x 197 scores are 4 MB, what two cores hold close to them."""


def attend(qkv_BTE: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Softmax attention: (B, T, 3 D), queries, keys and values side by side -> (B, T, D).

    ``mask`` is added to the scores, (T, T), as in nn.MultiheadAttention.

    On a CPU, where a gradient is needed, by plain products that keep the weights of the attention: the fused kernel
    computes them again on the way back, which takes longer than reading them.
    """
    needs_gradient = qkv_BTE.requires_grad and torch.is_grad_enabled()
    if mask is None and needs_gradient and qkv_BTE.device.type == "cpu":
        return _KeptAttention.apply(qkv_BTE, heads)
    q, k, v = _by_head(qkv_BTE, heads)
    mask = None if mask is None else mask.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def _by_head(qkv_BTE: Tensor, heads: int) -> Tensor:
    """Queries, keys and values: (3, B, N, T, d)."""
    return qkv_BTE.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)


class _KeptAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_BTE: Tensor, heads: int) -> Tensor:  # noqa: ANN401
        by_head = _by_head(qkv_BTE, heads)
        q_GTd, k_GTd, v_GTd = by_head.clone(memory_format=torch.contiguous_format).flatten(1, 2)
        q_GTd *= q_GTd.shape[-1] ** -0.5  # here, because torch.baddbmm with a factor takes twice as long as torch.bmm
        shares_GTT = torch.softmax(q_GTd @ k_GTd.transpose(1, 2), dim=-1)
        ctx.save_for_backward(q_GTd, k_GTd, v_GTd, shares_GTT)
        ctx.by_head = by_head.shape
        return (shares_GTT @ v_GTd).view(by_head.shape[1:]).transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx: Any, gradient_BTD: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        mixed_GTd = gradient_BTD.unflatten(2, (ctx.by_head[2], -1)).transpose(1, 2).flatten(0, 1)
        result_3GTd = mixed_GTd.new_empty(3, *mixed_GTd.shape)
        # some heads at a time, whose scores stay in the cache from one product to the next
        parts = (tensor.split(HEADS_AT_A_TIME) for tensor in (*ctx.saved_tensors, mixed_GTd, *result_3GTd))
        for q, k, v, shares, mixed, for_q, for_k, for_v in zip(*parts, strict=True):
            torch.bmm(shares.transpose(1, 2), mixed, out=for_v)
            scores = mixed @ v.transpose(1, 2)
            torch._softmax_backward_data(scores, shares, -1, shares.dtype, grad_input=scores)
            torch.bmm(scores, k, out=for_q)
            torch.bmm(scores.transpose(1, 2), q, out=for_k)  # the factor is in the queries
        result_3GTd[0].mul_(mixed_GTd.shape[-1] ** -0.5)
        return result_3GTd.view(ctx.by_head).permute(1, 3, 0, 2, 4).flatten(2), None
