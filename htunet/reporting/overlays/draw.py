"""A prediction drawn over its image in the paper's colours: missed red, extra green, right yellow.

Where a data set has several labels, each has a colour: the predicted area is filled, the true one has a line around it.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

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
LABEL_COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 200, 120),
    (240, 228, 66),
    (204, 121, 255),
    (255, 90, 30),
    (90, 120, 255),
    (255, 130, 180),
)
"""Of the labels 1, 2, ...; after the last one from the first again. After Okabe and Ito, brighter for dark images."""
OPACITY = 0.5
PIXELS_PER_LINE_WIDTH = 400
"""A contour is one pixel wide for every so many pixels of the image's shorter side, and never thinner than one."""
STRIP, STRIP_TEXT = (24, 24, 24), (240, 240, 240)
SMALLEST_FONT, LARGEST_FONT = 12, 28


def legend_of(labels: Sequence[str]) -> tuple[tuple[Colour, str], ...]:
    """What the colours of ``overlay`` mean in a data set with these labels, background not among them."""
    if len(labels) <= 1:
        return LEGEND
    return tuple((label_colour(index), name) for index, name in enumerate(labels, start=1))


def label_colour(label: int) -> Colour:
    """The colour of label 1, 2, ... in a data set that has several."""
    return LABEL_COLOURS[(label - 1) % len(LABEL_COLOURS)]


def overlay(image: UInt8, prediction: UInt8, reference: UInt8 | None = None, *, num_labels: int = 1) -> UInt8:
    """The (H, W, 3) picture of one case at the image's own size.

    ``image`` is (H, W) or (H, W, 3); ``prediction`` and ``reference`` are (H, W) label maps. With one label a pixel is
    right where both have it, missed where only the reference has it, extra where only the prediction has it. Areas are
    half transparent; the contours of both masks are opaque in their area's colour. Without a reference the prediction
    is yellow. With several (``num_labels``, background not counted) predicted areas have the colours of their labels,
    half transparent, and the contours of the reference (without one, of the prediction) are opaque. Raises ValueError
    for shapes that differ.
    """
    truth = prediction if reference is None else reference
    for name, mask in (("prediction", prediction), ("reference", truth)):
        if mask.shape != image.shape[:2]:
            raise ValueError(f"The {name} has shape {mask.shape}, the image {image.shape[:2]}.")
    gray = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    table, areas, lines = paint(prediction, truth, num_labels)
    blend = np.round(gray * (1 - OPACITY) + table[areas] * OPACITY).astype(np.uint8)
    result = np.where(areas[..., None] > 0, blend, gray)
    result[lines > 0] = table[lines[lines > 0]]
    return result


def paint(prediction: UInt8, reference: UInt8, num_labels: int) -> tuple[UInt8, UInt8, UInt8]:
    """Colours (K, 3), and the (H, W) number of the colour of ``overlay``'s areas and of its lines; 0: nothing there."""
    if num_labels > 1:
        highest = max(int(prediction.max()), int(reference.max()))
        colours = [label_colour(label) for label in range(1, highest + 1)]
        areas, lines = prediction, np.where(contour(reference), reference, 0)
    else:
        colours = [MISSED, EXTRA, RIGHT]
        areas = np.where(prediction > 0, np.uint8(2), np.uint8(0))
        areas[reference > 0] = np.where(reference == prediction, np.uint8(3), np.uint8(1))[reference > 0]
        lines = np.where(contour(prediction) | contour(reference), areas, 0)
    return np.array([(0, 0, 0), *colours], dtype=np.uint8), areas, lines.astype(np.uint8)


def contour(labels: UInt8, width: int | None = None) -> NDArray[np.bool_]:
    """(H, W) the inner rim of every label's area, ``width`` pixels or as wide as suits the size of the image."""
    width = width or max(1, round(min(labels.shape) / PIXELS_PER_LINE_WIDTH))
    rim = np.zeros(labels.shape, dtype=bool)
    for label in np.unique(labels[labels > 0]):
        rest = labels == label
        for _ in range(width):
            edge = outline(rest)
            rim |= edge
            rest = rest & ~edge
    return rim


def with_strip(picture: UInt8, *texts: str, legend: Sequence[tuple[Colour, str]] = LEGEND) -> UInt8:
    """The picture with a strip below it: ``texts`` (one that is too long is shortened in its middle), the colours' key.

    The strip grows over several lines where the picture is narrow, so that it stays readable; the picture keeps its
    size.
    """
    width = picture.shape[1]
    font = _font(int(min(LARGEST_FONT, max(SMALLEST_FONT, width / 28))))
    line = round(font.size * 1.5)
    margin = line // 4
    words: list[Word] = [(None, _shortened(text, font, width - 2 * margin)) for text in texts]
    placed, rows = _flow([*words, *legend], font, width, margin)
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


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    # Pillow's own font has no umlauts, Greek or Cyrillic letters
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
