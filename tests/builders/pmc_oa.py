"""PMC-OA as distributed, with every oddity that is known of it: captions as JSON lines, images in a zip or a folder."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders.captions import sentence, write_image

FOLDER = "caption_T060_filtered_top4_sep_v0_subfigures"


@dataclass(frozen=True)
class BuiltPmcOa:
    """What was built, and what a conversion has to make of it."""

    folder: Path
    pairs: int
    """Pairs that a conversion with ``min_side`` makes."""
    captions: int
    """Sound lines."""
    min_side: int
    drops: dict[str, int] = field(default_factory=dict)
    malformed: tuple[int, ...] = ()
    """Numbers of the malformed lines."""


def build_pmc_oa(
    folder: Path,
    *,
    ultrasound: int = 12,
    others: int = 5,
    quirks: bool = True,
    zipped: bool = True,
    min_side: int = 8,
    name: str = "pmc_oa.jsonl",
) -> BuiltPmcOa:
    """Write ``ultrasound`` sound pairs, four an article, and ``others`` of other modalities; oddities come on top.

    ``zipped``: images.zip as distributed, else its unpacked folder. Images have ``min_side`` pixels on their shorter
    side: below the converter's own 224, so that a conversion needs ``Options(min_side=...)``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = folder / FOLDER
    lines = [_line(index, f"Ultrasound: {sentence(index)}", images, min_side) for index in range(ultrasound)]
    lines += [_line(ultrasound + index, f"CT scan. {sentence(index)}", images, min_side) for index in range(others)]
    built = BuiltPmcOa(folder, ultrasound, len(lines), min_side, {"caption is not about ultrasound": others})
    if quirks:
        built = _add_quirks(built, lines, images)
    (folder / name).write_bytes(b"".join(line if isinstance(line, bytes) else _encoded(line) for line in lines))
    if zipped:
        _zip_away(images)
    return built


def _line(index: int, caption: str, images: Path, side: int) -> dict[str, Any]:
    name = f"PMC{2000 + index // 4}_Fig{index % 4 + 1}_{index % 3}.jpg"
    write_image(images / name, index, side)
    return {"image": name, "caption": caption, "alignment_type": "subfigure", "alignment_score": 0.5 + index % 5 / 10}


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _add_quirks(built: BuiltPmcOa, lines: list[Any], images: Path) -> BuiltPmcOa:
    """One line for each oddity, the malformed ones last."""
    lines[1].pop("alignment_type")
    lines[1]["alignment_score"] = None
    text = "Transverse ultrasound of the neck shows a node."
    write_image(images / "PMC9000_Fig1_1.jpg", 900, built.min_side)
    write_image(images / "PMC9001_Fig1_1.jpg", 901, built.min_side - 1)
    (images / "PMC9002_Fig1_1.jpg").write_bytes(b"no image")
    write_image(images / "PMC9005_Fig1_1.jpg", 905, built.min_side, "RGB")
    odd: list[Any] = [
        {"image": "PMC9000_Fig1_1.jpg", "caption": "US \u2605 image"},  # too short once cleaned
        {"image": "PMC9001_Fig1_1.jpg", "caption": text},  # too small
        {"image": "PMC9002_Fig1_1.jpg", "caption": text},  # unreadable
        {"image": "PMC9003_Fig1_1.jpg", "caption": text},  # missing
        {"image": "../../PMC9000_Fig1_1.jpg", "caption": f"A. {text}"},  # a folder is not looked at
        {"image": "PMC9005_Fig1_1.jpg", "caption": f"Doppler  image:\n{text}", "pmcid": "PMC9005"},
        {"image": "PMC9005_Fig1_1.jpg", "caption": f"Doppler image: {text}"},  # the same again once cleaned
        {"image": "PMC9000_Fig1_1.jpg", "caption": f"MRI (a) and ultrasound (b). {text}"},  # names two modalities
    ]
    broken: list[bytes] = [
        b'{"image": "PMC1_Fig1_1.jpg", "caption": \n',
        b'["PMC1_Fig1_1.jpg", "ultrasound"]\n',
        b'{"image": 7, "caption": "ultrasound"}\n',
        b'{"image": "PMC1_Fig1_1.jpg", "caption": null}\n',
        b'{"image": "PMC1_Fig1_1.jpg", "caption": "\xff\xfe ultrasound"}\n',
        b"[" * 100_000 + b"\n",
    ]
    sound = len(lines) + len(odd)
    lines += [*odd, b"\n", *broken]
    first = sound + 2  # the empty line is no fault
    drops = built.drops | {
        "caption too short": 1,
        "image too small": 1,
        "image cannot be read": 1,
        "no image file": 1,
        "the same image and caption again": 1,
        "malformed line": len(broken),
    }
    malformed = tuple(range(first, first + len(broken)))
    return BuiltPmcOa(built.folder, built.pairs + 3, sound, built.min_side, drops, malformed)


def _zip_away(images: Path) -> None:
    with zipfile.ZipFile(images.parent / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(images.iterdir()):
            archive.write(path, f"{images.name}/{path.name}")
            path.unlink()
    images.rmdir()
