"""NextGen-UIA, the release of the paper's authors: all sets in one folder, and lists of file names that divide them.

all/images/NAME.png  all/masks/NAME.png  segmentation/BUSI/{train,val,test}.txt  classification/BUSI/ the same and
labels.csv  finetune/medpix_dataset/{images/,medpix_dataset.csv}  finetune/pmc_curd_dataset/ in the same way.
The layout is that of https://github.com/jinggqu/NextGen-UIA (its README and its loaders).
"""

import contextlib
import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from dataset_conversion.busi import BUSI
from dataset_conversion.captions.common import Reading, convert_captions
from dataset_conversion.captions.curd import CURD
from dataset_conversion.captions.medpix import MEDPIX, read_table
from dataset_conversion.captions.pmc_oa import PMC_OA
from dataset_conversion.common import (
    CLASSES,
    LOSSY_THRESHOLD,
    Collected,
    ConversionReport,
    ImageWithMasks,
    Options,
    SourceFacts,
    convert_images,
    source_of,
    write_image_with_masks,
)
from dataset_conversion.ddti import DDTI
from dataset_conversion.lymph_node import LN_EXT, LN_INT
from dataset_conversion.prostate import PROSTATE
from dataset_conversion.source import Layout, open_source
from dataset_conversion.tn3k import TN3K
from htunet.data.folders import walk
from htunet.data.image_io import READABLE
from htunet.data.names import WHOLE, composed, listed, stem_of, unique_ids
from htunet.data.raw import TEST, TRAIN, Case, Excluded
from htunet.data.split_files import save_splits
from htunet.data.split_lists import COLUMNS, read_name_list, split_files_in
from htunet.data.splits import SPLITS, TEST_ONLY
from htunet.errors import HtunetError, UsageError, counted, option
from htunet.files import read_object, read_text
from htunet.paths import PAPER_FOLD, DatasetPaths

NAME = "NextGen-UIA"
TASKS = {"segmentation": "seg", "classification": "cls"}
LABELS = "labels.csv"
LABEL_COLUMNS = ("label", "labels", "class", "category", "diagnosis", "pathology")
SETS = {
    "BUSI": (BUSI, 647),
    "LN-INT": (LN_INT, 1273),
    "LN-EXT": (LN_EXT, 374),
    "DDTI": (DDTI, 637),
    "TN3K": (TN3K, 3493),
    "Prostate": (PROSTATE, 2910),
}
"""The facts of each set, and its images in the paper's Table I."""
PMC_CURD = replace(
    PMC_OA,
    dataset="Dataset512_PMC-CURD",
    title="Images of PMC-OA and CURD with their captions, as the paper's authors have joined them",
    home="https://github.com/jinggqu/NextGen-UIA",
    citation=f"{PMC_OA.citation} {CURD.citation}",
    licence="as PMC-OA and CURD; ask the authors",
    download=f"the release of {NAME}",
    expected={},
    published=(18170, 2034),
)
CAPTIONS = {"MedPix": (MEDPIX, "medpix_dataset"), "PMC-CURD": (PMC_CURD, "pmc_curd_dataset")}
"""The facts of each caption set, and its folder below finetune/, whose table has the same name."""
FROM_RELEASE = f"from {NAME}, the release of the paper's authors"
PRIVATE = ("LN-INT", "LN-EXT")
LAYOUT = Layout(
    looked_for="a folder with all/images/, all/masks/ and segmentation/ or classification/, or one with finetune/",
    is_here=lambda folder: (
        ((folder / "all" / "images").is_dir() and any((folder / task).is_dir() for task in TASKS))
        or any((folder / "finetune" / place / f"{place}.csv").is_file() for _, place in CAPTIONS.values())
    ),
    member=re.compile(r"(^|/)(all/images/|(segmentation|classification)/[^/]+/|finetune/[^/]+/)"),
)


@dataclass(frozen=True)
class SetResult:
    """What became of one set."""

    name: str
    report: ConversionReport | None = None
    reason: str = ""
    """Why it was not converted."""
    failed: bool = False
    """It is there and could not be converted."""


def convert_release(source: Path, options: Options, tell: Callable[[str], object]) -> Iterator[SetResult]:
    """Convert every set of the release, and import its lists as the fold ``paper``; ``tell`` gets what concerns all.

    A set that is missing, or was converted from other files, is left alone and named. Raises UsageError for options
    that a release has no use for, HtunetError where ``source`` holds no release.
    """
    if wrong := sorted(options.chosen() - {"workers", "fit_masks"}):
        raise UsageError(f"{option(wrong[0])} does nothing for {NAME}, which holds several data sets.")
    with open_source(source, LAYOUT) as folder:
        release = Release(folder)
        for remark in release.remarks():
            tell(remark)
        for name in SETS:
            yield _one(name, source, partial(_convert_set, release, name, options))
        for name, (facts, place) in CAPTIONS.items():
            yield _one(name, source, partial(_convert_captions, folder / "finetune" / place, facts, options))


def _one(name: str, source: Path, convert: Callable[[], ConversionReport | str]) -> SetResult:
    try:
        found = convert()
    except HtunetError as error:
        return SetResult(name, reason=str(error), failed=True)
    return SetResult(name, reason=found) if isinstance(found, str) else SetResult(name, replace(found, source=source))


@dataclass
class Release:
    """The files of a release; nothing of an image has been read."""

    folder: Path

    @cached_property
    def images(self) -> Mapping[str, list[Path]]:
        """Every name that an image may be listed under, to the files that it fits."""
        return _by_name(self.folder / "all" / "images")

    @cached_property
    def masks(self) -> Mapping[str, list[Path]]:
        """The same for masks."""
        return _by_name(self.folder / "all" / "masks")

    @cached_property
    def sets(self) -> Mapping[str, Mapping[str, Path]]:
        """Name of a set to its folder for each task."""
        found: dict[str, dict[str, Path]] = defaultdict(dict)
        for place, task in TASKS.items():
            for child in sorted((self.folder / place).iterdir()) if (self.folder / place).is_dir() else ():
                if child.is_dir() and not child.name.startswith("."):
                    name = next((one for one in SETS if one.lower() == child.name.lower()), child.name)
                    found[name][task] = child
        return found

    def lists(self, name: str) -> dict[str, dict[str, list[str]]]:
        """Task and split to the listed names; HtunetError for a list that cannot be read."""
        found = {}
        for task, folder in self.sets.get(name, {}).items():
            if files := split_files_in(folder):
                found[task] = {split: read_name_list(files[split]) if split in files else [] for split in SPLITS}
        return found

    def name_of(self, name: str) -> str:
        """The one image file that a listed name fits, below all/images/; the name itself where it fits none or several.

        Lists and tables may name an image with and without its folder or ending, and in another letter case.
        """
        files = find(self.images, name)
        return source_of(self.folder / "all" / "images", files[0]) if len(files) == 1 else name

    def resolved(self, lists: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, dict[str, list[str]]]:
        """The lists with ``name_of`` their names; HtunetError where one file is named as of two folders."""
        folders: dict[str, dict[str, str]] = defaultdict(dict)
        for name in (name for splits in lists.values() for names in splits.values() for name in names):
            folder = PurePosixPath(composed(name).replace("\\", "/")).parent.name.lower()
            folders[self.name_of(name)].setdefault(folder, name)
        for file, names in folders.items():
            if len(set(names) - {"", "images"}) > 1:
                raise HtunetError(
                    f"The lists mean all/images/{file} by {listed(sorted(names.values()))}, which are files of several "
                    "folders. Give each image its own file or name."
                )
        return {
            task: {split: [self.name_of(name) for name in names] for split, names in splits.items()}
            for task, splits in lists.items()
        }

    def remarks(self) -> Iterator[str]:
        """What belongs to no set that is known."""
        if unknown := sorted(set(self.sets) - set(SETS)):
            yield f"Not converted, because no such set is in the paper: {listed(unknown)}"
        named: set[Path] = set()
        for name in self.sets:
            with contextlib.suppress(HtunetError):  # a list that cannot be read is its set's problem
                for lists in self.lists(name).values():
                    named.update(path for names in lists.values() for one in names for path in find(self.images, one))
        images = {path for paths in self.images.values() for path in paths}
        if rest := sorted(path.name for path in images - named):
            yield f"{len(rest)} of {len(images)} images are in no list and in no data set: {listed(rest)}"


def _by_name(folder: Path) -> Mapping[str, list[Path]]:
    found: dict[str, set[Path]] = defaultdict(set)
    for place, _, files in walk(folder) if folder.is_dir() else ():
        for name in files:
            path = place / name
            if path.suffix.lower() in READABLE and not name.startswith(".") and path.is_file():
                for one in (source_of(folder, path), name, path.stem):
                    found[composed(one)].add(path)
    lower: dict[str, set[Path]] = defaultdict(set)
    for one, paths in found.items():
        lower[one.lower()] |= paths
    found = {**lower, **found}
    return {name: sorted(paths) for name, paths in found.items()}


def find(files: Mapping[str, list[Path]], name: str) -> list[Path]:
    """The files of a listed name: the name itself, its last part, that without its ending; else in any letter case."""
    plain = PurePosixPath(composed(name).replace("\\", "/"))
    ways = (plain.as_posix(), plain.name, plain.stem)
    return next((files[one] for one in (*ways, *map(str.lower, ways)) if one in files), [])


def _left_alone(paths: DatasetPaths, source: str, *, ours: bool) -> str:
    """Why a raw folder is not replaced: it was made from other files."""
    if not paths.raw.exists() or ours:
        return ""
    return f"{paths.raw} was made from other files and is left as it is. {source} Remove that folder to convert it."


def _convert_set(release: Release, name: str, options: Options) -> ConversionReport | str:
    facts, images = SETS[name]
    lists = release.lists(name)
    if not lists:
        private = ", which its authors may not distribute" if name in PRIVATE else ""
        return f"not in this release{private}"
    paths = DatasetPaths(facts.dataset)
    places = " or ".join(f"{folder.parent.name}/{folder.name}" for folder in release.sets[name].values())
    take = f"Its lists can be used for it: htunet_plan_and_preprocess -d {name} --splits FOLDER, with {places}."
    if reason := _left_alone(paths, take, ours=paths.paper_splits_json.exists()):
        return reason
    members = Members(release, name, release.resolved(lists))
    collected = members.collect(fit_masks=options.fit_masks)
    if not collected.jobs:
        return f"none of the {len(members.splits)} images that its lists name is there"
    if "cls" not in lists and not any(job.masks for job in collected.jobs):
        raise HtunetError(f"None of its {counted(len(collected.jobs), 'image')} has a mask of its name in all/masks/.")
    splits = {job.case.split for job in collected.jobs}
    rule = TEST_ONLY if splits == {TEST} else "8:1:1" if splits == {TRAIN} else facts.split_rule
    facts = replace(
        facts,
        split_rule="8:2" if splits == {TRAIN, TEST} and rule not in ("8:2", "9:1") else rule,
        classes=CLASSES if any(job.case.class_name for job in collected.jobs) else {},
        expected={"in its lists": images},
        has_masks=any(job.masks for job in collected.jobs),
    )
    return convert_images(
        release.folder,
        facts,
        collected,
        write_image_with_masks,
        workers=options.workers,
        finish=members.write_folds,
        threads=True,
    )


@dataclass
class Members:
    """The images of one set, and the split of each in each task."""

    release: Release
    name: str
    lists: Mapping[str, Mapping[str, Sequence[str]]]
    ids: dict[str, str] = field(default_factory=dict)
    """Listed name to the id of its case."""

    @cached_property
    def splits(self) -> Mapping[str, Mapping[str, str]]:
        """Listed name to its split for each task; of several splits test counts before val, and val before train."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for task, lists in self.lists.items():
            for split in SPLITS:
                for name in lists[split]:
                    found[name][task] = split
        return found

    def collect(self, *, fit_masks: bool) -> Collected[ImageWithMasks]:
        """The cases, and every listed name that becomes none."""
        excluded: list[Excluded] = []
        classes, notes = self._classes()
        notes = [FROM_RELEASE, *self._repeated(), *notes]
        pairs = {}
        for name in self.splits:
            images, masks = (find(files, name) for files in (self.release.images, self.release.masks))
            if len(images) == 1 and len(masks) < 2:
                pairs[name] = (images[0], tuple(masks))
            else:
                what = "image" if len(images) != 1 else "mask"
                reason = f"several {what}s have this name" if images else "named in a list, and there is no such image"
                excluded.append(Excluded(source=f"all/images/{name}", class_name=classes.get(name, ""), reason=reason))
        uses = Counter(mask for _, masks in pairs.values() for mask in masks)
        for name in [name for name, (_, masks) in pairs.items() if any(uses[mask] > 1 for mask in masks)]:
            source = source_of(self.release.folder, pairs.pop(name)[0])
            reason = "several images have its mask"
            excluded.append(Excluded(source=source, class_name=classes.get(name, ""), reason=reason))
        with_masks = any(masks for _, masks in pairs.values())
        if "seg" in self.lists and pairs and not with_masks:
            notes.append("no image has a mask of its name in all/masks/, so that only classes can be learnt")
        for name in [name for name, (_, masks) in pairs.items() if with_masks and not masks]:
            source = source_of(self.release.folder, pairs.pop(name)[0])
            excluded.append(Excluded(source=source, class_name=classes.get(name, ""), reason="an image without a mask"))
        cases = case_ids(self.name, list(pairs))
        self.ids = {name: case for name, (case, _) in cases.items()}
        jobs = [
            ImageWithMasks(
                case=Case(
                    id=cases[name][0],
                    split=self._split(name),
                    class_name=classes.get(name, ""),
                    group=cases[name][1],
                    source=source_of(self.release.folder, image),
                ),
                image=image,
                masks=masks,
                fit_masks=fit_masks,
                threshold=LOSSY_THRESHOLD,
            )
            for name, (image, masks) in pairs.items()
        ]
        return Collected(jobs=jobs, found={"in its lists": len(self.splits)}, excluded=excluded, notes=notes)

    def write_folds(self, raw_folder: Path, cases: Sequence[Case]) -> list[str]:
        """Write ``paper_splits.json``: the fold ``paper``, or one for each task where their lists differ."""
        known = {case.id for case in cases}
        folds: dict[str, dict[str, list[str]]] = {}
        for task in self.lists:
            fold: dict[str, list[str]] = {split: [] for split in SPLITS}
            for name, split_of in self.splits.items():
                if task in split_of and self.ids.get(name) in known:
                    fold[split_of[task]].append(self.ids[name])
            folds[task] = {split: sorted(ids) for split, ids in fold.items()}
        same = len(folds) == 2 and folds["seg"] == folds["cls"]
        by_task = {"": folds["seg"]} if same else folds if len(folds) > 1 else {"": next(iter(folds.values()))}
        content = [{"name": PAPER_FOLD, **({"task": task} if task else {}), **fold} for task, fold in by_task.items()]
        save_splits(raw_folder / DatasetPaths(SETS[self.name][0].dataset).paper_splits_json.name, content)
        names = {"seg": "segmentation", "cls": "classification", "": "both tasks" if same else "all tasks"}
        sizes = (f"{names[task]} {'/'.join(str(len(fold[s])) for s in SPLITS)}" for task, fold in by_task.items())
        return [f"the authors' lists are the fold {PAPER_FOLD} (train/val/test): {'; '.join(sizes)}"]

    def _split(self, name: str) -> str:
        """``test`` where the data set defines its test split and no list trains on the image."""
        if SETS[self.name][0].split_rule == "8:1:1":
            return TRAIN
        return TEST if set(self.splits[name].values()) == {"test"} else TRAIN

    def _repeated(self) -> Iterator[str]:
        """Names that a task lists more than once."""
        for task, lists in self.lists.items():
            places: dict[str, list[str]] = defaultdict(list)
            for split in SPLITS:
                for name in lists[split]:
                    places[name].append(split)
            across = {name: found for name, found in places.items() if len(set(found)) > 1}
            again = [name for name, found in places.items() if len(found) > len(set(found))]
            if across:
                shown = listed([f"{name} ({' and '.join(dict.fromkeys(found))})" for name, found in across.items()])
                yield (
                    f"in several lists of {task}, and counted for the last one only: "
                    f"{counted(len(across), 'name')}: {shown}"
                )
            if again:
                yield f"twice in a list of {task}, and counted once: {counted(len(again), 'name')}: {listed(again)}"

    def _classes(self) -> tuple[Mapping[str, str], list[str]]:
        """Listed name to its class, and what is wrong with ``labels.csv``."""
        folder = self.release.sets[self.name].get("cls")
        if folder is None or not (folder / LABELS).is_file():
            missing = [f"there is no {LABELS}, so the images have no classes"] if "cls" in self.lists else []
            return {}, missing
        labels = dict[str, str]()
        for listed_name, label in read_labels(folder / LABELS).items():
            if labels.setdefault(name := self.release.name_of(listed_name), label) != label:
                raise HtunetError(f"{folder.name}/{LABELS} gives {name} two classes: {labels[name]} and {label}.")
        classes, notes = class_names(labels)
        classified = {name for name, split_of in self.splits.items() if "cls" in split_of}
        if without := sorted(classified - set(classes)):
            notes.append(
                f"without a class in {LABELS}: {counted(len(without), 'name')} of the classification lists: "
                f"{listed(without)}"
            )
        if others := sorted(set(labels) - set(self.splits)):
            notes.append(f"in no list: {counted(len(others), 'name')} of {LABELS}: {listed(others)}")
        return classes, notes


def read_labels(path: Path) -> dict[str, str]:
    """Name to label from the columns that the first line names, else from the first two; HtunetError for another file.

    Numbers may be written as ``1.0``, as they are where some are missing.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path), newline="")) if row]
    except csv.Error as error:
        raise HtunetError(f"{path.parent.name}/{path.name} is not a CSV ({error}). Save it as one.") from None
    found: dict[str, str] = {}
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    of = next((place for place, cell in enumerate(header) if COLUMNS.get(cell) == "name"), 0)
    to = next((place for place, cell in enumerate(header) if cell in LABEL_COLUMNS), int(of == 0))
    of = int(to == 0) if of == to else of
    for number, row in enumerate(rows):
        if len(row) <= max(of, to):
            raise HtunetError(f"{path.parent.name}/{path.name} has the line {','.join(row)!r}; expected is NAME,CLASS.")
        name, label = row[of].strip(), row[to].strip().lower()
        label = whole[1] if (whole := WHOLE.fullmatch(label)) else label
        if number == 0 and not Path(name).suffix and label not in (*CLASSES, "0", "1"):
            continue
        if found.setdefault(name, label) != label:
            raise HtunetError(f"{path.parent.name}/{path.name} gives {name} two classes: {found[name]} and {label}.")
    return found


def class_names(labels: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Name to ``benign`` or ``malignant``, and notes.

    Numbers are taken in the order of the public code's prompts, 0 benign and 1 malignant, unless every file name that
    says its class says the opposite.
    """
    meaning = {"0": "benign", "1": "malignant"}
    named = {
        name: next(one for one in CLASSES if one in name.lower())
        for name, label in labels.items()
        if label in meaning and sum(one in name.lower() for one in CLASSES) == 1
    }
    notes = []
    against = sorted(name for name, class_name in named.items() if meaning[labels[name]] != class_name)
    if named and len(against) == len(named):
        meaning, against = {"0": "malignant", "1": "benign"}, []
        notes.append(f"{LABELS} says 0 for malignant and 1 for benign, as all {len(named)} names show that say a class")
    elif any(label in meaning for label in labels.values()):
        shown = (
            f", as the names of {counted(len(named) - len(against), 'file')} say" if len(named) > len(against) else ""
        )
        notes.append(f"{LABELS}: 0 is taken for benign and 1 for malignant{shown}")
    if against:
        notes.append(f"{LABELS} contradicts {counted(len(against), 'file name')} and is followed: {listed(against)}")
    meaning |= {one: one for one in CLASSES}
    if strange := Counter(label for label in labels.values() if label not in meaning):
        counts = ", ".join(f"{label!r} ({count})" for label, count in strange.most_common(5))
        notes.append(f"{LABELS} has labels that are neither benign nor malignant, whose images get no class: {counts}")
    return {name: meaning[label] for name, label in labels.items() if label in meaning}, notes


IDS: Mapping[str, tuple[re.Pattern[str], Callable[[re.Match[str]], tuple[str, str]]]] = {
    "BUSI": (
        re.compile(r"(?:busi[ _-]*)?(benign|malignant)[ _-]*\(?0*(\d{1,6})\)?", re.IGNORECASE),
        lambda match: (f"{match[1].lower()}_{int(match[2]):04d}", ""),
    ),
    "DDTI": (re.compile(r"(?:ddti[ _-]*)?(\d{4})", re.IGNORECASE), lambda match: (f"image_{match[1]}", "")),
    "TN3K": (
        re.compile(r"(?:tn3k[ _-]*)?(trainval|test)[ _-]*(?:image[ _-]*)?(\d{4})", re.IGNORECASE),
        lambda match: (f"{match[1].lower()}_{match[2]}", ""),
    ),
    "Prostate": (
        re.compile(r"(?:.*[ _-])?(train|test)[ _-]*0*(\d{1,4})[ _-]+(?:slice[ _-]*)?0*(\d{1,4})", re.IGNORECASE),
        lambda match: (
            f"{match[1].lower()}_{int(match[2]):02d}_{int(match[3]):03d}",
            f"{match[1].lower()}_{int(match[2]):02d}",
        ),
    ),
}
"""Patterns of file names of the original distributions, and the id and group that their converters give."""


def case_ids(data_set: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Listed name to the id of its case and its group.

    The id is that of the set's own converter where every name says which case it is, else the name without its ending.

    >>> case_ids("BUSI", ["benign (7).png"]), case_ids("BUSI", ["a b.png"])
    ({'benign (7).png': ('benign_0007', '')}, {'a b.png': ('a_b', '')})
    """
    if data_set in IDS:
        pattern, of = IDS[data_set]
        matches = {name: pattern.fullmatch(stem_of(name)) for name in names}
        found = {name: of(match) for name, match in matches.items() if match}
        if len(found) == len(names) == len({case for case, _ in found.values()}):
            return found
    ordered = sorted(names)
    ids, _ = unique_ids(ordered, [""] * len(ordered))
    return {name: (case, "") for name, case in zip(ordered, ids, strict=True)}


def _convert_captions(folder: Path, facts: SourceFacts, options: Options) -> ConversionReport | str:
    table = folder / f"{folder.name}.csv"
    if not table.is_file():
        return "not in this release"
    paths = DatasetPaths(facts.dataset)
    ours = paths.captions_json.exists() and FROM_RELEASE in read_object(paths.captions_json).get("notes", [])
    if reason := _left_alone(paths, "", ours=ours):
        return reason
    reading, facts = Reading(notes=[FROM_RELEASE]), replace(facts, expected={})
    return convert_captions(folder, facts, read_table(table, reading), reading, replace(options, fit_masks=False))
