"""From a raw data set to plans, splits and arrays: verify, measure, plan, split, preprocess."""

import logging
import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from htunet.data.class_checks import missing_in_folds
from htunet.data.formats.stacks import SCALED
from htunet.data.image_io import label_counts
from htunet.data.measured_case import MeasuredCases, load_measured
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import RawDataset, read_raw
from htunet.data.split_files import (
    KEPT_EDITED,
    LISTS,
    REPLACED,
    SettledSplits,
    fold_names,
    is_split_by_group,
    load_splits,
    settle_splits,
)
from htunet.data.splits import (
    SPLITS,
    Fold,
    Leak,
    Splits,
    check_num_folds,
    find_leaks,
    find_torn_pictures,
    joined_groups,
)
from htunet.data.verification import ERROR, raise_for_errors, same_pictures, verify
from htunet.errors import HtunetError, UsageError, counted, did_you_mean, some
from htunet.files import exclusive, read_object, write_json
from htunet.parallel import kept_workers, suitable_workers
from htunet.paths import PAPER_FOLD, DatasetPaths, find_runs
from htunet.planning.arrays import note_raw, raw_state
from htunet.planning.fingerprint import (
    Fingerprint,
    hash_raw,
    ids_digest,
    load_fingerprint,
    planning_cases,
    save_fingerprint,
    take_fingerprint,
)
from htunet.planning.planner import DEFAULT_PLANS, PLANNERS, Planned, make_plans
from htunet.planning.plans import Plan, check_plan, load_plans, save_plans
from htunet.planning.rules import MEMORY_GB
from htunet.preprocessing.preprocess import Preprocessed, preprocess

SHOWN = 3
"""Number of leaking groups, and of warnings of one kind, that are named; the others are only counted."""
NARROW = 60
SPLIT_CHANGED = "THE SPLIT HAS CHANGED"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """The user's choices; raises UsageError for a value that is out of range."""

    plans: Sequence[str] | None = None
    """Names in ``planner.PLANNERS`` or of the user's own plans; None: ``DEFAULT_PLANS``."""
    split_by: str | None = None
    """``image`` or ``group``; None: as the existing split, or by image for a new one."""
    splits: Path | None = None
    """Lists that become the split; see ``htunet.data.split_lists``."""
    num_folds: int | None = None
    """Folds of a cross-validation that tests each image once; None: as the existing split, or the data set's rule."""
    workers: int | None = None
    """Number of processes or threads; None: as many as pay off."""
    preprocess: bool = True
    """Whether to make the arrays of the plans, too."""
    memory_gb: float | None = None
    """Memory of the device that will train, GiB; None: ``rules.MEMORY_GB``, whatever this machine has."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers must be 0 (no extra process) or more, got {self.workers}.")
        if self.memory_gb is not None and not 0 < self.memory_gb < float("inf"):
            raise UsageError(f"--memory-gb must be a number above 0, got {self.memory_gb:g}.")
        if self.splits and self.num_folds:
            raise UsageError("--splits gives the folds: omit --num-folds.")
        if self.num_folds is not None:
            check_num_folds(self.num_folds)
        if self.split_by not in (None, "image", "group"):
            raise UsageError(f"--split-by is image or group, got {self.split_by!r}.")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A data set that is ready to be trained on."""

    dataset: DatasetPaths
    fingerprint: Fingerprint
    splits: Splits
    plans: dict[str, Plan]
    """The chosen plans by name; ``because`` has the reasons of each."""
    folders: dict[str, Path]
    """The folder of each plan's arrays; empty where images are not preprocessed."""
    following: str
    """The command that trains on the data set."""


def prepare(dataset: DatasetPaths, request: PrepareRequest) -> Prepared:
    """Verify a raw data set, measure it, plan, split, and preprocess its images, as far as this is not done yet.

    Each step and each warning is logged. Raises UsageError for a plan or a value that does not exist, HtunetError for a
    raw folder that is missing or has errors, and when another process prepares the data set.
    """
    with exclusive(dataset.preprocessed, f"The preprocessed folder of {dataset.name}"), kept_workers():
        state = raw_state(dataset)  # before the files are read: what changes meanwhile is noticed
        raw = _read(dataset)
        content, files = hash_raw(raw)
        measured, warnings = load_measured(dataset.measured_npz, raw.info.channels, files), dict[str, list[str]]()
        del files
        pictures = _verified(raw, content, request.workers, warnings, measured)
        if not raw.info.gray_values and (scaled := [text for text in warnings["data"] if SCALED[1:] in text]):
            raw = replace(raw, info=replace(raw.info, gray_values=scaled[0].rstrip(".")))
        before = load_plans(dataset.plans_json) if dataset.plans_json.exists() else {}
        known = [*PLANNERS, *(name for name in before if name not in PLANNERS)]
        chosen = list(dict.fromkeys(request.plans or DEFAULT_PLANS))
        for name in chosen:
            if name not in known:
                raise UsageError(
                    f"No plan is called {name!r}; known: {', '.join(known)}.{did_you_mean(name, known)} To make your "
                    "own, copy an entry of plans.json under a new name."
                )
        settled = _split(raw, request, pictures, warnings)
        fingerprint = _fingerprint(raw, content, settled.splits, request.workers, measured)
        info = raw.info if settled.splits.rule == LISTS else replace(raw.info, split_rule=settled.splits.rule)
        planned = make_plans(
            fingerprint,
            info,
            memory_gb=request.memory_gb or MEMORY_GB,
            split_by=settled.splits.split_by,
            existing=before,
        )
        for name in chosen:
            check_plan(planned.plans[name])
        save_plans(dataset.plans_json, planned.plans)
        _say("plans", f"{dataset.plans_json} ({', '.join(planned.plans)})")
        for name in chosen:
            _log_plan(name, planned, warnings)
        log.info("")
        folders = {}
        for name in chosen if request.preprocess else ():
            workers, bar = suitable_workers(len(raw.cases), request.workers), f"preprocess {name}"
            made = preprocess(raw, planned.plans[name], content, workers=workers, progress=bar)
            folders[name] = made.folder
            _say(
                name,
                f"{made.folder} ({counted(made.cases, 'case')}, "
                f"{'nothing changed' if made.skipped else 'preprocessed'})",
            )
            _warn_of_lost_labels(made, planned.plans[name], warnings.setdefault(name, []))
        if folders:
            _warn_of_folds_without_labels(raw, settled.splits, folders[chosen[0]], warnings["split"])
        note_raw(dataset, state, content)
        about = {"format": 1, "raw_sha256": content, "pictures": pictures}
        write_json(dataset.warnings_json, about | {"warnings": warnings})
        if n_warnings := sum(map(len, warnings.values())):
            _say("warnings", f"{dataset.warnings_json} ({n_warnings})")
        following = f"{dataset.short_name} has test cases only: predict them with a model of another data set"
        if settled.splits.folds[0]["train"]:
            plan = "" if "paper" in chosen else f" --plan {chosen[0]}"
            task = "" if raw.info.has_masks else " --task cls"
            fold = PAPER_FOLD if PAPER_FOLD in fold_names(dataset.splits_json)[0] else "fold0"
            following = f"htunet_train {dataset.short_name} CLIP_HT {fold}{plan}{task}"
    plans = {name: planned.plans[name] for name in chosen}
    return Prepared(dataset=dataset, fingerprint=fingerprint, splits=settled.splits, plans=plans, folders=folders,
                    following=following)  # fmt: skip


def verify_raw(dataset: DatasetPaths, request: PrepareRequest) -> None:
    """Verify a raw data set and write nothing; raises HtunetError when it has errors."""
    raw = _read(dataset)
    _verify(raw, request.workers, [], MeasuredCases(raw.info.channels))


def _read(paths: DatasetPaths) -> RawDataset:
    if not paths.raw.is_dir():
        raise HtunetError(f"{paths.raw} is missing: {paths.name} has no raw folder. Convert it with htunet_convert.")
    raw = read_raw(paths)
    for note in raw.notes:
        _say("note", note)
    return raw


def _verify(raw: RawDataset, workers: int | None, into: list[str], measured: MeasuredCases) -> list[list[str]]:
    """Verify and log what is wrong; returns the ids of the cases that show the same picture.

    All warnings are added to the list ``into``, and the measurements of cases that have none yet to ``measured``.
    """
    processes = suitable_workers(len(raw.cases), workers)
    problems = verify(raw, measured, workers=processes, progress="verify")
    warnings = [problem for problem in problems if problem.severity != ERROR]
    _say("verified", f"{raw.paths.raw}: {counted(len(raw.cases), 'case')}, {counted(len(warnings), 'warning')}")
    for kind in dict.fromkeys(problem.kind for problem in warnings):
        messages = [problem.message for problem in warnings if problem.kind == kind]
        into += messages
        for message in messages[:SHOWN]:
            _warn(message)
        if len(messages) > SHOWN:
            _warn(f"... and {len(messages) - SHOWN} more of this kind.")
    raise_for_errors(raw.paths.name, problems)
    return same_pictures(raw, problems)


def _verified(
    raw: RawDataset, content: str, workers: int | None, warnings: dict[str, list[str]], measured: MeasuredCases
) -> list[list[str]]:
    """As ``_verify`` where a file has changed; else the earlier warnings are repeated and nothing is measured."""
    found, path = load_fingerprint(raw.paths.fingerprint_json), raw.paths.warnings_json
    into = warnings["data"] = []
    before = read_object(path) if path.exists() else {}
    if found is None or {found.raw_sha256, before.get("raw_sha256")} != {content} or "pictures" not in before:
        return _verify(raw, workers, into, measured)
    _say("verified", f"{raw.paths.raw} has not changed since it was verified (--verify-only checks it again)")
    into += before["warnings"]["data"]
    for text in into[:SHOWN]:
        _warn(text)
    if len(into) > SHOWN:
        _warn(f"... and {len(into) - SHOWN} more: see {path}.")
    return list(before["pictures"])


def _fingerprint(
    raw: RawDataset, content: str, splits: Splits, workers: int | None, measured: MeasuredCases
) -> Fingerprint:
    """The fingerprint of the cases that may be planned on, taken again only when a file or the split has changed."""
    path, chosen = raw.paths.fingerprint_json, planning_cases(splits.folds)
    found = load_fingerprint(path)
    if found is None or found.raw_sha256 != content or found.cases_sha256 not in ("", ids_digest(chosen[0])):
        if not measured.keys() >= set(chosen[0]):
            processes = suitable_workers(len(raw.cases), workers)
            verify(raw, measured, workers=processes, progress="fingerprint")
        found = take_fingerprint(raw, content, measured, chosen)
        save_fingerprint(path, found)
    listed = len(splits.folds[0]["train"]) if splits.rule == LISTS else 0
    if (found.listed_training, found.gray_values) != (listed, raw.info.gray_values):
        found = replace(found, listed_training=listed, gray_values=raw.info.gray_values)
        save_fingerprint(path, found)
    sizes = f"median {found.height['median']:.0f} x {found.width['median']:.0f} pixels"
    on = (
        found.measured_on
        or f"all {counted(len(found.shapes_after_crop), 'case')} of split train, by an earlier version"
    )
    _say("fingerprint", f"{path} ({sizes}, {found.empty_masks} without a lesion, in {on})")
    return found


def _warn_of_lost_labels(made: Preprocessed, plan: Plan, into: list[str]) -> None:
    """Warn of labels and lesion pixels that are in the masks and not in the arrays of a plan."""
    if made.losing:
        _warn(
            f"the crop cuts lesion pixels off in {counted(len(made.losing), 'case')}, which no prediction can find: "
            f"{some(list(made.losing))}. cases.csv counts them; crop_border false in plans.json keeps them.",
            into,
        )
    if made.vanished:
        height, width = plan.input_size
        names = [f"{case} ({', '.join(labels)})" for case, labels in made.vanished.items()]
        _warn(
            f"no pixel is left of a label at {height} x {width} pixels in {len(names)} of {made.cases} cases: "
            f"{some(names)}. They are trained on as if it were not there, and at this size a network that finds "
            "nothing is not penalised for it; at the original size it is missed. A larger input_size in a plan of your "
            "own keeps them; cases.csv of the plan names all.",
            into,
        )


def _warn_of_folds_without_labels(raw: RawDataset, splits: Splits, folder: Path, into: list[str]) -> None:
    """Warn of labels and classes that are missing in a split of some folds."""
    of_class = {name: {case.id for case in raw.cases if case.class_name == name} for name in raw.info.classes}
    of_label = {name: set[str]() for name in raw.info.labels}
    if raw.info.has_masks:
        arrays = PreprocessedDataset(folder)
        for case, counts in zip(arrays.cases, map(label_counts, arrays.each_mask()), strict=True):
            for name, value in raw.info.labels.items():
                if value and counts[value]:
                    of_label[name].add(case.id)
    for kind, having in (("class", of_class), ("label", of_label)):
        for name, missing in missing_in_folds(splits.folds, having).items():
            where = "; ".join(
                f"{split} of {len(folds)} of {counted(len(splits.folds), 'fold')} ({some(folds)})"
                for split, folds in missing.items()
            )
            _warn(
                f"the {kind} {name} is in {len(having[name])} of {len(raw.cases)} images, and in none of the {where}: "
                "there it cannot be learnt (train), help to choose the epoch (val) or be scored (test). Add images of "
                "it, take fewer folds (--num-folds), or leave it out.",
                into,
            )


def _split(
    raw: RawDataset, request: PrepareRequest, pictures: list[list[str]], warnings: dict[str, list[str]]
) -> SettledSplits:
    into = warnings["split"] = list[str]()
    if request.split_by == "group" or (request.split_by is None and is_split_by_group(raw.paths)):
        raw = replace(raw, cases=tuple(joined_groups(raw.cases, pictures)))
    settled = settle_splits(raw, request.split_by, request.splits, request.num_folds)
    splits = settled.splits
    sizes = "/".join(str(len(splits.folds[0][split])) for split in ("train", "val", "test"))
    folds = counted(len(splits.folds), "fold")
    rule = "lists" if splits.rule == LISTS else f"{splits.rule} by {splits.split_by}"
    names = fold_names(raw.paths.splits_json)
    named = f" ({', '.join(filter(None, names))})" if any(names) else ""
    rule = ", ".join([rule, *[f"{folds}{named}"] * (splits.rule != folds), f"fold 0 train/val/test {sizes}"])
    _say("split", f"{raw.paths.splits_json} ({rule}; {settled.status})")
    if settled.status == REPLACED:
        runs = sum(run.finished_json.exists() for run in find_runs(raw.paths) if run.trained_on is None)
        _warn(
            f"{SPLIT_CHANGED}: {settled.reason}. The earlier one is saved as {settled.backup}. "
            f"{counted(runs, 'finished run')} of this data set used it: do not compare new runs with them.",
            into,
        )
    official = raw.paths.paper_splits_json
    if official.exists() and load_splits(official) != list(splits.folds):
        _warn(
            f"this split is not that of the official lists in {official}. To take them: htunet_plan_and_preprocess "
            f"-d {raw.paths.short_name} --splits {official}",
            into,
        )
    if splits.excluded:
        _warn(f"{counted(len(splits.excluded), 'case')} in none of the splits: {some(splits.excluded)}.", into)
    if splits.split_by == "group" and not any(case.group for case in raw.cases):
        _warn("no case has a group (patient), so that the split by group is one by image.", into)
    by_hand = splits.rule == LISTS or settled.status == KEPT_EDITED
    unnamed = [fold for fold, name in zip(splits.folds, names, strict=True) if not name]
    if by_hand and (text := _unequally_tested(unnamed)):
        _warn(text, into)
    group_of = {case.id: case.group for case in raw.cases if case.group}
    for number, fold in enumerate(splits.folds):
        alike = not (names[number] and names[number] != names[0])  # the folds of a cross-validation
        if number and alike and any("more than one split" in one for one in into):
            continue
        if fold["train"] and not fold["test"] and not (number and alike and not splits.folds[0]["test"]):
            _warn(f"fold {number} has no test cases: what is trained on it cannot be tested.", into)
        leaks = find_leaks(raw.cases, fold)
        if leaks:
            _warn(
                f"{counted(len(leaks), 'group')} (same patient, case or picture) in more than one split of fold "
                f"{number}, so that its test results are too good. --split-by group keeps groups together.",
                into,
            )
        for leak in leaks[:SHOWN]:
            _warn(f"  {leak.group}: {_places(leak)}", into)
        leaking = {leak.group for leak in leaks}
        torn = [leak for leak in find_torn_pictures(pictures, fold) if group_of.get(leak.group) not in leaking]
        if torn:
            text = f"{counted(len(torn), 'picture')} in more than one split of fold {number}"
            _warn(f"{text}, whose cases have no group in common.", into)
        for leak in torn[:SHOWN]:
            _warn(f"  {_places(leak)}", into)
    return settled


def _unequally_tested(folds: Sequence[Fold]) -> str:
    """Empty where all folds test the same cases, or each case is tested in one of them."""
    tested = Counter(case for fold in folds for case in fold["test"])
    if len({frozenset(fold["test"]) for fold in folds}) < 2:
        return ""
    often = sorted(case for case, count in tested.items() if count > 1)
    never = sorted({case for fold in folds for split in SPLITS for case in fold[split]} - tested.keys())
    counts = ((often, "tested in several folds"), (never, "tested in no fold"))
    parts = [f"{counted(len(cases), 'case')} {words} ({some(cases)})" for cases, words in counts if cases]
    return f"{' and '.join(parts)}: means over all folds do not count each case once." if parts else ""


def _places(leak: Leak) -> str:
    return "; ".join(f"{split}: {some(ids)}" for split, ids in leak.members.items())


def _log_plan(name: str, planned: Planned, warnings: dict[str, list[str]]) -> None:
    """Log each decision of a plan with its reason, and warn of values that differ from the earlier plan."""
    origin = " (edited by hand, kept)" if name in planned.edited else ""
    own = " (made by htunet_run)" if name == "run" else " (your own)"
    log.info("%s", f"\n  Plan {name}{own if name in planned.own else origin}")
    plan = planned.plans[name]
    width = max(NARROW, shutil.get_terminal_size((120, 24)).columns)
    for key, value in asdict(plan).items():
        if key in plan.because:
            text = _word(value) if key != "augmentation" else f"{len(value)} settings"
            head = f"    {key:<23}{text:<21} "
            log.info("%s", textwrap.fill(plan.because[key], width, initial_indent=head, subsequent_indent=" " * 49))
    for key, (old, new) in planned.changed.get(name, {}).items():
        _warn(f"{key} was {_word(old)} in the earlier plan, now {_word(new)}.", warnings.setdefault(name, []))


def _say(what: str, text: str) -> None:
    log.info("  %-12s %s", what, text)


def _warn(text: str, into: list[str] | None = None) -> None:
    """Log a warning, and add it to those of warnings.json."""
    if into is not None:
        into.append(text.strip())
    log.warning("    warning: %s", text)


def _word(value: object) -> str:
    if value is None:
        return "never"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return (" x " if all(isinstance(item, int) for item in value) else ", ").join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "equal"
    return str(value)
