"""The Hybrid Tuning adapter, the ablations that leave one of its parts out, and Mona, which has neither.

Source: arXiv 2506.08849, equations 1 to 5, figure 3 and table VII; HT builds on Mona (Yin et al. 2024,
arXiv:2408.08345).
Where we differ from the text of the paper, without changing a value:

- Equation 2 multiplies every frequency of a channel by the same number. The Fourier transform is linear, so
  IFFT(FFT(F) * theta) = F * theta: the filter is computed as this product.
- The three depthwise convolutions of equation 4 are linear in their kernels, so their weighted sum is one
  convolution with the weighted sum of the kernels, the smaller ones padded to 7 x 7.

Dimension key: see ``htunet.models.adapters.base``; S three scales.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.adapters.base import Adapter, checked_settings
from htunet.models.adapters.filters import ChannelFilter, SpectralFilter

KERNELS = (3, 5, 7)


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """Settings of a hybrid adapter, as a plan may set them under ``adapter``."""

    bottleneck: int = 64
    """Width R between the two projections."""
    dropout: float = 0.1
    """Fraction of the activated bottleneck values that is zeroed in training."""

    def __post_init__(self) -> None:
        if self.bottleneck < 4 or self.bottleneck % 4:
            raise ValueError(f"HybridConfig.bottleneck must be a positive multiple of 4, got {self.bottleneck}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"HybridConfig.dropout must be in [0, 1), got {self.dropout}.")


class NoiseEstimator(nn.Module):
    """Equation 3: weights of the three scales from the mean of each channel, (B, R, H, W) -> (B, 3), summing to 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, channels // 4)
        self.scores = nn.Linear(channels // 4, len(KERNELS))

    def forward(self, grid_BRHW: Tensor) -> Tensor:
        """(B, R, H, W) filtered maps -> (B, 3), the weights of kernels 3, 5 and 7 for each image."""
        return torch.softmax(self.scores(F.relu(self.hidden(grid_BRHW.mean(dim=(2, 3))))), dim=1)


class DepthwiseBank(nn.Module):
    """Equation 4: depthwise convolutions with kernels 3, 5 and 7 and their weighted sum, as one 7x7 convolution.

    Parameters keep the names and shapes of three convolutions (``0.weight`` (R, 1, 3, 3), ``0.bias`` and so on).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels) for side in KERNELS
        )

    def forward(self, grid_BRHW: Tensor, weights_BS: Tensor | None) -> Tensor:
        """(B, R, H, W) and the weights of the scales for each image, (B, 3), or None: 1/3 each -> (B, R, H, W)."""
        return convolve(grid_BRHW, *self.stacked(), weights_BS)

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Kernels (S, R, 7, 7), the smaller ones padded with zeros, and biases (S, R)."""
        scales = [cast(nn.Conv2d, scale) for scale in self.scales]
        margins = [(max(KERNELS) - side) // 2 for side in KERNELS]
        kernels = [F.pad(scale.weight[:, 0], [margin] * 4) for scale, margin in zip(scales, margins, strict=True)]
        return torch.stack(kernels), torch.stack([cast(Tensor, scale.bias) for scale in scales])


def convolve(grid_BRHW: Tensor, kernels_SRKK: Tensor, biases_SR: Tensor, weights_BS: Tensor | None) -> Tensor:
    """One depthwise convolution with the weighted sum of kernels; without weights with their mean, for all images."""
    channels, side = grid_BRHW.shape[1], kernels_SRKK.shape[-1]
    if weights_BS is None:
        kernel_R1KK, bias_R = kernels_SRKK.mean(dim=0)[:, None], biases_SR.mean(dim=0)
        return F.conv2d(grid_BRHW, kernel_R1KK, bias_R, padding=side // 2, groups=channels)
    kernel_BRKK = torch.einsum("bs,srkl->brkl", weights_BS, kernels_SRKK)
    # each image has kernels of its own: all channels of all images are the groups of one convolution
    grid_1GHW, kernel_G1KK = grid_BRHW.flatten(0, 1)[None], kernel_BRKK.flatten(0, 1)[:, None]
    merged_1GHW = F.conv2d(grid_1GHW, kernel_G1KK, padding=side // 2, groups=len(kernel_G1KK))
    return merged_1GHW.view(grid_BRHW.shape) + (weights_BS @ biases_SR)[:, :, None, None]


class HybridAdapter(Adapter):
    """Equations 1 to 5. Without ``frequency_filter`` or ``estimator`` it is the ablation that lacks this part."""

    def __init__(
        self,
        width: int,
        config: HybridConfig,
        *,
        frequency_filter: nn.Module | None,
        estimator: NoiseEstimator | None,
    ) -> None:
        super().__init__()
        size = config.bottleneck
        self.norm = nn.LayerNorm(width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))
        self.gamma_x = nn.Parameter(torch.ones(width))
        self.down = nn.Linear(width, size)
        self.filter = frequency_filter
        self.estimator = estimator
        self.bank = DepthwiseBank(size)
        self.mix = nn.Conv2d(size, size, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.up = nn.Linear(size, width)

    def forward(self, tokens_BTD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(B, T, D), class token first -> (B, T, D); the class token skips filter and convolutions."""
        hidden_BTR = project_down(tokens_BTD, *self.down_products(), self.norm.eps)
        activated_BTR = F.gelu(on_the_grid(self.spatial, hidden_BTR, grid_hw))
        return tokens_BTD + self.up(self.dropout(activated_BTR))

    def down_products(self) -> tuple[Tensor, Tensor, Tensor]:
        """Equation 1, ``(LN(Z) * gamma + Z * gamma_x) W + b``, with all factors of size D moved into the matrices.

        LN(Z) = N(Z) * w + c with the plain normalisation N, so it equals N(Z) (w gamma W) + Z (gamma_x W) + (c gamma) W
        + b. Returns the two matrices, (R, D), and the bias, (R): what ``project_down`` takes.
        """
        weight_RD = self.down.weight
        bias_R = F.linear(self.norm.bias * self.gamma, weight_RD, self.down.bias)
        return weight_RD * (self.norm.weight * self.gamma), weight_RD * self.gamma_x, bias_R

    def spatial(self, grid_BRHW: Tensor) -> Tensor:
        """Filter, bank, identity from before the filter, and the residual 1x1 convolution; (B, R, H, W) both ways."""
        filtered_BRHW = grid_BRHW if self.filter is None else self.filter(grid_BRHW)
        weights_BS = None if self.estimator is None else self.estimator(filtered_BRHW)
        banked_BRHW = self.bank(filtered_BRHW, weights_BS) + grid_BRHW
        return banked_BRHW + self.mix(banked_BRHW)

    @torch.no_grad()
    def merged(self) -> Adapter:
        """The same outputs in eval mode, from products of constants that are computed once."""
        return MergedHybrid(self)


def project_down(tokens_BTD: Tensor, normed_RD: Tensor, raw_RD: Tensor, bias_R: Tensor, eps: float) -> Tensor:
    """``N(Z) A^T + Z C^T + b`` with N the normalisation of each token to mean 0, variance 1; (B, T, D) -> (B, T, R)."""
    normalised_BTD = F.layer_norm(tokens_BTD, tokens_BTD.shape[-1:], eps=eps)
    return F.linear(normalised_BTD, normed_RD) + F.linear(tokens_BTD, raw_RD, bias_R)


def on_the_grid(spatial: Callable[[Tensor], Tensor], hidden_BTR: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Apply a function of maps, (B, R, H, W) both ways, to all tokens but the class token."""
    class_B1R, patches_BTR = hidden_BTR.split([1, hidden_BTR.shape[1] - 1], dim=1)
    changed_BRHW = spatial(patches_BTR.transpose(1, 2).unflatten(2, grid_hw))
    return torch.cat([class_B1R, changed_BRHW.flatten(2).transpose(1, 2)], dim=1)


class MergedHybrid(Adapter):
    """A hybrid adapter in eval mode whose products of constants are computed once.

    - The factors of size D lie in the two matrices of the down-projection.
    - A factor a channel lies in the kernels and in the estimator's first matrix. The weights of the scales sum to 1,
      so the identity lies in each kernel as a 1 in its centre. A filter that depends on the frequency stays as it is,
      and so does the identity from before it.
    - Kernels that are not weighted image by image are one kernel.
    - The residual of the 1x1 convolution is a 1 on the diagonal of its matrix.
    """

    normed_RD: Tensor
    raw_RD: Tensor
    down_bias_R: Tensor
    kernels_SRKK: Tensor
    biases_SR: Tensor

    def __init__(self, adapter: HybridAdapter) -> None:
        super().__init__()
        twin = copy.deepcopy(adapter)
        self.eps, self.filter, self.estimator = twin.norm.eps, twin.filter, twin.estimator
        self.mix, self.up = twin.mix, twin.up
        self.mix.weight += torch.eye(len(self.mix.weight), device=self.mix.weight.device)[:, :, None, None]
        kernels_SRKK, biases_SR = twin.bank.stacked()
        if isinstance(self.filter, ChannelFilter):
            kernels_SRKK = kernels_SRKK * self.filter.theta[:, None, None]
            if self.estimator is not None:
                self.estimator.hidden.weight *= self.filter.theta
            self.filter = None
        if self.filter is None:
            centre = max(KERNELS) // 2
            kernels_SRKK[:, :, centre, centre] += 1
        if self.estimator is None:
            kernels_SRKK, biases_SR = kernels_SRKK.mean(dim=0, keepdim=True), biases_SR.mean(dim=0, keepdim=True)
        names = ("normed_RD", "raw_RD", "down_bias_R", "kernels_SRKK", "biases_SR")
        for name, value in zip(names, (*twin.down_products(), kernels_SRKK, biases_SR), strict=True):
            self.register_buffer(name, value)
        self.requires_grad_(False).eval()

    def forward(self, tokens_BTD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """As ``HybridAdapter.forward`` in eval mode."""
        hidden_BTR = project_down(tokens_BTD, self.normed_RD, self.raw_RD, self.down_bias_R, self.eps)
        return tokens_BTD + self.up(F.gelu(on_the_grid(self.spatial, hidden_BTR, grid_hw)))

    def spatial(self, grid_BRHW: Tensor) -> Tensor:
        """As ``HybridAdapter.spatial``."""
        filtered_BRHW = grid_BRHW if self.filter is None else self.filter(grid_BRHW)
        weights_BS = None if self.estimator is None else self.estimator(filtered_BRHW)
        banked_BRHW = convolve(filtered_BRHW, self.kernels_SRKK, self.biases_SR, weights_BS)
        return self.mix(banked_BRHW if self.filter is None else banked_BRHW + grid_BRHW)


def _hybrid(
    width: int, settings: Mapping[str, Any], *, make_filter: Callable[[int], nn.Module] | None, estimated: bool
) -> Adapter:
    config = checked_settings(HybridConfig, settings)
    size = config.bottleneck
    frequency_filter = make_filter(size) if make_filter else None
    estimator = NoiseEstimator(size) if estimated else None
    return HybridAdapter(width, config, frequency_filter=frequency_filter, estimator=estimator)


def ht(width: int, grid_hw: tuple[int, int], settings: Mapping[str, Any]) -> Adapter:
    """The whole adapter: frequency filter and noise estimator."""
    return _hybrid(width, settings, make_filter=ChannelFilter, estimated=True)


def htne(width: int, grid_hw: tuple[int, int], settings: Mapping[str, Any]) -> Adapter:
    """The noise estimator alone."""
    return _hybrid(width, settings, make_filter=None, estimated=True)


def htff(width: int, grid_hw: tuple[int, int], settings: Mapping[str, Any]) -> Adapter:
    """The frequency filter alone: the scales weigh 1/3 each."""
    return _hybrid(width, settings, make_filter=ChannelFilter, estimated=False)


def ht_spectral(width: int, grid_hw: tuple[int, int], settings: Mapping[str, Any]) -> Adapter:
    """Our extension: the whole adapter with a filter that depends on the frequency."""
    return _hybrid(width, settings, make_filter=lambda size: SpectralFilter(size, grid_hw), estimated=True)


def mona(width: int, grid_hw: tuple[int, int], settings: Mapping[str, Any]) -> Adapter:
    """Neither filter nor estimator: Mona on the tokens of a Vision Transformer."""
    return _hybrid(width, settings, make_filter=None, estimated=False)
