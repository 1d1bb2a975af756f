"""Dropout that draws four values' fates at a time drops as often as nn.Dropout, and scales what stays alike."""

import pytest
import torch
from torch import nn

from htunet.models.kernels.dropout import Dropout


@pytest.mark.parametrize("p", [0.05, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_given_fraction_is_dropped_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    dropped = Dropout(p)(torch.ones(10**6, dtype=dtype)).double()
    deviation = (p * (1 - p) / 10**6) ** 0.5  # of the fraction, were each value decided alone
    assert abs(float((dropped == 0).double().mean()) - p) < 5 * deviation + 1 / 2**16
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4 if dtype == torch.float32 else 1e-2)


def test_neighbours_are_decided_independently() -> None:
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(10**6)) != 0).double()
    for distance in range(1, 9):  # four values share one draw
        correlation = torch.corrcoef(torch.stack([kept[:-distance], kept[distance:]]))[0, 1]
        assert abs(float(correlation)) < 5e-3


def test_the_layout_stays_and_the_gradient_is_that_of_the_kept_values() -> None:
    torch.manual_seed(1)
    values = torch.randn(2, 3, 5, 7).to(memory_format=torch.channels_last).requires_grad_()
    result = Dropout(0.25)(values)
    assert result.is_contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(result.sum(), values)
    torch.testing.assert_close(result, values * gradient)
    assert gradient.unique().tolist() == pytest.approx([0, 4 / 3])


def test_the_seed_decides_and_nothing_is_dropped_in_evaluation_or_with_probability_0() -> None:
    layer, values = Dropout(0.5), torch.ones(999)
    torch.manual_seed(3)
    first = layer(values)
    torch.manual_seed(3)
    assert torch.equal(layer(values), first)
    assert torch.equal(Dropout(0.0)(values), values)
    assert torch.equal(layer.eval()(values), values)
    assert isinstance(layer, nn.Dropout)
