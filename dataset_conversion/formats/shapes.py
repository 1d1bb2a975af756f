"""Shapes that people draw around what they see, and the labels of the pixels inside: what all annotations share.

Run lengths are decoded here, because the reference decoder reads beyond its arrays where those of a file are wrong.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.image_io import MAX_PIXELS, UInt8
from htunet.data.label_maps import BACKGROUND, LESION
from htunet.data.names import printable
from htunet.errors import HtunetError, counted, shortened

MOST_POINTS = 100_000
MOST_CROSSINGS = 10_000_000
"""Most crossings of a polygon's edges with an image's rows; an outline of the largest image has ten thousand."""
FARTHEST = 1e9
"""Pixels; a coordinate beyond it is no place in an image nor near one."""
PlacedMask = tuple[NDArray[np.bool_], int, int]
"""A part of an image, and the row and the column where it begins."""

OVERLAP = "instances of different labels overlap, the later one is used"
CROWD = "crowd regions drawn as their category"
NO_AREA = "parts of shapes without an area (points, lines) ignored"
NO_PIXEL = "shapes that contain no pixel centre of the image ignored"
BEYOND = "shapes reach beyond the image and were cut: check that the images were not resized after they were annotated"
FAR_BEYOND = 0.02
"""Of a side: so far a hand slips over the edge."""
UNMARKED = "regions of the label background count as unmarked"


@dataclass(frozen=True)
class Ellipse:
    """A circle or an ellipse, in pixels; ``angle`` turns its first radius clockwise, in radians."""

    x: float
    y: float
    radii: tuple[float, float]
    angle: float = 0.0


@dataclass(frozen=True)
class Patch:
    """A mask of a part of the image, with its upper left corner."""

    left: int
    top: int
    size: tuple[int, int]
    """(height, width)"""
    runs: tuple[int, ...] = ()
    """Run lengths along the rows, zeros first; empty: see ``png``."""
    png: str = ""
    """A PNG file in base 64."""


@dataclass(frozen=True)
class Shape:
    """One annotation: its label, and polygons [[x, y, x, y, ...], ...], COCO's run lengths, an Ellipse or a Patch."""

    label: str
    outline: Any


@dataclass
class AnnotatedImage:
    """What one reader marked in one image."""

    file_name: str
    size: tuple[int, int] | None = None
    """(height, width); None: the format does not say it."""
    shapes: list[Shape] = field(default_factory=list)
    remarks: set[str] = field(default_factory=set)
    problem: str = ""
    """Why it cannot be converted; empty: nothing is known against it."""


@dataclass(frozen=True)
class AnnotationFile:
    """What one reader marked in all images."""

    reader: str
    labels: tuple[str, ...]
    """The names of the labels that occur, in their order, without the background."""
    images: tuple[AnnotatedImage, ...]
    unused: tuple[str, ...] = ()
    """Labels that the file defines and no shape has."""
    notes: tuple[str, ...] = ()
    """What a user should know of the file."""


def label_name(text: object) -> str:
    """A label as it is used: ``background`` for ``_background_``, ``lesion`` where there is none."""
    name = printable(str(text if text is not None else "")).strip()
    return BACKGROUND if name.strip("_- ").lower() == BACKGROUND else name or LESION


def number(value: object) -> float:
    """A coordinate of a file as a float; NaN for what is no number."""
    try:
        return math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
    except OverflowError:
        return math.inf


def rectangle(x: float, y: float, width: float, height: float, turned: float = 0.0) -> list[list[float]]:
    """The polygon of a box with the corner (x, y), turned clockwise around its middle by ``turned`` radians."""
    if not math.isfinite(turned):
        return [[math.nan] * 6]
    cos, sin = math.cos(turned), math.sin(turned)
    corners = [(right * width / 2, down * height / 2) for right, down in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    points = [(right * cos - down * sin, right * sin + down * cos) for right, down in corners]
    return [[place for right, down in points for place in (x + width / 2 + right, y + height / 2 + down)]]


def draw_readers(
    readers: Sequence[AnnotatedImage], labels: Mapping[str, int], size: tuple[int, int]
) -> tuple[UInt8, tuple[str, ...]]:
    """(H, W) labels of an image, and remarks. With several readers a pixel has the label that most of them gave it.

    More than half of the readers must have given it; else it is background. ``size`` is that of the image, where the
    annotations do not say theirs. Raises HtunetError with what is wrong in a shape.
    """
    drawn = [draw(image, labels, image.size or size) for image in readers]
    remarks = {remark for _, found in drawn for remark in found}
    if len(drawn) == 1:
        return drawn[0][0], tuple(sorted(remarks))
    if len({found.shape for found, _ in drawn}) > 1:
        raise HtunetError("its readers' annotations are for images of different sizes")
    result = np.zeros_like(drawn[0][0])
    for label in sorted({*labels.values()} - {0}):
        votes = np.sum([found == label for found, _ in drawn], axis=0)
        result[votes * 2 > len(drawn)] = label
    return result, tuple(sorted(remarks | {f"merged by majority vote of {len(drawn)} readers"}))


def draw(image: AnnotatedImage, labels: Mapping[str, int], size: tuple[int, int]) -> tuple[UInt8, set[str]]:
    """(H, W) labels of one reader, and remarks; where instances of different labels overlap, the later one is used.

    Raises HtunetError with what is wrong in a shape, or when no shape of the image has an area.
    """
    result = np.zeros(size, dtype=np.uint8)
    remarks, areas = set(image.remarks), 0
    for shape in image.shapes:
        label, seen = labels[shape.label], False
        parts = _filled(shape.outline, size)
        for mask, top, left in (part for part in parts if part is not None):
            seen = seen or bool(mask.any())
            within = result[top : top + mask.shape[0], left : left + mask.shape[1]]
            if label and ((within != 0) & (within != label))[mask].any():
                remarks.add(OVERLAP)
            if label:
                within[mask] = label
        has_area = any(part is not None for part in parts)
        areas += has_area
        found = {NO_AREA: None in parts or not parts, NO_PIXEL: has_area and not seen, UNMARKED: seen and label == 0,
                 BEYOND: _is_beyond(shape.outline, size)}  # fmt: skip
        remarks |= {remark for remark, applies in found.items() if applies}
    if (image.shapes or NO_AREA in remarks) and not areas:
        raise HtunetError("none of its shapes has an area: points and lines alone make no mask")
    return result, remarks


def _filled(outline: object, size: tuple[int, int]) -> list[PlacedMask | None]:
    """The pixels inside each part; None for a part without an area."""
    if isinstance(outline, Mapping):
        declared = outline.get("size")
        if declared != list(size):
            raise HtunetError(f"its run lengths are for {short(declared)}, the image is {list(size)} (height, width)")
        counts = outline.get("counts")
        return [decode_runs(run_lengths(counts) if isinstance(counts, str) else counts, size)]
    if isinstance(outline, Ellipse):
        return [fill_ellipse(outline, size)]
    if isinstance(outline, Patch):
        return [_placed(outline, size)]
    if not isinstance(outline, list):
        raise HtunetError(f"its segmentation is neither polygons nor run lengths: {short(outline)}")
    return [fill_polygon(polygon, size) for polygon in _polygons(outline)]


def _polygons(outline: list[Any]) -> list[Any]:
    alone = _are_numbers(outline) or (len(outline) > 2 and _are_points(outline))  # one polygon without its list
    return [_flat(polygon) for polygon in ([outline] if alone else outline)]


def _is_beyond(outline: object, size: tuple[int, int]) -> bool:
    """Whether a polygon, of those that ``fill_polygon`` takes, reaches out of the image more than by chance."""
    corners = [np.reshape(one, (-1, 2)).T for one in _polygons(outline)] if isinstance(outline, list) else []
    sides = [(places, side) for xy in corners for places, side in zip(xy, size[::-1], strict=True)]
    return any(np.abs(places - side / 2).max(initial=0) > side * (0.5 + FAR_BEYOND) + 1 for places, side in sides)


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, int | float) for value in values)


def _are_points(values: object) -> bool:
    return isinstance(values, list) and all(_are_numbers(point) and len(point) == 2 for point in values)


def _flat(polygon: Any) -> Any:  # noqa: ANN401
    """[x, y, x, y, ...] of a polygon, for which some programs write the points [x, y]."""
    return [value for point in polygon for value in point] if _are_points(polygon) else polygon


def decode_runs(counts: object, size: tuple[int, int]) -> PlacedMask:
    """The columns from run lengths: zeros first, then ones, and so on, down the columns; HtunetError for broken ones.

    >>> mask, top, left = decode_runs([1, 2, 3], (3, 2))
    >>> mask.astype(int).tolist(), top, left
    ([[0], [1], [1]], 0, 0)
    """
    height, width = size
    if not isinstance(counts, Sequence) or not all(type(run) is int and run >= 0 for run in counts):
        raise HtunetError("its run lengths are not whole numbers")
    if sum(counts) != height * width:
        raise HtunetError(f"its run lengths add up to {short(sum(counts))}, the image has {height * width} pixels")
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

    Raises HtunetError for a broken text.

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


def fill_polygon(polygon: object, size: tuple[int, int]) -> PlacedMask | None:
    """Pixels whose centre lies inside [x0, y0, x1, y1, ...]; where it crosses itself, inside is odd.

    None for a polygon without an area: fewer than three points, or all of them on a line. Raises HtunetError for other
    values than pairs of positions, and for an outline that crosses too many rows.

    >>> mask, top, left = fill_polygon([1, 0, 3, 0, 3, 2, 1, 2], (3, 4))
    >>> mask.astype(int).tolist(), top, left
    ([[1, 1], [1, 1]], 0, 1)
    """
    if not isinstance(polygon, list) or not all(isinstance(value, int | float) for value in polygon):
        raise HtunetError(f"its polygon is no list of numbers: {short(polygon)}")
    if len(polygon) % 2 or len(polygon) > 2 * MOST_POINTS:
        raise HtunetError(f"its polygon has {len(polygon)} coordinates; it must have an even number")
    x, y = np.array(polygon, dtype=np.float64).reshape(-1, 2).T
    if not (np.abs(x) < FARTHEST).all() or not (np.abs(y) < FARTHEST).all():
        raise HtunetError("its polygon has coordinates that are not positions in an image")
    if len(x) < 3 or _is_line(x - x[0], y - y[0]):
        return None
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    # A row's pixels change sides wherever an edge crosses the row's middle.
    first, last = (_first_pixel(rows, size[0]) for rows in (np.minimum(y, next_y), np.maximum(y, next_y)))
    top, bottom = int(first.min()), int(last.max())
    left, right = _first_pixel(np.array([x.min(), x.max()]), size[1]).tolist()
    crossed = last - first
    if crossed.sum() > MOST_CROSSINGS:
        raise HtunetError(
            f"its polygon crosses {counted(int(crossed.sum()), 'row')}; an outline crosses at most {MOST_CROSSINGS}"
        )
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


def _is_line(x: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
    """Whether all points lie on one line through the first one, which is the origin."""
    far = int(np.argmax(np.hypot(x, y)))
    return bool((np.abs(x * y[far] - y * x[far]) <= 1e-9 * max(1.0, x[far] ** 2 + y[far] ** 2)).all())


def fill_ellipse(ellipse: Ellipse, size: tuple[int, int]) -> PlacedMask | None:
    """Pixels whose centre lies inside; None for one without an area, HtunetError for values that are no positions.

    >>> mask, top, left = fill_ellipse(Ellipse(2, 2, (1.5, 1.5)), (4, 4))
    >>> int(mask.sum()), top, left
    (4, 0, 0)
    """
    values = (ellipse.x, ellipse.y, *ellipse.radii, ellipse.angle)
    if not all(abs(value) < FARTHEST for value in values) or min(ellipse.radii) < 0:
        raise HtunetError("its ellipse has a centre, radii or an angle that are not positions in an image")
    if min(ellipse.radii) == 0:
        return None
    cos, sin = math.cos(ellipse.angle), math.sin(ellipse.angle)
    reach = [math.hypot(ellipse.radii[0] * one, ellipse.radii[1] * other) for one, other in ((cos, sin), (sin, cos))]
    left, right = _first_pixel(np.array([ellipse.x - reach[0], ellipse.x + reach[0]]), size[1]).tolist()
    top, bottom = _first_pixel(np.array([ellipse.y - reach[1], ellipse.y + reach[1]]), size[0]).tolist()
    rows, columns = np.ogrid[top : bottom + 1, left : right + 1]
    across, down = columns + 0.5 - ellipse.x, rows + 0.5 - ellipse.y
    along, aside = (across * cos + down * sin) / ellipse.radii[0], (down * cos - across * sin) / ellipse.radii[1]
    return np.asarray(along**2 + aside**2 <= 1)[: size[0] - top, : size[1] - left], top, left


def _placed(patch: Patch, size: tuple[int, int]) -> PlacedMask:
    height, width = patch.size
    if patch.png:
        part = _decoded(patch.png)
    elif 0 < height <= size[0] and 0 < width <= size[1]:
        turned, _, row = decode_runs(patch.runs, (width, height))  # these go along the rows
        part = np.zeros((height, width), dtype=bool)
        part[row : row + turned.shape[1], : turned.shape[0]] = turned.T
    else:
        raise HtunetError(f"its mask claims {width} x {height} pixels, the image has {size[1]} x {size[0]}")
    top, left = min(max(patch.top, 0), size[0]), min(max(patch.left, 0), size[1])
    return part[top - patch.top :, left - patch.left :][: size[0] - top, : size[1] - left], top, left


def _decoded(png: str) -> NDArray[np.bool_]:
    try:
        with Image.open(BytesIO(base64.b64decode(png, validate=True)), formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise HtunetError(f"its mask claims {image.width} x {image.height} pixels")
            return np.asarray(image.convert("L")) > 0
    except HtunetError:
        raise
    except Exception as error:  # as in htunet.data.image_io.opened
        raise HtunetError(f"its mask is not a PNG file in base 64 ({error})") from None


def short(value: object) -> str:
    """A value of a file for a message."""
    return shortened(printable(repr(value)))
