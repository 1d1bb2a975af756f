"""DDTI, thyroid nodules, in both forms that are passed around.

XML form, the original: one flat folder with ``12.xml`` for a case and ``12_1.jpg``, ``12_2.jpg`` for its images; the
outlines of the nodules are in the XML. PNG form, 637 images: ``1_or_data/image/0000.PNG`` with ``mask/0000.PNG``.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from dataset_conversion.common import (
    CLASSES,
    STRAY,
    Collected,
    ConversionReport,
    Converter,
    Exclusions,
    ImageWithMasks,
    Options,
    SourceFacts,
    Written,
    convert_images,
    read_gray,
    source_of,
    write_case,
    write_image_with_masks,
)
from dataset_conversion.formats.xml_files import read_xml
from dataset_conversion.numbered import NUMBER, collect_numbered, is_numbered_image
from dataset_conversion.source import Layout
from htunet.data.image_io import READABLE, UInt8
from htunet.data.raw import Case, Excluded
from htunet.errors import HtunetError
from htunet.files import parse_json

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

CLASS_OF_TIRADS = dict.fromkeys(("2", "3"), "benign") | dict.fromkeys(("4a", "4b", "4c", "5"), "malignant")
"""The usual division of DDTI's TI-RADS categories; biopsies are not part of the data set."""
XML_FORM, PNG_FORM = "images in the XML form", "images in the PNG form"
VIEW = re.compile(r"([0-9]{1,9})_([0-9]{1,9})")
FORGED = "category.csv"
FORGED_REASON = "the data set's own readme calls it forged; it is never used"
SPLIT_FOLDERS = ("trainval", "test")
"""Folders ``image`` and ``mask`` below these are TN3K's."""

DDTI = SourceFacts(
    dataset="Dataset504_DDTI",
    title="Ultrasound images of thyroid nodules with nodule masks",
    licence="not stated with the files; ask the authors before any use beyond research",
    home="http://cimalab.unal.edu.co/applications/thyroid/",
    citation=(
        "Pedraza L, Vargas C, Narvaez F, Duran O, Munoz E, Romero E: An open access thyroid ultrasound image database. "
        "Proc. SPIE 9287, 92870W (2015). https://doi.org/10.1117/12.2073532"
    ),
    download=(
        "the 637 images of the paper: DDTI.zip (also inside 'Thyroid Dataset.zip') with 1_or_data/image/ and mask/; "
        "or the original: a folder or zip of files 12.xml, 12_1.jpg"
    ),
    expected={PNG_FORM: 637, XML_FORM: 480},
    split_rule="8:1:1",
)


def form_of(folder: Path) -> str | None:
    """``XML_FORM`` or ``PNG_FORM`` where ``folder`` itself holds that form, else None."""
    names = [path.name for path in folder.iterdir()]
    if any(_is_xml(name) for name in names) and any(_is_view(name) for name in names):
        return XML_FORM
    images, masks = (_subfolder(folder, name) for name in ("image", "mask"))
    if images and masks and folder.name.lower() not in SPLIT_FOLDERS and any(map(is_numbered_image, images.iterdir())):
        return PNG_FORM
    return None


LAYOUT = Layout(
    looked_for="a folder with image/ and mask/ of files 0000.PNG, or a folder of files 12.xml and 12_1.jpg",
    is_here=lambda folder: form_of(folder) is not None,
    member=re.compile(r"(^|/)(image/[0-9]+\.png|[0-9]+\.xml)$", re.IGNORECASE),
)


def convert_ddti(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder`` in the form that it has; raises HtunetError as ``convert_images``, ValueError for none."""
    form = form_of(folder)
    if form is None:
        raise ValueError(f"{folder} holds no DDTI; LAYOUT finds the folder that does.")
    facts = replace(facts, expected={form: facts.expected[form]})
    if form == PNG_FORM:
        pairs = collect_png(folder, fit_masks=options.fit_masks)
        return convert_images(folder, facts, pairs, write_image_with_masks, workers=options.workers, threads=True)
    cases = collect_xml(folder)
    facts = replace(facts, classes=CLASSES)
    return convert_images(folder, facts, cases, write_views, workers=options.workers, threads=True)


CONVERTER = Converter(facts=DDTI, layout=LAYOUT, run=convert_ddti)


def collect_png(folder: Path, *, fit_masks: bool = False) -> Collected[ImageWithMasks]:
    """The pairs of the PNG form in the order of their numbers. They have no class: ``category.csv`` is forged."""
    images, masks = _subfolder(folder, "image"), _subfolder(folder, "mask")
    exclusions = Exclusions(folder)
    for path in sorted(folder.iterdir()):
        if path not in (images, masks):
            exclusions.add(path, FORGED_REASON if path.name == FORGED else STRAY)
    pairs = collect_numbered(
        exclusions,
        images,
        masks,
        case_of=lambda number, source: Case(id=f"image_{number:04d}", source=source),
        fit_masks=fit_masks,
    )
    notes = ["the PNG form names no case or patient: images of one patient may lie on both sides of a split"]
    if any((place / FORGED).exists() for place in (folder, folder.parent)):
        notes.append(f"{FORGED} was not read: {FORGED_REASON}")
    found = {PNG_FORM: len(pairs.numbers)}
    return Collected(jobs=pairs.jobs, found=found, excluded=exclusions.items, notes=notes)


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


@dataclass(frozen=True, kw_only=True)
class CaseFiles:
    """The files of one case of the XML form."""

    base: Path
    number: int
    xml: Path | None = None
    views: Mapping[int, Path] = field(default_factory=dict)
    """Image number to image."""


def collect_xml(folder: Path) -> Collected[CaseFiles]:
    """The cases of the XML form in the order of their numbers, and every other file."""
    xml_of: dict[int, Path] = {}
    views_of: dict[int, dict[int, Path]] = {}
    exclusions = Exclusions(folder)
    for path in sorted(folder.iterdir()):
        if _is_xml(path.name) and path.is_file():
            first = xml_of.setdefault(int(path.stem), path)
        elif _is_view(path.name) and path.is_file():
            number, view = map(int, path.stem.split("_"))
            first = views_of.setdefault(number, {}).setdefault(view, path)
        else:
            exclusions.add(path)
            continue
        if first is not path:
            exclusions.add(path, f"a second file with the same number, beside {first.name}")
    jobs = [
        CaseFiles(base=folder, number=number, xml=xml_of.get(number), views=views_of.get(number, {}))
        for number in sorted({*xml_of, *views_of})
    ]
    return Collected(jobs=jobs, found={XML_FORM: sum(map(len, views_of.values()))}, excluded=exclusions.items)


def read_case(path: Path) -> XmlCase:
    """Read one file; raises HtunetError when it is too large, no XML, or not safe to parse (entities)."""
    root = read_xml(path, MAX_BYTES)
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
        shapes = parse_json(svg, "it")
    except HtunetError:
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


def write_views(job: CaseFiles, folder: Path) -> list[Written | Excluded]:
    """Write the images of one case that have an outline; name every other one, and every mark without use."""
    exclusions = Exclusions(job.base)
    try:
        content = read_case(job.xml) if job.xml else None
    except HtunetError as error:
        exclusions.add(job.base / str(job.xml), _without_folder(job, error))
        content = None
    if content is None:
        why = f"{job.xml.name} cannot be used" if job.xml else f"an image without its {job.number}.xml"
        for path in job.views.values():
            exclusions.add(path, why)
        return list(exclusions.items)
    class_name = CLASS_OF_TIRADS.get(content.tirads, "")
    for mark in content.marks:
        reasons = list(mark.problems)
        if mark.view is not None and mark.view not in job.views:
            reasons.append(f"its image {job.number}_{mark.view} is not there")
        if reasons:
            exclusions.add(job.base / f"{job.number}.xml, mark {mark.position}", "; ".join(reasons), class_name)
    written: list[Written | Excluded] = []
    for view, path in sorted(job.views.items()):
        outlines = [outline for mark in content.marks if mark.view == view for outline in mark.outlines]
        one, reason = _write_view(job, content.tirads, view, outlines, folder)
        if one is None:
            exclusions.add(path, reason, class_name)
        else:
            written.append(one)
    return [*exclusions.items, *written]


def _write_view(
    job: CaseFiles, tirads: str, view: int, outlines: Sequence[tuple[Point, ...]], folder: Path
) -> tuple[Written | None, str]:
    """Write one image with its mask, or give the reason why it is no case."""
    xml_name = job.xml.name if job.xml else ""
    if not outlines:
        return None, f"no usable outline of it in {xml_name}"
    try:
        image, turned = read_gray(job.views[view])
    except HtunetError as error:
        return None, _without_folder(job, error)
    mask, moved, outside = draw_outlines(outlines, image.shape)
    if not mask.any():
        return None, f"its outlines in {xml_name} lie outside the image"
    patient, class_name = f"case_{job.number:04d}", CLASS_OF_TIRADS.get(tirads, "")
    source = source_of(job.base, job.views[view])
    case = Case(id=f"{patient}_{view}", class_name=class_name, group=patient, source=source)
    remarks = [
        *turned,
        "points outside the image were moved to its edge" if moved else "",
        "an outline that lies completely outside the image was not drawn" if outside else "",
        "" if class_name else f"no class, since its TI-RADS category is {tirads or 'missing'}"[:80],
    ]
    return replace(write_case(folder, case, image, mask), remarks=tuple(filter(None, remarks))), ""


def draw_outlines(outlines: Sequence[tuple[Point, ...]], shape: tuple[int, int]) -> tuple[UInt8, int, int]:
    """(H, W) with 1 inside or on an outline; how many outlines were cut at the image's edge, and how many lie outside.

    Points are rounded to whole pixels. Those beyond the image move to its edge; an outline without a point inside is
    not drawn.
    """
    height, width = shape
    canvas = Image.new("L", (width, height))
    moved = outside = 0
    for outline in outlines:
        points = np.array(outline)
        whole = np.floor(np.clip(points, -1, [width, height]) + 0.5)
        clipped = np.clip(whole, 0, [width - 1, height - 1])
        inside = (whole == clipped).all(axis=1)
        outside += not inside.any()
        if inside.any():
            moved += not inside.all()
            ImageDraw.Draw(canvas).polygon([tuple(map(int, point)) for point in clipped], fill=1, outline=1)
    return np.asarray(canvas), moved, outside


def _without_folder(job: CaseFiles, error: HtunetError) -> str:
    return str(error).replace(f"{job.base}/", "")


def _is_xml(name: str) -> bool:
    stem, dot, ending = name.rpartition(".")
    return bool(dot) and ending.lower() == "xml" and bool(NUMBER.fullmatch(stem))


def _is_view(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in READABLE and bool(VIEW.fullmatch(path.stem))


def _subfolder(folder: Path, name: str) -> Path | None:
    return next((child for child in folder.iterdir() if child.name.lower() == name and child.is_dir()), None)
