"""The raw folder of a caption data set: images with one text each, no masks.

Dataset510_MedPix/  captions.json  captions.jsonl  images/ID.png  excluded.csv
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from htunet.data.raw import Excluded, write_excluded
from htunet.errors import HtunetError, counted
from htunet.files import read_json_lines, read_object, whole_file, write_json
from htunet.paths import DatasetPaths
from htunet.records import of_format, record_from

FORMAT = 1
IMAGES = "images"
IMAGE = re.compile(rf"{IMAGES}/[\w-]+\.png", re.ASCII)
"""The only names that an image may have: nothing can point outside the folder."""


@dataclass(frozen=True, kw_only=True)
class CaptionPair:
    """One image and the text that describes it; a line of ``captions.jsonl``."""

    image: str
    """Relative to the raw folder: ``images/ID.png``, 8-bit gray or RGB."""
    caption: str
    source: str
    """The file that the image came from, relative to the folder that was converted."""
    id: str
    language: str
    """Two letters: ``en``, or ``zh`` where nobody has translated the text."""
    group: str = ""
    """What must stay in one split (patient, case, article); empty: the pair alone."""


@dataclass(frozen=True, kw_only=True)
class CaptionInfo:
    """The content of ``captions.json``."""

    name: str
    licence: str
    reference: str
    description: str
    split_rule: str = "9:1"
    published: tuple[int, int] | None = None
    """(train, val) of the paper's Table I, where the data set is in it."""
    found: dict[str, int] = field(default_factory=dict)
    """What the download holds, by kind, whatever became of it."""
    pairs: int = 0
    languages: dict[str, int] = field(default_factory=dict)
    repeated_captions: int = 0
    """Pairs whose caption an earlier pair has too."""
    drops: dict[str, int] = field(default_factory=dict)
    """Reason to how many texts or images did not become a pair."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CaptionDataset:
    """A caption raw folder as read; pixels are read by the caller, pair by pair."""

    paths: DatasetPaths
    info: CaptionInfo
    pairs: tuple[CaptionPair, ...]

    def image_path(self, pair: CaptionPair) -> Path:
        """Where the pair's image file is."""
        return self.paths.raw / pair.image


def read_captions(paths: DatasetPaths) -> CaptionDataset:
    """Read ``captions.json`` and ``captions.jsonl``, and check that each pair has its image file.

    Raises HtunetError with the file and the line for whatever is missing, broken or twice, and for an empty set.
    """
    if not paths.captions_json.exists() and paths.dataset_json.exists():
        raise HtunetError(
            f"{paths.name} holds images with masks, no captions. Name a caption data set, or convert one: "
            "htunet_convert --list shows them."
        )
    if paths.shards.is_dir():
        raise HtunetError(f"{paths.name} holds its pairs in shards, which htunet_finetune alone reads.")
    info = read_caption_info(paths)
    pairs = tuple(_read_pairs(paths.captions_jsonl))
    if not pairs:
        raise HtunetError(f"{paths.captions_jsonl} holds no pair. Convert the data set again.")
    folder = paths.raw / IMAGES
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [pair.image for pair in pairs if pair.image.rsplit("/", 1)[1] not in there]
    if missing:
        raise HtunetError(
            f"{paths.raw} lacks the image of {counted(len(missing), 'pair')}: {', '.join(missing[:5])}. Convert the "
            "data set again, or remove their lines from captions.jsonl."
        )
    return CaptionDataset(paths, info, pairs)


def read_caption_info(paths: DatasetPaths) -> CaptionInfo:
    """Read ``captions.json``; raises HtunetError where it is missing, broken or of another version."""
    path = paths.captions_json
    content = of_format(read_object(path), FORMAT, path, ": convert the data set again.")
    return record_from(CaptionInfo, content, str(path))


def write_captions(
    folder: Path, info: CaptionInfo, pairs: Sequence[CaptionPair], excluded: Sequence[Excluded]
) -> CaptionInfo:
    """Write ``captions.json``, ``captions.jsonl`` and ``excluded.csv`` into the converter's unfinished ``folder``.

    Returns what ``captions.json`` says: ``info`` with the counts of pairs, languages and repeated captions.
    """
    counted = replace(
        info,
        pairs=len(pairs),
        languages=dict(sorted(Counter(pair.language for pair in pairs).items())),
        repeated_captions=len(pairs) - len({pair.caption for pair in pairs}),
    )
    write_caption_info(folder, counted)
    with whole_file(folder / "captions.jsonl") as part, part.open("w", encoding="utf-8", newline="\n") as stream:
        for pair in sorted(pairs, key=lambda pair: pair.id):
            stream.write(json.dumps(asdict(pair), ensure_ascii=False, allow_nan=False) + "\n")
    write_excluded(folder, excluded)
    return counted


def write_caption_info(folder: Path, info: CaptionInfo) -> None:
    """Write ``captions.json``."""
    write_json(folder / "captions.json", {"format": FORMAT} | asdict(info))


def _read_pairs(path: Path) -> Iterator[CaptionPair]:
    seen: dict[str, int] = {}
    for number, content in read_json_lines(path):
        where = f"{path}, line {number}"
        pair = record_from(CaptionPair, content, where)
        if not pair.id or not pair.caption.strip():
            raise HtunetError(f"{where}: id and caption must not be empty. Correct or remove the line.")
        if not IMAGE.fullmatch(pair.image):
            raise HtunetError(
                f"{where}: image must read {IMAGES}/ID.png with letters, digits, _ and - in ID; got {pair.image!r}. "
                "Correct it."
            )
        if pair.id in seen:
            raise HtunetError(f"{where}: the id {pair.id!r} is in line {seen[pair.id]} too. Remove one of them.")
        seen[pair.id] = number
        yield pair
