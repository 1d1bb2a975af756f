"""Frequency filters of the hybrid adapters.

Dimension key: B batch, R channels, H W patch grid, h w another grid, F = W // 2 + 1 frequencies of a real map.
"""

import torch
from torch import Tensor, nn


class ChannelFilter(nn.Module):
    """Equation 2 of arXiv 2506.08849: one factor a channel, for all frequencies alike, starting at 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(channels))

    def forward(self, grid_BRHW: Tensor) -> Tensor:
        """(B, R, H, W) -> the same shape."""
        return grid_BRHW * self.theta[:, None, None]


class SpectralFilter(nn.Module):
    """One real factor for each channel and frequency, starting at 1: what equation 2 would be with theta (R, H, F).

    Transforms run in fp32, also under autocast. On another grid than the one it was made for, theta is read at the
    new frequencies, in cycles per patch, by linear interpolation: a filter keeps its meaning beside convolutions,
    which also count in patches.
    """

    def __init__(self, channels: int, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        self.grid_hw = grid_hw
        self.theta = nn.Parameter(torch.ones(channels, grid_hw[0], grid_hw[1] // 2 + 1))

    def forward(self, grid_BRHW: Tensor) -> Tensor:
        """(B, R, H, W) -> the same shape and type."""
        grid_hw = (grid_BRHW.shape[-2], grid_BRHW.shape[-1])
        with torch.autocast(grid_BRHW.device.type, enabled=False):
            spectrum_BRHF = torch.fft.rfft2(grid_BRHW.float()) * self.factors(grid_hw)
            return torch.fft.irfft2(spectrum_BRHF, s=grid_hw).to(grid_BRHW.dtype)

    def factors(self, grid_hw: tuple[int, int]) -> Tensor:
        """(R, h, w // 2 + 1) factors for a grid of (h, w) patches."""
        theta_RHF = self.theta.float()
        if grid_hw == self.grid_hw:
            return theta_RHF
        rows_hH = _reading(torch.fft.fftfreq(grid_hw[0]), self.grid_hw[0], bins=self.grid_hw[0])
        columns_fF = _reading(torch.fft.rfftfreq(grid_hw[1]), self.grid_hw[1], bins=self.theta.shape[-1])
        return rows_hH.to(theta_RHF) @ theta_RHF @ columns_fF.to(theta_RHF).T


def _reading(frequencies: Tensor, side: int, bins: int) -> Tensor:
    """(new, bins) weights of linear interpolation; each row sums to 1.

    ``side`` values have ``bins`` frequencies: all of them, which are periodic, or those from 0 up, of which the last
    one also stands for higher ones.
    """
    positions = frequencies.double() * side
    below = positions.floor()
    weights = torch.zeros(len(positions), bins, dtype=torch.float64)
    for step, share in ((0, below + 1 - positions), (1, positions - below)):
        index = below.long() + step
        index = index % side if bins == side else index.clamp(max=bins - 1)
        weights.scatter_add_(1, index[:, None], share[:, None])
    return weights
