"""Annotations of CVAT, as it exports them with "CVAT for images 1.1": one XML file."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_conversion.formats.coco import pixel_size
from dataset_conversion.formats.shapes import (
    NO_AREA,
    AnnotatedImage,
    AnnotationFile,
    Ellipse,
    Patch,
    Shape,
    label_name,
    number,
    rectangle,
)
from dataset_conversion.formats.xml_files import read_xml
from htunet.data.label_maps import BACKGROUND
from htunet.errors import HtunetError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

WITHOUT_AREA = ("points", "polyline")
NO_SHAPES = ("tag", "attribute")


def read_cvat(path: Path) -> AnnotationFile:
    """Read the file; raises HtunetError for one that is no XML of CVAT, or of a video."""
    root = read_xml(path)
    if root.tag != "annotations" or root.find("track") is not None:
        raise HtunetError(f"{path} is not CVAT's XML for images. Export it as 'CVAT for images 1.1'.")
    images = tuple(_image(element) for element in root.iter("image"))
    defined = [label_name(element.findtext("name")) for element in root.iterfind("meta//labels/label")]
    used = dict.fromkeys(shape.label for image in images for shape in image.shapes)
    order = [name for name in dict.fromkeys([*defined, *used]) if name != BACKGROUND]
    unused = tuple(name for name in order if name not in used)
    return AnnotationFile(path.stem, tuple(name for name in order if name in used), images, unused)


def _image(element: "Element") -> AnnotatedImage:
    size = pixel_size(*(_whole(element.get(side)) for side in ("height", "width")))
    image = AnnotatedImage(element.get("name", ""), size)
    if size is None:
        image.problem = f"its size cannot be read: {element.get('width')} x {element.get('height')}"
    for child in sorted(element, key=lambda child: number(child.get("z_order", 0))):
        if child.tag in WITHOUT_AREA:
            image.remarks.add(NO_AREA)
        elif child.tag not in NO_SHAPES:
            outline = _outline(child)
            if outline is None:
                image.problem = image.problem or f"its shape {child.tag!r} is not read"
            else:
                image.shapes.append(Shape(label_name(child.get("label")), outline))
    return image


def _outline(element: "Element") -> Any:  # noqa: ANN401
    """The outline of one shape; None for one that is not read."""

    def values(*names: str) -> list[float]:
        return [number(element.get(name)) for name in names]

    turned = math.radians(number(element.get("rotation", 0)))
    if element.tag == "polygon":
        points = [point.split(",") for point in element.get("points", "").split(";")]
        return [[number(value) for point in points for value in point]]
    if element.tag == "box":
        left, top, right, bottom = values("xtl", "ytl", "xbr", "ybr")
        return rectangle(left, top, right - left, bottom - top, turned)
    if element.tag == "ellipse":
        x, y, *radii = values("cx", "cy", "rx", "ry")
        return Ellipse(x, y, (radii[0], radii[1]), turned)
    if element.tag == "mask":
        place = [_whole(element.get(name)) for name in ("left", "top", "height", "width")]
        runs = [_whole(run) for run in element.get("rle", "").split(",")]
        found = [value for value in (*place, *runs) if value is not None]
        whole = len(found) == len(place) + len(runs)
        return Patch(found[0], found[1], (found[2], found[3]), tuple(found[4:])) if whole else None
    return None


def _whole(text: str | None) -> int | None:
    """A whole number as CVAT writes it; None for anything else."""
    value = number(text)
    return int(value) if value.is_integer() and abs(value) < 1e9 else None
