"""How an image becomes the network's input, and how scores become labels of the original size.

The same functions serve training data and new images; they know plans and arrays, no folders. Axes: C channels,
K scores a pixel, H height, W width. Boxes and placements are (top, left, height, width) in whole pixels.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.field_of_view import Box, whole
from htunet.data.image_io import UInt8
from htunet.data.preprocessed import CaseGeometry
from htunet.planning.plans import LETTERBOX, STRETCH, Plan

Float32 = NDArray[np.float32]


def box_of(case: CaseGeometry) -> Box:
    """The crop box that a preprocessed case was made with."""
    return Box(case.top, case.left, *case.crop_hw)


def placement(box: Box, plan: Plan) -> Box:
    """Where the content of ``box`` lies in the network's input; the rest of the input is padding.

    ``stretch`` fills the input. ``letterbox`` keeps the aspect ratio to the nearest pixel and centres; a side never
    becomes shorter than 1 pixel, however long the other one is. Raises ValueError for another geometry.
    """
    height, width = plan.input_size
    if plan.geometry == STRETCH:
        return whole(plan.input_size)
    if plan.geometry != LETTERBOX:
        raise ValueError(f"geometry must be {STRETCH!r} or {LETTERBOX!r}, got {plan.geometry!r}.")
    if height * box.width <= width * box.height:  # the height is what limits, in exact integers
        inner = (height, min(width, max(1, _rounded(box.width * height, box.height))))
    else:
        inner = (min(height, max(1, _rounded(box.height * width, box.width))), width)
    return Box((height - inner[0]) // 2, (width - inner[1]) // 2, *inner)


def to_input(image_CHW: UInt8, box: Box, plan: Plan) -> UInt8:
    """The part of an image in ``box`` as (C, *plan.input_size); smoothed where it shrinks, padded with 0."""
    resample = Image.Resampling[plan.resize.upper()]
    place = placement(box, plan)
    input_CHW = np.zeros((len(image_CHW), *plan.input_size), dtype=np.uint8)
    for channel, target in zip(image_CHW, input_CHW, strict=True):
        target[place.rows, place.columns] = _resized(channel[box.rows, box.columns], place, resample)
    return input_CHW


def mask_to_input(mask_HW: UInt8, box: Box, plan: Plan) -> UInt8:
    """Labels in ``box`` as (*plan.input_size); each pixel takes the label nearest to its centre, padding is 0."""
    place = placement(box, plan)
    input_HW = np.zeros(plan.input_size, dtype=np.uint8)
    part = mask_HW[box.rows, box.columns]
    input_HW[place.rows, place.columns] = _resized(part, place, Image.Resampling.NEAREST)
    return input_HW


def from_input(scores_KHW: Float32, box: Box, original_hw: tuple[int, int], plan: Plan) -> UInt8:
    """Labels (H, W) 0..K-1 of the original image from scores (K, *plan.input_size) at the network's input.

    Undoes ``to_input`` exactly: drops the padding, interpolates the scores (logits or probabilities; not the labels,
    whose edges would become steps) to the box, and takes the highest, of equal ones the first. Outside the box 0.
    Raises ValueError for scores of another size.
    """
    if scores_KHW.ndim != 3 or scores_KHW.shape[1:] != tuple(plan.input_size):
        raise ValueError(f"scores must have shape (K, {plan.input_size[0]}, {plan.input_size[1]}), got "
                         f"{scores_KHW.shape}.")  # fmt: skip
    place = placement(box, plan)
    best: Float32 | None = None
    inside = np.zeros((box.height, box.width), dtype=np.uint8)
    for label, scores in enumerate(scores_KHW):  # one class at a time: two arrays of the original size, not K
        part = scores[place.rows, place.columns].astype(np.float32)
        resized = _resized(part, box, Image.Resampling.BILINEAR)
        if best is None:
            best = resized
            continue
        higher = resized > best
        inside[higher] = label
        np.maximum(best, resized, out=best)
    labels = np.zeros(original_hw, dtype=np.uint8)
    labels[box.rows, box.columns] = inside
    return labels


def scores_from_input(scores_KHW: Float32, box: Box, original_hw: tuple[int, int], plan: Plan) -> Float32:
    """Probabilities (K, H, W) of the original image, whose highest gives the labels of ``from_input``.

    Outside the box all of it is background, label 0.
    """
    place = placement(box, plan)
    scores = np.zeros((len(scores_KHW), *original_hw), dtype=np.float32)
    scores[0] = 1
    for target, source in zip(scores, scores_KHW, strict=True):
        part = source[place.rows, place.columns].astype(np.float32)
        target[box.rows, box.columns] = _resized(part, box, Image.Resampling.BILINEAR)
    return scores


def _resized(array: NDArray, size: Box, resample: Image.Resampling) -> NDArray:
    """(H, W) to the height and width of ``size``; a copy that may be written to."""
    image = Image.fromarray(np.ascontiguousarray(array))
    return np.array(image.resize((size.width, size.height), resample))


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
