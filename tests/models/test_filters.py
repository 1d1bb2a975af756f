"""The two frequency filters: what is the same in both, and what only one per frequency can do."""

import math

import pytest
import torch
from builders.backbone import pictures

from htunet.models.adapters.filters import ChannelFilter, SpectralFilter


def filled(grid_hw: tuple[int, int], channels: int = 3, seed: int = 0) -> SpectralFilter:
    module = SpectralFilter(channels, grid_hw)
    with torch.no_grad():
        module.theta.copy_(pictures(*module.theta.shape, seed=seed))
    return module


@pytest.mark.parametrize("grid_hw", [(14, 14), (5, 9), (9, 4), (1, 6), (2, 1)], ids=str)
def test_a_fresh_filter_changes_nothing(grid_hw: tuple[int, int]) -> None:
    grid = pictures(2, 3, *grid_hw)
    for module in (ChannelFilter(3), SpectralFilter(3, grid_hw)):
        torch.testing.assert_close(module(grid), grid, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("grid_hw", [(14, 14), (5, 9), (6, 7)], ids=str)
def test_equal_factors_for_all_frequencies_are_one_factor_a_channel(grid_hw: tuple[int, int]) -> None:
    """The filter as the paper writes it: the Fourier transform is linear, so that the factor comes out of it."""
    one, many = ChannelFilter(3), SpectralFilter(3, (4, 4))
    with torch.no_grad():
        one.theta.copy_(torch.tensor([0.5, -2.0, 3.0]))
        many.theta.copy_(one.theta[:, None, None].expand_as(many.theta))
    grid = pictures(2, 3, *grid_hw)
    torch.testing.assert_close(many(grid), one(grid), rtol=1e-5, atol=1e-5)


def test_a_wave_is_multiplied_by_the_factor_of_its_frequency_alone() -> None:
    """A cosine with two waves down and three across, on a grid of 8 x 8."""
    module = SpectralFilter(1, (8, 8))
    rows, columns = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
    wave = torch.cos(2 * math.pi * (2 * rows + 3 * columns) / 8)[None, None]
    with torch.no_grad():
        module.theta.fill_(7.0)
        module.theta[0, 2, 3] = 0.25
    torch.testing.assert_close(module(wave), 0.25 * wave, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("made_for", "used_on"), [((4, 6), (8, 12)), ((8, 8), (4, 4)), ((6, 4), (3, 8))], ids=str)
def test_frequencies_that_two_grids_share_keep_their_factors(
    made_for: tuple[int, int], used_on: tuple[int, int]
) -> None:
    """In cycles per patch, row 2 of 8 is row 1 of 4; the last rows are the negative frequencies."""
    module = filled(made_for)
    factors = module.factors(used_on)
    assert factors.shape == (3, used_on[0], used_on[1] // 2 + 1)
    for new_row in range(used_on[0]):
        for new_column in range(used_on[1] // 2 + 1):
            row, column = new_row * made_for[0] / used_on[0], new_column * made_for[1] / used_on[1]
            if row.is_integer() and column.is_integer():
                expected = module.theta[:, int(row), int(column)]
                torch.testing.assert_close(factors[:, new_row, new_column], expected)


def test_between_two_frequencies_lies_their_mean() -> None:
    module = filled((4, 4))
    factors = module.factors((8, 4))
    torch.testing.assert_close(factors[:, 1], (module.theta[:, 0] + module.theta[:, 1]) / 2)
    torch.testing.assert_close(factors[:, 7], (module.theta[:, 0] + module.theta[:, 3]) / 2)  # they are periodic


def test_a_gradient_passes_through_the_interpolation() -> None:
    module = filled((4, 4))
    module(pictures(2, 3, 7, 5)).square().sum().backward()
    assert module.theta.grad is not None
    assert (module.theta.grad != 0).all()


def test_transforms_run_in_fp32_under_autocast() -> None:
    module, grid = filled((6, 6)), pictures(2, 3, 6, 6).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        result = module(grid)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, module(grid.float()).to(torch.bfloat16))
