"""Cut off what a machine shows around the insonified field: black border, text, logos, scales.

The paper crops the images that its authors collected themselves in this way, before anything else.
"""

from dataclasses import dataclass

import numpy as np

from htunet.data.field_of_view import Box, insonified_field
from htunet.data.image_io import UInt8

CROPS_CSV = "crops.csv"
CUT, NOTHING_TO_CUT, LESION_OUTSIDE = "yes", "no: nothing to cut off", "no: lesion outside"
"""What ``crops.csv`` says in its column ``cropped``."""


@dataclass(frozen=True)
class Cropped:
    """An image and its mask after the step; ``image`` and ``mask`` are as they were where nothing was cut off."""

    image: UInt8
    mask: UInt8
    field: Box
    """The insonified field in the picture as it came."""
    cropped: str
    lesion_pixels_outside: int

    def row(self, case_id: str, shape: tuple[int, ...]) -> dict[str, object]:
        """The row of ``crops.csv``; ``shape`` is that of the picture as it came."""
        return {
            "id": case_id,
            "height": shape[0],
            "width": shape[1],
            "top": self.field.top,
            "left": self.field.left,
            "field_height": self.field.height,
            "field_width": self.field.width,
            "cropped": self.cropped,
            "lesion_pixels_outside": self.lesion_pixels_outside,
        }


def crop_overlays(image: UInt8, mask: UInt8) -> Cropped:
    """Crop (H, W) ``image`` and ``mask`` alike to the insonified field, which the image alone decides.

    A field that does not hold the whole lesion is a mistake of this step or of the mask: the case then stays whole.
    """
    field = insonified_field(image[None])
    lost = int(np.count_nonzero(mask)) - int(np.count_nonzero(mask[field.rows, field.columns]))
    if lost:
        return Cropped(image, mask, field, LESION_OUTSIDE, lost)
    inner, inner_mask = (np.ascontiguousarray(one[field.rows, field.columns]) for one in (image, mask))
    return Cropped(inner, inner_mask, field, CUT if inner.shape != image.shape else NOTHING_TO_CUT, 0)
