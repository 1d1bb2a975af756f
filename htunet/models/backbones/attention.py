"""Attention of many heads from one tensor of queries, keys and values.

Dimension key: B batch, T tokens, D width, E = 3 D, N heads, G = B*N, d width of a head.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(qkv_BTE: Tensor, heads: int, mask: Tensor | None = None, bias_E: Tensor | None = None) -> Tensor:
    """Softmax attention: (B, T, 3 D), queries, keys and values side by side -> (B, T, D).

    ``mask`` is added to the scores, (T, T), as in nn.MultiheadAttention. A frozen ``bias_E`` is added to queries, keys
    and values where they are put in order anyway.

    On a CPU, where a gradient is needed, by plain products that keep the weights of the attention: the fused kernel
    computes them again on the way back, which takes longer than reading them.
    """
    needs_gradient = qkv_BTE.requires_grad and torch.is_grad_enabled()
    if mask is None and needs_gradient and qkv_BTE.device.type == "cpu":
        return _KeptAttention.apply(qkv_BTE, heads, bias_E)
    if bias_E is not None:
        qkv_BTE = qkv_BTE + bias_E
    q, k, v = _by_head(qkv_BTE, heads)
    mask = None if mask is None else mask.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def _by_head(qkv_BTE: Tensor, heads: int) -> Tensor:
    """Queries, keys and values: (3, B, N, T, d)."""
    return qkv_BTE.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)


class _KeptAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_BTE: Tensor, heads: int, bias_E: Tensor | None) -> Tensor:  # noqa: ANN401
        by_head = _by_head(qkv_BTE, heads)
        ordered = by_head.new_empty(by_head.shape)
        if bias_E is None:
            ordered.copy_(by_head)
        else:
            torch.add(by_head, _by_head(bias_E[None, None], heads), out=ordered)
        q_GTd, k_GTd, v_GTd = ordered.flatten(1, 2)
        q_GTd *= q_GTd.shape[-1] ** -0.5  # here, because torch.baddbmm with a factor takes twice as long as torch.bmm
        shares_GTT = torch.softmax(q_GTd @ k_GTd.transpose(1, 2), dim=-1)
        ctx.save_for_backward(q_GTd, k_GTd, v_GTd, shares_GTT)
        ctx.by_head = by_head.shape
        return (shares_GTT @ v_GTd).view(by_head.shape[1:]).transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx: Any, gradient_BTD: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        q_GTd, k_GTd, v_GTd, shares_GTT = ctx.saved_tensors
        mixed_GTd = gradient_BTD.unflatten(2, (ctx.by_head[2], -1)).transpose(1, 2).flatten(0, 1)
        result_3GTd = mixed_GTd.new_empty(3, *mixed_GTd.shape)
        torch.bmm(shares_GTT.transpose(1, 2), mixed_GTd, out=result_3GTd[2])
        scores_GTT = torch._softmax_backward_data(mixed_GTd @ v_GTd.transpose(1, 2), shares_GTT, -1, shares_GTT.dtype)
        torch.bmm(scores_GTT, k_GTd, out=result_3GTd[0])
        result_3GTd[0] *= q_GTd.shape[-1] ** -0.5
        torch.bmm(scores_GTT.transpose(1, 2), q_GTd, out=result_3GTd[1])  # the factor is in the queries
        return result_3GTd.view(ctx.by_head).permute(1, 3, 0, 2, 4).flatten(2), None, None
