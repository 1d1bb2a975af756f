"""Masks from a COCO JSON file: polygons and both kinds of run-length encoding, decoded here.

A decoder of our own, because the reference one reads beyond its arrays where the run lengths of a file are wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.image_io import MAX_PIXELS, UInt8
from htunet.data.names import printable
from htunet.errors import HtunetError
from htunet.files import read_object

MOST_POINTS = 100_000
MOST_CROSSINGS = 10_000_000
"""Of a polygon's edges with an image's rows; an outline around the largest image has some ten thousand."""
FARTHEST = 1e9
"""Pixels; a coordinate beyond it is no place in an image nor near one."""
RESERVED = ("background", "ignore")
PlacedMask = tuple[NDArray[np.bool_], int, int]
"""A part of an image, and the row and the column where it begins."""


@dataclass(frozen=True)
class Shape:
    """One annotation: its label, and the segmentation as the file has it."""

    label: int
    segmentation: Any


@dataclass
class CocoImage:
    """One image of the file."""

    file_name: str
    size: tuple[int, int]
    """(height, width)"""
    shapes: list[Shape] = field(default_factory=list)
    crowds: int = 0
    problem: str = ""
    """Why it cannot be converted; empty: nothing is known against it."""


@dataclass(frozen=True)
class CocoFile:
    """What a file says, image by image."""

    labels: dict[str, int]
    """Background and the categories that occur, numbered in the order of their ids."""
    images: tuple[CocoImage, ...]
    unused: tuple[str, ...]
    """Categories without an annotation."""


def read_coco(path: Path) -> CocoFile:
    """Read the file; one image's errors are stored with the image, an unusable file raises HtunetError."""
    content = read_object(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise HtunetError(f"{path} lacks the list {key!r}, which COCO's format requires. Export it again.")
    annotations = [entry for entry in content["annotations"] if isinstance(entry, Mapping)]
    used = {_key(entry.get("category_id")) for entry in annotations}
    labels, label_of, unused = _labels(path, content["categories"], used)
    images: dict[str, CocoImage] = {}
    for number, entry in enumerate(content["images"]):
        key, image = _image(entry, number)
        if key in images:
            image.problem = images[key].problem = "two images of the file have the same id"
            key = f"{key} again, entry {number}"
        images[key] = image
    for entry in annotations:
        marked = images.get(_key(entry.get("image_id")))
        if marked is None:
            continue  # of an image that the file does not list, as exports of a part of a set have
        if not entry.get("segmentation"):
            marked.problem = marked.problem or "an annotation without a segmentation (a box alone is no mask)"
            continue
        marked.crowds += entry.get("iscrowd") == 1
        marked.shapes.append(Shape(label_of[_key(entry.get("category_id"))], entry["segmentation"]))
    return CocoFile(labels, tuple(images.values()), unused)


def _key(value: object) -> str:
    """Ids are numbers or texts; ``1`` and ``"1"`` are the same one."""
    return str(value) if isinstance(value, int | str) else ""


def _labels(
    path: Path, categories: list[Any], used: set[str]
) -> tuple[dict[str, int], dict[str, int], tuple[str, ...]]:
    """Names to labels, category ids to labels, and the names of the categories that are never used."""
    names: dict[str, str] = {}
    for entry in categories:
        key = _key(entry.get("id")) if isinstance(entry, Mapping) else ""
        if not key:
            raise HtunetError(f"{path} has a category without an id. Export it again.")
        name = printable(str(entry.get("name", ""))).strip()
        names[key] = f"category_{key}" if not name or name.lower() in RESERVED else name
    if unknown := sorted(used - names.keys()):
        raise HtunetError(f"{path} has annotations of the categories {unknown[:5]}, which it does not list.")
    order = sorted(names, key=lambda key: (not key.isdigit(), int(key) if key.isdigit() else 0, key))
    chosen = list(dict.fromkeys(names[key] for key in order if key in used))
    if not chosen:
        raise HtunetError(f"{path} has no annotation: there is nothing to learn.")
    labels = {"background": 0} | {name: index for index, name in enumerate(chosen, start=1)}
    unused = tuple(names[key] for key in order if key not in used and names[key] not in labels)
    return labels, {key: labels[names[key]] for key in used}, unused


def _image(entry: object, number: int) -> tuple[str, CocoImage]:
    if not isinstance(entry, Mapping):
        return f"entry {number}", CocoImage(f"entry {number}", (0, 0), problem="no object {...}")
    name, height, width = entry.get("file_name"), entry.get("height"), entry.get("width")
    image = CocoImage(name if isinstance(name, str) else "", (0, 0))
    if not image.file_name:
        image.problem = "its file_name is missing"
    elif type(height) is not int or type(width) is not int or not (0 < height * width <= MAX_PIXELS and height > 0):
        image.problem = f"its size is no size that is read: {_short(width)} x {_short(height)}"
    else:
        image.size = (height, width)
    return _key(entry.get("id")) or f"entry {number}", image


def draw(image: CocoImage) -> tuple[UInt8, bool]:
    """(H, W) labels, and whether instances of different labels overlap: the later one wins.

    Raises HtunetError with what is wrong in a segmentation.
    """
    labels = np.zeros(image.size, dtype=np.uint8)
    overlap = False
    for shape in image.shapes:
        for mask, top, left in _decode(shape.segmentation, image.size):
            within = labels[top : top + mask.shape[0], left : left + mask.shape[1]]
            overlap |= bool(((within != 0) & (within != shape.label))[mask].any())
            within[mask] = shape.label
    return labels, overlap


def _decode(segmentation: object, size: tuple[int, int]) -> list[PlacedMask]:
    if isinstance(segmentation, Mapping):
        declared = segmentation.get("size")
        if declared != list(size):
            raise HtunetError(f"its run lengths are for {_short(declared)}, the image is {list(size)} (height, width)")
        counts = segmentation.get("counts")
        return [decode_runs(run_lengths(counts) if isinstance(counts, str) else counts, size)]
    if not isinstance(segmentation, list):
        raise HtunetError(f"its segmentation is neither polygons nor run lengths: {_short(segmentation)}")
    return [fill_polygon(polygon, size) for polygon in segmentation]


def decode_runs(counts: object, size: tuple[int, int]) -> PlacedMask:
    """The columns from run lengths: zeros first, then ones, and so on, down the columns.

    >>> mask, top, left = decode_runs([1, 2, 3], (3, 2))
    >>> mask.astype(int).tolist(), top, left
    ([[0], [1], [1]], 0, 0)
    """
    height, width = size
    if not isinstance(counts, Sequence) or not all(type(run) is int and run >= 0 for run in counts):
        raise HtunetError("its run lengths are not whole numbers")
    if sum(counts) != height * width:
        raise HtunetError(f"its run lengths add up to {_short(sum(counts))}, the image has {height * width} pixels")
    ends = np.cumsum(counts)
    ones = ends[1::2][np.asarray(counts[1::2], dtype=np.int64) > 0]
    if not len(ones):
        return np.zeros((0, 0), dtype=bool), 0, 0
    left, right = int(ends[0]) // height, -(-int(ones[-1]) // height)
    ends = np.clip(ends, left * height, right * height)
    values = np.repeat(np.arange(len(counts)) % 2 == 1, np.diff(ends, prepend=left * height))
    return values.reshape(right - left, height).T, 0, left


def run_lengths(text: str) -> list[int]:
    """The run lengths of COCO's compressed form: 6 bits a character, from the third on as differences.

    >>> run_lengths("123O")
    [1, 2, 3, 1]
    """
    counts: list[int] = []
    value, shift = 0, 0
    for char in text:
        bits = ord(char) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise HtunetError("its compressed run lengths are broken")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise HtunetError("its compressed run lengths are cut off")
    return counts


def fill_polygon(polygon: object, size: tuple[int, int]) -> PlacedMask:
    """Pixels whose centre lies inside [x0, y0, x1, y1, ...]; where it crosses itself, inside is odd.

    >>> mask, top, left = fill_polygon([1, 0, 3, 0, 3, 2, 1, 2], (3, 4))
    >>> mask.astype(int).tolist(), top, left
    ([[1, 1], [1, 1]], 0, 1)
    """
    if not isinstance(polygon, list) or not all(isinstance(value, int | float) for value in polygon):
        raise HtunetError(f"its polygon is no list of numbers: {_short(polygon)}")
    if len(polygon) % 2 or not 6 <= len(polygon) <= 2 * MOST_POINTS:
        raise HtunetError(f"its polygon has {len(polygon)} coordinates; it must have an even number, at least 6")
    x, y = np.array(polygon, dtype=np.float64).reshape(-1, 2).T
    if not (np.abs(x) < FARTHEST).all() or not (np.abs(y) < FARTHEST).all():
        raise HtunetError("its polygon has coordinates that are no places in an image")
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    # A row's pixels change sides wherever an edge crosses the row's middle.
    first, last = (_first_pixel(rows, size[0]) for rows in (np.minimum(y, next_y), np.maximum(y, next_y)))
    top, bottom = int(first.min()), int(last.max())
    left, right = _first_pixel(np.array([x.min(), x.max()]), size[1]).tolist()
    crossed = last - first
    if crossed.sum() > MOST_CROSSINGS:
        raise HtunetError(f"its polygon crosses {crossed.sum()} rows; an outline crosses at most {MOST_CROSSINGS}")
    edge = np.repeat(np.arange(len(x)), crossed)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first[edge]
    slopes = (next_x - x)[edge] / (next_y - y)[edge]
    columns = np.clip(_first_pixel(x[edge] + (rows + 0.5 - y[edge]) * slopes, size[1]), left, right)
    changes = np.zeros((bottom - top, right - left + 1), dtype=np.uint8)
    np.add.at(changes, (rows - top, columns - left), 1)
    return np.logical_xor.accumulate((changes[:, :-1] & 1).astype(bool), axis=1), top, left


def _first_pixel(places: NDArray[np.float64], end: int) -> NDArray[np.int64]:
    """The first of ``end`` pixels whose centre is not before each place."""
    return np.clip(np.ceil(places - 0.5), 0, end).astype(np.int64)


def _short(value: object) -> str:
    text = printable(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
