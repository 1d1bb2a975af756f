"""A small DDTI in both of its forms, with every oddity that the real files have."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from builders.busi import speckled, write_mask

FIELDS = ("age", "sex", "composition", "echogenicity", "margins", "calcifications", "reportbacaf", "reporteco")
TIRADS = ("2", "3", "4a", "4b", "4c", "5")
SIZE = (48, 72)
"""Height and width of the images of the XML form, which are all of one size."""
BILLION_LAUGHS = (
    """<?xml version="1.0"?><!DOCTYPE case [<!ENTITY a "ha">{}]><case><tirads>&e9;</tirads></case>""".format(
        "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10 if level else "&a;" * 10}">' for level in range(10))
    )
)


@dataclass(frozen=True)
class BuiltDdti:
    """What was built; files relative to ``folder``."""

    folder: Path
    images: int
    """Whatever becomes of them."""
    cases: int
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Part of the reason for which each file or mark is left out."""


def build_ddti_png(
    folder: Path, *, images: int = 12, quirks: bool = True, sizes: tuple[int, int] = (32, 56), seed: int = 0
) -> BuiltDdti:
    """Write ``folder``/1_or_data/{image,mask} with upper-case endings, and the files beside it; oddities on top."""
    data = folder / "1_or_data"
    for number in range(images + (4 if quirks else 0)):
        rng = np.random.default_rng([seed, number])
        height, width = (int(value) for value in rng.integers(sizes[0], sizes[1] + 1, 2))
        image, mask = speckled(height, width, seed, "ddti", number)
        for kind in ("image", "mask"):
            (data / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(data / "image" / f"{number:04d}.PNG", format="PNG")
        write_mask(data / "mask" / f"{number:04d}.PNG", mask, "L")
    (data / "category.csv").write_text("ID,CATE\n0000.PNG,0\n", encoding="utf-8")
    stage = folder / "2_preprocessed_data" / "stage1"
    for kind in ("p_image", "p_mask"):
        (stage / kind).mkdir(parents=True)
        Image.new("L", (16, 16)).save(stage / kind / "0000.PNG", format="PNG")
    (folder / "2_preprocessed_data" / "readme.txt").write_text("category.csv is forged\n", encoding="utf-8")
    reasons = {"category.csv": "never used"}
    return BuiltDdti(data, *(_png_quirks(data, images, reasons) if quirks else (images, images)), reasons)


def _png_quirks(data: Path, first: int, reasons: dict[str, str]) -> tuple[int, int]:
    """(images, cases) after four more pairs have been damaged, each in its way."""
    images, masks = data / "image", data / "mask"
    (images / f"{first:04d}.PNG").unlink()
    reasons[f"mask/{first:04d}.PNG"] = "a mask without an image"
    (masks / f"{first + 1:04d}.PNG").unlink()
    reasons[f"image/{first + 1:04d}.PNG"] = "an image without a mask"
    (images / f"{first + 2:04d}.PNG").write_bytes(b"\x89PNG\r\n")
    reasons[f"image/{first + 2:04d}.PNG"] = "cannot be read"
    write_mask(masks / f"{first + 3:04d}.PNG", np.ones((5, 6), np.uint8), "L")
    reasons[f"image/{first + 3:04d}.PNG"] = "differ in size"
    (masks / "0000.PNG").rename(masks / "0.png")
    (images / "notes.txt").write_text("not an image\n", encoding="utf-8")
    reasons["image/notes.txt"] = "not a file of the data set"
    return first + 3, first


def box(left: float, top: float, right: float, bottom: float, **more: Any) -> dict[str, Any]:
    """A rectangle as one shape of the JSON text."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    points = [{"x": x, "y": y} for x, y in corners]
    return {"points": points, "annotation": {"id": 1}, "regionType": "freehand"} | more


def xml_of(number: int, marks: Sequence[tuple[int | str, Any]], tirads: str | None = "4a") -> str:
    """One case; ``marks`` are (image, outline): a list of shapes, a text as it is, or None for no svg at all."""
    lines = [f"<number>{number}</number>", *(f"<{name}></{name}>" for name in FIELDS)]
    lines += [] if tirads is None else [f"<tirads>{tirads}</tirads>"]
    for image, outline in marks:
        svg = outline if isinstance(outline, str) else json.dumps(outline)
        text = "" if outline is None else f"<svg>{svg.replace('&', '&amp;').replace('<', '&lt;')}</svg>"
        lines.append(f"<mark><image>{image}</image>{text}</mark>")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<case>{"".join(lines)}</case>\n'


def write_xml_case(
    folder: Path, number: int, views: Sequence[int], marks: Sequence[tuple[int | str, Any]], tirads: str | None = "4a"
) -> None:
    """``N.xml`` and ``N_V.jpg`` for each view."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.xml").write_text(xml_of(number, marks, tirads), encoding="utf-8")
    for view in views:
        image, _ = speckled(*SIZE, "ddti xml", number, view)
        Image.fromarray(image).save(folder / f"{number}_{view}.jpg", quality=95)


def build_ddti_xml(folder: Path, *, cases: int = 6, quirks: bool = True) -> BuiltDdti:
    """``cases`` sound cases with two images each, one outline in each; oddities on top, from number 101."""
    for number in range(1, cases + 1):
        left = 10 + number
        marks = [(view, [box(left, 8, left + 20, 30 + view)]) for view in (1, 2)]
        write_xml_case(folder, number, (1, 2), marks, TIRADS[(number - 1) % len(TIRADS)])
    built = BuiltDdti(folder, 2 * cases, 2 * cases)
    return _xml_quirks(built) if quirks else built


def _xml_quirks(sound: BuiltDdti) -> BuiltDdti:
    folder, good = sound.folder, [box(5, 5, 20, 20)]
    write_xml_case(folder, 101, (1,), [(1, [box(5, 5, 14, 14), box(30, 10, 39, 19)]), (1, [box(50, 30, 59, 39)])])
    write_xml_case(folder, 102, (1,), [(1, [box(-20, -7.5, 9.4, 9.6)])], tirads=None)
    write_xml_case(folder, 103, (1, 2), [(1, good), (2, "")])
    write_xml_case(folder, 104, (1,), [(1, '[{"points": [{"x": 1, "y"')])
    write_xml_case(folder, 105, (1,), [(1, None)])
    write_xml_case(folder, 106, (1, 2), [(1, good)], tirads="4")
    write_xml_case(folder, 107, (1,), [(1, [*good, {"points": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]}]), (3, good)])
    write_xml_case(folder, 108, (1,), [(1, [box(500, 500, 600, 600)])])
    write_xml_case(folder, 109, (1,), [("", good), (1, [box(1, 1, 9, 9, points=[{"x": "a", "y": True}] * 3)])])
    write_xml_case(folder, 110, (1,), [(1, good)])
    (folder / "110.xml").write_text(BILLION_LAUGHS, encoding="utf-8")
    write_xml_case(folder, 111, (1,), [(1, good)])
    (folder / "111.xml").write_bytes((folder / "111.xml").read_bytes()[:80])
    write_xml_case(folder, 112, (1,), [(1, good)])
    (folder / "112.xml").unlink()
    write_xml_case(folder, 113, (1,), [(1, good)])
    (folder / "113_1.jpg").write_bytes(b"")
    (folder / "Thumbs.db").write_bytes(b"")
    reasons = {
        "103.xml, mark 2": "it has no outline",
        "103_2.jpg": "no usable outline of it in 103.xml",
        "104.xml, mark 1": "its outline is not valid JSON",
        "104_1.jpg": "no usable outline",
        "105.xml, mark 1": "it has no outline",
        "105_1.jpg": "no usable outline",
        "106_2.jpg": "no usable outline",
        "107.xml, mark 1": "shape 2 has no 3 points",
        "107.xml, mark 2": "its image 107_3 is not there",
        "108_1.jpg": "lie outside the image",
        "109.xml, mark 1": "it names no image",
        "109.xml, mark 2": "shape 1 has no 3 points with numbers",
        "109_1.jpg": "no usable outline",
        "110.xml": "it defines entities",
        "110_1.jpg": "110.xml cannot be used",
        "111.xml": "not valid XML",
        "111_1.jpg": "111.xml cannot be used",
        "112_1.jpg": "an image without its 112.xml",
        "113_1.jpg": "cannot be read",
        "Thumbs.db": "not a file of the data set",
    }
    return BuiltDdti(folder, images=sound.images + 15, cases=sound.cases + 5, reasons=reasons)
