"""Corrections as new training cases: a second data set, whose validation and test splits are those of the first."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from htunet.data.duplicates import find_duplicates, signature_of
from htunet.data.image_io import read_image, write_png
from htunet.data.names import listed
from htunet.data.raw import (
    IMAGE_FOLDERS,
    LABEL_FOLDERS,
    TRAIN,
    Case,
    RawDataset,
    read_excluded,
    read_raw,
    write_raw_index,
)
from htunet.data.review_case import Correction
from htunet.data.split_files import load_splits, save_splits
from htunet.data.tables import ZEROS
from htunet.errors import HtunetError, counted
from htunet.evaluation.predicted_dice import dice_of_cases
from htunet.files import file_hash, read_json, read_object, whole_folder, write_json
from htunet.paths import FIRST_OWN, DatasetPaths, RunPaths, all_datasets
from htunet.planning.arrays import raw_sha256
from htunet.planning.plans import load_plan, save_plans

RECORD = "corrections.json"


def corrected_dataset(dataset: DatasetPaths, corrected: Sequence[Correction], plan: str) -> DatasetPaths:
    """The data set with the corrections, made unless it is there: all cases of ``dataset`` and a new one for each.

    A new case has the group of the case that it corrects, or of the case that shows the same picture, and is trained
    on in each fold that neither tests nor validates by that group; there it takes the place of the case that it
    corrects. Validation and test splits are those of ``dataset``, with its masks, so that results can be compared. The
    plan is that of ``dataset`` with half of its epochs, as trainings start from its models.

    Raises HtunetError for a class that the data set does not have, for a picture that is not that of the case, as of
    another data set with cases of the same names, and where its images cannot be copied.
    """
    raw = read_raw(dataset)
    if raw.file_ending != ".png":
        raise HtunetError(f"{dataset.raw} holds {raw.file_ending} files. Convert it first: htunet_convert --nnunet.")
    if unknown := {one.facts["class"] for one in corrected} - {"", *raw.info.classes}:
        raise HtunetError(f"review.csv has the classes {sorted(unknown)}; the data set has {[*raw.info.classes]}.")
    _refuse_other_pictures(raw, corrected)
    groups = {case.id: case.group or case.id for case in raw.cases}
    record = {
        "sha256": _digest(dataset, corrected),
        "dataset": dataset.name,
        "raw_sha256": raw_sha256(dataset),
        "splits_sha256": file_hash(dataset.splits_json),
    }
    target = _find_or_name(dataset, record)
    if not target.raw.exists():
        new = _new_cases(raw.cases, corrected, _same_pictures(dataset, corrected, groups))
        with whole_folder(target.raw) as folder:
            for one in raw.cases:
                pairs = [(raw.image_path(one), IMAGE_FOLDERS, "_0000"), (raw.label_path(one), LABEL_FOLDERS, "")]
                for path, folders, mark in pairs:
                    (folder / folders[one.split]).mkdir(exist_ok=True)
                    shutil.copyfile(path, folder / folders[one.split] / f"{one.id}{mark}.png")
            for case, correction in zip(new, corrected, strict=True):
                shutil.copyfile(correction.image, folder / IMAGE_FOLDERS[TRAIN] / f"{case.id}_0000.png")
                write_png(folder / LABEL_FOLDERS[TRAIN] / f"{case.id}.png", correction.labels)
            cases = [replace(case, group=groups[case.id]) for case in raw.cases] + new
            write_raw_index(folder, target.short_name, raw.info, cases, read_excluded(dataset))
            corrects = {case.id: one.case for case, one in zip(new, corrected, strict=True)}
            write_json(folder / RECORD, record | {"corrects": corrects})
    if not target.splits_json.exists():
        _write_plan_and_splits(dataset, target, groups, plan)
    return target


def _find_or_name(dataset: DatasetPaths, record: Mapping[str, str]) -> DatasetPaths:
    """The data set that was made from the same corrections, files and folds, otherwise the next free number and name.

    An earlier version recorded the corrections alone.
    """
    made = [DatasetPaths(name) for name in all_datasets()]
    for one in made:
        before = read_object(one.raw / RECORD) if (one.raw / RECORD).exists() else {}
        if "sha256" in before and all(before.get(name, value) == value for name, value in record.items()):
            return one
    numbers = {int(one.name[7:].partition("_")[0]) for one in made}
    number = next(number for number in range(FIRST_OWN, 1000) if number not in numbers)
    short = dataset.short_name.partition("_corrected")[0]
    names = {one.short_name for one in made}
    title = next(name for name in (f"{short}_corrected{n or ''}" for n in (0, *range(2, 1000))) if name not in names)
    return DatasetPaths(f"Dataset{number:03d}_{title}")


def _write_plan_and_splits(dataset: DatasetPaths, target: DatasetPaths, groups: Mapping[str, str], plan: str) -> None:
    """The plan and the folds of ``dataset``, with the corrections that are in the raw folder of ``target``."""
    corrects = read_object(target.raw / RECORD)["corrects"]
    new_groups = {case.id: case.group for case in read_raw(target).cases if case.id in corrects}
    folds = with_corrections(read_json(dataset.splits_json), groups, new_groups, corrects)
    before = load_plan(dataset.plans_json, plan)
    epochs = max(1, before.num_epochs // 2)
    because = {"num_epochs": f"half of those of {dataset.short_name}, whose models the trainings start from"}
    save_plans(target.plans_json, {plan: replace(before, dataset=target.name, num_epochs=epochs,
                                                 because=before.because | because)})  # fmt: skip
    save_splits(target.splits_json, folds)  # written last: it shows that the data set is complete
    load_splits(target.splits_json)


def with_corrections(
    folds: Sequence[Mapping[str, object]],
    groups: Mapping[str, str],
    new_groups: Mapping[str, str],
    corrects: Mapping[str, str],
) -> list[dict[str, object]]:
    """The folds with new training cases.

    Args:
        folds: Of splits_final.json, with ``train``, ``val`` and ``test``.
        groups: The group of each case of them.
        new_groups: The group of each new case.
        corrects: The case that each new one takes the place of; empty: none.
    """
    result = []
    for fold in folds:
        train, others = list(_ids(fold, "train")), [*_ids(fold, "val"), *_ids(fold, "test")]
        held_out = {groups.get(case, case) for case in others}
        added = [case for case, group in new_groups.items() if group not in held_out]
        replaced = {corrects[case] for case in added}
        result.append({**fold, "train": [case for case in train if case not in replaced] + added})
    return result


def describe(target: DatasetPaths) -> list[str]:
    """How many corrections each fold learns from, a line each, and the groups that only corrections have."""
    corrects, cases = read_object(target.raw / RECORD)["corrects"], read_raw(target).cases
    new = {case.group for case in cases if case.id in corrects and not case.id.startswith(f"{case.group}_corrected")}
    new -= {case.group for case in cases if case.id not in corrects}
    notes = [f"groups of review.csv that the data set does not have: {listed(sorted(new))}"] if new else []
    return notes + [
        f"fold{number}: {counted(len(corrects.keys() & set(fold['train'])), 'correction')} of {len(corrects)} in the "
        "training; the others are of patients or images that it validates or tests"
        for number, fold in enumerate(load_splits(target.splits_json))
    ]


def compared_dice(before: Sequence[RunPaths], after: Sequence[RunPaths]) -> tuple[float, float]:
    """The mean Dice of the same test images before and after, 0..1, at the original size, whatever the policies were.

    An image without a label in which one of both finds nothing counts 1 for it and 0 for the false alarm of the other;
    an image in which both find nothing is left out.
    """
    found = [{(run.fold, case): float(np.mean(dice)) for run in runs
              for case, dice in dice_of_cases(run.test_folder / "per_case.csv").items()}
             for runs in (before, after)]  # fmt: skip
    images = found[0].keys() | found[1].keys()
    then, now = (float(np.mean([one.get(image, 1.0) for image in images] or [1.0])) for one in found)
    return then, now


def _ids(fold: Mapping[str, object], split: str) -> Sequence[str]:
    found = fold.get(split, [])
    assert isinstance(found, list)
    return found


def _new_cases(cases: Sequence[Case], corrected: Sequence[Correction], groups: Mapping[str, str]) -> list[Case]:
    taken, of, new = {case.id.lower() for case in cases}, {case.id: case for case in cases}, list[Case]()
    for one in corrected:
        name, number = f"{one.case or one.name}_corrected"[:150], 2
        base = name
        while name.lower() in taken:
            name, number = f"{base}{number}", number + 1
        taken.add(name.lower())
        class_name = one.facts["class"] or (of[one.case].class_name if one.case in of else "")
        new.append(Case(id=name, split=TRAIN, class_name=class_name, group=groups[one.name], source=one.origin,
                        spacing_mm=one.spacing_mm))  # fmt: skip
    return new


def _same_pictures(dataset: DatasetPaths, corrected: Sequence[Correction], groups: Mapping[str, str]) -> dict[str, str]:
    """The group of each correction: of the case that it corrects or whose picture it shows, else its own."""
    raw = read_raw(dataset)
    found = {one.name: groups.get(one.case, "") or _known(one.facts["group"], groups.values()) for one in corrected}
    new = [one for one in corrected if one.case not in groups]
    if new:
        images = (*map(raw.image_path, raw.cases), *(one.image for one in new))
        for pair in find_duplicates(signature_of(read_image(path, raw.info.channels)) for path in images):
            if pair.first < len(raw.cases) <= pair.second:
                name = new[pair.second - len(raw.cases)].name
                found[name] = groups[raw.cases[pair.first].id]
    return {name: group or name for name, group in found.items()}


def _refuse_other_pictures(raw: RawDataset, corrected: Sequence[Correction]) -> None:
    for one in (one for one in corrected if one.case in raw.by_id):
        pictures = [read_image(path, raw.info.channels) for path in (one.image, raw.image_path(raw.by_id[one.case]))]
        if not find_duplicates(map(signature_of, pictures)) or len({picture.shape for picture in pictures}) > 1:
            raise HtunetError(
                f"{one.image} does not show the case {one.case} of {raw.paths.name}. Name the data set that the review "
                "folder was made of, or, where its images have changed since, make it again with htunet_review."
            )


def _known(typed: str, groups: Iterable[str]) -> str:
    """The group that was meant: spreadsheets save 007 as 7, and people differ in blanks and letter case."""
    typed, known = typed.strip(), {*groups}
    alike = sorted(group for group in known if _plain(group) == _plain(typed)) if typed not in known else []
    if len(alike) > 1:
        raise HtunetError(f"review.csv has the group {typed!r}; is it {' or '.join(alike)}? Write it in full.")
    return alike[0] if alike else typed


def _plain(group: str) -> str:
    return ZEROS.sub("", group.strip().lower())


def _digest(dataset: DatasetPaths, corrected: Sequence[Correction]) -> str:
    """Of what decides on the new cases, among it the groups that are meant: an earlier version took them as typed."""
    groups, digest = {case.id: case.group or case.id for case in read_raw(dataset).cases}, hashlib.sha256()
    digest.update(dataset.name.encode())
    for one in corrected:
        group = one.facts["group"] if one.case in groups else _known(one.facts["group"], groups.values())
        digest.update(repr((one.name, one.case, group, one.facts["class"], one.spacing_mm)).encode())
        digest.update(np.ascontiguousarray(one.labels).tobytes())
    return digest.hexdigest()
