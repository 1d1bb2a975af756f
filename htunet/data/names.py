"""Ids and printed names from file names as people have them: spaces, brackets, Chinese, line breaks, stray bytes."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeVar

Named = TypeVar("Named")
LONGEST_ID = 80
FRAME = "__"
"""Separates an id from the number of a frame; an id never holds two underscores in a row."""
DOUBLE_ENDING = ".nii.gz"
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}")
"""An ending begins with a letter: the last number of a DICOM identifier such as 1.2.840.10 is no ending."""
MASK_WORDS = "masks?|segmentations?|seg|groundtruth|ground_truth|gt|labels?|annotations?|annotation|anno"
MASK_MARK = re.compile(rf"^(?:{MASK_WORDS})[ _-]+(?=.)|(?<=.)[ ._-]+(?:{MASK_WORDS})(?:[ _-]?\d+)?$", re.IGNORECASE)
"""Words at either end of a file name that mark a mask; ``x.seg.nrrd`` is how 3D Slicer names the one of ``x``."""
WHOLE = re.compile(r"0*(\d+)(?:\.0)?", re.ASCII)
"""A whole number, as some programs write it."""


def listed(names: Sequence[str], number: int = 5) -> str:
    """The first of ``names`` for a message: ``a, b, c, d, e, ...``; ``none`` where there is none."""
    return ", ".join(map(printable, names[:number])) + (", ..." if len(names) > number else "") or "none"


def printable(name: str) -> str:
    r"""``name`` on one line of valid UTF-8: control characters and undecodable bytes are spelled as escapes.

    >>> printable("a" + chr(10) + "b")
    'a\\nb'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in name)


def composed(name: str) -> str:
    """``name`` with composed characters (NFC): macOS decomposes them, so that equal names differ in bytes."""
    return unicodedata.normalize("NFC", name)


def stem_of(name: str) -> str:
    """The file name without folders and ending; ``.nii.gz`` is one ending.

    >>> stem_of("scans/a.b.nii.gz"), stem_of("x (1).png"), stem_of("1.2.840.10")
    ('a.b', 'x (1)', '1.2.840.10')
    """
    last = PurePosixPath(name).name
    if last.lower().endswith(DOUBLE_ENDING):
        return last[: -len(DOUBLE_ENDING)]
    return PurePosixPath(last).stem if ENDING.fullmatch(PurePosixPath(last).suffix) else last


def without_mask_words(names: Mapping[str, Named]) -> dict[str, Named]:
    """The same under names without words such as ``_mask``; unchanged where two names would then be equal.

    >>> without_mask_words({"a_mask": 1, "gt-b": 2, "c": 3}), without_mask_words({"a_mask": 1, "a": 2})
    ({'a': 1, 'b': 2, 'c': 3}, {'a_mask': 1, 'a': 2})
    """
    plain = {MASK_MARK.sub("", name): value for name, value in names.items()}
    return plain if len(plain) == len(names) else dict(names)


def cleaned(text: str) -> str:
    """``text`` as an id: letters, digits, ``-`` and single ``_``; a short hash stands for letters that are lost.

    >>> cleaned("benign (3)"), cleaned("Ärztin 1")
    ('benign_3', 'Arztin_1')
    """
    plain = unicodedata.normalize("NFKD", text)
    lost = any(char.isalnum() and not char.isascii() for char in plain)
    safe = re.sub(r"[^A-Za-z0-9-]+", "_", "".join(char for char in plain if not unicodedata.combining(char)))
    safe = re.sub(r"_+", "_", safe).strip("_-")
    if safe and not lost and len(safe) <= LONGEST_ID:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe[: LONGEST_ID - 9] or 'case'}_{digest}"


def unique_ids(names: Sequence[str], prefixes: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """One id for each file name, and (name, id) of those that say more or less than the file name.

    The id is the cleaned stem; where several have it, the whole path, a prefix (such as the split) before it; and where
    even those are equal, a number in the order of ``names``. Upper and lower case count as equal, as they do on some
    disks. ``names`` are relative, with ``/``.
    """
    short = [cleaned(stem_of(name)) for name in names]
    counts = Counter(plain.lower() for plain in short)
    choices = [
        cleaned("_".join([prefix, *PurePosixPath(name).parts[:-1], stem_of(name)]))
        if counts[plain.lower()] > 1
        else plain
        for name, prefix, plain in zip(names, prefixes, short, strict=True)
    ]
    reserved, given, ids = {choice.lower() for choice in choices}, set[str](), []
    for choice in choices:
        final, number = choice, 1
        while final.lower() in given or (number > 1 and final.lower() in reserved):
            number += 1
            final = f"{choice}_{number}"
        given.add(final.lower())
        ids.append(final)
    pairs = zip(names, ids, strict=True)
    return ids, [(name, final) for name, final in pairs if _letters(stem_of(name)) != _letters(final)]


def _letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


def name_finder(names: Sequence[str], *, numbers: bool = True) -> Callable[[str], str | None]:
    """A function that gives the one of ``names`` that a text of a table or of annotations means; None: none of them.

    The text may have backslashes, folders of another machine, another ending and another letter case; the surest way
    of reading it wins, and a way in which several names read alike gives none of them. A text with a folder that others
    of ``names`` have is none outside it: ``benign/7.png`` is not ``malignant/7.png``. With ``numbers`` a whole number
    (``7``, ``7.0``) means the file ``007.png``, too: a spreadsheet has removed its zeros.
    """
    known = {folder for name in names for folder in _folders(name)}
    by_key = _unique_keys(names)
    if numbers:
        by_key |= _with_one_name({name: _number_key(stem_of(name)) for name in names})
    by_key = {**_in_lower_case(by_key), **by_key}

    def find(text: str) -> str | None:
        name = next((by_key[key] for key in _spellings(text) if key in by_key), None)
        if name is None or not known:
            return name
        folders, own = _folders(text), _folders(name)
        return name if (own and folders[-len(own) :] == own) or known.intersection(folders).issubset(own) else None

    return find


def _folders(text: str) -> list[str]:
    """The folders of a path, whatever its slashes and letter case."""
    return composed(text.strip()).replace("\\", "/").lower().split("/")[:-1]


def _spellings(text: str) -> list[str]:
    """An image as a table names it, the surest first: as it is, with fewer folders, without ending, in lower case."""
    path = PurePosixPath(re.sub(r"^[A-Za-z]:", "", composed(text.strip()).replace("\\", "/")).lstrip("/"))
    shorter = ["/".join(path.parts[start:]) for start in range(len(path.parts))]
    ways = [composed(text), *shorter, *map(without_ending, shorter)]
    return [*ways, *(way.lower() for way in ways), _number_key(stem_of(path.name))]


def without_ending(path: str) -> str:
    """The path without the ending of its file, with composed characters."""
    return composed(path.removesuffix(PurePosixPath(path).name) + stem_of(path))


def _number_key(stem: str) -> str:
    """A key that ``007``, ``7`` and ``7.0`` share and that no file name has; empty for a text that is no number."""
    found = WHOLE.fullmatch(stem)
    return f"\0{found[1]}" if found else ""


def _in_lower_case(keys: Mapping[str, str]) -> dict[str, str]:
    """The keys in lower case, where no other image has the same."""
    lower: dict[str, set[str]] = defaultdict(set)
    for key, name in keys.items():
        lower[key.lower()].add(name)
    return {key: next(iter(owners)) for key, owners in lower.items() if len(owners) == 1}


def _unique_keys(names: Sequence[str]) -> dict[str, str]:
    """Path with and without ending, file name, stem and nnU-Net's id to the path, where no other image has the same."""
    keys: dict[str, str] = {}
    by_name = (lambda name: stem_of(name).removesuffix("_0000"), stem_of, lambda name: PurePosixPath(name).name)
    for way in (*by_name, without_ending):
        keys |= _with_one_name({name: composed(way(name)) for name in names})
    return keys | {composed(name): name for name in names}


def _with_one_name(key_of: Mapping[str, str]) -> dict[str, str]:
    """The keys that only one name has, each with that name."""
    counts = Counter(key_of.values())
    return {key: name for name, key in key_of.items() if key and counts[key] == 1}
