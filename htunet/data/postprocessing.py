"""Masks after the network: the largest component of each label, its holes filled, small components removed.

This file is also copied beside an exported runner; it needs numpy and scipy, and nothing of htunet.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=np.uint8)
STEPS = {
    "smallest_share": "components below {0:.2g} of the image removed",
    "largest_component": "the largest component alone",
    "fill_holes": "holes filled",
}
"""The fields of a post-processing, in the order in which they are done, as messages say them."""


def postprocess(
    labels_HW: NDArray[np.uint8],
    *,
    smallest_share: float = 0.0,
    largest_component: bool = False,
    fill_holes: bool = False,
) -> NDArray[np.uint8]:
    """(H, W) labels 0..K, each label by itself; what is removed becomes background, label 0.

    Args:
        labels_HW: See above; not changed.
        smallest_share: Of the pixels of the image: connected components (8 neighbours) with fewer are removed.
        largest_component: Keep the largest component alone, of equal ones the first.
        fill_holes: Give background that a label surrounds (4 neighbours) to that label.
    """
    from scipy import ndimage  # takes a moment, and only here

    found_HW = labels_HW.copy()
    for label in np.unique(labels_HW[labels_HW > 0]).tolist():
        areas_HW, _ = ndimage.label(labels_HW == label, EIGHT_NEIGHBOURS)
        sizes = np.bincount(areas_HW.ravel())
        sizes[0] = 0  # the background of the label
        kept = (sizes > 0) & (sizes >= smallest_share * labels_HW.size)
        if largest_component:
            kept &= np.arange(len(sizes)) == sizes.argmax()
        mask_HW = kept[areas_HW]
        found_HW[(labels_HW == label) & ~mask_HW] = 0
        if fill_holes:
            found_HW[ndimage.binary_fill_holes(mask_HW) & (found_HW == 0)] = label
    return found_HW


def in_words(steps: Mapping[str, Any]) -> str:
    """``the largest component alone, holes filled``."""
    return ", ".join(text.format(steps[name]) for name, text in STEPS.items() if steps.get(name))
