"""Find the insonified field: the picture without the black border and without text and marks in it.

Looks at the image alone, never at a mask, so that a new image is cropped exactly as a training image is.
This file is also copied beside an exported runner; it needs numpy, pillow and scipy, and nothing of htunet.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

UInt8 = NDArray[np.uint8]
BLACK = 3
"""Gray values up to this are border: deep shadow is only a few steps brighter, and belongs to the picture."""
CELLS = 192
"""The image is judged in square cells, this many along its longer side."""
FILLED = 0.2
"""A cell with this fraction of its pixels above BLACK shows something."""
OVERLAY = 0.05
"""What is smaller than this fraction of the largest connected area is an overlay: text, a logo, a gray scale."""
LEAST = 0.2
"""A field smaller than this fraction of the image is considered a mistake, and the image is not cropped."""


@dataclass(frozen=True)
class Box:
    """A rectangle of an image, pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """To index the first axis of an image."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """To index the second axis of an image."""
        return slice(self.left, self.left + self.width)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom), as Pillow crops."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    @property
    def area(self) -> int:
        """Number of pixels inside."""
        return self.height * self.width


def whole(hw: tuple[int, int]) -> Box:
    """The box of an uncropped image of (height, width)."""
    return Box(0, 0, *hw)


def insonified_field(image_CHW: UInt8, margin: float = 0.0) -> Box:
    """The smallest box around the large connected areas that are not black; the whole image where none is clear.

    A fan or a trapezoid keeps its black corners. Of two views side by side both stay. Never empty. ``margin``, a
    fraction of the longer side of the image, is added on each side.
    """
    gray = image_CHW[0] if len(image_CHW) == 1 else image_CHW.max(axis=0)
    height, width = gray.shape
    cell = max(1, -(-max(height, width) // CELLS))
    # the fraction of each cell that shows something, 0..255; cells at the lower and right edge may be cut
    shares = np.asarray(Image.fromarray((gray > BLACK).astype(np.uint8) * 255).reduce(cell))
    # Opening cuts rulers and frames of one or two cells off the field; the padding keeps what touches the edge.
    padded = np.pad(shares >= 255 * FILLED, 2, mode="edge")
    field = _large_components(_of_neighbours(np.maximum, _of_neighbours(np.minimum, padded)))
    if not field.any():
        return whole((height, width))
    top, bottom = _extent(np.any(field, axis=1), cell, height)
    left, right = _extent(np.any(field, axis=0), cell, width)
    if (bottom - top) * (right - left) < LEAST * height * width:
        return whole((height, width))
    pixels = math.ceil(margin * max(height, width))
    top, left, bottom, right = max(0, top - pixels), max(0, left - pixels), bottom + pixels, right + pixels
    return Box(top, left, min(height, bottom) - top, min(width, right) - left)


def insonified_pixels(gray_HW: UInt8) -> NDArray[np.bool_]:
    """True where a gray image shows echoes: not in its black border, nor in the text and marks there.

    The border is what is black, connected with the image's edge and nowhere thinner than a cell; a dark lesion is
    none. Exact to the pixel also along a fan's slanted sides. All False for an image that is black throughout.
    """
    from scipy import ndimage  # only plans that crop need it

    black = gray_HW <= BLACK
    width = 2 * max(1, -(-max(gray_HW.shape) // CELLS)) + 1
    wide = ndimage.binary_opening(np.pad(black, width, constant_values=True), np.ones((width, width)))
    areas = ndimage.label(wide)[0]
    outer = (areas == areas[0, 0])[width:-width, width:-width]  # the padding joins all that touches the edge
    # the opening rounds sharp corners off: let them grow back, as far as it is black
    border = ndimage.binary_dilation(outer, iterations=width, mask=black) & black
    return _large_components(~border)


def _of_neighbours(extreme: np.ufunc, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The least or the greatest of 3 x 3 neighbours, one pixel less on each side: ndimage's takes 30 times as long."""
    rows = extreme(extreme(shown[:-2], shown[1:-1]), shown[2:])
    return extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _large_components(shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``shown`` without the connected areas that are small beside the largest one."""
    from scipy import ndimage  # only plans that crop need it

    areas, count = ndimage.label(shown)
    if count == 0:
        return shown
    sizes = np.bincount(areas.ravel())
    sizes[0] = 0
    return (sizes >= OVERLAY * sizes.max())[areas] & shown


def _extent(present: ArrayLike, cell: int, length: int) -> tuple[int, int]:
    """First and one past the last pixel of the cells that are present, with one cell of margin."""
    found = np.flatnonzero(present)
    return max(0, (int(found[0]) - 1) * cell), min(length, (int(found[-1]) + 2) * cell)
