"""CURD, Chinese ultrasound reports: ``new_Mammary2.json``, ``new_Thyroid2.json``, ``new_Liver2.json`` and their images.

A report has several views; each is a pair with the report's text. ``labels`` are clusters of texts, no diagnoses, and
not used; neither is the split, because the paper draws its own.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataset_conversion.captions.cleaning import language_of
from dataset_conversion.captions.common import GENERAL, Reading, Text, convert_captions, excluded_text
from dataset_conversion.captions.translation import LanguageModel, read_translations, spaced, translate_all
from dataset_conversion.common import ConversionReport, Converter, Options, SourceFacts
from dataset_conversion.source import Layout
from htunet.data.raw import Excluded
from htunet.data.splits import SPLITS
from htunet.errors import HtunetError, UsageError, counted
from htunet.files import read_json
from htunet.paths import DatasetPaths

ORGANS = {"mammary": "Mammary", "thyroid": "Thyroid", "liver": "Liver"}
CHINESE = "zh"

SIZES = ("_2DS_", "_3DS_", "_SMM_", "_SCM_")
PLACES = ("_Loc_", "_LocR_", "_r_")
PLACEHOLDER = re.compile(r"_[A-Za-z0-9]{1,6}_")
_ONE_SIZE = rf"(?:{'|'.join(SIZES)})\s*(?:cm|mm)?"
SIZE = re.compile(rf"(?:大小)?(?:约为|约|为)?\s*{_ONE_SIZE}(?:\s*[\u00d7x*]\s*{_ONE_SIZE})*的?")
"""A size and the words that lead to it: "about ... in size"."""
STOP, END = ",\uff0c、;\uff1b", "。;\uff1b"
REPEATED_STOPS = re.compile(f"[{STOP}]+(?=[{STOP}。])|(?<=[{END}])[{STOP}。]+")
"""What is left where a clause was nothing but a placeholder."""

CURD = SourceFacts(
    dataset="Dataset508_CURD",
    title="Ultrasound images of breast, thyroid and liver with the findings of their Chinese reports",
    licence="none stated; ask the authors before any use",
    home="https://github.com/LijunRio/Ultrasound-Report-Generation",
    citation=(
        "Li J, Su T, Zhao B, Lv F, Wang Q, Navab N, Hu Y, Jiang Z: Ultrasound report generation with cross-modality "
        "feature alignment via unsupervised guidance. IEEE Transactions on Medical Imaging (2024)."
    ),
    download="new_{Mammary,Thyroid,Liver}2.json and the folders Mammary_report/, Thyroid_report/, Liver_report/",
    expected={"mammary": 3521, "thyroid": 2474, "liver": 1395},
    split_rule="9:1",
    published=(13228, 1500),
)


def report_files(folder: Path) -> dict[str, Path]:
    """Organ to the file of its reports, of those that are in this very folder."""
    files = {organ: folder / f"new_{name}2.json" for organ, name in ORGANS.items()}
    return {organ: path for organ, path in files.items() if path.is_file()}


LAYOUT = Layout(
    looked_for="a folder with new_Mammary2.json, new_Thyroid2.json or new_Liver2.json",
    is_here=lambda folder: bool(report_files(folder)),
    member=re.compile(r"(?:^|/)new_(?:Mammary|Thyroid|Liver)2\.json$"),
)


def convert_curd(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder``; the texts are translated as ``options`` say, else they stay Chinese and are marked so.

    Raises UsageError for both kinds of translation at once, HtunetError as ``convert_captions`` and for a file that is
    no JSON of reports.
    """
    if options.translations and options.translate:
        raise UsageError("--translations and --translate exclude each other: take the table or the language model.")
    table = read_translations(options.translations) if options.translations else None
    model = LanguageModel(options.translate) if options.translate else None
    reading = Reading()
    reports = list(read_reports(folder, reading))
    if table is not None:
        findings = defaultdict[str, set[str]](set)
        for one in reports:
            if isinstance(one, CurdReport):
                findings[one.uid].add(one.finding)
        reports = [_from_table(report, table, findings) for report in reports]
    elif model is not None:
        record = DatasetPaths(facts.dataset).raw.with_suffix(".translations.jsonl")  # kept for the next time
        chinese = [one.text for one in reports if isinstance(one, CurdReport) and language_of(one.text) == CHINESE]
        english = translate_all(chinese, model, record, options.translate)
        if lacking := len({*chinese} - {*english}):
            number = counted(lacking, "text")
            reading.notes.append(f"{number} without a whole translation by {options.translate}: left in Chinese")
        reports = [
            replace(one, text=english.get(one.text, one.text)) if isinstance(one, CurdReport) else one
            for one in reports
        ]
    return convert_captions(folder, facts, _views(reports), reading, options)


CONVERTER = Converter(
    facts=CURD,
    layout=LAYOUT,
    run=convert_curd,
    general=GENERAL,
    takes=frozenset({"min_side", "translations", "translate"}),
)


@dataclass(frozen=True, kw_only=True)
class CurdReport:
    """One patient's findings and the images they are about."""

    uid: str
    organ: str
    finding: str
    """As distributed."""
    text: str
    """Without placeholders, perhaps translated."""
    images: tuple[str, ...]
    where: str


def read_reports(folder: Path, reading: Reading) -> Iterator[CurdReport | Excluded]:
    """All reports of the files in ``folder``; malformed ones are Excluded. ``reading`` counts them by organ.

    Raises HtunetError for a file of another structure.
    """
    unknown: Counter[str] = Counter()
    for organ, path in report_files(folder).items():
        content = read_json(path)
        splits = [split for split in SPLITS if isinstance(content, dict) and isinstance(content.get(split), list)]
        if not splits:
            raise HtunetError(f'{path} must hold {{"train": [...], "val": [...], "test": [...]}}. Download it again.')
        for split in splits:
            for position, record in enumerate(content[split]):
                report = _parse(record, organ, f"{path.name}, {split}[{position}]")
                if isinstance(report, CurdReport):
                    reading.found[organ] += 1
                    unknown.update(set(PLACEHOLDER.findall(report.finding)) - {*SIZES, *PLACES})
                yield report
    if absent := sorted(set(ORGANS) - set(report_files(folder))):
        files = ", ".join(f"new_{ORGANS[organ]}2.json" for organ in absent)
        reading.notes.append(f"no reports of {', '.join(absent)}: {files} not found")
    if unknown:
        named = ", ".join(f"{name} ({count})" for name, count in unknown.most_common(5))
        reading.notes.append(f"placeholders of unknown meaning were taken out as the others: {named}")


def _parse(record: Any, organ: str, where: str) -> CurdReport | Excluded:  # noqa: ANN401
    if not isinstance(record, dict):
        return excluded_text(where, "malformed record: no JSON object")
    uid, finding, images = record.get("uid"), record.get("finding"), record.get("image_path")
    images = [images] if isinstance(images, str) else images
    if isinstance(uid, bool) or not isinstance(uid, int | str) or not isinstance(finding, str):
        return excluded_text(where, "malformed record: uid must be a number and finding a text")
    if not isinstance(images, list) or not images or not all(isinstance(one, str) and one for one in images):
        return excluded_text(where, "malformed record: image_path must be a list of file names")
    return CurdReport(
        uid=str(uid),
        organ=organ,
        finding=finding,
        text=without_placeholders(finding),
        images=tuple(images),
        where=where,
    )


def without_placeholders(finding: str) -> str:
    """The text without the marks that stand for removed sizes and places, and without the words that led to a size.

    ``_2DS_``, ``_3DS_`` (sizes in two and three directions), ``_SMM_``, ``_SCM_`` (in mm and cm), ``_Loc_``, ``_LocR_``
    and ``_r_`` (places) hide the patient's values; they say nothing about an image, and any other ``_XX_`` is taken
    for one of them.

    >>> without_placeholders("左乳_Loc_见大小约_2DS_的低回声结节、边界清。")
    '左乳见低回声结节、边界清。'
    """
    return REPEATED_STOPS.sub("", PLACEHOLDER.sub("", SIZE.sub("", finding)))


def _from_table(
    report: CurdReport | Excluded, table: Mapping[str, str], findings: Mapping[str, set[str]]
) -> CurdReport | Excluded:
    """``findings``: the texts of each uid; one that has several does not say which of them was translated."""
    if isinstance(report, Excluded) or language_of(report.text) != CHINESE:
        return report
    keys = (spaced(report.finding), spaced(report.text), report.uid)
    found = next((key for key in keys if key in table), None)
    if found == report.uid and len(findings[report.uid]) > 1:
        reason = "reports with several texts have this uid: give the texts in a column source"
        return excluded_text(f"{report.where}: {report.uid}", reason)
    if found is None:
        return excluded_text(f"{report.where}: {report.uid}", "no translation in the table")
    return replace(report, text=without_placeholders(table[found]))


def _views(reports: list[CurdReport | Excluded]) -> Iterator[Text | Excluded]:
    """A text for each view; a uid stands for one patient in all three files, so that no split can share a patient."""
    for report in reports:
        if isinstance(report, Excluded):
            yield report
            continue
        for image in report.images:
            yield Text(
                caption=report.text,
                image=image,
                where=report.where,
                id=f"{report.organ}_{Path(image).stem}",
                group=report.uid,
                folder=f"{ORGANS[report.organ]}_report",
            )
