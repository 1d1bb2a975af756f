"""A prediction drawn over its image in the paper's colours: missed red, extra green, right yellow."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from htunet.evaluation.distances import outline

UInt8 = NDArray[np.uint8]
Colour = tuple[int, int, int]
Word = tuple[Colour | None, str]
"""A text of the strip, and the colour of the square before it."""

MISSED: Colour = (255, 0, 0)
EXTRA: Colour = (0, 255, 0)
RIGHT: Colour = (255, 255, 0)
LEGEND = ((MISSED, "missed"), (EXTRA, "extra"), (RIGHT, "right"))
OPACITY = 0.5
PIXELS_PER_LINE_WIDTH = 400
"""A contour is one pixel wide for every so many pixels of the image's shorter side, and never thinner than one."""
STRIP, STRIP_TEXT = (24, 24, 24), (240, 240, 240)
SMALLEST_FONT, LARGEST_FONT = 12, 28


def overlay(image: UInt8, prediction: UInt8, reference: UInt8 | None = None) -> UInt8:
    """The (H, W, 3) picture of one case at the image's own size.

    ``image`` is (H, W) or (H, W, 3); ``prediction`` and ``reference`` are (H, W) label maps. A pixel is right where
    both have the same label, missed where the reference has one that the prediction does not have there, extra where
    only the prediction has one. Areas are half transparent; the contours of both masks are opaque in their area's
    colour. Without a reference the prediction is yellow. Raises ValueError for shapes that differ.
    """
    truth = prediction if reference is None else reference
    for name, mask in (("prediction", prediction), ("reference", truth)):
        if mask.shape != image.shape[:2]:
            raise ValueError(f"The {name} has shape {mask.shape}, the image {image.shape[:2]}.")
    gray = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    colours = np.zeros((*truth.shape, 3), dtype=np.uint8)
    painted = (prediction > 0) | (truth > 0)
    colours[prediction > 0] = EXTRA
    colours[(truth > 0) & (truth != prediction)] = MISSED
    colours[(truth > 0) & (truth == prediction)] = RIGHT
    blend = np.round(gray * (1 - OPACITY) + colours * OPACITY).astype(np.uint8)
    result = np.where(painted[..., None], blend, gray)
    lines = contour(prediction) | contour(truth)
    result[lines] = colours[lines]
    return result


def contour(labels: UInt8) -> NDArray[np.bool_]:
    """(H, W) the inner rim of every label's area, as wide as suits the size of the image."""
    width = max(1, round(min(labels.shape) / PIXELS_PER_LINE_WIDTH))
    rim = np.zeros(labels.shape, dtype=bool)
    for label in np.unique(labels[labels > 0]):
        rest = labels == label
        for _ in range(width):
            edge = outline(rest)
            rim |= edge
            rest = rest & ~edge
    return rim


def with_strip(picture: UInt8, *texts: str, legend: bool = True) -> UInt8:
    """The picture with a strip below it: ``texts`` (one that is too long is shortened in its middle), the colours' key.

    The strip grows over several lines where the picture is narrow, so that it stays readable; the picture keeps its
    size.
    """
    width = picture.shape[1]
    font = _font(_font_size(width))
    line = round(font.size * 1.5)
    margin = line // 4
    words: list[Word] = [(None, _shortened(text, font, width - 2 * margin)) for text in texts]
    keys = list(LEGEND) if legend else []
    placed, rows = _flow([*words, *keys], font, width, margin)
    strip = Image.new("RGB", (width, rows * line + margin), STRIP)
    draw = ImageDraw.Draw(strip)
    for (colour, word), x, row in placed:
        top = margin // 2 + row * line
        if colour is not None:
            side = round(font.size * 0.7)
            y = top + (line - side) // 2
            draw.rectangle((x, y, x + side, y + side), fill=colour)
            x += side + margin
        draw.text((x, top + line // 2), word, fill=STRIP_TEXT, font=font, anchor="lm")
    return np.concatenate([picture, np.asarray(strip)])


def _flow(
    words: list[Word], font: ImageFont.FreeTypeFont, width: int, margin: int
) -> tuple[list[tuple[Word, int, int]], int]:
    """Place words from left to right, on a new row when one does not fit; returns (word, x, row) and the row count."""
    placed: list[tuple[Word, int, int]] = []
    x, row = margin, 0
    for colour, text in words:
        square = 0 if colour is None else round(font.size * 0.7) + margin
        needed = square + round(font.getlength(text))
        if placed and x + needed > width - margin:
            x, row = margin, row + 1
        placed.append(((colour, text), x, row))
        x += needed + 2 * margin
    return placed, row + 1


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """``text``, or its beginning and end with … between them, so that it fits into ``width`` pixels."""
    kept = text
    while font.getlength(kept) > width and len(kept) > 3:
        half = (len(kept) - 2) // 2
        kept = f"{text[:half]}…{text[len(text) - half :]}"
        if half <= 1:
            break
    return kept


def _font_size(width: int) -> int:
    return int(min(LARGEST_FONT, max(SMALLEST_FONT, width / 28)))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
