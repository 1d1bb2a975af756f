"""From the raw folder and a plan to one memory-mapped array of the data set (``htunet.data.preprocessed``).

Workers write their rows into files of an unfinished folder, which replaces the old one when it is complete: a process
that is killed leaves the old arrays or none. The bytes depend only on the raw folder and the plan.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.image_io import label_counts, read_image, read_labels
from htunet.data.preprocessed import COLUMNS
from htunet.data.raw import Case, RawDataset
from htunet.errors import HtunetError
from htunet.files import file_hash, read_json, whole_folder, write_csv, write_json
from htunet.parallel import parallel_map
from htunet.planning.arrays import CHECKSUMS, DONE, FORMAT, arrays_hash, damaged_arrays
from htunet.planning.plans import Plan
from htunet.preprocessing.cropping import crop_box, lesion_pixels_lost
from htunet.preprocessing.geometry import mask_to_input, to_input

IMAGES, MASKS, CASES = "images.npy", "masks.npy", "cases.csv"
LOST, VANISHED = "lesion_pixels_lost", "labels_without_pixels"


@dataclass(frozen=True)
class Preprocessed:
    """The arrays of one plan, made now or found as they should be."""

    folder: Path
    cases: int
    skipped: bool
    """True: nothing had changed."""
    losing: dict[str, int]
    """Id to the number of lesion pixels (original size) that the crop removes, where there are any."""
    vanished: dict[str, list[str]]
    """Id to the names of its labels that have no pixel left, where there are any; not recorded for older arrays."""


def preprocess(
    raw: RawDataset, plan: Plan, raw_sha256: str, *, workers: int = 1, progress: str | None = None
) -> Preprocessed:
    """Make the arrays of ``plan``, unless they exist, undamaged, for this raw content and this plan.

    ``raw_sha256`` comes from ``planning.fingerprint.hash_raw``. The caller has locked the data set's preprocessed
    folder (``files.exclusive``). ``progress`` is the title of the bar on stderr; None shows no bar.
    """
    folder = raw.paths.plan_folder(plan.name)
    cases = sorted(raw.cases, key=lambda case: case.id)
    mark = {"format": FORMAT, "plan": plan.name, "plan_sha256": arrays_hash(plan), "raw_sha256": raw_sha256}
    mark |= {"cases": len(cases)}
    found = read_json(folder / DONE) if (folder / DONE).exists() else None
    if isinstance(found, dict) and {key: found.get(key) for key in mark} == mark and not _lacking(folder, plan, cases):
        return Preprocessed(folder, len(cases), True, found[LOST], found.get(VANISHED, {}))
    with whole_folder(folder) as part:
        losing, vanished = _write_arrays(part, raw, plan, cases, workers=workers, progress=progress)
        write_json(part / CHECKSUMS, {name: file_hash(part / name) for name in (IMAGES, MASKS, CASES)})
        write_json(part / DONE, mark | {LOST: losing} | ({VANISHED: vanished} if vanished else {}))
    return Preprocessed(folder, len(cases), False, losing, vanished)


@dataclass(frozen=True)
class _CaseToWrite:
    row: int
    case: Case
    image: Path
    label: Path | None
    """None in a data set without masks: its rows of the masks stay zero."""


def _lacking(folder: Path, plan: Plan, cases: Sequence[Case]) -> bool:
    """Whether a file of the arrays is lost or damaged; of arrays of earlier versions only their sizes are known."""
    if (folder / CHECKSUMS).exists():
        return bool(damaged_arrays(folder))
    pixels = len(cases) * plan.input_size[0] * plan.input_size[1]
    least = {IMAGES: pixels * plan.channels, MASKS: pixels, CASES: 0}
    files = {folder / name: size for name, size in least.items()}
    return not all(path.exists() and path.stat().st_size >= size for path, size in files.items())


def _write_arrays(
    folder: Path, raw: RawDataset, plan: Plan, cases: list[Case], *, workers: int, progress: str | None
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Write the three files; returns ``losing`` and ``vanished`` as ``Preprocessed`` has them."""
    from tqdm import tqdm  # only in the process that shows it

    height, width = plan.input_size
    image_shape = (len(cases), plan.channels, height, width)
    offsets = (_empty_npy(folder / IMAGES, image_shape), _empty_npy(folder / MASKS, (len(cases), height, width)))
    masks = raw.info.has_masks
    jobs = (
        _CaseToWrite(row, case, raw.image_path(case), raw.label_path(case) if masks else None)
        for row, case in enumerate(cases)
    )
    write = partial(_write_case, folder=folder, plan=plan, offsets=offsets)
    losing, vanished = dict[str, int](), dict[str, list[str]]()

    def rows() -> Iterator[dict[str, Any]]:
        done = parallel_map(write, jobs, workers=workers, name=lambda job: job.case.id, threads=True, number=len(cases))
        for row in tqdm(done, total=len(cases), desc=progress, unit="case", disable=None if progress else True):
            losing.update({row["id"]: row[LOST]} if row[LOST] else {})
            vanished.update({row["id"]: row[VANISHED].split("; ")} if row[VANISHED] else {})
            yield row

    write_csv(folder / CASES, (*COLUMNS, LOST, VANISHED), rows())
    for name in (IMAGES, MASKS):  # else a power cut after the renaming could leave zeros under a valid mark
        with (folder / name).open("rb") as written:
            os.fsync(written.fileno())
    return losing, vanished


def _write_case(job: _CaseToWrite, *, folder: Path, plan: Plan, offsets: tuple[int, int]) -> dict[str, Any]:
    """Write one case's rows of both arrays; returns its row of ``cases.csv``."""
    image_CHW = read_image(job.image, plan.channels)
    mask_HW = read_labels(job.label) if job.label else np.zeros(image_CHW.shape[1:], dtype=np.uint8)
    if image_CHW.shape[1:] != mask_HW.shape:
        raise HtunetError(f"{job.image} and {job.label} differ in size. Check the data set with --verify-only.")
    box = crop_box(image_CHW, plan)
    _write_row(folder / IMAGES, offsets[0], job.row, to_input(image_CHW, box, plan))
    input_HW = mask_to_input(mask_HW, box, plan)
    _write_row(folder / MASKS, offsets[1], job.row, input_HW)
    gone = (label_counts(mask_HW) > 0) & (label_counts(input_HW) == 0)
    height, width = mask_HW.shape
    return {
        "id": job.case.id,
        "class": job.case.class_name,
        "group": job.case.group,
        "height": height,
        "width": width,
        "top": box.top,
        "left": box.left,
        "crop_height": box.height,
        "crop_width": box.width,
        LOST: lesion_pixels_lost(mask_HW, box),
        VANISHED: "; ".join(name for name, value in plan.labels.items() if value and gone[value]),
    }


def _empty_npy(path: Path, shape: tuple[int, ...]) -> int:
    """Make an array file of zeros; returns the offset of its first value."""
    with path.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        offset = stream.tell()
        stream.truncate(offset + int(np.prod(shape, dtype=np.int64)))
    return offset


def _write_row(path: Path, offset: int, row: int, values: NDArray[np.uint8]) -> None:
    # Written, not stored through a memory map: a full disk is then an error with a name and not a crash, and the
    # process does not grow with the array.
    with path.open("r+b") as stream:
        stream.seek(offset + row * values.nbytes)
        stream.write(values.tobytes())
