"""MedPix 2.0, CT and MR images of teaching cases: ``Descriptions.json``, ``Case_topic.json`` and ``images/``.

Also its split files (``splitted_dataset/descriptions_train.jsonl`` ...) and a table ``medpix_dataset.csv`` with the
columns ``Caption`` and ``filename``. There is no ultrasound image among them.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_conversion.captions.common import GENERAL, Reading, Text, as_utf8, convert_captions, excluded_text
from dataset_conversion.captions.images import base_name
from dataset_conversion.common import ConversionReport, Converter, Options, SourceFacts
from dataset_conversion.source import Layout
from htunet.data.raw import Excluded
from htunet.errors import HtunetError, counted
from htunet.files import lines, parse_json, read_json, read_text

DESCRIPTIONS, CASES, TABLE = "Descriptions.json", "Case_topic.json", "medpix_dataset.csv"
SPLIT_FOLDER = "splitted_dataset"
CASE = re.compile(r"MPX\d+")
CASE_OR_ARTICLE = re.compile(r"MPX\d+|PMC\d+")
"""Whose images the same table form holds in the release of the paper's authors."""
NO_ULTRASOUND = "MedPix holds CT and MR images, no ultrasound; the paper uses it between natural and ultrasound images"
ROWS = "rows"

MEDPIX = SourceFacts(
    dataset="Dataset510_MedPix",
    title="CT and MR images of teaching cases with their captions (no ultrasound)",
    licence="none stated with the files; the images are linked from NLM's MedPix and Open-i, ask there",
    home="https://github.com/CHILab1/MedPix-2.0",
    citation=(
        "Siragusa I, Contino S, La Ciura M, Alicata R, Pirrone R: MedPix 2.0: a comprehensive multimodal biomedical "
        "data set for advanced AI applications. Data Science and Engineering, 1-17 (2025)."
    ),
    download="the repository's folder MedPix-2-0 with Descriptions.json, Case_topic.json and images/",
    expected={"CT": 1062, "MR": 988},
    split_rule="9:1",
    published=(21512, 2391),
)


def split_files(folder: Path) -> list[Path]:
    """``descriptions_*.jsonl`` here or in splitted_dataset/, without the halves of train where it is whole."""
    for place in (folder, folder / SPLIT_FOLDER):
        if files := sorted(place.glob("descriptions_*.jsonl")):
            whole = any(path.name == "descriptions_train.jsonl" for path in files)
            return [path for path in files if not (whole and path.stem[-2:] in ("_1", "_2"))]
    return []


def is_here(folder: Path) -> bool:
    """Does ``folder`` hold one of the three forms?"""
    return any((folder / name).is_file() for name in (DESCRIPTIONS, TABLE)) or bool(split_files(folder))


LAYOUT = Layout(
    looked_for=f"a folder with {DESCRIPTIONS}, {SPLIT_FOLDER}/descriptions_train.jsonl or {TABLE}",
    is_here=is_here,
    member=re.compile(r"(?:^|/)(?:Descriptions\.json|medpix_dataset\.csv|descriptions_\w+\.jsonl)$"),
)


def convert_medpix(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport:
    """Convert ``folder``; raises HtunetError as ``convert_captions``, and when a whole file cannot be read."""
    reading = Reading(notes=[NO_ULTRASOUND])
    if (folder / DESCRIPTIONS).is_file():
        records = _records(folder / DESCRIPTIONS)
        reading.notes += _case_notes(folder, records)
        texts = read_records(((f"{DESCRIPTIONS}, entry {i}", one) for i, one in enumerate(records)), reading)
    elif files := split_files(folder):
        texts = read_records(_lines(files), reading)
    else:
        facts = replace(facts, expected={})  # an artefact of others, whose size nobody has stated
        texts = read_table(folder / TABLE, reading)
    return convert_captions(folder, facts, texts, reading, options)


CONVERTER = Converter(facts=MEDPIX, layout=LAYOUT, run=convert_medpix, general=GENERAL, takes=frozenset({"min_side"}))


def read_records(records: Iterable[tuple[str, Any]], reading: Reading) -> Iterator[Text | Excluded]:
    """The captions of (place, record) in the form of ``Descriptions.json``; ``reading`` counts them by Type."""
    for where, record in records:
        description = record.get("Description") if isinstance(record, dict) else None
        if not isinstance(description, dict) or not isinstance(record.get("image"), str) or not record["image"]:
            yield excluded_text(where, "malformed record: an object with image and Description is expected")
            continue
        reading.found[as_utf8(str(record.get("Type") or "no type"))] += 1
        image, caption, case = record["image"], description.get("Caption"), record.get("U_id")
        if not isinstance(caption, str):
            yield excluded_text(f"{where}: {image}", "no caption")
            continue
        name = image if image.lower().endswith(".png") else f"{image}.png"  # the records name images without ending
        yield Text(caption=caption, image=name, where=where, id=image, group=case if isinstance(case, str) else "")


def read_table(path: Path, reading: Reading) -> Iterator[Text | Excluded]:
    """The rows of ``medpix_dataset.csv``; raises HtunetError when it is no CSV in UTF-8 with both columns."""
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        if not {"Caption", "filename"} <= set(rows.fieldnames or ()):
            raise HtunetError(f"{path} lacks the columns Caption and filename; it has {rows.fieldnames or []}.")
        for row in rows:
            reading.found[ROWS] += 1
            where, caption, name = f"{path.name}, line {rows.line_num}", row["Caption"], row["filename"]
            if not name or not name.strip() or caption is None:
                yield excluded_text(where, "malformed row: Caption and filename must have values")
                continue
            case = CASE_OR_ARTICLE.match(base_name(name))
            yield Text(caption=caption, image=name, where=where, id=Path(name).stem, group=case[0] if case else "")
    except csv.Error as error:
        raise HtunetError(f"The file {path} is not a CSV ({error}). Save it as one, in UTF-8.") from None


def _records(path: Path) -> list[Any]:
    content = read_json(path)
    if not isinstance(content, list):
        raise HtunetError(f"The file {path} must hold a list of records [...]. Download it again.")
    return content


def _lines(files: list[Path]) -> Iterator[tuple[str, Any]]:
    for path in files:
        for number, line in lines(path):
            try:
                yield f"{path.name}, line {number}", parse_json(line, "it")
            except HtunetError:
                yield f"{path.name}, line {number}", None


def _case_notes(folder: Path, records: list[Any]) -> list[str]:
    """Whether the cases of ``Case_topic.json`` name the same images; their texts are about patients, not images."""
    path = folder / CASES
    if not path.is_file():
        return [f"{CASES} is not there; the images' cases are not checked"]
    described = {str(one.get("image")): str(one.get("U_id")) for one in records if isinstance(one, dict)}
    named: dict[str, str] = {}
    for case in _records(path):
        if isinstance(case, dict):
            lists = [images for images in (case.get("TAC"), case.get("MRI")) if isinstance(images, list)]
            named |= {str(image): str(case.get("U_id")) for images in lists for image in images}
    differing = sorted(image for image in described if named.get(image) != described[image])
    absent = sorted(set(named) - set(described))
    notes = [f"{CASES} names another case, or none, for {counted(len(differing), 'image')}: {', '.join(differing[:5])}"]
    return notes * bool(differing) + [f"{CASES} names {counted(len(absent), 'image')} without a description"] * bool(
        absent
    )
