"""The hand-written gradients of a frozen block's attention and MLP, against autograd through the plain formulas."""

import copy

import pytest
import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.backbones.clip import FrozenBlock
from htunet.models.kernels import attention
from htunet.models.kernels.attention import attend
from htunet.models.kernels.frozen_mlp import FrozenMLP
from htunet.models.kernels.residual import add_projected

BATCH, TOKENS, HEADS, WIDTH, HIDDEN = 2, 5, 3, 12, 48


def plain_attention(qkv: Tensor) -> Tensor:
    q, k, v = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=2))
    shares = torch.softmax(q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5, dim=-1)
    return (shares @ v).transpose(1, 2).flatten(2)


def plain_mlp(tokens: Tensor, mlp: nn.Sequential) -> Tensor:
    hidden = mlp.get_submodule("c_fc")(tokens)
    return mlp.get_submodule("c_proj")(hidden * torch.sigmoid(1.702 * hidden))


def frozen_mlp() -> nn.Sequential:
    torch.manual_seed(1)
    mlp = nn.Sequential()
    mlp.add_module("c_fc", nn.Linear(WIDTH, HIDDEN))
    mlp.add_module("gelu", nn.Identity())
    mlp.add_module("c_proj", nn.Linear(HIDDEN, WIDTH))
    return mlp.requires_grad_(False).double()


@pytest.mark.parametrize("heads_at_a_time", [1, 4, 24])
def test_attention_and_its_gradient_pass_the_numerical_check(
    heads_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "HEADS_AT_A_TIME", heads_at_a_time)
    qkv = torch.randn(BATCH, TOKENS, 3 * WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: attend(x, HEADS), (qkv,))


@pytest.mark.parametrize("needs_gradient", [True, False])
def test_attention_equals_the_formula_with_and_without_a_gradient(needs_gradient: bool) -> None:
    qkv = torch.randn(BATCH, TOKENS, 3 * WIDTH, requires_grad=needs_gradient)
    torch.testing.assert_close(attend(qkv, HEADS), plain_attention(qkv), atol=1e-6, rtol=1e-5)


def test_a_mask_hides_later_tokens() -> None:
    qkv = torch.randn(1, TOKENS, 3 * WIDTH)
    mask = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)
    changed = qkv.clone()
    changed[:, -1] += 1
    torch.testing.assert_close(attend(qkv, HEADS, mask)[:, :-1], attend(changed, HEADS, mask)[:, :-1])


def test_the_frozen_mlp_and_its_gradient_equal_the_formula() -> None:
    mlp = frozen_mlp()
    tokens = torch.randn(BATCH, TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    residual = torch.randn_like(tokens).requires_grad_()
    torch.testing.assert_close(FrozenMLP(mlp)(tokens, residual), residual + plain_mlp(tokens, mlp))
    assert torch.autograd.gradcheck(FrozenMLP(mlp), (tokens, residual))


def test_an_mlp_that_is_not_frozen_gets_gradients_by_the_plain_formula() -> None:
    mlp = frozen_mlp().requires_grad_(True)
    tokens = torch.randn(BATCH, TOKENS, WIDTH, dtype=torch.float64)
    result = FrozenMLP(mlp)(tokens, tokens)
    torch.testing.assert_close(result, tokens + plain_mlp(tokens, mlp))
    result.sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in mlp.parameters())


def test_the_gradient_through_frozen_bf16_weights_is_that_of_fp32_to_bf16s_precision() -> None:
    mlp = frozen_mlp().float()
    tokens = torch.randn(BATCH, TOKENS, WIDTH)
    gradients = []
    for kind in (torch.float32, torch.bfloat16):
        leaf = tokens.clone().requires_grad_()
        FrozenMLP(mlp.to(kind))(leaf, leaf).float().square().sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert F.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), dim=0) > 0.999


@pytest.mark.parametrize("trained", [True, False])
def test_a_sum_with_a_product_equals_the_formula_and_its_gradient_the_numerical_one(trained: bool) -> None:
    layer = nn.Linear(HIDDEN, WIDTH).double().requires_grad_(trained)
    tokens = torch.randn(BATCH, TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(BATCH, TOKENS, HIDDEN, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(add_projected(tokens, hidden, layer), tokens + layer(hidden))

    def summed(tokens: Tensor, hidden: Tensor, *_: Tensor) -> Tensor:
        return add_projected(tokens, hidden, layer)

    assert torch.autograd.gradcheck(summed, (tokens, hidden, *(layer.parameters() if trained else ())))


def test_a_sum_with_another_layer_calls_it() -> None:
    tokens = torch.randn(BATCH, TOKENS, WIDTH)
    torch.testing.assert_close(add_projected(tokens, tokens, nn.Sequential(nn.ReLU())), tokens + tokens.relu())


def test_a_block_equals_open_clips() -> None:
    torch.manual_seed(2)
    block = ResidualAttentionBlock(WIDTH, HEADS, act_layer=QuickGELU).double().requires_grad_(False)
    twin = copy.deepcopy(block)
    ours = FrozenBlock(block, quick_gelu=True)
    assert ours.state_dict().keys() == twin.state_dict().keys()
    tokens = torch.randn(BATCH, TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(ours(tokens), twin(tokens))
    assert torch.autograd.gradcheck(ours, (tokens,))
