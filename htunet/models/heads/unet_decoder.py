"""A U-Net decoder over the levels of a Vision Transformer, which all have the same size.

Source: Baharoon et al. 2023, arXiv:2312.02366 (the decoder that its authors publish for DINOv2); with two labels over
levels 768 wide it has the 9,696,182 parameters that arXiv:2506.08849 counts. Difference: no ReLU on the scores, where
it would make each label's score at least zero, up-sampling with pixel centres in place, and a last step that is
bilinear. ``as_published`` has none of these differences.

Dimension key: B batch, T tokens = 1 + grid height * grid width, D width, K labels, C channels, H W pixels of a map.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DecoderStep(nn.Module):
    """Double the size of the map from below, and join a level."""

    def __init__(self, before: int, after: int, width: int, *, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.enlarge = nn.ConvTranspose2d(before, after, 2, stride=2)
        self.skip = nn.Sequential(nn.Conv2d(width, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))
        self.join = nn.Sequential(nn.Conv2d(2 * after, after, 3, padding=1), nn.BatchNorm2d(after))

    def forward(self, deep_BCHW: Tensor, level_BDHW: Tensor) -> Tensor:
        """The deeper map and the level, on the patch grid -> (B, after, 2 H, 2 W), not activated."""
        up_BCHW = self.enlarge(deep_BCHW)
        size, skip_BCHW = up_BCHW.shape[-2:], self.skip(level_BDHW)
        skip_BCHW = F.interpolate(skip_BCHW, size, mode="bilinear", align_corners=self.align_corners)
        return self.join(torch.cat([up_BCHW, skip_BCHW], dim=1))


class UNetDecoder(nn.Module):
    """Five levels -> scores: each step doubles the size, halves the channels and joins the next shallower level."""

    levels = 5

    def __init__(self, width: int, num_labels: int, *, as_published: bool = False) -> None:
        super().__init__()
        self.as_published = as_published
        widths = (width, width // 2, width // 4, width // 8, num_labels)
        self.steps = nn.ModuleList(
            DecoderStep(before, after, width, align_corners=as_published) for before, after in pairwise(widths)
        )

    def forward(self, levels_BTD: Sequence[Tensor], grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> Tensor:
        """The last five levels, shallow first, class token first (not used) -> (B, K, H, W) scores, fp32."""
        maps_BDHW = [tokens[:, 1:].transpose(1, 2).unflatten(2, grid_hw) for tokens in levels_BTD[-self.levels :]]
        features_BCHW = maps_BDHW.pop()
        for number, (step, level_BDHW) in enumerate(zip(self.steps, reversed(maps_BDHW), strict=True)):
            features_BCHW = step(F.relu(features_BCHW) if number else features_BCHW, level_BDHW)
        scores_BKHW = features_BCHW.float()
        if self.as_published:
            return F.interpolate(F.relu(scores_BKHW), image_hw, mode="bicubic", align_corners=False, antialias=True)
        return F.interpolate(scores_BKHW, image_hw, mode="bilinear", align_corners=False)
