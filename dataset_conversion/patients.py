"""``patients.csv``: which patient an image shows, with the columns ``image`` and ``patient``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dataset_conversion.common import ImageWithMasks
from htunet.data.names import composed
from htunet.data.tables import is_missing
from htunet.errors import HtunetError, counted
from htunet.files import read_csv

PATIENTS = "patients.csv"


def with_patients(jobs: Sequence[ImageWithMasks], table: Path) -> tuple[list[ImageWithMasks], list[str]]:
    """The jobs with the patient of each image as its group, and a note on rows whose image does not exist.

    ``image`` is the path relative to the folder of ``table``. Raises HtunetError when the table lacks an image, or
    gives one to two patients.
    """
    patients: dict[str, str] = {}
    for row in read_csv(table, ("image", "patient"), any_delimiter=True):
        image, patient = _path(row["image"]), row["patient"].strip()
        patient = "" if is_missing(patient) else patient
        if patients.setdefault(image, patient) != patient:
            raise HtunetError(f"{table} gives {image} to the patients {patients[image]} and {patient}. Correct it.")
    sources = {job.case.source: _path(job.case.source) for job in jobs}
    if unknown := sorted(source for source, image in sources.items() if not patients.get(image)):
        raise HtunetError(
            f"{table} names no patient for {counted(len(unknown), 'image')}: {', '.join(unknown[:5])}. Complete "
            "it or take it out."
        )
    grouped = [replace(job, case=replace(job.case, group=patients[sources[job.case.source]])) for job in jobs]
    absent = sorted(one for one in patients if one not in sources.values() and not (table.parent / one).is_file())
    notes = (
        [f"{table.name} names {counted(len(absent), 'image')} not in the folder: {', '.join(absent[:5])}"]
        if absent
        else []
    )
    return grouped, notes


def _path(text: str) -> str:
    return composed(text.strip().replace("\\", "/"))
