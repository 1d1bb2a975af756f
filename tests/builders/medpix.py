"""MedPix 2.0 as distributed, with the oddities of the real files, and the table of captions that others derive."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders.captions import sentence, write_image


@dataclass(frozen=True)
class BuiltMedPix:
    """What was built, and what a conversion has to make of it."""

    folder: Path
    pairs: int
    cases: int
    found: dict[str, int]
    drops: dict[str, int] = field(default_factory=dict)
    repeated_captions: int = 0


def build_medpix(folder: Path, *, ct: int = 7, mr: int = 6, quirks: bool = True, form: str = "json") -> BuiltMedPix:
    """Write ``ct`` + ``mr`` sound images, three a case, into ``folder`` in the form ``json`` or ``jsonl``; then quirks.

    json: Descriptions.json and Case_topic.json; jsonl: splitted_dataset/ alone, without them.
    """
    records = [_record(index, "CT" if index < ct else "MR", folder) for index in range(ct + mr)]
    built = BuiltMedPix(folder, len(records), len({one["U_id"] for one in records}), {"CT": ct, "MR": mr})
    if quirks:
        built = _add_quirks(built, records)
    if form == "json":
        _write_json(folder / "Descriptions.json", records)
        _write_json(folder / "Case_topic.json", _cases(records))
    else:
        _write_splits(folder / "splitted_dataset", records)
    return built


def build_medpix_table(
    folder: Path, *, pairs: int = 20, short: int = 2, missing: int = 1, side: int = 8, repeated: int = 0
) -> BuiltMedPix:
    """Write ``medpix_dataset.csv`` (columns Caption, filename) and its images: ``pairs`` sound rows, then the others.

    ``short`` captions have fewer than 20 characters, ``missing`` rows name no image; ``repeated`` of the sound rows
    have the caption of the first. The paper's own numbers are 24485 rows and 23903 pairs.
    """
    rows = []
    for index in range(pairs + short + missing):
        name = f"MPX{1000 + index // 3}_synpic{index}.png"
        caption = "CT image" if pairs <= index < pairs + short else sentence(0 if index <= repeated else index)
        rows.append({"Caption": caption, "filename": name})
        if index < pairs + short:
            write_image(folder / "images" / name, index % 50, side)
    with (folder / "medpix_dataset.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, ("Caption", "filename"))
        writer.writeheader()
        writer.writerows(rows)
    cases = len({row["filename"].split("_")[0] for row in rows[:pairs]})
    drops = {"caption too short": short, "no image file": missing}
    return BuiltMedPix(folder, pairs, cases, {"rows": len(rows)}, drops, repeated)


def _record(index: int, kind: str, folder: Path, caption: str | None = None) -> dict[str, Any]:
    case = f"MPX{1000 + index // 3}"
    name = f"{case}_synpic{40000 + index}"
    write_image(folder / "images" / f"{name}.png", index)
    description = {
        "ACR Codes": "8.-1",
        "Age": "73",
        "Caption": sentence(index) if caption is None else caption,
        "Figure Part": None,
        "Modality": f"{kind} - noncontrast",
        "Plane": "Axial",
        "Sex": "male",
    }
    return {
        "Type": kind,
        "U_id": case,
        "image": name,
        "Description": description,
        "Location": "Abdomen",
        "Location Category": "Abdomen",
    }


def _add_quirks(built: BuiltMedPix, records: list[dict[str, Any]]) -> BuiltMedPix:
    folder, first = built.folder, len(records)
    records[1]["Description"]["Plane"] = None
    captions = [
        "\u2022 Fluid collection\n\u2022\tair  pocket (\u201c5.8 cm\u201d)",  # bullets, a tab, typographic quotes
        "< li > Well circumscribed, high signal mass",  # what is left of HTML
        sentence(0),  # the caption of another image
        "CT Image",
        "                         ",
        sentence(90),  # its image will be missing
        sentence(91),  # its image will be broken
    ]
    for offset, caption in enumerate(captions):
        records.append(_record(first + offset, "CT", folder, caption))
    (folder / "images" / f"{records[-2]['image']}.png").unlink()
    (folder / "images" / f"{records[-1]['image']}.png").write_bytes(b"\x89PNG broken")
    cases = {one["U_id"] for one in records[: first + 3]}
    drops = {"caption too short": 2, "no image file": 1, "image cannot be read": 1}
    found = built.found | {"CT": built.found["CT"] + len(captions)}
    return BuiltMedPix(folder, built.pairs + 3, len(cases), found, drops, repeated_captions=1)


def _cases(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    for record in records:
        topic = {"Title": "Title", "Disease Discussion": "Text", "ACR Code": "8.-1", "Category": "Diverticula"}
        empty = {"U_id": record["U_id"], "TAC": [], "MRI": [], "Case": {"Title": "Title"}, "Topic": topic}
        cases.setdefault(record["U_id"], empty)["TAC" if record["Type"] == "CT" else "MRI"].append(record["image"])
    return list(cases.values())


def _write_splits(folder: Path, records: list[dict[str, Any]]) -> None:
    """By case, as the real files: train whole and in two halves, dev and test."""
    cases = sorted({record["U_id"] for record in records})
    train, dev, test = cases[:-2], cases[-2:-1], cases[-1:]
    splits = {"train": train, "train_1": train[::2], "train_2": train[1::2], "dev": dev, "test": test}
    folder.mkdir(parents=True)
    for split, members in splits.items():
        lines = [json.dumps(record) for record in records if record["U_id"] in members]
        (folder / f"descriptions_{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")
