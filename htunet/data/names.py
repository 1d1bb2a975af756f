"""Ids and printed names from file names as people have them: spaces, brackets, Chinese, line breaks, stray bytes."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

LONGEST_ID = 80
FRAME = "__"
"""Between an id and the number of its frame; a cleaned id never has two."""
DOUBLE_ENDING = ".nii.gz"
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}")
"""Begins with a letter: the last number of a DICOM identifier such as 1.2.840.10 is none."""


def listed(names: Sequence[str], number: int = 5) -> str:
    """The first of ``names`` for a message: ``a, b, c, d, e, ...``; ``none`` where there is none."""
    return ", ".join(map(printable, names[:number])) + (", ..." if len(names) > number else "") or "none"


def printable(name: str) -> str:
    r"""``name`` on one line of valid UTF-8: control characters and undecodable bytes are spelled as escapes.

    >>> printable("a" + chr(10) + "b")
    'a\\nb'
    """
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


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
