"""The part of an image that a plan uses. It follows from the image alone: new images are cropped as training images."""

import numpy as np

from htunet.data.field_of_view import Box, insonified_field, whole
from htunet.data.image_io import UInt8
from htunet.planning.plans import Plan


def crop_box(image_CHW: UInt8, plan: Plan) -> Box:
    """The insonified field of an image (C, H, W) with the plan's margin where it crops the border, else all of it."""
    if plan.crop_border:
        return insonified_field(image_CHW, plan.crop_margin)
    height, width = image_CHW.shape[1:]
    return whole((height, width))


def lesion_pixels_lost(mask_HW: UInt8, box: Box) -> int:
    """Pixels of the mask that are not background and lie outside ``box``: no prediction can find them."""
    return int(np.count_nonzero(mask_HW) - np.count_nonzero(mask_HW[box.rows, box.columns]))
