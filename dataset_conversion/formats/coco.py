"""Annotations in a COCO JSON file: polygons and both kinds of run-length encoding."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_conversion.formats.shapes import (
    CROWD,
    AnnotatedImage,
    AnnotationFile,
    Shape,
    label_name,
    short,
)
from htunet.data.image_io import MAX_PIXELS
from htunet.data.label_maps import BACKGROUND
from htunet.data.names import WHOLE, listed
from htunet.errors import HtunetError, counted
from htunet.files import read_object

LISTS = ("images", "annotations", "categories")
IGNORE = "ignore"
"""nnU-Net's name for what is no label; a category called so gets another name."""


def read_coco(path: Path, *, may_be_empty: bool = False) -> AnnotationFile:
    """Read the file; one image's errors are stored with the image, an unusable file raises HtunetError.

    So does one without any annotation, unless it ``may_be_empty``.
    """
    content = read_object(path, any_number=True)
    for key in LISTS:
        if not isinstance(content.get(key), list):
            raise HtunetError(f"{path} lacks the list {key!r}, which COCO's format requires. Export it again.")
    annotations = [entry for entry in content["annotations"] if isinstance(entry, Mapping)]
    if any("segments_info" in entry for entry in annotations):
        raise HtunetError(f"{path} is COCO's panoptic form, whose masks are PNG files. Give these as --masks.")
    used = {_key(entry.get("category_id")) for entry in annotations}
    names = _names(path, content["categories"], used)
    images: dict[str, AnnotatedImage] = {}
    for number, entry in enumerate(content["images"]):
        key, image = _image(entry, number)
        if key in images:
            image.problem = images[key].problem = "two images of the file have the same id"
            key = f"{key} again, entry {number}"
        images[key] = image
    lost = 0
    for entry in annotations:
        marked = images.get(_key(entry.get("image_id")))
        if marked is None:  # of an image that the file does not list, as exports of a part of a set have
            lost += 1
            continue
        if not entry.get("segmentation"):
            marked.problem = marked.problem or "an annotation without a segmentation (a box alone is no mask)"
            continue
        if entry.get("iscrowd") == 1:
            marked.remarks.add(CROWD)
        marked.shapes.append(Shape(names[_key(entry.get("category_id"))], entry["segmentation"]))
    labels = tuple(dict.fromkeys(name for key, name in names.items() if key in used and name != BACKGROUND))
    if not labels and not may_be_empty:
        raise HtunetError(f"{path} has no annotation: there is nothing to learn.")
    unused = tuple(name for key, name in names.items() if key not in used and name not in labels)
    if annotations and lost == len(annotations) and not any(image.problem for image in images.values()):
        shown = short(annotations[0].get("image_id"))
        raise HtunetError(
            f"{path}: no annotation has the id of an image; the first is of {shown}, the images are "
            f"{listed([*images])}. Export it again."
        )
    notes = (f"{path.name} has {counted(lost, 'annotation')} of images that it does not list",) if lost else ()
    return AnnotationFile(path.stem, labels, tuple(images.values()), unused, notes)


def _key(value: object) -> str:
    """Ids are numbers or texts; ``1``, ``1.0``, ``"1"`` and ``"001"`` are the same one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value) if isinstance(value, int | str) else ""
    return found[1] if (found := WHOLE.fullmatch(text)) else text


def _names(path: Path, categories: list[Any], used: set[str]) -> dict[str, str]:
    """Category ids to names, in the order of the ids."""
    names: dict[str, str] = {}
    for entry in categories:
        key = _key(entry.get("id")) if isinstance(entry, Mapping) else ""
        if not key:
            raise HtunetError(f"{path} has a category without an id. Export it again.")
        name = label_name(entry.get("name", "")) if entry.get("name", "") else ""
        if names.get(key, name) != name:
            raise HtunetError(f"{path} has two categories with the id {key}, {names[key]} and {name}. Correct it.")
        names[key] = f"category_{key}" if not name or name.lower() == IGNORE else name
    if unknown := sorted(used - names.keys()):
        raise HtunetError(f"{path} has annotations of the categories {unknown[:5]}, which it does not list.")
    numbers = {key: int(key) for key in names if key.isascii() and key.isdigit() and len(key) < 20}
    order = sorted(names, key=lambda key: (key not in numbers, numbers.get(key, 0), key))
    return {key: names[key] for key in order}


def _image(entry: object, number: int) -> tuple[str, AnnotatedImage]:
    if not isinstance(entry, Mapping):
        return f"entry {number}", AnnotatedImage(f"entry {number}", problem="no object {...}")
    name, sides = entry.get("file_name"), [entry.get("height"), entry.get("width")]
    image = AnnotatedImage(name if isinstance(name, str) else "")
    if not image.file_name:
        image.problem = "its file_name is missing"
    elif sides == [None, None]:
        return _key(entry.get("id")) or f"entry {number}", image  # as large as the image itself
    elif (size := pixel_size(*sides)) is None:
        image.problem = f"its size cannot be read: {short(sides[1])} x {short(sides[0])}"
    else:
        image.size = size
    return _key(entry.get("id")) or f"entry {number}", image


def pixel_size(height: object, width: object) -> tuple[int, int] | None:
    """(height, width) in whole pixels, 96.0 counting as 96; None for what is no size that is read."""
    sides = [int(side) if isinstance(side, float) and side.is_integer() else side for side in (height, width)]
    if not all(type(side) is int and side > 0 for side in sides) or sides[0] * sides[1] > MAX_PIXELS:  # type: ignore[operator]
        return None
    return sides[0], sides[1]  # type: ignore[return-value]
