"""The parts of the page as HTML. Every text is escaped here and nowhere else."""

import base64
import html
import json
from collections.abc import Iterable, Sequence

from htunet.reporting.report.content import DatasetFacts, Gallery, Headline, Table, TableCell, Training

SIZE = (340, 150)
"""Of a diagram: width and height in the units of its drawing."""
LEFT, RIGHT, TOP, BOTTOM = 34, 30, 8, 18
LINES = {"training loss": "train", "validation loss": "val", "validation figure": "figure-line"}
"""Class of the style sheet for each kind of curve."""
FIGURE = "validation figure"
TASKS = {"masks": "Masks", "classes": "Classes"}
SORTED = {"group": ("missed", "worst", "median", "best"), "size": ("small", "medium", "large")}
escape = html.escape


def as_json(content: object) -> str:
    r"""Strict JSON that may stand inside a script element.

    >>> print(as_json({"name": "a</script>&"}))
    {"name":"a\u003c/script\u003e\u0026"}
    """
    text = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def section(id_: str, title: str, *content: str) -> str:
    """A section of the page; nothing where it is empty."""
    body = "\n".join(part for part in content if part)
    head = f'<h2 id="{id_}-title">{escape(title)}</h2>'
    return f'<section id="{id_}" aria-labelledby="{id_}-title">\n{head}\n{body}\n</section>'


def paragraphs(texts: Iterable[str], style: str = "note") -> str:
    """One paragraph each."""
    return "\n".join(f'<p class="{style}">{escape(text)}</p>' for text in texts)


def headline(found: Headline) -> str:
    """A card."""
    tag = (
        f'<span class="tag{" random" if found.random else ""}">{escape(found.weights)}</span>' if found.weights else ""
    )
    interval = f'<p class="interval">95 % interval {escape(found.interval)}</p>' if found.interval else ""
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in found.facts)
    what = {"masks": "segmentation", "classes": "classification"}[found.task]
    return (
        f'<article class="card"><h3>{escape(found.dataset)} <span class="sub">{what}</span></h3>'
        f'<p class="what">{escape(found.method)} {tag}</p><p class="figure">{escape(found.figure)}</p>{interval}'
        f"<ul>{facts}</ul></article>"
    )


def table(found: Table, style: str = "results", *, title: bool = True) -> str:
    """A table in a box of its own, which scrolls; its headings sort. Without a title where that stands above it."""
    heads = "".join(
        f'<th scope="col"{_numeric(numeric)}><button type="button">{escape(name)}</button></th>'
        for name, numeric in zip(found.columns, found.numeric, strict=True)
    )
    header = found.columns.index("Method") if "Method" in found.columns else 0
    rows = "\n".join(_row(row, found.numeric, header) for row in found.rows)
    name = escape(found.title)
    return (
        f'{f"<h3>{name}</h3>" if title else ""}\n<div class="scroll" role="region" aria-label="{name}" tabindex="0">'
        f'<table class="{style}" id="{escape(found.id)}"><caption>{name}</caption><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n{paragraphs(found.notes)}"
    )


def _row(row: Sequence[TableCell], numeric: Sequence[bool], header: int) -> str:
    cells = "".join(_cell(cell, is_number, header=place == header)
                    for place, (cell, is_number) in enumerate(zip(row, numeric, strict=True)))  # fmt: skip
    return f'<tr data-dataset="{escape(row[0].text)}">{cells}</tr>'


def _cell(cell: TableCell, numeric: bool, *, header: bool) -> str:
    below = f"<small>{escape(cell.below)}</small>" if cell.below else ""
    value = "" if cell.value is None else f' data-sort="{escape(str(cell.value))}"'
    if header:
        return f'<th scope="row"{value}>{escape(cell.text)}{below}</th>'
    classes = " ".join([*(["n"] if numeric else ["text"]), *(["best-value"] if cell.strong else [])])
    return f'<td class="{classes}"{value}>{escape(cell.text)}{below}</td>'


def _numeric(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def row_filters(tables: Sequence[Table]) -> str:
    """What narrows all tables of results down."""
    datasets = sorted({row[0].text for one in tables for row in one.rows})
    chooser = _chooser("rows-dataset", "Data set", [(name, name) for name in datasets]) if len(datasets) > 1 else ""
    return (
        f'<div class="filters" role="group" aria-label="Rows to show">{chooser}<label for="rows-text">Only rows with'
        '<input type="search" id="rows-text" placeholder="such as CLIP_HT" autocomplete="off"></label></div>'
    )


def gallery(found: Gallery) -> str:
    """The filters and the place of the tiles, which the script fills."""
    choosers = "".join(_gallery_chooser(found, name, label) for name, label in (
        ("dataset", "Data set"), ("task", "Task"), ("method", "Method"), ("group", "Cases"), ("size", "Size of lesion"),
        ("class", "Class"),
    ))  # fmt: skip
    colours = '<label class="check"><input type="checkbox" id="filter-overlay" checked> Colours</label>'
    legends = dict.fromkeys(found.legends.values())
    keys = "".join(_legend(legend) for legend in legends)
    return (
        f'<div class="filters" role="group" aria-label="Cases to show">{choosers}{colours if keys else ""}</div>\n'
        f"{keys}\n"
        '<p class="note" id="shown-count" aria-live="polite"></p>\n<div class="grid" id="grid"></div>\n'
        '<p class="more"><button type="button" class="plain" id="show-more" hidden>Show more</button></p>\n'
        '<noscript><p class="warning">The pictures need JavaScript; the tables below do not.</p></noscript>\n'
        f"{paragraphs(found.notes)}"
    )


def _gallery_chooser(found: Gallery, name: str, label: str) -> str:
    values = dict.fromkeys(_value(item, name) for item in found.items)
    values.pop("", None)
    order = SORTED.get(name, ())
    names = [value for value in order if value in values] if order else list(values)
    if len(names) < 2:
        return ""
    shown = TASKS if name == "task" else {value: value.capitalize() for value in names} if order else {}
    return _chooser(f"filter-{name}", label, [(value, shown.get(value, value)) for value in names])


def _value(item: object, name: str) -> str:
    return str(getattr(item, "class_name" if name == "class" else name))


def _chooser(id_: str, label: str, options: Sequence[tuple[str, str]]) -> str:
    entries = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
    return f'<label for="{id_}">{label}<select id="{id_}"><option value="">All</option>{entries}</select></label>'


def _legend(legend: Sequence[tuple[str, str]]) -> str:
    keys = "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for colour, name in legend)
    return f'<p class="legend">{keys}</p>'


def gallery_data(found: Gallery) -> str:
    """What the script shows, as JSON."""
    items = [
        {
            "task": item.task,
            "dataset": item.dataset,
            "method": item.method,
            "case": item.case,
            "class": item.class_name,
            "size": item.size,
            "group": item.group,
            "facts": item.facts,
            "picture": item.picture,
            "layer": item.layer,
        }
        for item in found.items
    ]
    pictures, layers = ([data(one) for one in some] for some in (found.pictures, found.layers))
    return as_json({"items": items, "pictures": pictures, "layers": layers, "legends": dict(found.legends)})


def data(picture: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(picture).decode("ascii")


def facts(found: DatasetFacts) -> str:
    """A box with names and values."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in found.rows)
    return f'<article class="box"><h3>{escape(found.title)}</h3><dl>{rows}</dl></article>'


def chart(found: Training) -> str:
    """The curves of one method: losses on the left axis from 0, the validation figure on the right one from 0 to 1."""
    losses = [value for curve in found.curves if curve.name != FIGURE for _, value in curve.points]
    last = max((epoch for curve in found.curves for epoch, _ in curve.points), default=1)
    highest = max([value for value in losses if value < float("inf")], default=1) or 1
    lines = "".join(
        _line(curve.points, LINES[curve.name], last, 1 if curve.name == FIGURE else highest) for curve in found.curves
    )
    width, height = SIZE
    bottom, right = height - BOTTOM, width - RIGHT
    label = escape(f"Training curves of {found.title}: {found.note}, {last:g} epochs")
    return (
        f'<figure class="box chart"><h3>{escape(found.title)}</h3><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{label}"><path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}V{TOP}"/>{lines}'
        f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{highest:.2g}</text>'
        f'<text x="{LEFT - 4}" y="{bottom}" text-anchor="end">0</text>'
        f'<text x="{right + 4}" y="{TOP + 8}">1</text><text x="{right + 4}" y="{bottom}">0</text>'
        f'<text x="{LEFT}" y="{height - 4}">1</text>'
        f'<text x="{right}" y="{height - 4}" text-anchor="end">epoch {last:g}</text></svg>'
        f'<p class="note">{escape(found.note)}</p></figure>'
    )


def _line(points: Sequence[tuple[float, float]], style: str, last: float, highest: float) -> str:
    width, height = SIZE
    places = [
        (LEFT + (epoch - 1) / max(1, last - 1) * (width - LEFT - RIGHT),
         height - BOTTOM - min(max(value / highest, 0), 1) * (height - TOP - BOTTOM))
        for epoch, value in points
    ]  # fmt: skip
    if len(places) == 1:
        return f'<circle class="{style}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3"/>'
    return f'<polyline class="{style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>' if places else ""


def chart_key() -> str:
    """What the lines of all diagrams mean."""
    names = {FIGURE: "validation Dice or AUC (right axis, 0 to 1)"}
    keys = "".join(f'<span><span class="key-line {style}"></span>{names.get(name, name)}</span>'
                   for name, style in LINES.items())  # fmt: skip
    return f'<p class="legend">{keys}</p>'
