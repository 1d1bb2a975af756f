"""Annotations of the VGG Image Annotator 2 and 1: its project, and its exports as JSON and CSV.

A region's label is its attribute ``label``, ``class``, ``name`` or the like, or the only one that it has. An attribute
``annotator``, ``reader`` or the like says who marked it: then there is one AnnotationFile for each of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dataset_conversion.formats.shapes import (
    NO_AREA,
    AnnotatedImage,
    AnnotationFile,
    Ellipse,
    Shape,
    label_name,
    number,
    rectangle,
    short,
)
from htunet.data.label_maps import BACKGROUND, LESION
from htunet.errors import HtunetError
from htunet.files import parse_json, read_csv

CSV_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
LABELS = ("label", "class", "category", "name", "type", "lesion", "object", "finding")
READERS = ("annotator", "reader", "observer", "rater", "expert", "radiologist", "doctor", "annotated_by", "user")
WITHOUT_AREA = ("point", "polyline", "line")

Regions = Iterable[tuple[Any, Any]]
"""(shape_attributes, region_attributes) of each."""


def read_via(path: Path, content: Mapping[str, Any] | None) -> list[AnnotationFile]:
    """Read the JSON ``content`` of ``path``, or the CSV (None); raises HtunetError for labels that cannot be told."""
    images, repeated = dict[str, list[tuple[Any, Any]]](), set[str]()
    for name, regions in _of_csv(path) if content is None else _of_json(content):
        if name in images:
            repeated.add(name)
        images.setdefault(name, []).extend(regions)
    options = _options(content or {})
    attributes = [named for regions in images.values() for _, named in regions if isinstance(named, Mapping)]
    known = dict.fromkeys(key for named in attributes for key, value in named.items() if _text(value, {}))
    reader_key = next((key for key in known if key.strip().lower() in READERS), None)
    others = [key for key in known if key != reader_key]
    label_key = next((key for word in LABELS for key in others if key.strip().lower() == word), None)
    if label_key is None and len(others) > 1:
        raise HtunetError(
            f"{path}: its regions have the attributes {others}, and none is called {', '.join(LABELS)}. Rename the one "
            "that is the label to 'label'."
        )
    label_key = label_key or (others[0] if others else None)
    by_reader: dict[str, dict[str, AnnotatedImage]] = {}
    for name, regions in images.items():
        if not reader_key:
            by_reader.setdefault(path.stem, {})[name] = AnnotatedImage(name)
        for shape, named in regions:
            named = named if isinstance(named, Mapping) else {}
            reader = _text(named.get(reader_key), options.get(reader_key, {})) if reader_key else path.stem
            image = by_reader.setdefault(reader, {}).setdefault(name, AnnotatedImage(name))
            if reader_key and not reader:
                image.problem = f"a region without the attribute {reader_key!r}, which says who marked it"
            label = _text(named.get(label_key), options.get(label_key, {})) if label_key else LESION
            _add(image, shape, label)
    without = by_reader.pop("", {})
    files = [_file(reader, images.values()) for reader, images in by_reader.items()] or [_file(path.stem, [])]
    for file in files:
        for image in file.images:
            if image.file_name in repeated:
                image.problem = "several entries of the file, of images of unlike size, have this name"
            image.problem = image.problem or (without[image.file_name].problem if image.file_name in without else "")
    return files


def _file(reader: str, images: Iterable[AnnotatedImage]) -> AnnotationFile:
    images = tuple(images)
    labels = dict.fromkeys(shape.label for image in images for shape in image.shapes)
    return AnnotationFile(reader, tuple(sorted({*labels} - {BACKGROUND})), images)


def _of_csv(path: Path) -> Iterator[tuple[str, Regions]]:
    found: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
    for line, row in enumerate(read_csv(path, CSV_COLUMNS, {"#filename": "filename"}, any_delimiter=True), start=2):
        regions = found.setdefault((row["filename"], row.get("file_size", "")), [])
        where = f"{path}, line {line}: a region"
        shape, named = (parse_json(row[column] or "{}", where, any_number=True) for column in CSV_COLUMNS[1:])
        if shape:
            regions.append((shape, named))
    for (name, _), regions in found.items():
        yield name, regions


def _of_json(content: Mapping[str, Any]) -> Iterator[tuple[str, Regions]]:
    entries = content.get("_via_img_metadata", content)
    for key, entry in entries.items() if isinstance(entries, Mapping) else ():
        if key.startswith("_via_") or not isinstance(entry, Mapping):
            continue
        regions = entry.get("regions", [])
        regions = list(regions.values()) if isinstance(regions, Mapping) else regions  # version 1 numbers them
        regions = [one for one in regions if isinstance(one, Mapping)] if isinstance(regions, list) else []
        pairs = [(one.get("shape_attributes"), one.get("region_attributes")) for one in regions]
        yield str(entry.get("filename") or key), pairs


def _options(content: Mapping[str, Any]) -> dict[str | None, dict[str, str]]:
    """What the choices of an attribute are called, by its name: the regions hold their keys."""
    attributes = content.get("_via_attributes")
    regions = attributes.get("region") if isinstance(attributes, Mapping) else None
    found: dict[str | None, dict[str, str]] = {}
    for name, one in regions.items() if isinstance(regions, Mapping) else ():
        options = one.get("options") if isinstance(one, Mapping) else None
        if isinstance(options, Mapping):
            found[name] = {key: text for key, text in options.items() if isinstance(text, str) and text.strip()}
    return found


def _text(value: Any, options: Mapping[str, str]) -> str:  # noqa: ANN401
    """The value of an attribute; of check boxes the one that is checked, several joined by ``+``."""
    if isinstance(value, Mapping):
        return "+".join(options.get(key, key) for key, checked in sorted(value.items()) if checked)
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return options.get(text, text)


def _add(image: AnnotatedImage, shape: Any, label: str) -> None:  # noqa: ANN401
    kind = shape.get("name") if isinstance(shape, Mapping) else None
    if kind in WITHOUT_AREA:
        image.remarks.add(NO_AREA)
        return
    if not label:
        image.problem = image.problem or "a region without a label"
        return

    def values(*names: str) -> list[float]:
        return [number(shape.get(name)) for name in names]

    outline: Any
    if kind == "polygon":
        points = shape.get("all_points_x"), shape.get("all_points_y")
        if not all(isinstance(one, list) for one in points) or len(points[0]) != len(points[1]):
            image.problem = f"its polygon has no two lists of equal length: {short(shape)}"
            return
        outline = [[number(value) for point in zip(*points, strict=True) for value in point]]
    elif kind == "rect":
        outline = rectangle(*values("x", "y", "width", "height"))
    elif kind == "circle":
        x, y, radius = values("cx", "cy", "r")
        outline = Ellipse(x, y, (radius, radius))
    elif kind == "ellipse":
        x, y, *radii = values("cx", "cy", "rx", "ry")
        outline = Ellipse(x, y, (radii[0], radii[1]), number(shape.get("theta", 0.0)))
    else:
        image.problem = image.problem or f"its shape {short(kind)} is not read"
        return
    image.shapes.append(Shape(label_name(label), outline))
