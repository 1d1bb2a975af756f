"""Every hybrid adapter as a plain function of its parameters, written from the equations, sharing no code with ours.

Fourier transforms for every filter, three separate depthwise convolutions, one line an equation.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

PARTS = {
    "HT": ("factor a channel", "estimated"),
    "HTFF": ("factor a channel", "a third each"),
    "HTNE": ("no filter", "estimated"),
    "HTSpectral": ("factor a frequency", "estimated"),
    "Mona": ("no filter", "a third each"),
}
"""What each variant is made of: the filter, and the weights of the three scales."""


def literal_adapter(name: str, p: Mapping[str, Tensor], z: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B, 1 + H*W, D) -> the same shape, without dropout; ``p`` has the names of our state dicts."""
    which_filter, which_weights = PARTS[name]
    normed = F.layer_norm(z, z.shape[-1:], p["norm.weight"], p["norm.bias"])
    z_in = (normed * p["gamma"] + z * p["gamma_x"]) @ p["down.weight"].T + p["down.bias"]
    f_in = z_in[:, 1:].transpose(1, 2).reshape(len(z), -1, height, width)
    f_freq = f_in if which_filter == "no filter" else _filtered(f_in, p["filter.theta"])
    if which_weights == "estimated":
        hidden = torch.relu(f_freq.mean(dim=(2, 3)) @ p["estimator.hidden.weight"].T + p["estimator.hidden.bias"])
        alpha = torch.softmax(hidden @ p["estimator.scores.weight"].T + p["estimator.scores.bias"], dim=1)
    else:
        alpha = torch.full((len(z), 3), 1 / 3)
    f_multi = f_in
    for i, side in enumerate((3, 5, 7)):
        kernel, bias = p[f"bank.scales.{i}.weight"], p[f"bank.scales.{i}.bias"]
        convolved = F.conv2d(f_freq, kernel, bias, padding=side // 2, groups=f_freq.shape[1])
        f_multi = f_multi + alpha[:, i, None, None, None] * convolved
    f_multi = f_multi + F.conv2d(f_multi, p["mix.weight"], p["mix.bias"])
    z_out = torch.cat([z_in[:, :1], f_multi.flatten(2).transpose(1, 2)], dim=1)
    return z + F.gelu(z_out) @ p["up.weight"].T + p["up.bias"]


def _filtered(f_in: Tensor, theta: Tensor) -> Tensor:
    """The whole complex transform; half of the factors are given, the others are those of the opposite frequencies."""
    height, width = f_in.shape[-2:]
    if theta.ndim == 1:
        whole = theta[:, None, None]
    else:
        rows = [(-row) % height for row in range(height)]
        opposite = [theta[:, rows, width - column] for column in range(width // 2 + 1, width)]
        whole = torch.cat([theta, *(factors[:, :, None] for factors in opposite)], dim=2)
    return torch.fft.ifft2(torch.fft.fft2(f_in) * whole).real
