"""Which mask belongs to which image, and what a table or a pattern says of an image: by file names alone."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from htunet.data.names import composed, listed, printable, stem_of
from htunet.errors import HtunetError, UsageError
from htunet.files import read_csv

MASK_WORDS = "masks?|segmentations?|seg|groundtruth|ground_truth|gt|labels?|annotations?|annotation|anno"
MASK_MARK = re.compile(rf"^(?:{MASK_WORDS})[ _-]+(?=.)|(?<=.)[ _-]+(?:{MASK_WORDS})(?:[ _-]?\d+)?$", re.IGNORECASE)
IMAGE_MARK = re.compile(r"^(?:image|img)[ _-]+(?=.)|(?<=.)[ _-]+(?:image|img|0000)$", re.IGNORECASE)

MISSING = {
    *("", "-", "?", "nan", "NaN", "NAN", "-nan", "-NaN", "NA", "#NA", "<NA>", "N/A", "n/a", "#N/A", "NaT"),
    *("None", "NULL", "null", "unknown", "Unknown", "UNKNOWN"),
}
"""What stands in a table where nothing is known: as an empty cell. Not ``none``, which can be the name of a class."""
LARGE_GROUP, FEW_IMAGES = 0.2, 10
"""A group with a larger fraction of the images is seldom one patient; not asked of fewer images."""


@dataclass
class Matched:
    """The masks of each image, and the masks that belong to none, with the reason."""

    masks_of: dict[str, tuple[str, ...]]
    """In the order of the images; empty where an image has none."""
    unmatched: dict[str, str] = field(default_factory=dict)


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
    are absent, and so are those with a value of ``MISSING``. A table may have backslashes, folders of another machine,
    other endings and another letter case. Raises UsageError for a rule that says nothing of any image, HtunetError for
    a broken table.
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
        shown = f" (such as {notes[0].rsplit(': ', 1)[1]})" if notes else ""
        raise UsageError(f"{option} {rule} says nothing of any image{shown}; they are named as {listed(names)}.")
    if option == "--groups" and len(names) >= FEW_IMAGES:
        for tag, count in Counter(tags.values()).most_common():
            if count > LARGE_GROUP * len(names):
                notes.append(f"the group {tag!r} has {count} of {len(names)} images: check that it is one patient")
    return tags, notes


def _tags_of_table(path: Path, names: Sequence[str], columns: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    rows = [{str(key).strip().lower(): value for key, value in row.items()} for row in read_csv(path, ())]
    found = list(rows[0]) if rows else ["image", *columns]
    column = next((name for name in columns if name in found), None)
    if column is None or "image" not in found:
        wanted = "image" if column else " or ".join(columns)
        raise HtunetError(f"{path} lacks a column {wanted}; it has {found}.")
    by_key = unique_keys(names, stems=True)
    by_key = {**_in_lower_case(by_key), **by_key}
    tags, unknown, missing = dict[str, str](), [], 0
    for row in rows:
        tag = printable(row[column].strip())
        missing += tag in MISSING and tag != ""
        tag = "" if tag in MISSING else tag
        name = next((by_key[key] for key in _spellings(row["image"]) if key in by_key), None)
        if name is None:
            unknown.append(row["image"])
        elif tags.setdefault(name, tag) != tag:
            raise HtunetError(f"{path} says two things of {row['image']}: {tags[name]!r} and {tag!r}. Correct it.")
    notes = [f"{path.name} names {len(unknown)} images that do not exist: {listed(unknown)}"] if unknown else []
    if missing:
        notes.append(f"{path.name} has {missing} values such as nan or NA, which say that nothing is known")
    return {name: tag for name, tag in tags.items() if tag}, notes


def _spellings(text: str) -> list[str]:
    """An image as a table names it, the surest first: as it is, with fewer folders, without ending, in lower case."""
    path = PurePosixPath(re.sub(r"^[A-Za-z]:", "", composed(text.strip()).replace("\\", "/")).lstrip("/"))
    shorter = ["/".join(path.parts[start:]) for start in range(len(path.parts))]
    ways = [composed(text), *shorter, stem_of(path.name)]
    return ways + [way.lower() for way in ways]


def _in_lower_case(keys: Mapping[str, str]) -> dict[str, str]:
    """The keys in lower case, where no other image has the same."""
    lower: dict[str, set[str]] = defaultdict(set)
    for key, name in keys.items():
        lower[key.lower()].add(name)
    return {key: next(iter(owners)) for key, owners in lower.items() if len(owners) == 1}


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
