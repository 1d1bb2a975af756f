"""What is written for speed gives the values and the gradients of the plain operation beside it."""

import copy

import pytest
import torch
from builders.backbone import draw, pictures
from open_clip.transformer import QuickGELU as TheirGELU
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor
from torch.nn import functional as F

from htunet.models.backbones.clip import QuickGELU, SelfAttention
from htunet.models.kernels import attention
from htunet.models.kernels.attention import attend

BATCH, TOKENS, HEADS, WIDTH = 2, 5, 3, 12


def by_formula(qkv: Tensor) -> Tensor:
    q, k, v = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2))
    weights = torch.softmax(q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("needs_gradient", [True, False])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_attention_equals_the_formula_and_the_reference_with_and_without_a_gradient(
    kind: torch.dtype, needs_gradient: bool
) -> None:
    qkv = pictures(BATCH, TOKENS, 3 * WIDTH).to(kind)
    exact, found = by_formula(qkv.double()), attend(qkv.requires_grad_(needs_gradient), HEADS)
    assert found.dtype == kind
    error = 1e-6 if kind == torch.float32 else 2**-7  # bf16 has 8 bits of a number
    for other in (found, attention.reference(qkv, HEADS)):
        torch.testing.assert_close(other.double(), exact, atol=error, rtol=error)


@pytest.mark.parametrize(("kind", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-6)])
def test_the_gradient_of_attention_is_that_of_the_formula(kind: torch.dtype, error: float) -> None:
    qkv, weights = pictures(BATCH, TOKENS, 3 * WIDTH).to(kind), pictures(BATCH, TOKENS, WIDTH, seed=1).to(kind)
    (exact,) = torch.autograd.grad((by_formula(exactly := qkv.double().requires_grad_()) * weights).sum(), exactly)
    for function in (attend, attention.reference):
        (found,) = torch.autograd.grad((function(leaf := qkv.clone().requires_grad_(), HEADS) * weights).sum(), leaf)
        torch.testing.assert_close(found.double(), exact, atol=error * float(exact.abs().max()), rtol=0)


def test_bf16_that_needs_a_gradient_is_multiplied_plainly_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fused: list[torch.dtype] = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, *rest, **more: fused.append(q.dtype) or original(q, *rest, **more)
    )
    for kind in (torch.float32, torch.bfloat16):
        qkv = pictures(BATCH, TOKENS, 3 * WIDTH).to(kind)
        attend(qkv, HEADS)
        attend(qkv.requires_grad_(), HEADS)
    assert fused == [torch.float32, torch.float32, torch.bfloat16]


def test_a_mask_hides_later_tokens() -> None:
    qkv = pictures(1, TOKENS, 3 * WIDTH)
    mask = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)
    changed = qkv.clone()
    changed[:, -1] += 1
    torch.testing.assert_close(attend(qkv, HEADS, mask)[:, :-1], attend(changed, HEADS, mask)[:, :-1])


def test_a_block_equals_open_clips_in_values_and_gradients() -> None:
    block = ResidualAttentionBlock(WIDTH, HEADS, act_layer=TheirGELU)
    draw(block)
    theirs = copy.deepcopy(block.double().requires_grad_(False))
    block.attn, block.mlp.gelu = SelfAttention(block.attn), QuickGELU()
    assert block.state_dict().keys() == theirs.state_dict().keys()
    tokens, weights = pictures(BATCH, TOKENS, WIDTH).double().requires_grad_(), pictures(BATCH, TOKENS, WIDTH, seed=1)
    torch.testing.assert_close(block(tokens), theirs(tokens))
    gradients = [torch.autograd.grad((one(tokens) * weights).sum(), tokens)[0] for one in (block, theirs)]
    torch.testing.assert_close(*gradients)
