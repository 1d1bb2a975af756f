"""The tables of an output folder, which describe its files: each prediction adds its rows to those that are there.

``classes.csv`` has a row for each image whose class was predicted, ``quality.csv`` one for each mask, and for each
image of which classes alone were predicted. A row is replaced where its image is predicted again, with two exceptions:
classes that are predicted of an image whose mask is there leave the row of the mask as it is, but for the probability
of a lesion; a mask whose model knows nothing of its quality takes away the row of the mask that it replaces.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from htunet.data.class_probabilities import PREFIX, table_of
from htunet.errors import UsageError
from htunet.files import read_csv, write_csv
from htunet.inference.folder import FolderResult
from htunet.inference.quality import QUALITY, Quality, in_order

CLASSES = "classes.csv"
KEYS = {CLASSES: "case", QUALITY: "mask"}
Rows = list[dict[str, str]]


def read_tables(folder: Path, classes: Sequence[str] = ()) -> dict[str, Rows]:
    """The rows of each table of a folder; none of a table that is not there.

    Raises HtunetError for a file of that name that is no such table, UsageError where it has other classes than
    ``classes`` (empty: none are predicted).
    """
    paths = {name: folder / name for name in KEYS}
    found = {name: read_csv(path, (KEYS[name],)) if path.exists() else [] for name, path in paths.items()}
    for row in found[CLASSES][:1] if classes else ():
        there = [name.removeprefix(PREFIX) for name in row if name.startswith(PREFIX)]
        if set(there) != set(classes):
            raise UsageError(
                f"{paths[CLASSES]} has the classes {', '.join(there)}, and the model {', '.join(classes)}: they do not "
                "fit into one table. Choose another output folder."
            )
    return found


def add_result(folder: Path, result: FolderResult, quality: Quality, *, known: bool) -> FolderResult:
    """Write what was predicted of images into the tables of a folder; the result, with what there is to say of them.

    ``classes.csv`` also says how unlike the training images each image is, where that is known.
    """
    if result.masks:
        quality.name_images(result.images)
    classes = table_of(result.classes)[1] if result.classes else []
    if any(one["distance"] for one in quality.rows):
        classes = [row | {name: one[name] for name in ("distance", "unlike")} for row, one in
                   zip(classes, quality.rows, strict=False)]  # fmt: skip
    others = add_to_tables(folder, classes, quality.rows, known=known)
    return replace(result, unlike=quality.unlike, doubted=quality.doubted, rows_of_others=others)


def add_to_tables(folder: Path, classes: Rows, quality: Rows, *, known: bool = True) -> int:
    """Write what was predicted beside what was there; of how many other images there are rows already.

    ``known`` False: ``quality`` names the images and says nothing of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        before = read_tables(folder)
        if classes:
            of_case = {row["case"]: row for row in (*before[CLASSES], *classes)}
            _write(folder / CLASSES, list(of_case.values()), classes)
        rows = _merged(before[QUALITY], quality, known=known)
        if rows:
            _write(folder / QUALITY, in_order(rows), quality)
        elif before[QUALITY]:
            (folder / QUALITY).unlink()
    now = {_image_of(row) for row in (*classes, *quality)} | {row["mask"] for row in quality}
    return len({_image_of(row) for row in (*before[CLASSES], *before[QUALITY])} - now)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Others that predict into the folder wait, as long as writing its tables takes; no file is left in it.

    Where folders cannot be locked (Windows, some network drives) they do not wait.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            from fcntl import LOCK_EX, flock

            place = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, place)
            flock(place, LOCK_EX)
        yield


def _merged(before: Rows, now: Rows, *, known: bool) -> Rows:
    masks = {row["mask"] for row in now if row.get("image")}
    rows = {_image_of(row): row for row in before if "image" in row or row["mask"] not in masks}
    for row in now:
        name, lesion = _image_of(row), row.get("lesion_probability", "")
        there, has_mask = rows.get(name, {}), bool(row.get("image"))
        if there.get("image") and not has_mask:
            there["lesion_probability"] = lesion or there.get("lesion_probability", "")
        elif known:
            rows[name] = row | {"lesion_probability": lesion or there.get("lesion_probability", "")}
        elif there and (there.get("image") or not has_mask):
            del rows[name]
    return list(rows.values())


def _image_of(row: Mapping[str, str]) -> str:
    return row.get("image") or row.get("mask") or row["case"]


def _write(path: Path, rows: Rows, now: Rows) -> None:
    columns = list(dict.fromkeys(name for row in (*now[:1], *rows) for name in row))
    write_csv(path, columns, (dict.fromkeys(columns, "") | row for row in rows))
