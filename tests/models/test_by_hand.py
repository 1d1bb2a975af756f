"""The hybrid adapters' hand-written gradients against numerical ones, and their values against the plain formulas."""

import pytest
import torch
from builders.backbone import pictures
from torch import Tensor
from torch.nn import functional as F

from htunet.models.kernels.adapter_down import convolve_each, project_down

EPS = 1e-5


def weights() -> tuple[Tensor, Tensor, Tensor]:
    return pictures(8, 64, seed=1), pictures(8, 64, seed=2), pictures(8, seed=3)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return pictures(*shape, seed=seed).double().requires_grad_()


def plain_down(tokens: Tensor, normed: Tensor, raw: Tensor, bias: Tensor) -> Tensor:
    return F.linear(F.layer_norm(tokens, tokens.shape[-1:], eps=EPS), normed) + F.linear(tokens, raw, bias)


def test_the_way_down_equals_the_formula_and_its_gradient_the_numerical_one() -> None:
    arguments = (drawn(2, 3, 7), drawn(4, 7, seed=1), drawn(4, 7, seed=2), drawn(4, seed=3))

    def down(tokens: Tensor, normed: Tensor, raw: Tensor, bias: Tensor) -> Tensor:
        hidden, same = project_down(tokens, normed, raw, bias, EPS)
        return torch.cat([hidden, same], dim=-1)

    torch.testing.assert_close(down(*arguments), torch.cat([plain_down(*arguments), arguments[0]], dim=-1))
    assert torch.autograd.gradcheck(down, arguments)


@pytest.mark.parametrize("offset", [0.0, 30.0, -300.0])
def test_a_large_mean_of_the_tokens_costs_no_precision_beyond_that_of_fp32(offset: float) -> None:
    tokens, (normed, raw, bias) = pictures(2, 50, 64) + offset, weights()
    exact = plain_down(*(one.double() for one in (tokens, normed, raw, bias)))
    error = (project_down(tokens, normed, raw, bias, EPS)[0] - exact).abs().max()
    assert error < 1e-6 * exact.abs().max() + 2e-5 * max(1.0, abs(offset))


def test_a_constant_token_is_normalised_to_nothing() -> None:
    normed, raw, bias = pictures(4, 7, seed=1), pictures(4, 7, seed=2), pictures(4, seed=3)
    found, _ = project_down(torch.full((1, 1, 7), 2.0), normed, raw, bias, EPS)
    torch.testing.assert_close(found[0, 0], 2 * raw.sum(dim=1) + bias, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("grid_hw", "side"), [((5, 4), 3), ((3, 6), 7), ((1, 1), 5)])
def test_each_map_is_convolved_with_its_own_kernel(grid_hw: tuple[int, int], side: int) -> None:
    grid, kernels = drawn(3, *grid_hw), drawn(3, side, side, seed=1)
    plain = F.conv2d(grid[None], kernels[:, None], padding=side // 2, groups=3)[0]
    torch.testing.assert_close(convolve_each(grid, kernels), plain)
    assert torch.autograd.gradcheck(convolve_each, (grid, kernels))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_under_autocast_products_are_in_bf16_and_gradients_close_to_fp32s(kind: torch.dtype) -> None:
    """Tokens may arrive in either type: the embedding gives bf16, the residual stream fp32."""
    gradients = []
    for enabled in (False, True):
        tokens, normed, raw, bias = (one.clone().requires_grad_() for one in (pictures(2, 30, 64), *weights()))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found, same = project_down(tokens.to(kind) if enabled else tokens, normed, raw, bias, EPS)
            maps = convolve_each(found.flatten(0, 1)[:, None], normed[:1, :3].expand(60, 3)[:, None].repeat(1, 3, 1))
        assert maps.dtype == (torch.bfloat16 if enabled else torch.float32)
        sources = (tokens, normed, raw, bias)
        gradients.append(
            torch.cat(
                [g.flatten() for g in torch.autograd.grad(maps.float().square().sum() + same.float().sum(), sources)]
            )
        )
    assert F.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.999
