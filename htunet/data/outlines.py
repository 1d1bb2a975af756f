"""Masks in which only the outline is drawn: what they enclose."""

import numpy as np
from numpy.typing import NDArray

from htunet.data.image_io import UInt8

OUTLINE = 0.5
"""A mask is an outline where the area that it encloses is more than this part of the area that it marks."""


def enclosed(marked_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) True where pixels that are not marked are enclosed by marked ones; a diagonal line is closed."""
    from scipy import ndimage  # half a second at the start of every command otherwise

    areas, _ = ndimage.label(~np.pad(marked_HW, 1))
    return ((areas > 0) & (areas != areas[0, 0]))[1:-1, 1:-1]


def bounding_box(marked_HW: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around a mask with at least one marked pixel."""
    rows, columns = (np.flatnonzero(marked_HW.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def is_outline(marked_HW: NDArray[np.bool_]) -> bool:
    """Whether a mask with at least one marked pixel encloses much of what it does not mark."""
    marked_HW = marked_HW[bounding_box(marked_HW)]
    # what is enclosed lies between the first and the last marked pixel of its row: most masks need no second look
    ends = marked_HW.argmax(axis=1) + marked_HW[:, ::-1].argmax(axis=1)
    marked = np.count_nonzero(marked_HW)
    if marked_HW.size - ends.sum() - marked <= OUTLINE * marked:
        return False
    return bool(np.count_nonzero(enclosed(marked_HW)) > OUTLINE * marked)


def filled(labels_HW: UInt8) -> UInt8:
    """Labels (H, W) with what each label's outline encloses; of outlines in each other the inner one's area is its."""
    result_HW = labels_HW.copy()
    insides = {int(label): enclosed(labels_HW == label) for label in np.unique(labels_HW) if label}
    for label, inside_HW in sorted(insides.items(), key=lambda item: -int(item[1].sum())):
        result_HW[inside_HW & (labels_HW == 0)] = label
    return result_HW
