"""Light random changes of simulated images, on the device and for a whole batch at a time.

Dimension key: B images, P planes, H W pixels, L numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from htunet.models.text.phantom import word_numbers
from htunet.pretraining.stream import CLASS, FIRST_SIGN, FIRST_WORD, IMAGE, LESION, ORGAN, Images

STRETCH, SHIFT = 0.3, 0.12
"""Largest change of height and of width, as a logarithm, and of the position, as a fraction of the side."""
GAMMA, CONTRAST, BRIGHTNESS, NOISE = 0.35, 0.2, 0.08, 0.04
LEFT, RIGHT = word_numbers("left right")


@dataclass(frozen=True)
class Lesson:
    """A batch to learn from."""

    images: Tensor
    """(B, 1, H, W) gray values 0..255, fp32."""
    dense: Tensor
    """(B, P, H, W) uint8: the planes of the stream."""
    numbers: Tensor
    """(B, L) int64."""

    @property
    def lesions(self) -> Tensor:
        """(B, H, W) 0 and 1."""
        return self.dense[:, LESION]

    @property
    def classes(self) -> Tensor:
        """(B,) places in CLASSES."""
        return self.numbers[:, CLASS]

    @property
    def organs(self) -> Tensor:
        """(B,) places in ORGANS, -1 for others."""
        return self.numbers[:, ORGAN]

    @property
    def signs(self) -> Tensor:
        """(B, signs) places among each one's values, -1 where there is no lesion."""
        return self.numbers[:, FIRST_SIGN:FIRST_WORD]

    @property
    def words(self) -> Tensor:
        """(B, words) of the captions; 0 behind the end."""
        return self.numbers[:, FIRST_WORD:]


def as_they_are(found: Images) -> Lesson:
    """Without any change."""
    return Lesson(found.planes[:, IMAGE : IMAGE + 1].float(), found.planes, found.numbers)


def varied(found: Images, seed: int) -> Lesson:
    """The images flipped, stretched, moved and with other gray values; all randomness follows from ``seed``.

    Pixels from beyond the edge are black, as outside the insonified field. Depths stay those of the tissue; the caption
    of a flipped image says right for left.
    """
    device = found.planes.device
    dice = torch.Generator(device).manual_seed(seed)
    count = len(found.planes)

    def drawn(most: float, *shape: int) -> Tensor:
        return (torch.rand((count, *shape), generator=dice, device=device) * 2 - 1) * most

    theta_B23 = torch.zeros((count, 2, 3), device=device)
    theta_B23[:, 0, 0] = torch.exp(drawn(STRETCH)) * torch.sign(drawn(1.0))
    theta_B23[:, 1, 1] = torch.exp(drawn(STRETCH))
    theta_B23[:, :, 2] = drawn(2 * SHIFT, 2)
    grid = F.affine_grid(theta_B23, [count, 1, *found.planes.shape[2:]], align_corners=False)
    planes = found.planes.float()
    images = F.grid_sample(planes[:, :1], grid, mode="bilinear", align_corners=False)
    dense = F.grid_sample(planes, grid, mode="nearest", align_corners=False)
    gray = images / 255
    gray = gray.clamp(min=1e-4) ** torch.exp(drawn(GAMMA, 1, 1, 1))
    gray = gray * torch.exp(drawn(CONTRAST, 1, 1, 1)) + drawn(BRIGHTNESS, 1, 1, 1) * (images > 0)
    strength = drawn(NOISE, 1, 1, 1).clamp(min=0)  # half of the images have none
    gray = gray + strength * torch.randn(gray.shape, generator=dice, device=device)
    numbers = _sides_exchanged(found.numbers, theta_B23[:, 0, 0] < 0)
    return Lesson((gray.clamp(0, 1) * 255).round(), dense.round().to(torch.uint8), numbers)


def _sides_exchanged(numbers_BL: Tensor, flipped_B: Tensor) -> Tensor:
    """The numbers with left for right, and the other way round, in the captions of the flipped images."""
    found = numbers_BL.clone()
    words, before = found[:, FIRST_WORD:], numbers_BL[:, FIRST_WORD:]
    words[flipped_B[:, None] & (before == LEFT)] = RIGHT
    words[flipped_B[:, None] & (before == RIGHT)] = LEFT
    return found


def pooled(values_BHW: Tensor, patch: int) -> Tensor:
    """Means over patches of some values, from 4 x 4 places of each: (B, H / patch, W / patch)."""
    step = max(1, patch // 4)
    places = values_BHW[:, step // 2 :: step, step // 2 :: step].float()
    return F.avg_pool2d(places[:, None], patch // step)[:, 0]
