"""``splits_final.json``, nnU-Net's list of folds, and when an existing one is kept: what a user wrote is not lost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from htunet.data.raw import Case, RawDataset
from htunet.data.split_lists import read_split_lists
from htunet.data.splits import CROSS_VALIDATION, SEED, SPLITS, Fold, Splits, cross_validation, make_splits
from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.files import json_hash, read_json, read_object, write_json
from htunet.paths import PAPER_FOLD, DatasetPaths, RunPaths, checked_name
from htunet.schemas import SETTINGS, SPLITS_MADE

FORMAT = 1
RECORD = ("format", "rule", "split_by", "cases_sha256", "folds_sha256", "excluded")
FORMER_KEYS = {"left_out": "excluded"}
"""As earlier versions wrote them; both are read."""
NEW, KEPT, KEPT_EDITED, REPLACED = "new", "kept", "kept, edited by hand", "replaced"
LISTS = "lists"
"""The rule of a split that was not made here."""


@dataclass(frozen=True)
class SettledSplits:
    """The split that holds from now on, and what became of the one before."""

    splits: Splits
    status: str
    """``new``, ``kept``, ``kept, edited by hand`` or ``replaced``."""
    reason: str = ""
    """Why the split before was replaced."""
    backup: Path | None = None
    """Where the replaced split is now."""


def save_splits(path: Path, folds: Sequence[Mapping[str, Any]]) -> None:
    """Write nnU-Net's list of folds; it reads ``train`` and ``val`` of each and passes over everything else."""
    write_json(path, list(folds))


def load_splits(path: Path) -> list[Fold]:
    """Read the folds; raises HtunetError when the file is no such list or an id is in two splits of a fold."""
    return [{split: list(fold.get(split, [])) for split in SPLITS} for fold in _checked_folds(path)]


def _checked_folds(path: Path) -> list[dict[str, Any]]:
    """The folds as the file has them, some with a ``name`` and the ``task`` that they are for."""
    content = read_json(path)
    if not isinstance(content, list) or not content or not all(isinstance(fold, dict) for fold in content):
        raise HtunetError(f"{path} is not a list of folds. Delete it and run htunet_plan_and_preprocess again.")
    for number, fold in enumerate(content):
        for split in SPLITS:
            cases = fold.get(split, [])
            if not isinstance(cases, list) or not all(isinstance(case, str) for case in cases):
                raise HtunetError(
                    f'{path}, fold {number}: {split!r} must be a list of ids, ["...", "..."]. Correct it.'
                )
            for case in cases:
                checked_name(case, "the id", f"{path}, fold {number}")
        seen = Counter(case for split in SPLITS for case in fold.get(split, []))
        if twice := sorted(case for case, count in seen.items() if count > 1):
            raise HtunetError(f"{path}, fold {number}: {twice[:5]} are in two places. Leave each case in one split.")
    return content


def _kind(task: str) -> str:
    """The task whose lists count: both tasks together learn from the images of ``seg``."""
    return "cls" if task == "cls" else "seg"


def find_fold(dataset: DatasetPaths, fold: int | str, task: str) -> int:
    """The position of a fold that is named by it, or by its name such as ``paper``, for a task.

    A fold may say its ``name`` and, where the lists of the tasks differ, the ``task`` (``seg`` or ``cls``) that it is
    for; both tasks together learn from the images of ``seg``. Raises UsageError where there is no such fold, and for a
    position whose fold is for the other task, where that one has a fold of its own.
    """
    path, kind = dataset.splits_json, _kind(task)
    if not path.exists():
        if isinstance(fold, int):
            return fold
        raise UsageError(f"{path} is missing, so there is no fold {fold!r}: htunet_plan_and_preprocess makes it.")
    folds = [(str(one.get("name", "")), one.get("task")) for one in _checked_folds(path)]
    if isinstance(fold, int):
        name, own = folds[fold] if 0 <= fold < len(folds) else ("", None)
        if own not in (None, kind) and (name, kind) in folds:
            raise UsageError(
                f"fold{fold} of {dataset.short_name} has the lists for the task {own}; those for {task} are "
                f"fold{folds.index((name, kind))}" + (f", or {name!r} by name." if name else ".")
            )
        return fold
    fitting = [number for number, (name, own) in enumerate(folds) if name == fold and own in (None, kind)]
    if not fitting:
        known = sorted({name for name, own in folds if name and own in (None, kind)})
        by_name = f"by name {', '.join(known)}" if known else "none has a name"
        if fold == PAPER_FOLD:
            by_name += (
                ". The split here is not that of the authors: convert their release, or take their lists with "
                "htunet_plan_and_preprocess --splits"
            )
        raise UsageError(
            f"{path} has no fold {fold!r} for the task {task}; it has fold0 to fold{len(folds) - 1}, {by_name}."
            + did_you_mean(str(fold), known)
        )
    return fitting[0]


def all_folds(dataset: DatasetPaths, task: str) -> list[int]:
    """The positions of the folds that a task can learn from; HtunetError where the data set is not split yet."""
    folds = enumerate(_checked_folds(dataset.splits_json))
    return [number for number, one in folds if one.get("task") in (None, _kind(task))]


def paper_fold(dataset: DatasetPaths, task: str) -> int:
    """The fold that stands for the paper's split: the authors' own where they came with the images, else the first."""
    path = next((path for path in (dataset.splits_json, dataset.paper_splits_json) if path.exists()), None)
    if path is None:
        return 0
    named = [
        (number, one.get("task")) for number, one in enumerate(_checked_folds(path)) if one.get("name") == PAPER_FOLD
    ]
    return next((number for number, own in named if own in (None, _kind(task))), 0)


def fold_names(path: Path) -> list[str]:
    """How each fold is called: ``paper``, ``paper (cls)``; empty where it has no name."""
    folds = read_json(path, kept=("name", "task"))
    parts = [(str(one.get("name", "")), str(one.get("task", ""))) for one in folds]
    return [f"{name} ({task})" if name and task else name for name, task in parts]


def fold_of(run: RunPaths) -> Fold | None:
    """The fold that a run was trained on; None where the split has changed since."""
    then, folds = read_object(run.settings_json, SETTINGS).get("split_sha256"), load_splits(run.dataset.splits_json)
    if run.fold >= len(folds) or then not in (None, training_digest(folds[run.fold])):
        return None
    return folds[run.fold]


def trained_fold(run: RunPaths) -> Fold:
    """The fold that a run was trained on; raises HtunetError where the split has changed since."""
    if (fold := fold_of(run)) is None:
        raise HtunetError(
            f"{run.dataset.splits_json} has changed since {run.label} was trained: the test split may contain images "
            "that the run was trained on. Restore the previous split (splits_final.before.json), or train again with "
            "--restart."
        )
    return fold


def training_digest(fold: Fold) -> str:
    """SHA-256 over the training and validation ids in their order: what a run has seen of a fold."""
    return json_hash([fold["train"], fold["val"]])


def is_split_by_group(paths: DatasetPaths) -> bool:
    """Whether the data set's split keeps groups together; False for one that the user wrote."""
    record = _read_record(paths.splits_made_json)
    return record is not None and record["split_by"] == "group"


def split_text(raw: RawDataset) -> str:
    """How the data set is split: ``5 folds by image``; where no split is here, by the data set's own rule."""
    record = _read_record(raw.paths.splits_made_json)
    if record is None:
        return "by lists of the user" if raw.paths.splits_json.exists() else raw.info.split_rule
    return LISTS if record["rule"] == LISTS else f"{record['rule']} by {record['split_by']}"


def settle_splits(
    raw: RawDataset, split_by: str | None = None, lists: Path | None = None, num_folds: int | None = None
) -> SettledSplits:
    """Keep the data set's split, or make it where there is none or it no longer fits; writes both split files.

    An existing split is kept when the cases, the rule and ``split_by`` are those that it was made for (None: as it was
    made; ``image`` for the first one), edited by hand or not. A file without a record of ours is the user's own and
    kept. A replaced one stays beside it as ``splits_final.before.json``. ``lists`` (see ``split_lists``) become the
    split; groups are kept together in them unless ``split_by`` is ``image``. Where the raw folder came with lists of
    the paper's authors, they are the first split. ``num_folds`` asks for a cross-validation in place of the data set's
    own rule; None keeps one that was asked for before.
    """
    paths, record, asked = raw.paths, None, bool(split_by or num_folds)
    if lists is not None:
        return _take(raw, read_split_lists(lists, raw, keep_groups=split_by != "image"), f"by {lists}")
    published = paths.paper_splits_json if not asked and paths.paper_splits_json.exists() else None
    if paths.splits_json.exists():
        record = _read_record(paths.splits_made_json)
        if record is None and not asked:
            return _users_own(raw)
    elif published:
        return _take_published(raw, published)
    if num_folds is not None:
        rule = cross_validation(raw.cases, num_folds, split_by or (record or {}).get("split_by", "image"))
    else:
        rule = record["rule"] if record and CROSS_VALIDATION.fullmatch(record["rule"]) else raw.info.split_rule
    if not paths.splits_json.exists():
        return _make(raw, rule, split_by or "image", NEW)
    if record is None:
        option = "--num-folds" if num_folds else "--split-by"
        return _replace(raw, rule, split_by or "image", f"it was not made here, and {option} asks for a new one")
    requested = split_by or record["split_by"]
    if reason := _why_outdated(raw, record, rule, requested):
        return _take_published(raw, published, reason) if published else _replace(raw, rule, requested, reason)
    folds = load_splits(paths.splits_json)
    edited = json_hash(folds) != record["folds_sha256"]
    if edited:
        _check_known(raw, folds)
    splits = Splits(record["rule"], record["split_by"], tuple(folds), tuple(record["excluded"]))
    return SettledSplits(splits, KEPT_EDITED if edited else KEPT)


def _take_published(raw: RawDataset, path: Path, reason: str = "") -> SettledSplits:
    return _take(raw, read_split_lists(path, raw, keep_groups=False), reason)


def _take(raw: RawDataset, folds: Sequence[Mapping[str, Any]], reason: str) -> SettledSplits:
    """Make lists the split; the record of an earlier one goes, so that they are kept as the user's own."""
    paths = raw.paths
    if paths.splits_json.exists() and read_json(paths.splits_json) == list(folds):
        paths.splits_made_json.unlink(missing_ok=True)
        return _users_own(raw)
    backup = None
    if paths.splits_json.exists():
        backup = paths.splits_json.with_name("splits_final.before.json")
        paths.splits_json.replace(backup)
    paths.splits_made_json.unlink(missing_ok=True)
    save_splits(paths.splits_json, folds)
    return replace(_users_own(raw), status=REPLACED if backup else NEW, reason=reason, backup=backup)


def _read_record(path: Path) -> dict[str, Any] | None:
    """How the split was made; None where it was not made here."""
    if not path.exists():
        return None
    record = {FORMER_KEYS.get(key, key): value for key, value in read_object(path, SPLITS_MADE).items()}
    if missing := [key for key in RECORD if key not in record]:
        raise HtunetError(f"{path} lacks {missing}. Delete it to keep the split as your own, or both to have it made.")
    return record


def _users_own(raw: RawDataset) -> SettledSplits:
    folds = load_splits(raw.paths.splits_json)
    _check_known(raw, folds)
    named = {case for fold in folds for split in SPLITS for case in fold[split]}
    excluded = tuple(sorted({case.id for case in raw.cases} - named))
    return SettledSplits(Splits(LISTS, "image", tuple(folds), excluded), KEPT)


def _make(
    raw: RawDataset, rule: str, split_by: str, status: str, reason: str = "", backup: Path | None = None
) -> SettledSplits:
    splits = make_splits(raw.cases, rule, split_by)
    record = {
        "format": FORMAT,
        "rule": splits.rule,
        "split_by": split_by,
        "seed": SEED,
        "cases_sha256": json_hash(_rows(raw.cases)),
        "folds_sha256": json_hash(list(splits.folds)),
        "excluded": list(splits.excluded),
    }
    # The record goes first: a folds file without it would pass for one that the user wrote.
    write_json(raw.paths.splits_made_json, record)
    save_splits(raw.paths.splits_json, splits.folds)
    return SettledSplits(splits, status, reason, backup)


def _replace(raw: RawDataset, rule: str, split_by: str, reason: str) -> SettledSplits:
    make_splits(raw.cases, rule, split_by)  # raises before anything is moved
    backup = raw.paths.splits_json.with_name("splits_final.before.json")
    raw.paths.splits_json.replace(backup)
    return _make(raw, rule, split_by, REPLACED, reason, backup)


def _why_outdated(raw: RawDataset, record: dict[str, Any], rule: str, split_by: str) -> str:
    """Empty when the split still fits; else what changed."""
    if record.get("format") != FORMAT:
        return f"its record has format {record.get('format')}, this version reads {FORMAT}"
    if record["split_by"] != split_by:
        return f"it was split by {record['split_by']}, now by {split_by}"
    if record["rule"] != rule:
        return f"its rule was {record['rule']}, now {rule}"
    if record["cases_sha256"] != json_hash(_rows(raw.cases)):
        return "the cases of the raw folder, their splits, classes or groups have changed"
    return ""


def _check_known(raw: RawDataset, folds: Sequence[Fold]) -> None:
    known = {case.id for case in raw.cases}
    if unknown := sorted({case for fold in folds for split in SPLITS for case in fold[split]} - known):
        raise HtunetError(
            f"{raw.paths.splits_json} names cases that are not in the raw folder: {', '.join(unknown[:5])}. "
            "Correct the file, or delete it to have it made again."
        )


def _rows(cases: Sequence[Case]) -> list[tuple[str, str, str, str]]:
    return sorted((case.id, case.split, case.class_name, case.group) for case in cases)
