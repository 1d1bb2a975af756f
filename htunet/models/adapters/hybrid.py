"""The Hybrid Tuning adapter and the ablations that leave one of its parts out.

Source: arXiv 2506.08849, equations 1 to 5 and figure 3, which build on Mona (Yin et al. 2024, arXiv:2408.08345).
Where we differ from the text of the paper, without changing a value:

- Equation 2 multiplies every frequency of a channel by the same number. The Fourier transform is linear, so
  IFFT(FFT(F) * theta) = F * theta: the filter is computed as this product.
- The three depthwise convolutions of equation 4 are linear in their kernels, so their weighted sum is one
  convolution with the weighted sum of the kernels, the smaller ones padded to 7 x 7.

Dimension key: see ``htunet.models.adapters.base``; S three scales.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.adapters.base import ADAPTERS, Adapter, checked_settings

KERNELS = (3, 5, 7)


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """Settings of a hybrid adapter, as a plan may set them under ``adapter``."""

    bottleneck: int = 64
    """Width R between the two projections."""
    dropout: float = 0.1
    """Share of the activated bottleneck values that is zeroed in training."""

    def __post_init__(self) -> None:
        if self.bottleneck < 4 or self.bottleneck % 4:
            raise ValueError(f"HybridConfig.bottleneck must be a positive multiple of 4, got {self.bottleneck}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"HybridConfig.dropout must be in [0, 1), got {self.dropout}.")


class ChannelFilter(nn.Module):
    """Equation 2, the frequency filter: one factor a channel, for all frequencies alike, starting at 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(channels))

    def forward(self, grid_BRHW: Tensor) -> Tensor:
        """(B, R, H, W) -> the same shape."""
        return grid_BRHW * self.theta[:, None, None]


class NoiseEstimator(nn.Module):
    """Equation 3: weights of the three scales from the mean of each channel, (B, R, H, W) -> (B, 3), summing to 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, channels // 4)
        self.scores = nn.Linear(channels // 4, len(KERNELS))

    def forward(self, grid_BRHW: Tensor) -> Tensor:
        return torch.softmax(self.scores(F.relu(self.hidden(grid_BRHW.mean(dim=(2, 3))))), dim=1)


class DepthwiseBank(nn.Module):
    """Equation 4: depthwise convolutions with kernels 3, 5 and 7, weighted per image, as one 7x7 convolution.

    Parameters keep the names and shapes of three convolutions (``0.weight`` (R, 1, 3, 3), ``0.bias`` and so on).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels) for side in KERNELS
        )

    def forward(self, grid_BRHW: Tensor, weights_BS: Tensor) -> Tensor:
        """(B, R, H, W) and the weights of the scales, (B, 3) -> (B, R, H, W)."""
        batch, channels = grid_BRHW.shape[:2]
        widest = max(KERNELS)
        scales = [
            (cast(nn.Conv2d, scale), (widest - side) // 2) for scale, side in zip(self.scales, KERNELS, strict=True)
        ]
        kernels_SRKK = torch.stack([F.pad(scale.weight[:, 0], [margin] * 4) for scale, margin in scales])
        biases_SR = torch.stack([cast(Tensor, scale.bias) for scale, _ in scales])
        kernel_BRKK = torch.einsum("bs,srkl->brkl", weights_BS, kernels_SRKK)
        bias_BR = weights_BS @ biases_SR
        merged = F.conv2d(
            grid_BRHW.reshape(1, batch * channels, *grid_BRHW.shape[2:]),
            kernel_BRKK.reshape(batch * channels, 1, widest, widest),
            bias_BR.reshape(-1),
            padding=widest // 2,
            groups=batch * channels,
        )
        return merged.reshape(grid_BRHW.shape)


class HybridAdapter(Adapter):
    """Equations 1 to 5. Without ``frequency_filter`` or ``estimator`` it is the ablation that lacks this part."""

    def __init__(
        self,
        width: int,
        config: HybridConfig,
        *,
        frequency_filter: nn.Module | None,
        estimator: nn.Module | None,
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
        hidden_BTR = self.project_down(tokens_BTD)
        class_B1R, patches_BTR = hidden_BTR.split([1, hidden_BTR.shape[1] - 1], dim=1)
        grid_BRHW = patches_BTR.transpose(1, 2).unflatten(2, grid_hw)
        spatial_BTR = self.spatial(grid_BRHW).flatten(2).transpose(1, 2)
        activated_BTR = F.gelu(torch.cat([class_B1R, spatial_BTR], dim=1))
        return tokens_BTD + self.up(self.dropout(activated_BTR))

    def project_down(self, tokens_BTD: Tensor) -> Tensor:
        """Equation 1, ``(LN(Z) * gamma + Z * gamma_x) W + b``, with all factors of size D moved into the matrices.

        LN(Z) = N(Z) * w + c with the plain normalisation N, so the product equals N(Z) (w gamma W) + Z (gamma_x W) +
        (c gamma) W + b: the large tokens are read by two products and by nothing else.
        """
        weight_RD = self.down.weight
        normed_BTD = F.layer_norm(tokens_BTD, tokens_BTD.shape[-1:], eps=self.norm.eps)
        bias_R = F.linear(self.norm.bias * self.gamma, weight_RD, self.down.bias)
        from_normed_BTR = F.linear(normed_BTD, weight_RD * (self.norm.weight * self.gamma), bias_R)
        return from_normed_BTR + F.linear(tokens_BTD, weight_RD * self.gamma_x)

    def spatial(self, grid_BRHW: Tensor) -> Tensor:
        """Filter, bank, identity from before the filter, and the residual 1x1 convolution; (B, R, H, W) both ways."""
        filtered_BRHW = grid_BRHW if self.filter is None else self.filter(grid_BRHW)
        weights_BS = self.scale_weights(filtered_BRHW)
        banked_BRHW = self.bank(filtered_BRHW, weights_BS) + grid_BRHW
        return banked_BRHW + self.mix(banked_BRHW)

    def scale_weights(self, filtered_BRHW: Tensor) -> Tensor:
        """(B, 3) weights of the scales: estimated, or 1/3 each."""
        if self.estimator is None:
            return filtered_BRHW.new_full((len(filtered_BRHW), len(KERNELS)), 1 / len(KERNELS))
        return self.estimator(filtered_BRHW)


@ADAPTERS.register("HT")
def ht(width: int, settings: Mapping[str, Any]) -> Adapter:
    """The whole adapter: frequency filter and noise estimator."""
    config = checked_settings(HybridConfig, settings)
    size = config.bottleneck
    return HybridAdapter(width, config, frequency_filter=ChannelFilter(size), estimator=NoiseEstimator(size))
