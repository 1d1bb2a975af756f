"""What a plan uses of an image. Decided from the image alone, so that a new image is cropped as a training image is."""

from htunet.data.field_of_view import Box, insonified_field, whole
from htunet.data.image_io import UInt8
from htunet.planning.plans import Plan


def crop_box(image_CHW: UInt8, plan: Plan) -> Box:
    """The insonified field of an image (C, H, W) where the plan crops the border, else all of it."""
    height, width = image_CHW.shape[1:]
    return insonified_field(image_CHW) if plan.crop_border else whole((height, width))


def lesion_pixels_lost(mask_HW: UInt8, box: Box) -> int:
    """Pixels of the mask that are not background and lie outside ``box``: no prediction can find them."""
    return int((mask_HW > 0).sum()) - int((mask_HW[box.rows, box.columns] > 0).sum())
