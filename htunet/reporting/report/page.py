"""The page as HTML: one file that needs no other one, and no network."""

import base64
import json
import time
from dataclasses import asdict

import htunet
from htunet.evaluation.case_table import TERCILES
from htunet.reporting.report.content import GROUPS, Gallery, ReportContent, Training
from htunet.reporting.tables.write import TEMPLATES, templates

FOOTER = "Made by htunet {version} on {date}. For research; not a medical device, and not for diagnosis."
SIZE = (340, 150)
"""Of a diagram: width and height in the units of its drawing."""
LEFT, RIGHT, TOP, BOTTOM = 34, 30, 8, 18
VALIDATION = "validation metric"
LINES = {"training loss": "train", "validation loss": "val", VALIDATION: "figure-line"}
"""Class of the style sheet for each kind of curve."""
CHOOSERS = {
    "dataset": "Data set", "task": "Task", "method": "Method", "group": "Cases", "size": "Size of lesion",
    "class": "Class",
}  # fmt: skip
SORTED = {"group": GROUPS, "size": {name: name.capitalize() for name in TERCILES}}
"""The values that have an order of their own, and their names."""


def render(report: ReportContent) -> str:
    """The page as text; the templates escape every text in it."""
    parts = {name: (TEMPLATES / name).read_text(encoding="utf-8").strip() for name in ("style.css", "behaviour.js")}
    return templates().get_template("page.html").render(
        report=report,
        footer=FOOTER.format(version=htunet.__version__, date=time.strftime("%Y-%m-%d %H:%M")),
        style=parts["style.css"],
        script=parts["behaviour.js"],
        choosers=choosers(report.gallery),
        datasets={name: name for name in sorted({row[0].text for table in report.tables for row in table.rows})},
        charts=[chart(training) for training in report.training],
        lines=LINES,
        data=gallery_data(report.gallery),
        as_base64=as_base64,
    )  # fmt: skip


def choosers(gallery: Gallery) -> dict[str, tuple[str, dict[str, str]]]:
    """What narrows the gallery down, where there is a choice: the label, and the text of each value, by its field."""
    found = {}
    for name, label in CHOOSERS.items():
        values = dict.fromkeys(getattr(item, "class_name" if name == "class" else name) for item in gallery.items)
        texts = SORTED.get(name, {value: value.capitalize() if name == "task" else value for value in values})
        chosen = {value: text for value, text in texts.items() if value in values and value}
        if len(chosen) > 1:
            found[name] = label, chosen
    return found


def gallery_data(gallery: Gallery) -> str:
    """What the script shows, as JSON."""
    items = [asdict(item) for item in gallery.items]
    for item in items:
        item["class"] = item.pop("class_name")
    images = {name: [as_base64(one) for one in getattr(gallery, name)]
              for name in ("pictures", "layers", "outlines", "uncertainties", "references")}  # fmt: skip
    return as_json({"items": items, **images, "legends": dict(gallery.legends), "groups": GROUPS})


def as_json(content: object) -> str:
    r"""Strict JSON that may be inside a script element.

    >>> print(as_json({"name": "a</script>&"}))
    {"name":"a\u003c/script\u003e\u0026"}
    """
    text = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def as_base64(picture: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(picture).decode("ascii")


def chart(training: Training) -> dict[str, object]:
    """What the template draws of a method: losses from 0 on the left axis, the metric from 0 to 1 on the right one."""
    losses = [value for curve in training.curves if curve.name != VALIDATION for _, value in curve.points]
    last = max((epoch for curve in training.curves for epoch, _ in curve.points), default=1)
    highest = max([value for value in losses if value < float("inf")], default=1) or 1
    width, height = SIZE
    curves = []
    for curve in training.curves:
        top = 1 if curve.name == VALIDATION else highest
        places = [
            (
                f"{LEFT + (epoch - 1) / max(1, last - 1) * (width - LEFT - RIGHT):.1f}",
                f"{height - BOTTOM - min(max(value / top, 0), 1) * (height - TOP - BOTTOM):.1f}",
            )
            for epoch, value in curve.points
        ]
        curves.append({"style": LINES[curve.name], "places": places})
    frame = {"left": LEFT, "right": width - RIGHT, "top": TOP, "bottom": height - BOTTOM}
    axes = {"last": f"{last:g}", "highest": f"{float(f'{highest:.2g}'):g}", "width": width, "height": height}
    return {"title": training.title, "note": training.note, **axes, **frame, "curves": curves}
