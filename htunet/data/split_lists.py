"""A split that somebody else has made: lists of ids or of file names, as JSON, as a table, or as a folder of lists."""

import csv
import logging
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from htunet.data.formats.excel import SPREADSHEETS, read_excel
from htunet.data.names import WHOLE, listed, name_finder
from htunet.data.raw import IMAGE_FOLDERS, TEST, RawDataset
from htunet.data.splits import SPLITS, Fold, find_leaks
from htunet.errors import HtunetError, UsageError, counted, did_you_mean, some
from htunet.files import SEPARATOR, read_json, read_text

log = logging.getLogger(__name__)
ENDINGS = (".txt", ".csv", ".tsv")
WORDS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
"""What lists call the splits."""
COLUMNS = {
    **dict.fromkeys(("id", "case", "name", "image", "file", "filename", "file_name", "image_id"), "name"),
    **dict.fromkeys(("split", "set", "subset", "part", "partition"), "split"),
    "fold": "fold",
}
NUMBER = re.compile(r"(?:(?:fold|cv)[ _-]*)?(\d{1,4})(?:\.0)?", re.IGNORECASE)
YES_NO = {**dict.fromkeys(("1", "true", "yes"), True), **dict.fromkeys(("0", "false", "no"), False)}
SHOWN = 5
FORMS = (
    "JSON as splits_final.json, a folder with train.txt, val.txt and test.txt, or a table (text or Excel) with a name "
    "and train, val or test in each line"
)


def read_split_lists(source: Path, raw: RawDataset, *, keep_groups: bool) -> list[dict[str, Any]]:
    """The folds of ``source`` with the ids of ``raw``, sorted, as ``splits_final.json`` holds them.

    Of a table ``FILE:COLUMN`` or ``FILE:IMAGES:COLUMN`` may name the columns.
    A name may be an id, the file that the case came from (with or without folders and ending), or the file in the raw
    folder. ``name`` and ``task`` of a fold in JSON are kept. Raises UsageError for a source that does not exist,
    HtunetError for one that cannot be read, names that are no case or fit several, a case in two places of a fold, a
    fold without cases, and with ``keep_groups`` for a group (patient, same picture) in two splits of a fold.
    """
    requested = ""
    if not source.exists():
        from htunet.data.tables import split_rule

        source, requested = split_rule(str(source)) or (source, "")
    is_table = source.suffix.lower() in (*ENDINGS, *SPREADSHEETS)
    if not source.exists() or (requested and not is_table):
        raise UsageError(f"--splits {source}{f':{requested}' * bool(requested)} does not exist. It is {FORMS}.")
    if source.is_dir():
        named = [_folder(source)]
    elif source.suffix.lower() == ".json":
        named = _json(source)
    elif is_table:
        named = _table(source, requested, raw)
    else:
        raise UsageError(f"--splits {source} is {FORMS}.")
    ids_of = _names_of(raw)
    folds = []
    for number, fold in enumerate(named or [{}]):
        place = source if len(named) < 2 else f"{source}, fold {number}"
        ids = _ids(place, fold, ids_of, raw)
        if not any(ids.values()):
            raise HtunetError(f"{place} names no case. It is {FORMS}.")
        if bool(ids["train"]) != bool(ids["val"]):
            there, absent = ("train", "val") if ids["train"] else ("val", "train")
            raise HtunetError(
                f"{place} has {counted(len(ids[there]), 'case')} for {there} and none for {absent}: the best "
                "epoch is chosen by val. Name cases for both, or for test alone."
            )
        if keep_groups and (leaks := find_leaks(raw.cases, ids)):
            shown = "; ".join(
                f"{leak.group}: " + ", ".join(f"{split} {' '.join(cases[:2])}" for split, cases in leak.members.items())
                for leak in leaks[:3]
            )
            raise HtunetError(
                f"{place} has {counted(len(leaks), 'group')} (same patient, case or picture) in more than one "
                f"split, so that test results would be too good: {shown}. Correct it, or take it as it is with "
                "--split-by image."
            )
        folds.append({key: fold[key] for key in ("name", "task") if key in fold} | ids)
    return folds


def read_name_list(path: Path) -> list[str]:
    """The lines of a list that are not empty, without Excel's ``sep=;``; raises as ``read_text``."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    return lines[1:] if lines and SEPARATOR.match(f"{lines[0]}\n") else lines


def split_files_in(folder: Path) -> dict[str, Path]:
    """``train``, ``val`` and ``test`` to their lists in ``folder``; HtunetError where two lists are for one split."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = WORDS.get(path.stem.lower())
        if split and path.suffix.lower() in ENDINGS and found.setdefault(split, path) is not path:
            raise HtunetError(f"{folder} has two lists for {split}: {found[split].name} and {path.name}. Remove one.")
    return found


def _folder(folder: Path) -> dict[str, Any]:
    files = split_files_in(folder)
    if missing := [split for split in ("train", "val") if split not in files]:
        raise HtunetError(f"{folder} lacks {' and '.join(f'{split}.txt' for split in missing)}. It is {FORMS}.")
    return {split: _column(path) for split, path in files.items()}


def _column(path: Path) -> list[str]:
    """The names of a list; of a table the first column, or the one that its first line calls a name."""
    lines = read_name_list(path)
    if path.suffix.lower() == ".txt":
        return lines
    delimiter = next((one for one in "\t;" if all(one in line for line in lines)), ",")
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    header = [COLUMNS.get(cell.lower(), "") for cell in rows[0]] if rows else []
    position = header.index("name") if "name" in header else 0
    return [row[position] for row in (rows[1:] if "name" in header else rows) if len(row) > position]


def _json(path: Path) -> list[dict[str, Any]]:
    content = read_json(path)
    folds = [content] if isinstance(content, dict) else content
    if not isinstance(folds, list) or not folds or not all(isinstance(fold, dict) for fold in folds):
        raise HtunetError(f"{path} is not a list of folds. Write [{{'train': [...], 'val': [...], 'test': [...]}}].")
    for number, fold in enumerate(folds):
        for key, names in fold.items():
            if key in ("name", "task") and isinstance(names, str):
                continue
            if key not in SPLITS or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise HtunetError(
                    f"{path}, fold {number}: {key!r} must be train, val or test with a list of ids. Correct it."
                )
    return folds


def _table(path: Path, requested: str, raw: RawDataset) -> list[dict[str, Any]]:
    """A name, a split and perhaps a fold in each line; the columns may be named in the first line."""
    rows = _cells(path)
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    kinds = [COLUMNS.get(cell, "") for cell in header]
    if requested or ("name" in kinds and "split" not in kinds):
        return _by_columns(path, header, rows[1:], requested, raw)
    columns = ["name", "split", "fold"]
    if {"name", "split"} <= {*kinds}:
        columns = kinds
        if len([name for name in columns if name]) > len({*kinds} - {""}):
            raise HtunetError(f"{path}: two columns of {rows[0]} mean the same. Leave one name and one split.")
        rows = rows[1:]
    folds: dict[int, dict[str, list[str]]] = defaultdict(lambda: {split: [] for split in SPLITS})
    for row in rows:
        cells = {column: cell.strip() for column, cell in zip(columns, row, strict=False) if column}
        split, fold = WORDS.get(cells.get("split", "").lower()), WHOLE.fullmatch(cells.get("fold") or "0")
        if not (split and cells.get("name") and fold):
            raise HtunetError(f"{path} has the line {' '.join(row)!r}. It is {FORMS}; a fold is a number. Correct it.")
        folds[int(fold[1])][split].append(cells["name"])
    if sorted(folds) != list(range(len(folds))):
        raise HtunetError(f"{path} has the folds {sorted(folds)}; they are numbered from 0 without a gap. Correct it.")
    return [dict(folds[number]) for number in sorted(folds)]


def _by_columns(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], requested: str, raw: RawDataset
) -> list[dict[str, Any]]:
    """Folds from the ``requested`` column, else from yes-or-no columns of splits, else from the column ``fold``."""
    from htunet.data.tables import is_missing, named_columns

    kinds = [COLUMNS.get(cell, "") for cell in header]
    key, column = named_columns(requested.strip().lower(), header)
    names_at = header.index(key) if key in header else kinds.index("name") if "name" in kinds and not key else -1
    if column:
        chosen = [header.index(column)] if column in header else []
    else:
        chosen = [at for at, cell in enumerate(header) if split_word(cell)]
        chosen = chosen or ([kinds.index("fold")] if "fold" in kinds else [])
    if names_at < 0 or not chosen:
        raise HtunetError(
            f"{path} has the columns {listed(header, len(header))}, and none of them names the "
            f"{'images' if names_at < 0 else 'split'}: name it, as in --splits {path.name}:COLUMN or "
            f"{path.name}:IMAGES:COLUMN."
        )
    table = [["" if is_missing(cell) else cell for cell in [*row, *[""] * (len(header) - len(row))]] for row in rows]
    names, columns = [row[names_at] for row in table], {header[at]: [row[at] for row in table] for at in chosen}
    values = one_of(path, columns) if len(columns) > 1 else _values(path, *columns.popitem())
    ids: dict[str, list[str]] = defaultdict(list)
    for name, value in zip(names, values, strict=True):
        ids[value].append(name)
    numbers = sorted((value for value in ids if value.isdigit()), key=int)
    if numbers and (ids["train"] or ids["val"]):
        raise HtunetError(f"{path} has numbers of folds and also train or val. Write one of both.")
    if numbers:
        test = ids["test"] or [case.id for case in raw.cases if case.split == TEST]
        return [numbered_fold(ids, numbers, position, test) for position in range(len(numbers))]
    return [{split: ids[split] for split in SPLITS}]


def _values(path: Path, column: str, texts: Sequence[str]) -> list[str]:
    """A split, or the number of a fold, of each text; empty for an empty one."""
    values = split_values(column, {*texts} - {""}) | {"": ""}
    if strange := sorted(text for text in {*texts} - {""} if not values[text]):
        raise HtunetError(f"{path} has the values {listed(strange)}. Write train, val, test, or numbers.")
    return [values[text] for text in texts]


def one_of(path: Path, columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The split that each row of columns such as ``train`` and ``is_test`` answers with yes.

    Where all say no, the one that has no column, if two of the three have one; else empty. Raises HtunetError for other
    values than yes and no, and for a row with two splits.
    """
    words = [split_word(column) for column in columns]
    rest = next((split for split in SPLITS if split not in words), "")
    found = []
    for row in zip(*columns.values(), strict=True):
        if any(text and text.lower() not in YES_NO for text in row):
            raise HtunetError(f"{path} has the values {listed(row)} in {listed([*columns])}. Write 1 and 0.")
        chosen = [word for word, text in zip(words, row, strict=True) if YES_NO.get(text.lower())]
        if len(chosen) > 1:
            raise HtunetError(f"{path} has a row that is in {' and in '.join(chosen)}. Leave each case in one split.")
        found.append(chosen[0] if chosen else rest)
    return found


def split_word(column: str) -> str:
    """The split of which a column ``is_test``, ``Train`` or the like says yes or no; empty for another column."""
    return WORDS.get(re.sub(r"^(is|in)[ _-]+", "", column.strip().lower()), "")


def split_values(column: str, texts: Collection[str]) -> dict[str, str]:
    """What each text of a column says: train, val, test, or the number of a fold; empty: none of them.

    In a column that is named after a split yes and no say it: no is test in a column ``train``, train in the others.
    """
    asked = split_word(column)
    if asked and all(text.lower() in YES_NO for text in texts):
        other = "test" if asked == "train" else "train"
        return {text: asked if YES_NO[text.lower()] else other for text in texts}
    numbers = {text: NUMBER.fullmatch(text.strip()) for text in texts}
    return {
        text: str(int(found[1])) if found else WORDS.get(text.strip().lower(), "") for text, found in numbers.items()
    }


def numbered_fold(ids: Mapping[str, list[str]], numbers: Sequence[str], position: int, test: list[str]) -> Fold:
    """The fold at a position of a cross-validation by the ``numbers`` of folds, which have ``ids``.

    It validates on its images and trains on the others; without a ``test`` split it tests on them and validates on the
    next fold's, as htunet's own folds.
    """
    own, following = numbers[position], numbers[(position + 1) % len(numbers)]
    others = [value for value in numbers if value not in ({own} if test else {own, following})]
    train = sorted(case for value in others for case in ids[value])
    return {"train": train, "val": ids[own if test else following], "test": test or ids[own]}


def _cells(path: Path) -> list[list[str]]:
    """The rows of a table of text or of Excel; of text without a delimiter the last word, and what is before it."""
    if path.suffix.lower() in SPREADSHEETS:
        table, notes = read_excel(path)
        for note in notes:
            log.warning("%s.", note)
        return [[*table[0]], *([*row.values()] for row in table)] if table else []
    lines = read_name_list(path)
    delimiter = next((one for one in "\t;,|" if lines and all(one in line for line in lines)), None)
    if not delimiter:
        return [line.rsplit(None, 1) for line in lines]
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise HtunetError(f"{path} cannot be read as a table ({error}). It is {FORMS}.") from None


def _names_of(raw: RawDataset) -> Mapping[str, set[str]]:
    """Every name that a case has, to the ids of the cases that have it."""
    ids_of: dict[str, set[str]] = defaultdict(set)
    for case in raw.cases:
        for name in (case.id, f"{case.id}{raw.file_ending}", raw.image_path(case).name, case.source):
            if name:
                plain = unicodedata.normalize("NFC", name)
                for one in {plain, Path(plain).name, Path(plain).stem}:
                    ids_of[one].add(case.id)
    return ids_of


def _folder_of(name: str) -> str:
    """The folder that a file is named with, in small letters; empty where there is none."""
    return unicodedata.normalize("NFC", Path(name.replace("\\", "/")).parent.name).casefold()


def _ids(place: object, fold: Mapping[str, Any], ids_of: Mapping[str, set[str]], raw: RawDataset) -> Fold:
    known = {case.id: case for case in raw.cases}
    folders = {_folder_of(case.source) for case in raw.cases} | {one.casefold() for one in raw.info.classes}
    sources = {case.source: case.id for case in raw.cases if case.source}
    finders = [(name_finder(list(names)), names) for names in ({case: case for case in known}, sources)]
    found: Fold = {split: [] for split in SPLITS}
    unknown: list[str] = []
    several: list[str] = []
    for split in SPLITS:
        for name in fold.get(split, []):
            plain = unicodedata.normalize("NFC", name)
            ids = {plain} if plain in known else ids_of.get(plain) or ids_of.get(Path(plain).name) or set()
            ids = ids or {names[one] for find, names in finders if (one := find(name))}
            if (folder := _folder_of(name)) in folders - {""}:  # a file of this name in another one is another file
                cases = [known[one] for one in ids]
                ids = {one.id for one in cases if folder in (_folder_of(one.source), one.class_name.casefold())}
            if len(ids) == 1:
                found[split] += ids
            else:
                (several if ids else unknown).append(name)
    if unknown:
        raise HtunetError(
            f"{place} names {counted(len(unknown), 'case')} not in {raw.paths.raw}: {some(unknown)}."
            f"{did_you_mean(unknown[0], ids_of)} Take the ids or the source files of {raw.paths.cases_csv.name}."
        )
    if several:
        raise HtunetError(
            f"{place}: more than one case fits {counted(len(several), 'name')}: {some(several)}. Take the ids of "
            f"{raw.paths.cases_csv}, or the files with their folders as in its column source."
        )
    places = Counter(case for split in SPLITS for case in found[split])
    if twice := sorted(case for case, count in places.items() if count > 1):
        where = {case: " and ".join(s for s in SPLITS for one in found[s] if one == case) for case in twice[:SHOWN]}
        shown = ", ".join(f"{case} ({splits})" for case, splits in where.items())
        raise HtunetError(f"{place} names {counted(len(twice), 'case')} twice: {shown}. Leave each case in one place.")
    given = {case.id for case in raw.cases if case.split != "train"} - set(found["test"])
    if strayed := sorted(given & {*found["train"], *found["val"]}):
        raise HtunetError(
            f"{place} trains on {counted(len(strayed), 'case')} of the test split that the data set defines "
            f"({IMAGE_FOLDERS['test']}): {some(strayed)}. Correct it."
        )
    return {split: sorted(cases) for split, cases in found.items()}
