"""Images and masks as users have them: any names, any formats, any values."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from builders.raw import blob, speckled

SIZE = (32, 40)
CORNERS = ((0.3, 0.3), (0.3, 0.7), (0.7, 0.5))


def labelled(labels: int = 1, seed: int = 0, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A speckled image and its labels 0..``labels`` (at most 3), each label a disc of its own gray value and place."""
    rng = np.random.default_rng(seed)
    image, mask = speckled(size, rng), np.zeros(size, np.uint8)
    for label in range(1, labels + 1):
        row, column = CORNERS[label - 1]
        disc = blob(size, (row + rng.uniform(-0.05, 0.05), column + rng.uniform(-0.05, 0.05)), 0.14) > 0
        image[disc], mask[disc] = 15 * label + rng.integers(0, 9, int(disc.sum())), label
    return image, mask


def build_own(
    folder: Path,
    names: Sequence[str],
    *,
    labels: int = 1,
    values: Sequence[int] = (255,),
    ending: str = ".png",
    mark: str = "_mask",
    seed: int = 0,
) -> tuple[Path, Path]:
    """``folder``/images and ``folder``/masks with a file for every name; label k is stored as ``values[k - 1]``."""
    images, masks = folder / "images", folder / "masks"
    table = np.array([0, *values], dtype=np.uint8)
    for index, name in enumerate(names):
        image, mask = labelled(labels, seed + index)
        for base, array, full in ((images, image, f"{name}.png"), (masks, table[mask], f"{name}{mark}{ending}")):
            (base / full).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(base / full)
    return images, masks
