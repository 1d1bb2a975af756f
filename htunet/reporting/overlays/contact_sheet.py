"""All overlays of a run on one page that needs no other file, worst first; and a sheet of the telling ones as PNG."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet.data.image_io import write_png
from htunet.files import write_text
from htunet.reporting.overlays.draw import LEGEND, Colour, with_strip

UInt8 = NDArray[np.uint8]

THUMBNAIL = 480
"""Longer side of an embedded picture, pixels: enough to enlarge, little enough for a thousand on one page."""
QUALITY = 82
TELLING = 4
"""Cases in each of the sections worst, median and best."""
SECTIONS_FROM = 3 * TELLING + 1
CELL = 300
GAP = 6
SHEET_COLOUR = (24, 24, 24)


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One case: its overlay as JPEG, and what stands below it."""

    case: str
    jpeg: bytes
    dice: float | None
    """In [0, 1]; the order of the page. None where the policy gives no value."""
    hd95: float | None
    """Pixels; None where the policy gives no value."""
    class_name: str = ""
    empty: str = ""
    """Which mask is empty, as ``LabelScore.empty``."""

    @property
    def dice_text(self) -> str:
        """``Dice 81.2 %``."""
        return "no Dice" if self.dice is None else f"Dice {100 * self.dice:.1f} %"

    @property
    def facts(self) -> list[str]:
        """``Dice 81.2 %``, ``HD95 12.3 px``, ``benign``, ``prediction empty``; what does not apply is left out."""
        distance = "no HD95" if self.hd95 is None else f"HD95 {self.hd95:.1f} px"
        empty = {"both": "both masks empty"}.get(self.empty, f"{self.empty} empty" if self.empty else "")
        parts = (self.dice_text, distance, self.class_name, empty)
        return [part for part in parts if part]

    @property
    def caption(self) -> str:
        """All facts in one line."""
        return " · ".join(self.facts)


def thumbnail(picture: UInt8, longest: int = THUMBNAIL) -> bytes:
    """(H, W, 3) as JPEG, scaled down to ``longest`` pixels; colours are stored at full resolution."""
    image = Image.fromarray(picture)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def worst_first(items: Sequence[GalleryItem]) -> list[GalleryItem]:
    """By Dice (no value first), then by HD95 (largest first), then by name."""
    return sorted(items, key=lambda item: (-1.0 if item.dice is None else item.dice, -(item.hd95 or 0.0), item.case))


def telling(items: Sequence[GalleryItem], n: int = TELLING) -> dict[str, list[GalleryItem]]:
    """The ``n`` worst, the ``n`` around the median and the ``n`` best, each worst first."""
    ordered = worst_first(items)
    middle = max(0, (len(ordered) - n) // 2)
    return {"Worst": ordered[:n], "Median": ordered[middle : middle + n], "Best": ordered[max(0, len(ordered) - n) :]}


def write_gallery(
    path: Path,
    items: Sequence[GalleryItem],
    *,
    title: str,
    facts: Sequence[str] = (),
    legend: Sequence[tuple[Colour, str]] = LEGEND,
) -> None:
    """Write the page. ``facts`` are lines below the title, such as the means and a note about random weights."""
    sections = [("All cases, worst first", worst_first(items))]
    if len(items) >= SECTIONS_FROM:
        sections = [*telling(items).items(), *sections]
    page = Template(PAGE).substitute(
        title=html.escape(title),
        facts="\n".join(f"<p>{html.escape(fact)}</p>" for fact in facts),
        legend="".join(map(_key, legend)),
        sections="\n".join(_section(name, members) for name, members in sections),
    )
    write_text(path, page)


def contact_sheet(items: Sequence[GalleryItem], n: int = TELLING) -> UInt8:
    """(H, W, 3) picture: a row each of the ``n`` worst, median and best cases; few cases stand once, worst first."""
    if len(items) > 3 * n:
        cells = [_cell(item, f"{name} · {item.case}") for name, row in telling(items, n).items() for item in row]
    else:
        cells = [_cell(item, item.case) for item in worst_first(items)]
    columns = min(n, len(cells))
    cells += [np.full_like(cells[0], SHEET_COLOUR)] * (-len(cells) % columns)
    return np.concatenate([np.concatenate(cells[at : at + columns], axis=1) for at in range(0, len(cells), columns)])


def write_contact_sheet(path: Path, items: Sequence[GalleryItem]) -> None:
    """Write ``contact_sheet`` as PNG."""
    write_png(path, contact_sheet(items))


def _cell(item: GalleryItem, name: str) -> UInt8:
    """A square with the picture in its middle, its name and its caption below."""
    cell = Image.new("RGB", (CELL, CELL), SHEET_COLOUR)
    picture = Image.open(io.BytesIO(item.jpeg))
    picture.thumbnail((CELL - GAP, CELL - GAP), Image.Resampling.LANCZOS)
    cell.paste(picture, ((CELL - picture.width) // 2, (CELL - picture.height) // 2))
    captioned = with_strip(np.asarray(cell), name, legend=())
    return with_strip(captioned, item.caption, legend=())


def _key(entry: tuple[Colour, str]) -> str:
    (red, green, blue), name = entry
    return f'<span><i style="background:#{red:02x}{green:02x}{blue:02x}"></i>{html.escape(name)}</span>'


def _section(name: str, items: Sequence[GalleryItem]) -> str:
    figures = "\n".join(_figure(item) for item in items)
    return f'<section><h2>{html.escape(name)}</h2>\n<div class="grid">\n{figures}\n</div></section>'


def _figure(item: GalleryItem) -> str:
    source = f"data:image/jpeg;base64,{base64.b64encode(item.jpeg).decode('ascii')}"
    name, caption = html.escape(item.case), html.escape(item.caption)
    facts = " · ".join(f"<span>{html.escape(fact)}</span>" for fact in item.facts)
    mark = ' class="empty"' if item.empty else ""
    return (
        f'<figure{mark}><button type="button" aria-label="Enlarge {name}"><img loading="lazy" alt="{name}: {caption}" '
        f'src="{source}"></button><figcaption><b>{name}</b><br>{facts}</figcaption></figure>'
    )


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8886; --warn: #c60; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 1500px; }
h1 { font-size: 1.3rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; border-bottom: 1px solid var(--line); }
p { margin: .2rem 0; }
.key span { display: inline-block; margin-right: 1rem; white-space: nowrap; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .35em; border: 1px solid var(--line); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(170px, 45%), 1fr)); gap: .8rem; }
figure { margin: 0; min-width: 0; }
figure button { display: block; width: 100%; aspect-ratio: 1; padding: 0; border: 0; background: #181818; cursor: zoom-in; }
figure img { width: 100%; height: 100%; object-fit: contain; }
figcaption { font-size: .82rem; overflow-wrap: anywhere; padding-top: .2rem; }
figcaption span { white-space: nowrap; }
.empty figcaption { color: var(--warn); }
dialog { border: 0; padding: 0; background: #181818; color: #eee; max-width: 96vw; max-height: 96vh; }
dialog::backdrop { background: #000c; }
dialog img { display: block; width: min(96vw, 86vh); height: min(96vw, 86vh); object-fit: contain; cursor: zoom-out; }
dialog p { padding: .4rem .8rem; }
</style>
</head>
<body>
<h1>$title</h1>
$facts
<p class="key">$legend</p>
$sections
<dialog><img alt=""><p></p></dialog>
<script>
const dialog = document.querySelector("dialog");
document.querySelectorAll("figure button").forEach(button => button.addEventListener("click", () => {
  const image = button.querySelector("img");
  dialog.querySelector("img").src = image.src;
  dialog.querySelector("p").textContent = image.alt;
  dialog.showModal();
}));
dialog.addEventListener("click", () => dialog.close());
</script>
</body>
</html>
"""  # noqa: E501
