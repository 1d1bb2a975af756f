"""What tables say of images: any column of a CSV or Excel file, with names of images as other machines spell them."""

import math
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import regex

from htunet.data.formats.excel import SPREADSHEETS, read_excel
from htunet.data.formats.medical_file import (
    NO_MILLIMETRES,
    NOT_SQUARE,
    Spacing,
    is_plausible,
    not_square,
    pixel_spacing,
)
from htunet.data.names import WHOLE, composed, listed, name_finder, printable, stem_of
from htunet.errors import HtunetError, UsageError, counted
from htunet.files import read_csv

MISSING = {
    *("", "-", "--", "?", ".", "nan", "-nan", "na", "#na", "<na>", "n/a", "n.a.", "n. a.", "#n/a", "#n/d", "nat"),
    *(
        "null",
        "(null)",
        "[null]",
        "\\n",
        "(blank)",
        "k.a.",
        "k. a.",
        "nil",
        "unknown",
        "missing",
        "<missing>",
        "<undefined>",
        "#nv",
        "#n/b",
        "#н/д",
    ),
}
"""What stands in a table where nothing is known, in lower case: as an empty cell. ``none`` can be the name of a class;
``None`` is Python's."""
CELL_ERROR = re.compile(r"#[^\s\d]\S*[!?]|Err:\d+")
"""What Excel and LibreOffice write for a formula without a result: ``#REF!``, ``#WERT!``, ``#NOM?``, ``Err:502``."""
MONTH = r"(?:jan|f[eé][bv]|m[aä]r|mrz|a[pvb]r|ma[giy]|ju[nil]|lug|a[uo][gû]|se[pt]|o[ckt]t|nov|d[eéi][czs])\w{0,2}\.?"
CHANGED = re.compile(rf"\d(?:[.,]\d+)?e\+\d+|\d{{1,2}}[-. ]+{MONTH}|{MONTH}[-. ]+\d{{2}}", re.IGNORECASE)
"""What a spreadsheet makes of ids such as 20240101123456 and 1-2: a rounded number (2.02E+13), a date (02-Jan)."""
DATE_TOO = re.compile(rf"\d{{4}}-\d\d-\d\d|{CHANGED.pattern}", re.IGNORECASE)
"""The same with a date as a cell of Excel that holds one is read: 3-4 became the fourth of March."""
ROW_NUMBERS = re.compile(r"|unnamed: ?\d+|level_\d+|index|row|rownames?")
"""Names of columns in which programs number the rows of a table."""
SEARCH_SECONDS = 10.0
"""Time limit for a user's regular expression, for all images together."""
SPACING_COLUMNS = ("spacing_mm", "spacing", "pixel_size", "pixel_spacing", "pixel_size_mm", "pixel_spacing_mm")
ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
"""Before a number."""
DECIMAL_COMMA = r"\d*,\d+(?:e[+-]?\d+)?"
LARGE_GROUP, FEW_IMAGES = 0.2, 10
"""A group with a larger fraction of the images is seldom one patient; not checked for fewer images."""
ONE_WORD = ("--classes", "--folds")
"""Options whose regular expression lists words; a path should contain only one of them."""
IMAGE = "image"


@dataclass(frozen=True)
class ImageRow:
    """One row of a table: an image and its value."""

    text: str
    """The image as the table names it."""
    name: str | None
    """The image that the row means; None if there is no such image."""
    value: str


@dataclass
class Tags:
    """The value of each image, and notes on how it was read."""

    of: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def split_rule(rule: str) -> tuple[Path, str] | None:
    r"""The file and the columns of ``FILE``, ``FILE:COLUMN`` or ``FILE:KEY:COLUMN``; None where no file is named.

    The colon of ``C:\x.csv`` belongs to the file; a file that does not exist is one by its ending, as ``.csv``.
    """
    for end in [len(rule), *(match.start() for match in reversed(list(re.finditer(":", rule))))]:
        if os.path.isfile(rule[:end]):
            return Path(rule[:end]), rule[end + 1 :]
    named = re.fullmatch(r"(.+?\.(?:[ct]sv|xls[xmb]?|ods))(?::(.*))?", rule, re.IGNORECASE)
    return (Path(named[1]), named[2] or "") if named else None


def column_names(path: Path) -> list[str]:
    """The names of the columns of a table that has rows, in lower case."""
    return [str(key).strip().lower() for row in read_table(path)[0][:1] for key in row]


def read_table(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a CSV, however spreadsheets save it, or of an Excel file; and notes. Raises as both readers."""
    return read_excel(path) if path.suffix.lower() in SPREADSHEETS else (read_csv(path, (), any_delimiter=True), [])


def read_rows(rule: str, names: Sequence[str], option: str, columns: Sequence[str]) -> tuple[list[ImageRow], list[str]]:
    """The rows of the table that ``rule`` names (see ``split_rule``), and a note on the columns that were found.

    Without ``KEY`` the images stand in the column ``image``, else in the one that names most of them, each once;
    without ``COLUMN`` the value stands in the first of ``columns``. Raises HtunetError for a broken table.
    """
    path, requested = split_rule(rule) or (Path(rule), "")
    table, notes = read_table(path)
    named = Counter(str(key).strip().lower() for key in table[0]) if table else Counter()
    if twice := [key for key, count in named.items() if key and count > 1]:
        raise HtunetError(f"{path} has the columns {twice} twice, whatever the letter case. Keep one of each.")
    rows = [{str(key).strip().lower(): value for key, value in row.items()} for row in table]
    found = list(rows[0]) if rows else [IMAGE, *columns]
    find = name_finder(names)
    key, column = named_columns(requested.strip().lower(), found)
    words = {re.sub(r"[^a-z0-9]+", "_", name).strip("_"): name for name in reversed(found)}  # Pixel size (mm)
    column = column or next((words[name] for name in columns if name in words), "")
    way_out = f"name it, as in {option} {path.name}:COLUMN or {path.name}:IMAGES:COLUMN"
    if not column or column not in found:
        raise HtunetError(f"{path} lacks a column {requested or ' or '.join(columns)}; it has {found}: {way_out}.")
    if key and key not in found:
        raise HtunetError(f"{path} lacks a column {key}; it has {found}: {way_out}.")
    named_by = not key and IMAGE not in found
    if not key:
        others, strict = [name for name in found if name != column], name_finder(names, numbers=False)
        numbered = [name for name in others if not ROW_NUMBERS.fullmatch(name)]
        key = IMAGE if IMAGE in found else _key_column(rows, others, strict) or _key_column(rows, numbered, find)
        if not key:
            shown = ", ".join(f"{name}: {rows[0][name]!r}" for name in found)
            raise HtunetError(
                f"{path} lacks a column image, and no column of it names an image of its own in each row ({shown}; "
                f"images are named as {listed(names)}): {way_out}."
            )
    notes += [f"{path.name} names images in its column {key!r}, and {column!r} is taken"] * named_by
    return [ImageRow(row[key], find(row[key]), composed(printable(row[column].strip()))) for row in rows], notes


def named_columns(requested: str, found: Sequence[str]) -> tuple[str, str]:
    """The columns of the images and of the values that the user named, both in lower case; empty where not named."""
    if requested in found or ":" not in requested:
        return "", requested
    ways = [(requested[: at.start()], requested[at.end() :]) for at in re.finditer(":", requested)]
    return next((way for way in ways if {*way} <= {*found}), ways[0])


def _key_column(rows: Sequence[Mapping[str, str]], found: Sequence[str], find: Callable[[str], str | None]) -> str:
    """The column that names most images, and none of them twice; empty where none names any."""
    images = {name: [find(row[name]) for row in rows] for name in found}
    counts = {name: Counter(filter(None, known)) for name, known in images.items()}
    good = {name: len(count) for name, count in counts.items() if count and max(count.values()) == 1}
    return max(good, key=lambda name: good[name], default="")


def read_tags(rule: str, names: Sequence[str], *, option: str, columns: Sequence[str]) -> Tags:
    """What ``rule`` says of each image, and notes on rows that fit no image.

    ``rule`` is a table (see ``read_rows``), or a regular expression that is searched in the path: its first group
    counts, or the whole match. Images of which it says nothing are absent, and so are those with a value of
    ``MISSING``. Raises UsageError for a rule that says nothing of any image, HtunetError for a broken table.
    """
    if split_rule(rule):
        tags = _tags_of_table(rule, names, option, columns)
    else:
        ways = {
            name: [printable(way).strip() for way in found] for name, found in _found_by(rule, names, option).items()
        }
        tags = Tags({name: found[0] for name, found in ways.items() if found[0]})
        several = [f"{printable(name)} is {found[0]}" for name, found in ways.items() if len({*found} - {""}) > 1]
        if several and option in ONE_WORD:
            tags.notes.append(
                f"{option} finds several of its words in {counted(len(several), 'path')}, and the first is taken: "
                f"{listed(several, 3)}"
            )
    for way, plain in (("letter case", str.lower), ("leading zeros", lambda value: ZEROS.sub("", value))):
        spelled = Counter(map(plain, {*tags.of.values()}))
        if alike := sorted(value for value in {*tags.of.values()} if spelled[plain(value)] > 1):
            tags.notes.append(f"values of {option} that differ in {way} alone count as different: {listed(alike)}")
    if not tags.of:
        shown = f" (such as {tags.notes[-1].rsplit(': ', 1)[1]})" if tags.notes and ": " in tags.notes[-1] else ""
        raise UsageError(f"{option} {rule} says nothing of any image{shown}; they are named as {listed(names)}.")
    tags.notes += large_groups(tags.of.values(), len(names)) if option == "--groups" else []
    return tags


def large_groups(groups: Iterable[str], number: int) -> list[str]:
    """A note on each group that has more of a ``number`` of images than a patient usually has."""
    return [
        f"the group {group!r} has {count} of {counted(number, 'image')}: check that it is one patient"
        for group, count in Counter(filter(None, groups)).most_common()
        if number >= FEW_IMAGES and count > LARGE_GROUP * number
    ]


def read_spacing(rule: str, names: Sequence[str]) -> tuple[dict[str, Spacing], list[str]]:
    """The side of a pixel of each image in millimetres, and notes: ``rule`` is one for all, or a table.

    A value may be two numbers, of rows and of columns (``0.1 0.1``, ``0.1x0.1``, ``[0.1, 0.1]``); where they differ,
    both are stored. ``0,1`` is 0.1, and ``mm`` behind it says nothing new. Raises UsageError for a text that is neither
    a number above 0 nor a table, HtunetError for a table with other values.
    """
    if split_rule(rule) is None:
        if (sides := _sides(rule)) is None:
            raise UsageError(f"--spacing is the side of a pixel in millimetres, above 0, or a table; got {rule!r}.")
        tags = Tags(dict.fromkeys(names, rule))
    else:
        tags = read_tags(rule, names, option="--spacing", columns=SPACING_COLUMNS)
    found, oblong, strange, known = dict[str, Spacing](), list[str](), list[str](), list[float]()
    for name, text in tags.of.items():
        if (sides := _sides(text)) is None:
            raise HtunetError(
                f"--spacing {rule} gives {printable(name)} the pixel size {text!r}. It is a number of millimetres "
                "above 0, or two, of rows and of columns. Correct it."
            )
        both = (sides[0], sides[-1])
        found[name] = pixel_spacing(both) or both
        known += sides
        oblong += [name] if not_square(both) else []
        strange += [] if is_plausible(both) else [name]
    if split_rule(rule) and (unknown := [name for name in names if name not in found]):
        tags.notes.append(f"without a pixel size in {rule}: {counted(len(unknown), 'image')}, {listed(unknown)}")
    notes = [f"pixel sizes from {min(known):g} to {max(known):g} mm"] if known else []
    if strange:
        notes.append(f"{NO_MILLIMETRES}: {counted(len(strange), 'image')}, {listed(strange)}")
    if oblong:
        notes.append(f"{NOT_SQUARE}: {counted(len(oblong), 'image')}, {listed(oblong)}")
    return found, [*tags.notes, *notes]


def _sides(text: str) -> list[float] | None:
    """One or two lengths above 0; None for anything else."""
    text = re.sub(r"(?<=[\d\s])mm\b", "", text.strip())
    if re.fullmatch(rf"{DECIMAL_COMMA}(?:[\s;x*\\]+{DECIMAL_COMMA})?\s*", text, re.IGNORECASE):
        text = text.replace(",", ".")
    if "_" in text:
        return None  # digits that Python would join
    try:
        sides = [float(part) for part in re.split(r"[\s,;x*\\\[\]()]+", text.lower()) if part]
    except ValueError:
        return None
    return sides if len(sides) in (1, 2) and all(0 < side < math.inf for side in sides) else None


def _found_by(rule: str, names: Sequence[str], option: str) -> dict[str, list[str]]:
    """All that a pattern finds in each name, in order; raises UsageError for one that is broken or takes too long."""
    end = time.monotonic() + SEARCH_SECONDS

    def left() -> float:
        return max(0.001, end - time.monotonic())

    try:
        pattern = regex.compile(composed(rule))
        found = {
            name: [
                match[1 if pattern.groups else 0] or "" for match in pattern.finditer(composed(name), timeout=left())
            ]
            for name in names
        }
    except regex.error as error:
        raise UsageError(f"{option} {rule!r} is neither a CSV file nor a regular expression ({error}).") from None
    except TimeoutError:
        raise UsageError(
            f"{option} {rule!r} is not found within {SEARCH_SECONDS} seconds. Repeat less within what is repeated, or "
            "give a CSV file."
        ) from None
    return {name: texts for name, texts in found.items() if texts}


def is_missing(value: str) -> bool:
    """Whether a cell says that nothing is known (see ``MISSING``)."""
    return value == "None" or value.lower() in MISSING or CELL_ERROR.fullmatch(value) is not None


def _of_folders(rows: Sequence[ImageRow], names: Sequence[str]) -> list[ImageRow]:
    """A row for each image of the folders that the rows name, such as those of patients; others as they are."""
    inside: dict[str, list[str | None]] = defaultdict(list)
    for name in names:
        for part in {*PurePosixPath(composed(name)).parts[:-1]}:
            inside[part].append(name)
    found = [(row, inside.get(composed(row.text.strip()), [None])) for row in rows]
    return [ImageRow(printable(row.text), name, row.value) for row, some in found for name in some]


def _stem(name: str) -> str:
    return stem_of(composed(name.strip().replace("\\", "/"))).lower()


def _tags_of_table(rule: str, names: Sequence[str], option: str, columns: Sequence[str]) -> Tags:
    rows, notes = read_rows(rule, names, option, columns)
    path, _ = split_rule(rule) or (Path(rule), "")
    if not any(row.name for row in rows):
        rows = _of_folders(rows, names)
        named = [row.text for row in rows if row.name]
        notes += [f"{path.name} names folders of images, such as {named[0]}"] if named else []
    tags, unknown, missing = dict[str, str](), [], 0
    values = {row.value for row in rows if not is_missing(row.value)}
    whole = all(WHOLE.fullmatch(value) for value in values)
    one_of = {value: value.removesuffix(".0") for value in values if whole}  # some programs write 1 as 1.0
    one_of |= {f"{value}.0": value for value in values if value.isdecimal()}
    for row in rows:
        missing += is_missing(row.value) and row.value != ""
        tag = "" if is_missing(row.value) else row.value
        if row.name is None:
            unknown.append(row.text)
        elif tags.setdefault(row.name, one_of.get(tag, tag)) != one_of.get(tag, tag):
            raise HtunetError(f"{path} says two things of {row.text}: {tags[row.name]!r} and {tag!r}. Correct it.")
    is_made = DATE_TOO if path.suffix.lower() in SPREADSHEETS else CHANGED
    if changed := sorted({text for row in rows for text in (row.text, row.value) if is_made.fullmatch(text.strip())}):
        notes.append(
            f"{path.name} has texts that a spreadsheet seems to have made of others, {listed(changed)}: "
            "different ones may have become the same. Format the column as text and enter them again"
        )
    if missing:
        notes.append(f"{path.name} has {counted(missing, 'value')} such as nan or NA: nothing is known there")
    stems = Counter(_stem(name) for name in names)
    if several := [text for text in unknown if stems[_stem(text)] > 1]:
        number = counted(len(several), "image")
        notes.append(
            f"{path.name} names {number} by a name that several folders have: {listed(several)}; write the folder "
            "before it"
        )
    if absent := [text for text in unknown if stems[_stem(text)] < 2]:
        notes.append(
            f"{path.name} names {counted(len(absent), 'image')} not in the folder, or excluded: {listed(absent)}"
        )
    return Tags({name: tag for name, tag in tags.items() if tag}, notes)
