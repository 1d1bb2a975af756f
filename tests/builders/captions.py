"""What the builders of caption data sets share: tiny images, and sentences that differ from each other."""

from pathlib import Path

import numpy as np
from PIL import Image

from htunet.reproducibility import generator

SIGNS = ("oval", "round", "irregular", "lobulated", "tall", "wide", "small", "large")
ORGANS = ("breast", "thyroid", "liver", "kidney", "neck", "thigh")


def write_image(path: Path, index: int, side: int = 8, mode: str = "L") -> None:
    """A speckled image of ``side`` x ``side`` + 2 pixels; mode RGB is coloured."""
    shape = (side, side + 2, 3) if mode == "RGB" else (side, side + 2)
    pixels = generator("caption image", index).integers(0, 255, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def sentence(index: int) -> str:
    """A clean English sentence of its own for each index, longer than 20 characters."""
    sign, organ = SIGNS[index % len(SIGNS)], ORGANS[index // len(SIGNS) % len(ORGANS)]
    return f"Image {index} shows a {sign} lesion of the {organ}."
