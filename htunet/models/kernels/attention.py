"""Attention of many heads from one tensor of queries, keys and values.

Dimension key: B batch, T tokens, D width, E = 3 D, N heads, d width of a head.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(qkv_BTE: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Softmax attention: (B, T, 3 D), queries, keys and values side by side -> (B, T, D).

    ``mask`` is added to the scores, (T, T), as in nn.MultiheadAttention.

    In bf16 on a CPU, where a gradient is needed, plain products take a third of the time of PyTorch's function, whose
    backward pass computes the weights of the attention again. In fp32, and on a GPU, that function is the faster one.
    """
    needs_gradient = qkv_BTE.requires_grad and torch.is_grad_enabled()
    if mask is None and needs_gradient and qkv_BTE.device.type == "cpu" and qkv_BTE.dtype == torch.bfloat16:
        q_BNTd, k_BNTd, v_BNTd = _by_head(qkv_BTE, heads)
        scores_BNTT = (q_BNTd * q_BNTd.shape[-1] ** -0.5) @ k_BNTd.transpose(2, 3)
        return (torch.softmax(scores_BNTT, dim=-1) @ v_BNTd).transpose(1, 2).flatten(2)
    return reference(qkv_BTE, heads, mask)


def reference(qkv_BTE: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """The same by PyTorch's function."""
    q_BNTd, k_BNTd, v_BNTd = _by_head(qkv_BTE, heads)
    mask = None if mask is None else mask.to(q_BNTd.dtype)
    return F.scaled_dot_product_attention(q_BNTd, k_BNTd, v_BNTd, attn_mask=mask).transpose(1, 2).flatten(2)


def _by_head(qkv_BTE: Tensor, heads: int) -> Tensor:
    """Queries, keys and values: (3, B, N, T, d)."""
    return qkv_BTE.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
