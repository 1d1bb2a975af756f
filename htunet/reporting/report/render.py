"""The page as HTML: one file that needs no other one, and no network."""

import time
from importlib.resources import files
from pathlib import Path
from string import Template

import htunet
from htunet.files import write_text
from htunet.reporting.report import parts
from htunet.reporting.report.content import ReportContent

TEMPLATE = "htunet.reporting.report"
FOOTER = "Made by htunet {version} on {date}. For research; not a medical device, and not for diagnosis."
HOW_TO_READ = (
    "Dice: how much of prediction and truth overlap, 100 % is best. IoU: the same, counted more strictly. HD95 and "
    "ASD: how far the outlines lie apart, in pixels, 0 is best. AUC: how well the classes are told apart, 50 % is "
    "chance. Missed: nothing was found where there is a lesion."
)


def write_report(path: Path, report: ReportContent) -> None:
    """Write the page, whole or not at all."""
    write_text(path, render(report))


def render(report: ReportContent) -> str:
    """The page as text."""
    sections = {key: text for key, text in _sections(report).items() if text}
    titles = {
        **{"overview": "Overview", "cases": "Cases", "tables": "Tables", "training": "Training"},
        **{"classification-pictures": "Classification", "plans": "Plans", "origin": "Data and weights"},
        "repeat": "Repeat",
    }
    footer = FOOTER.format(version=htunet.__version__, date=time.strftime("%Y-%m-%d %H:%M"))
    return Template(_file("page.html")).substitute(
        title=parts.escape(report.title),
        subtitle=parts.escape(report.subtitle),
        navigation="".join(f'<a href="#{key}">{titles[key]}</a>' for key in sections),
        warnings="\n".join(f'<p class="warning" role="alert">{parts.escape(text)}</p>' for text in report.warnings),
        sections="\n".join(sections.values()),
        footer=parts.escape(footer),
        style=_file("style.css"),
        script=_file("behaviour.js"),
        data=parts.gallery_data(report.gallery),
    )


def _sections(report: ReportContent) -> dict[str, str]:
    return {
        "overview": _overview(report),
        "cases": _cases(report),
        "tables": _tables(report),
        "training": _training(report),
        "classification-pictures": _class_pictures(report),
        "plans": _plans(report),
        "origin": _origin(report),
        "repeat": _repeat(report),
    }


def _overview(report: ReportContent) -> str:
    cards = "\n".join(map(parts.headline, report.headlines))
    return parts.section(
        "overview", "Overview", f'<div class="cards">{cards}</div>', parts.paragraphs([HOW_TO_READ, *report.notes])
    )


def _cases(report: ReportContent) -> str:
    if not report.gallery.items:
        return ""
    return parts.section("cases", "Where it fails, and where it works", parts.gallery(report.gallery))


def _tables(report: ReportContent) -> str:
    if not report.tables:
        return ""
    return parts.section("tables", "Tables", parts.row_filters(report.tables), *map(parts.table, report.tables))


def _training(report: ReportContent) -> str:
    if not report.training:
        return ""
    charts = "\n".join(map(parts.chart, report.training))
    return parts.section("training", "Training", parts.chart_key(), f'<div class="charts">{charts}</div>')


def _class_pictures(report: ReportContent) -> str:
    if not report.class_pictures:
        return ""
    pictures = "\n".join(
        f"<details><summary>{parts.escape(one.title)}</summary><p><img "
        f'alt="ROC curve, precision-recall curve, confusion matrix and reliability of {parts.escape(one.title)}" '
        f'src="data:image/png;base64,{parts.data(one.png)}"></p></details>'
        for one in report.class_pictures
    )
    return parts.section("classification-pictures", "Classification", f'<div class="class-picture">{pictures}</div>')


def _plans(report: ReportContent) -> str:
    if not report.plans:
        return ""
    tables = [
        f"<details><summary>{parts.escape(plan.title)}</summary>{parts.table(plan, 'plan', title=False)}</details>"
        for plan in report.plans
    ]
    note = "What was decided before training, and why. Decisions without a reason were made by a user, or are facts."
    return parts.section("plans", "Plans and their reasons", parts.paragraphs([note]), *tables)


def _origin(report: ReportContent) -> str:
    boxes = "\n".join(map(parts.facts, (*report.datasets, *report.weights, *report.versions)))
    return parts.section("origin", "Data sets, weights, licences, versions", f'<div class="cards">{boxes}</div>')


def _repeat(report: ReportContent) -> str:
    commands = parts.escape("\n".join(report.commands))
    return parts.section(
        "repeat",
        "Repeat it",
        parts.paragraphs(
            [
                "SOURCE is the folder of the data set as its authors publish it. The same commands, versions and kind "
                "of device give the same figures."
            ]
        ),
        f'<pre id="commands" tabindex="0">{commands}</pre>',
        '<p><button type="button" class="plain" id="copy">Copy the commands</button></p>',
    )


def _file(name: str) -> str:
    return files(TEMPLATE).joinpath(name).read_text(encoding="utf-8").strip()
