"""The XML files of DDTI: one case each, with its TI-RADS category and the outlines drawn in its images.

Outlines stand as JSON text inside the XML: ``<mark><image>1</image><svg>[{"points": [{"x": 12, "y": 34}, ...]}]``.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from htunet.errors import HtunetError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 8 * 2**20
"""A real file has some ten kilobytes."""

Point = tuple[float, float]
"""(x, y) in pixels from the upper left corner."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One mark of a case: outlines in one of its images."""

    position: int
    """1 for the first mark of the file."""
    view: int | None
    """Number of the image that it was drawn in; None where that is not said."""
    outlines: tuple[tuple[Point, ...], ...]
    problems: tuple[str, ...]
    """What of the mark cannot be used, and why."""


@dataclass(frozen=True)
class XmlCase:
    """What one file says."""

    tirads: str
    """Such as ``4a``; empty where it is missing."""
    marks: tuple[Mark, ...]


def read_case(path: Path) -> XmlCase:
    """Read one file; raises HtunetError when it is too large, no XML, or not safe to parse (entities)."""
    if (size := path.stat().st_size) > MAX_BYTES:
        raise HtunetError(f"{path} has {size} bytes; the XML of a case has at most {MAX_BYTES}. Take it out.")
    try:
        root = fromstring(path.read_bytes())
    except DefusedXmlException as error:
        raise HtunetError(f"{path} is refused, it defines entities ({error}). Take it out.") from None
    except (ParseError, ValueError, LookupError) as error:  # an unknown encoding is one of the latter two
        raise HtunetError(f"{path} is not valid XML ({error}). Download it again or take it out.") from None
    marks = (_mark(position, element) for position, element in enumerate(root.iter("mark"), start=1))
    return XmlCase(" ".join((root.findtext(".//tirads") or "").lower().split()), tuple(marks))


def _mark(position: int, element: "Element") -> Mark:
    text = (element.findtext("image") or "").strip()
    view = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
    problems = [] if view is not None else [f"it names no image, but {text[:20]!r}"]
    svg = (element.findtext("svg") or "").strip()
    outlines = []
    if not svg:
        problems.append("it has no outline")
    else:
        for outline, problem in _shapes(svg):
            outlines += [outline] if not problem else []
            problems += [problem] if problem else []
    return Mark(position=position, view=view, outlines=tuple(outlines), problems=tuple(problems))


def _shapes(svg: str) -> Iterator[tuple[tuple[Point, ...], str]]:
    """The outline of each shape, or no outline and the reason."""
    try:
        shapes = json.loads(svg)
    except (ValueError, RecursionError):
        yield (), "its outline is not valid JSON"
        return
    if not isinstance(shapes, list) or not shapes:
        yield (), "its outline is not a list of shapes" if shapes else "it has no outline"
        return
    for number, shape in enumerate(shapes, start=1):
        outline = _outline(shape)
        yield (outline, "") if outline else ((), f"shape {number} has no 3 points with numbers x and y")


def _outline(shape: Any) -> tuple[Point, ...]:  # noqa: ANN401
    """The points of a shape; none when there are fewer than three or one is no pair of finite numbers."""
    points = shape.get("points") if isinstance(shape, dict) else None
    if not isinstance(points, list) or len(points) < 3:
        return ()
    pairs = [(_number(point, "x"), _number(point, "y")) for point in points]
    return tuple((x, y) for x, y in pairs) if all(math.isfinite(x + y) for x, y in pairs) else ()


def _number(point: Any, key: str) -> float:  # noqa: ANN401
    """The value as float; not a number where there is none."""
    value = point.get(key) if isinstance(point, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
