"""Which mask belongs to which image, and what a table or a pattern says of an image: by file names alone."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dataset_conversion.formats.names import composed, listed, printable, stem_of
from dataset_conversion.source import JUNK_FOLDER
from htunet.errors import HtunetError, UsageError
from htunet.files import read_csv

MASK_WORDS = "masks?|segmentations?|seg|groundtruth|ground_truth|gt|labels?|annotations?|annotation|anno"
MASK_MARK = re.compile(rf"^(?:{MASK_WORDS})[ _-]+(?=.)|(?<=.)[ _-]+(?:{MASK_WORDS})(?:[ _-]?\d+)?$", re.IGNORECASE)
IMAGE_MARK = re.compile(r"^(?:image|img)[ _-]+(?=.)|(?<=.)[ _-]+(?:image|img|0000)$", re.IGNORECASE)


@dataclass
class Matched:
    """The masks of each image, and the masks that belong to none, with the reason."""

    masks_of: dict[str, tuple[str, ...]]
    """In the order of the images; empty where an image has none."""
    unmatched: dict[str, str] = field(default_factory=dict)


def files_in(
    folder: Path, wanted: Callable[[Path], bool], *, without: Path | None = None
) -> tuple[list[str], list[str]]:
    """The names of the files of a folder at any depth that are ``wanted``, and of the others; ``/`` between folders.

    Hidden files and folders, and the tree ``without``, are passed over; linked folders are followed. Raises UsageError
    when there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Name the folder that holds the files.")
    chosen, others = list[str](), list[str]()
    left = without.resolve() if without else None
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        real = here.resolve()
        in_a_circle = real in [parent.resolve() for parent in here.parents]
        if in_a_circle or (real == left and here != folder):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != JUNK_FOLDER)
        for name in sorted(name for name in names if not name.startswith(".")):
            path = here / name
            (chosen if path.is_file() and wanted(path) else others).append(path.relative_to(folder).as_posix())
    return chosen, others


def is_marked(name: str) -> bool:
    """Does the file name say that it is a mask: ``x_mask.png``, ``gt-x.png``?"""
    return MASK_MARK.search(stem_of(name)) is not None


def match_masks(images: Sequence[str], masks: Sequence[str]) -> Matched:
    """Give each mask to the one image that its name fits; a mask that fits several images belongs to none.

    Tried in turn: the same path, the path without words such as ``_mask``, the stem in any folder, the stem without
    such words.
    """
    tables: list[dict[tuple[str, str], list[str]]] = [defaultdict(list) for _ in range(4)]
    for image in images:
        for table, key in zip(tables, _keys(image), strict=True):
            table[key].append(image)
    found: dict[str, list[str]] = {image: [] for image in images}
    unmatched = {}
    for mask in masks:
        fitting = (table[key] for table, key in zip(tables, _keys(mask), strict=True) if key in table)
        candidates = next(fitting, [])
        if len(candidates) == 1:
            found[candidates[0]].append(mask)
        elif candidates:
            unmatched[mask] = f"a mask whose name fits several images: {', '.join(map(printable, candidates[:3]))}"
        else:
            unmatched[mask] = "a mask without an image"
    return Matched({image: tuple(names) for image, names in found.items()}, unmatched)


def _keys(name: str) -> tuple[tuple[str, str], ...]:
    """What a mask and its image have in common, the surest first."""
    name = composed(name)
    folder = str(PurePosixPath(name).parent)
    return (folder, stem_of(name)), (folder, _plain(name)), ("", stem_of(name)), ("", _plain(name))


def _plain(name: str) -> str:
    """The stem in lower case without the words that distinguish images from masks."""
    stem = stem_of(name).lower()
    for mark in (MASK_MARK, IMAGE_MARK):
        stem = mark.sub("", stem)
    return stem


def read_tags(
    rule: str, names: Sequence[str], *, option: str, columns: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """What ``rule`` says of each image, and notes on rows that fit no image.

    ``rule`` is a CSV with the column ``image`` (path, file name or stem) and one of ``columns``, or a regular
    expression that is searched in the path: its first group counts, or the whole match. Images of which it says nothing
    are absent. Raises UsageError for a rule that says nothing of any image, HtunetError for a broken table.
    """
    if rule.lower().endswith(".csv") or Path(rule).is_file():
        tags, notes = _tags_of_table(Path(rule), names, columns)
    else:
        try:
            pattern = re.compile(rule)
        except re.error as error:
            raise UsageError(f"{option} {rule!r} is neither a CSV file nor a regular expression ({error}).") from None
        found = {name: pattern.search(name) for name in names}
        texts = {name: match[1] if pattern.groups else match[0] for name, match in found.items() if match}
        tags, notes = {name: printable(tag) for name, tag in texts.items() if tag}, []
    if not tags:
        raise UsageError(f"{option} {rule} says nothing of any image; they are named as {listed(names)}.")
    return tags, notes


def _tags_of_table(path: Path, names: Sequence[str], columns: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    rows = read_csv(path, ("image",))
    column = next((name for name in columns if not rows or name in rows[0]), None)
    if column is None:
        raise HtunetError(f"{path} lacks a column {' or '.join(columns)}; it has {list(rows[0])}.")
    by_key = unique_keys(names, stems=True)
    tags, unknown = dict[str, str](), []
    for row in rows:
        name = by_key.get(composed(row["image"]))
        if name is None:
            unknown.append(row["image"])
        elif tags.setdefault(name, printable(row[column].strip())) != printable(row[column].strip()):
            raise HtunetError(
                f"{path} says two things of {row['image']}: {tags[name]!r} and {row[column]!r}. Correct it."
            )
    notes = [f"{path.name} names {len(unknown)} images that do not exist: {listed(unknown)}"] if unknown else []
    return {name: tag for name, tag in tags.items() if tag}, notes


def unique_keys(names: Sequence[str], *, stems: bool = False) -> Mapping[str, str]:
    """Path, and the file name (with ``stems`` also without its ending) where no other image has it, to the path.

    The keys are ``composed``.
    """
    keys: dict[str, str] = {}
    for way in (lambda name: PurePosixPath(name).name, *([stem_of] if stems else [])):
        key_of = {name: composed(way(name)) for name in names}
        counts = Counter(key_of.values())
        keys |= {key: name for name, key in key_of.items() if counts[key] == 1}
    return keys | {composed(name): name for name in names}
