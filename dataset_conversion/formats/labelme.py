"""Annotations of LabelMe: a JSON file for each image, with its name in ``imagePath`` and the name of the file."""

import math
from collections.abc import Mapping
from typing import Any

from dataset_conversion.formats.coco import pixel_size
from dataset_conversion.formats.shapes import (
    NO_AREA,
    AnnotatedImage,
    Ellipse,
    Patch,
    Shape,
    label_name,
    number,
    rectangle,
    short,
)
from htunet.errors import counted

POLYGONS = ("polygon", "rotation", "oriented_rectangle", "quadrilateral")
WITHOUT_AREA = ("point", "points", "line", "linestrip")
IGNORE = "__ignore__"


def read_labelme(content: Mapping[str, Any]) -> AnnotatedImage:
    """What one file says; the caller knows which image it is about."""
    name = content.get("imagePath")
    image = AnnotatedImage(name if isinstance(name, str) else "")
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if height is not None or width is not None:
        image.size = pixel_size(height, width)
        if image.size is None:
            image.problem = f"its size cannot be read: {short(width)} x {short(height)}"
    for entry in content["shapes"]:
        found = _shape(entry)
        if isinstance(found, str):
            image.problem = image.problem or found
        elif found is None:
            image.remarks.add(NO_AREA)
        else:
            image.shapes.append(found)
    return image


def _shape(entry: Any) -> Shape | str | None:  # noqa: ANN401
    """A shape, None for one without an area, or what is wrong with it."""
    points = entry.get("points") if isinstance(entry, Mapping) else None
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        return f"its shape has no list of points: {short(entry)}"
    kind = entry.get("shape_type") or "polygon"  # the first versions had polygons alone
    if entry.get("label") == IGNORE:
        return f"it has regions {IGNORE}, and htunet learns from whole masks alone"
    label, numbers = label_name(entry.get("label")), [[number(value) for value in point] for point in points]
    if kind in WITHOUT_AREA:
        return None
    if kind in POLYGONS or (kind == "rectangle" and len(points) == 4):
        return Shape(label, [[value for point in numbers for value in point]])
    if kind not in ("rectangle", "circle", "mask") or len(points) != 2:
        return f"its shape {short(kind)} of {counted(len(points), 'point')} is not read"
    (x, y), (other_x, other_y) = numbers
    if kind == "circle":  # the middle, and a point on the circle
        radius = math.hypot(other_x - x, other_y - y)
        return Shape(label, Ellipse(x, y, (radius, radius)))
    if kind == "rectangle":
        return Shape(label, rectangle(min(x, other_x), min(y, other_y), abs(other_x - x), abs(other_y - y)))
    if not isinstance(entry.get("mask"), str) or not math.isfinite(x + y):
        return "its shape 'mask' has no picture or no place"
    return Shape(label, Patch(int(min(x, other_x)), int(min(y, other_y)), (0, 0), png=entry["mask"]))
