"""Checks that what was made from a raw folder still matches its images, masks, labels and classes, and the plan.

Files are read again only where the size or the time of one has changed since they were last read.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from htunet.data.names import listed
from htunet.data.raw import IMAGE_FOLDERS, LABEL_FOLDERS, read_raw
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError
from htunet.files import file_hash, json_hash, read_object, write_json
from htunet.paths import DatasetPaths, RunPaths
from htunet.planning.fingerprint import hash_raw
from htunet.planning.plans import BILINEAR, Plan
from htunet.schemas import SETTINGS

FORMAT = 1
DONE = "preprocessed.json"
"""File in the folder of the arrays that records what they were made from."""
CHECKSUMS = "checksums.json"
"""File beside it: the SHA-256 of each of the others; arrays of earlier versions have none."""


def arrays_hash(plan: Plan) -> str:
    """SHA-256 of what the arrays depend on; other fields, such as the number of epochs, may change freely."""
    content: tuple[Any, ...] = (FORMAT, plan.channels, plan.geometry, plan.crop_border, list(plan.input_size))
    content += () if plan.resize == BILINEAR else (plan.resize,)
    content += (("crop_margin", plan.crop_margin),) if plan.crop_border and plan.crop_margin else ()
    return json_hash(content)


def check_arrays(dataset: DatasetPaths, plan: Plan) -> None:
    """Raise HtunetError when the arrays were made for another plan, or from other files than the raw folder has now."""
    folder = dataset.plan_folder(plan.name)
    made, again = read_object(folder / DONE), f"htunet_plan_and_preprocess -d {dataset.name} --plan {folder.name}"
    if made.get("plan_sha256") != arrays_hash(plan):
        raise HtunetError(
            f"{folder} was made with another input_size, geometry, resize, crop_border, crop_margin or channels than "
            f"the plan {plan.name!r} has. Make it again: {again}"
        )
    if raw_has_changed(dataset, folder):
        raise HtunetError(
            f"{dataset.raw} has changed since {folder} was made of it: images, masks, labels, classes, groups or "
            f"spacings are others now. Put the earlier files back, or plan again: {again}"
        )
    if (folder / CHECKSUMS).exists() and (damaged := damaged_arrays(folder)):
        raise HtunetError(
            f"{listed([str(folder / name) for name in damaged])}: not what was written there (damaged, or overwritten "
            f"with the arrays of another plan). Make it again: {again}"
        )


def raw_has_changed(dataset: DatasetPaths, folder: Path) -> bool:
    """Whether the arrays in ``folder`` were made from other files than the raw folder has now, if there is one."""
    now = raw_sha256(dataset)
    return bool(now) and read_object(folder / DONE).get("raw_sha256") not in (None, now)


def damaged_arrays(folder: Path) -> list[str]:
    """The files of one plan's arrays that are missing or have other bytes than were written.

    All bytes are read (0.7 s of processor time for 1 GB), once in a process.
    """
    try:
        sums = read_object(folder / CHECKSUMS)
    except HtunetError:
        return [CHECKSUMS]
    files = {name: folder / name for name in sums}
    return [name for name, path in files.items() if _hash_of_file(path, _size_and_time(path)) != sums[name]]


def raw_sha256(dataset: DatasetPaths) -> str:
    """``hash_raw`` of the raw folder as it is now; empty where there is none."""
    if not dataset.dataset_json.exists():
        return ""
    return _hash_of(dataset, dataset.raw, raw_state(dataset))


def raw_state(dataset: DatasetPaths) -> str:
    """Hash of the names, sizes and times of the files that ``hash_raw`` reads, and of others beside them.

    It is a sum of SHA-256, which does not depend on the order, so that the memory does not grow with the files.
    """
    folders = [dataset.raw / name for name in (*IMAGE_FOLDERS.values(), *LABEL_FOLDERS.values())]
    paths: Iterable[Path | os.DirEntry[str]]
    paths = chain([dataset.dataset_json, dataset.cases_csv], *(os.scandir(one) for one in folders if one.is_dir()))
    total, start = 0, len(str(dataset.raw))
    for path in paths:
        state = (os.fspath(path)[start:], *_size_and_time(path))
        total += int.from_bytes(hashlib.sha256(repr(state).encode()).digest(), "big")
    return f"{total % 2**256:064x}"


def note_raw(dataset: DatasetPaths, state: str, raw_hash: str) -> None:
    """Record which hash the files of ``state`` have."""
    write_json(dataset.raw_files_json, {"format": FORMAT, "state": state, "raw_sha256": raw_hash})


def predicted_of(run: RunPaths, tested: Sequence[str]) -> dict[str, Any]:
    """Content of ``RunPaths.predicted_json``: hashes of the raw folders and of the predicted images as they are now."""
    ids = _images_of(run, tested)
    masks = run.trained_on is not None and "seg" in run.tasks  # true ones of another data set lie beside predictions
    return {
        "raw_sha256": [raw_sha256(dataset) for dataset in ids],
        "images_sha256": [_images_sha256(dataset, cases, masks) for dataset, cases in ids.items()],
    }


def images_changed(run: RunPaths, tested: Sequence[str]) -> bool:
    """Whether the images have changed since they were predicted; they are read only where a raw folder has changed.

    A prediction by an earlier version has no record: then whether the arrays have changed since the training.
    """
    if not run.predicted_json.exists():
        return run.trained_on is None and trained_on_earlier_data(run)
    record, now = read_object(run.predicted_json), [raw_sha256(dataset) for dataset in _images_of(run, tested)]
    if "" in now or record.get("raw_sha256") == now:
        return False
    return record.get("images_sha256") != predicted_of(run, tested)["images_sha256"]


def trained_on_earlier_data(run: RunPaths) -> bool:
    """Whether the arrays of a run's plan were made again, from other files, since it was trained on them."""
    then, done = read_object(run.settings_json, SETTINGS).get("data_sha256"), run.source.dataset.plan_folder(run.plan)
    return bool(then) and (done / DONE).exists() and then != file_hash(done / DONE)


def _images_of(run: RunPaths, tested: Sequence[str]) -> dict[DatasetPaths, list[str]]:
    """The cases that are predicted; where classes are learnt, also those of the validation split of the training."""
    found, source = {run.dataset: [*tested]}, run.source.dataset
    if "cls" in run.tasks:
        found.setdefault(source, []).extend(load_splits(source.splits_json)[run.fold]["val"])
    return found


@cache
def _hash_of(dataset: DatasetPaths, folder: Path, state: str) -> str:
    path = dataset.raw_files_json
    record = read_object(path) if path.exists() else {}
    if record.get("state") == state:
        return str(record.get("raw_sha256"))
    found, _ = hash_raw(read_raw(dataset))
    if dataset.plans_json.exists():
        with suppress(HtunetError, OSError):  # read again the next time
            note_raw(dataset, state, found)
    return found


@cache
def _hash_of_file(path: Path, state: tuple[int, int]) -> str:
    return file_hash(path) if state[0] >= 0 else ""


def _size_and_time(path: Path | os.DirEntry[str]) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # not there
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _images_sha256(dataset: DatasetPaths, ids: Sequence[str], masks: bool) -> str:
    """SHA-256 of the image files (and masks) of these cases as they are now; empty without a raw folder."""
    if not dataset.dataset_json.exists():
        return ""
    raw, chosen = read_raw(dataset), set(ids)
    cases = sorted((case for case in raw.cases if case.id in chosen), key=lambda case: case.id)
    paths = [path for case in cases for path in (raw.image_path(case), *[raw.label_path(case)] * masks)]
    digests = [(path.name, file_hash(path) if path.exists() else "") for path in paths]
    return hashlib.sha256(repr(digests).encode()).hexdigest()
