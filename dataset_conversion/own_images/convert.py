"""The images and masks that a user has, in any format and under any names, to a raw folder of their own.

File names and headers are read first; one pass over the masks finds their values; then each image is
written by a worker process. What is inferred is said, and what does not become a case is named in excluded.csv.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from dataset_conversion.common import Collected, ConversionReport, SourceFacts, convert_images
from dataset_conversion.own_images.cases import OwnImage, write_own_image
from dataset_conversion.own_images.find_images import find_images
from dataset_conversion.own_images.folds import OfficialFolds, named_splits, read_folds
from dataset_conversion.own_images.options import Findings, Found, OwnData
from htunet.data.duplicates import DuplicatePair, cluster
from htunet.data.formats.dicom import patient_of
from htunet.data.formats.stacks import is_picture, open_stack
from htunet.data.label_maps import LabelMap, Survey, check_segments, given, infer_in_splits, survey, unreadable
from htunet.data.names import listed, printable, unique_ids
from htunet.data.raw import RULE_WITH_TEST, TEST, TRAIN, Case, DatasetInfo, positive_class
from htunet.data.tables import Tags, large_groups, read_spacing, read_tags, split_rule
from htunet.errors import HtunetError, UsageError, counted
from htunet.parallel import parallel_map, suitable_workers
from htunet.paths import DATASET_NAME, FIRST_OWN, DatasetPaths, all_datasets

CLASS_COLUMNS = ("class", "label", "classes", "diagnosis")
GROUP_COLUMNS = ("group", "patient", "patient_id", "patientid", "subject", "subject_id")
FEWEST_COPIES, COPIES = 3, 0.1
"""At least so many masks, and this fraction of them, are the same if that is no coincidence."""
LAST_NUMBER = 999
"""Largest number of a user's data set."""


def convert_own(data: OwnData) -> ConversionReport:
    """Convert what a user has; raises UsageError for wrong options, HtunetError where nothing can be made of the files.

    On any error the raw folder stays as it was.
    """
    dataset, named = dataset_name(data.name)
    findings = find_images(data)
    pictures = all(is_picture(path) for one in findings.images for path in (one.image, *one.masks))
    label_map = _label_map(findings, data, threads=pictures) if data.masks or data.nnunet else None
    folds = read_folds(data.folds, findings.images) if data.folds else OfficialFolds()
    findings.images = folds.divide(findings.images)
    findings.notes += folds.notes if data.folds else named_splits(findings.images)
    collected = collect(findings, label_map, data)
    classes = {name: index for index, name in enumerate(sorted({job.case.class_name for job in collected.jobs} - {""}))}
    if data.positive and (data.positive not in classes or len(classes) != 2):
        known = ", ".join(classes) or "none"
        raise UsageError(f"--positive {data.positive} must be one of two classes; the classes are {known}.")
    if classes:
        alone = " (one class alone: there is nothing to tell apart)" * (len(classes) == 1)
        collected.notes.append("classes: " + ", ".join(f"{index} {name}" for name, index in classes.items()) + alone)
    if chosen := positive_class(DatasetInfo(classes=classes, positive=data.positive)):
        collected.notes.append(
            f"{chosen} is the positive class, for which recall, precision and F1 are computed (--positive)"
        )
    has_test = any(one.split == TEST for one in findings.images)
    facts = SourceFacts(
        dataset=dataset,
        title="A user's own images",
        licence="",
        home="",
        citation="",
        download="",
        split_rule=RULE_WITH_TEST if has_test else "8:1:1",
        classes=classes,
        positive=data.positive,
        labels=label_map.labels if label_map else findings.labels,
        has_masks=data.has_masks,
    )
    collected.notes.insert(0, named)
    findings.images.clear()  # the jobs hold what is needed of them
    finish = partial(folds.write, DatasetPaths(dataset)) if data.folds else None
    return convert_images(
        data.source, facts, collected, write_own_image, workers=data.workers, finish=finish, threads=pictures
    )


def _label_map(findings: Findings, data: OwnData, *, threads: bool) -> LabelMap:
    """What the values of all masks mean, which are read once for it; notes are added to ``findings``."""
    split_of = [one.split for one in findings.images for _ in one.mask_names]
    workers, masks = suitable_workers(len(split_of), data.workers), _masks(findings.images)
    results = parallel_map(survey, masks, workers=workers, threads=threads, number=len(split_of))
    surveys = list(tqdm(results, total=len(split_of), desc="look at the masks", unit="mask", disable=None))
    surveyed = [(split, one) for split, one in zip(split_of, surveys, strict=True) if one is not None]
    if not surveyed:
        first = next(_masks(findings.images))
        raise HtunetError(f"None of {counted(len(surveys), 'mask')} can be read. {unreadable(first)}")
    findings.notes += check_segments(_masks(findings.images), surveys)
    values = data.labels or findings.values
    parts = [[one for split, one in surveyed if split == part] for part in (TRAIN, TEST)]
    label_map = given(values, [one for _, one in surveyed]) if values else infer_in_splits(parts)
    findings.notes += [label_map.note, *_copied(findings.images, surveys)]
    return label_map


def _masks(images: Sequence[Found]) -> Iterator[Path]:
    return (mask for one in images for mask in one.masks)


def _copied(images: Sequence[Found], surveys: Sequence[Survey | None]) -> list[str]:
    """A note where many masks are the same, pixel for pixel; only those with the same counts are read again."""
    alike: dict[frozenset[tuple[int, int]], list[int]] = defaultdict(list)
    for position, one in enumerate(surveys):
        if one and len(one.counts) > 1:
            alike[frozenset(one.counts.items())].append(position)
    many, most = max(FEWEST_COPIES, COPIES * len(surveys)), {*max(alike.values(), key=len, default=())}
    same: dict[bytes, list[str]] = defaultdict(list)
    for path in (path for position, path in enumerate(_masks(images)) if position in most):
        digest = sha256()
        for levels in open_stack(path).levels():
            digest.update(levels.tobytes())
        same[digest.digest()].append(path.name)
    names = max(same.values(), key=len, default=[])
    if len(names) < many:
        return []
    return [
        f"{counted(len(names), 'mask')} are the same, pixel for pixel: {listed(names)}. Check that these are the masks"
    ]


def dataset_name(name: str) -> tuple[str, str]:
    """The full name for ``name``, and how it came about: the number that it has already, else the next free one.

    Raises UsageError for a name that is none, or when all numbers are taken.
    """
    if name.lower().startswith("dataset") and DATASET_NAME.fullmatch(name):
        return name, f"the raw folder is {name}"
    DatasetPaths(f"Dataset{FIRST_OWN}_{name}")  # refuses what cannot be a name
    known = all_datasets()
    own = [full for full in known if full.split("_", 1)[1] == name and int(full[7:10]) >= FIRST_OWN]
    if own:
        return own[0], f"{name} is {own[0]} already"
    taken = {int(full[7:10]) for full in known}
    free = next((number for number in range(FIRST_OWN, LAST_NUMBER + 1) if number not in taken), None)
    if free is None:
        raise UsageError(f"All numbers from {FIRST_OWN} to {LAST_NUMBER} are taken. Give a full name, DatasetNNN_NAME.")
    return f"Dataset{free}_{name}", f"{name} gets the next free number: Dataset{free}_{name}"


def collect(findings: Findings, label_map: LabelMap | None, data: OwnData) -> Collected[OwnImage]:
    """The jobs with ids, classes and groups; an image to which ``classes`` gives none is excluded."""
    found = findings.images
    ids, renamed = unique_ids(
        [one.id or one.name for one in found], ["" if one.split == TRAIN else one.split for one in found]
    )
    classes = Tags()
    if data.classes:
        classes = read_tags(data.classes, names_for(data.classes, found), option="--classes", columns=CLASS_COLUMNS)
    class_of = [classes.of.get(name, "") for name in names_for(data.classes, found)]
    for one, class_name in zip(found, class_of, strict=True):
        if data.classes and not class_name:
            findings.leave_out(one.name, "an image without a class")
    groups, group_notes = _groups(found, data)
    names = names_for(data.spacing, found)
    spacing, spacing_notes = read_spacing(data.spacing, names) if data.spacing else ({}, [])
    notes = [*findings.notes, *classes.notes, *group_notes, *spacing_notes]
    tables = [rule for rule in (data.classes, data.groups, data.spacing) if split_rule(rule)]
    if tables and (
        shared := [name for name, one in zip(names_for(tables[0], found), found, strict=True) if name != one.name]
    ):
        notes.append(
            f"images of the same name are in --images and in --test-images: a table names them with their folders, as "
            f"{listed(shared[:1] + shared[-1:])}"
        )
    if renamed:
        shown = ", ".join(f"{printable(name)} is {final}" for name, final in renamed[:5])
        notes.append(f"{counted(len(renamed), 'id')} with other letters than the file name: {shown}; cases.csv has all")
    jobs = [
        OwnImage(
            case=Case(
                id=case_id,
                split=one.split,
                class_name=class_name,
                group=group,
                source=printable(one.name),
                spacing_mm=spacing.get(name),
            ),
            found=one,
            labels=label_map,
            label_of=findings.labels,
            paired=bool(data.pairs),
            fit_masks=data.fit_masks,
            fill_outlines=data.fill_outlines,
        )
        for one, case_id, class_name, group, name in zip(found, ids, class_of, groups, names, strict=True)
        if class_name or not data.classes
    ]
    counts = Counter(job.case.class_name or f"in the {job.case.split} split" for job in jobs)
    counts |= Counter(
        one.reason.removeprefix("an image ") for one in findings.excluded if one.reason.startswith("an image ")
    )
    return Collected(jobs=jobs, found=dict(counts), excluded=findings.excluded, notes=notes)


def names_for(rule: str, found: Sequence[Found]) -> list[str]:
    """Names of the images for ``rule``: in a table, names that occur in both splits need their folder."""
    counts = Counter(one.name for one in found)
    parts = {one.base: one.base.absolute().parts for one in found}
    longest = max(map(len, parts.values()), default=0)
    tails = ({base: "/".join(path[-number:]) for base, path in parts.items()} for number in range(1, longest + 1))
    folders = next((tail for tail in tails if len({*tail.values()}) == len(tail)), {})
    is_table = split_rule(rule) is not None
    return [f"{folders[one.base]}/{one.name}" if is_table and counts[one.name] > 1 else one.name for one in found]


def _groups(found: Sequence[Found], data: OwnData) -> tuple[list[str], list[str]]:
    """The group of each image: what the user says, else a number for each patient that DICOM headers distinguish.

    A PatientID without an issuer is the one with an issuer, and a file without a PatientID is of its study's patient.
    """
    if data.groups:
        names = names_for(data.groups, found)
        tags = read_tags(data.groups, names, option="--groups", columns=GROUP_COLUMNS)
        if without := [name for name in names if name not in tags.of]:
            tags.notes.append(
                f"without a group, each counts as one: {counted(len(without), 'image')}, {listed(without)}"
            )
        return [tags.of.get(name, "") for name in names], tags.notes
    workers, paths = suitable_workers(len(found), data.workers), (one.image for one in found)
    patients = list(parallel_map(patient_of, paths, workers=workers, threads=True, number=len(found)))
    no_issuer = {patient for patient, issuer, _ in patients if not issuer}
    no_patient = {study for patient, _, study in patients if not patient}
    first: dict[tuple[str, str, str], int] = {}
    same = []
    for position, (patient, issuer, study) in enumerate(patients):
        by_id = ("id", patient, "" if patient in no_issuer else issuer)
        by_study = ("study", study, "" if study in no_patient else patient)
        keys = [key for key in (by_id, by_study) if key[1]]
        same += [DuplicatePair(first.setdefault(key, position), position, 1.0, True) for key in keys]
    numbered, groups = cluster(same), [""] * len(patients)
    for number, positions in enumerate(numbered, start=1):
        for position in positions:
            groups[position] = f"patient_{number:04d}"
    notes = [
        f"groups are the patients in the DICOM headers ({counted(len(numbered), 'patient')}), numbered here: no "
        "id or name of a "
        "patient is read into the data set (file names are kept in cases.csv)"
    ] * bool(numbered)
    if len({(patient, issuer) if patient else study for patient, issuer, study in patients} - {""}) > len(numbered):
        notes.append(
            "DICOM files without a PatientID, or without its issuer, were joined with others by study or by id"
        )
    return groups, [*notes, *large_groups(groups, len(groups))]
