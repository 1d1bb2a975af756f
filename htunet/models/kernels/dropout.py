"""Dropout with fewer random numbers on a CPU."""

import torch
from torch import Tensor, nn

LEVELS = 2**16
"""Of the probability that decides one value: 16 bits."""


class Dropout(nn.Dropout):
    """As nn.Dropout, with a probability rounded to 1/65536 on a CPU, and other random masks there.

    PyTorch draws one random number for each value, on one core however many there are. Here one draw of 64 bits decides
    four values.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Any shape; the same shape, type and memory layout."""
        threshold = round(self.p * LEVELS)
        if not self.training or values.device.type != "cpu" or not 0 < threshold < LEVELS:
            return super().forward(values)
        bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = (bits[: values.numel()] >= threshold - LEVELS // 2).to(values.dtype).mul_(LEVELS / (LEVELS - threshold))
        return values * kept.as_strided(values.shape, torch.empty_like(values, device="meta").stride())
