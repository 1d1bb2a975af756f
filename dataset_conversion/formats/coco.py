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

MAX_FILE_BYTES = 2**30
MOST_POINTS = 100_000
RESERVED = ("background", "ignore")
Mask = NDArray[np.bool_]


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
    if path.exists() and path.stat().st_size > MAX_FILE_BYTES:
        raise HtunetError(f"{path} is larger than {MAX_FILE_BYTES >> 30} GiB. Cut it into several files.")
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
        mask = _decode(shape.segmentation, image.size)
        overlap |= bool(((labels != 0) & (labels != shape.label))[mask].any())
        labels[mask] = shape.label
    return labels, overlap


def _decode(segmentation: object, size: tuple[int, int]) -> Mask:
    if isinstance(segmentation, Mapping):
        declared = segmentation.get("size")
        if declared != list(size):
            raise HtunetError(f"its run lengths are for {_short(declared)}, the image is {list(size)} (height, width)")
        counts = segmentation.get("counts")
        return decode_runs(run_lengths(counts) if isinstance(counts, str) else counts, size)
    if not isinstance(segmentation, list):
        raise HtunetError(f"its segmentation is neither polygons nor run lengths: {_short(segmentation)}")
    mask = np.zeros(size, dtype=bool)
    for polygon in segmentation:
        mask |= fill_polygon(polygon, size)
    return mask


def decode_runs(counts: object, size: tuple[int, int]) -> Mask:
    """(H, W) from run lengths: zeros first, then ones, and so on, down the columns.

    >>> decode_runs([1, 2, 3], (3, 2)).astype(int).tolist()
    [[0, 0], [1, 0], [1, 0]]
    """
    height, width = size
    if not isinstance(counts, Sequence) or not all(type(run) is int and run >= 0 for run in counts):
        raise HtunetError("its run lengths are not whole numbers")
    if sum(counts) != height * width:
        raise HtunetError(f"its run lengths add up to {_short(sum(counts))}, the image has {height * width} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


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


def fill_polygon(polygon: object, size: tuple[int, int]) -> Mask:
    """(H, W) pixels whose centre lies inside [x0, y0, x1, y1, ...]; where it crosses itself, inside is odd.

    >>> fill_polygon([1, 0, 3, 0, 3, 2, 1, 2], (3, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    if not isinstance(polygon, list) or not all(isinstance(value, int | float) for value in polygon):
        raise HtunetError(f"its polygon is no list of numbers: {_short(polygon)}")
    if len(polygon) % 2 or not 6 <= len(polygon) <= 2 * MOST_POINTS:
        raise HtunetError(f"its polygon has {len(polygon)} coordinates; it must have an even number, at least 6")
    x, y = np.array(polygon, dtype=np.float64).reshape(-1, 2).T
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise HtunetError("its polygon has coordinates that are no numbers")
    height, width = size
    # A row's pixels change sides wherever an edge crosses the row's middle.
    changes = np.zeros((height, width + 1), dtype=np.uint8)
    ends = np.minimum(y, np.roll(y, -1)), np.maximum(y, np.roll(y, -1))
    first, last = (np.clip(np.ceil(rows - 0.5), 0, height).astype(int) for rows in ends)
    for at in np.flatnonzero(first < last):
        rows = np.arange(first[at], last[at])
        after = (at + 1) % len(x)
        crossing = x[at] + (rows + 0.5 - y[at]) * ((x[after] - x[at]) / (y[after] - y[at]))
        changes[rows, np.clip(np.ceil(crossing - 0.5), 0, width).astype(int)] ^= 1
    return np.logical_xor.accumulate(changes[:, :width].astype(bool), axis=1)


def _short(value: object) -> str:
    text = printable(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
