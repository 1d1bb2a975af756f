"""Test-time augmentation: an image is predicted several times, slightly changed, and the probabilities are averaged.

Left and right are exchanged, as a transducer may be held either way; size and brightness change a little, as depth and
gain do. Depth is never turned upside down: shadows and enhancement lie below what casts them.

Dimension key: B batch, C channels, K labels, H W pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class View:
    """How an image is changed before a network sees it."""

    mirror: bool = False
    scale: float = 1.0
    """Enlarges the image around its centre; the size of the array stays."""
    gain: float = 1.0
    """Factor of the pixel values."""

    def apply(self, images_BCHW: Tensor) -> Tensor:
        """The changed images: uint8 in, floats 0..255 out unless nothing changes."""
        if self == View():
            return images_BCHW
        changed = images_BCHW.float()
        if self.scale != 1:
            changed = _resampled(changed, 1 / self.scale)
        changed = (changed * self.gain).clamp(0, 255)
        return changed.flip(-1) if self.mirror else changed

    def invert(self, maps_BKHW: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of the changed images as maps of the original ones, and the visible pixels, (1, 1, H, W).

        The maps are 0 at pixels that were not visible.
        """
        seen = torch.ones_like(maps_BKHW[:1, :1])
        if self.mirror:
            maps_BKHW = maps_BKHW.flip(-1)
        if self.scale != 1:
            inside = (_resampled(seen, self.scale) > 1 - 1e-4).to(seen.dtype)  # without pixels mixed with the outside
            return _resampled(maps_BKHW, self.scale) * inside, inside
        return maps_BKHW, seen


PLAIN = (View(),)
AUGMENTED = (View(), View(mirror=True), View(gain=0.85), View(gain=1.15), View(scale=0.9), View(scale=1.1))


def _resampled(images_BCHW: Tensor, step: float) -> Tensor:
    """Sampled with ``step`` pixels from one pixel to the next, from the centre; 0 beyond the border."""
    theta = torch.tensor([[[step, 0.0, 0.0], [0.0, step, 0.0]]], device=images_BCHW.device, dtype=images_BCHW.dtype)
    grid = F.affine_grid(theta.expand(len(images_BCHW), 2, 3), list(images_BCHW.shape), align_corners=False)
    return F.grid_sample(images_BCHW, grid, align_corners=False)
