"""What tables say of runs whose plans of one name, or whose settings, have unlike contents."""

from collections.abc import Mapping, Sequence
from typing import Any

from htunet.data.split_files import load_splits, training_digest
from htunet.errors import HtunetError, counted
from htunet.evaluation.case_table import ARM, CONFIGURATION, OTHER_SPLIT, run_columns
from htunet.files import read_object
from htunet.paths import PHANTOM, DatasetPaths, RunPaths
from htunet.planning.configuration import (
    configuration,
    digest,
    edits,
    of_any_dataset,
    plan_differences,
    plan_name,
    with_usual_augmentation,
    words_of,
)

Own = Mapping[str, Any]
"""A summary's own object."""

SIMULATED_START = "weights pre-trained on simulation"
"""The ``start_text`` of a run that ``--start-from`` gave weights of ``htunet_pretrain``."""


def mark_splits(contents: Mapping[RunPaths, Mapping[str, Any]]) -> None:
    """Note in a summary's own object that its split is not the one on disk; without one, where a fold had several.

    Such runs were trained and tested on other images.
    """
    settings = {run: content["htunet"].get("settings") or {} for run, content in contents.items()}
    for run, split in other_splits(settings).items():
        contents[run]["htunet"][OTHER_SPLIT] = split


def other_splits(settings: Mapping[RunPaths, Mapping[str, Any]]) -> dict[RunPaths, str]:
    """The short hash of the split of each run whose split is another one, from the settings of all runs."""
    splits: dict[tuple[str, int], dict[RunPaths, str]] = {}
    for run, about in settings.items():
        if split := about.get("split_sha256"):
            splits.setdefault((run.source.dataset.name, run.fold), {})[run] = str(split)
    found: dict[RunPaths, str] = {}
    for members in splits.values():
        used = _split_in_use(next(iter(members)).source)
        several = len(set(members.values())) > 1
        found |= {run: split[:4] for run, split in members.items() if split != used and (used or several)}
    return found


def _split_in_use(run: RunPaths) -> str:
    """The hash of the training images of a run's fold; ``gone`` for a fold that is gone, empty without a split."""
    try:
        folds = load_splits(run.dataset.splits_json) if run.dataset.splits_json.exists() else None
    except HtunetError:  # reported by the code that needs the split
        return ""
    if folds is None:
        return ""
    return training_digest(folds[run.fold]) if run.fold < len(folds) else "gone"


def recorded(run: RunPaths) -> tuple[str, str, str]:
    """The plan of a run as tables name it, its configuration and its epochs: equal for repetitions of one arm."""
    settings = read_object(run.settings_json) if run.settings_json.exists() else {}
    epochs = counted(int(settings.get("num_epochs") or 0), "epoch")
    return plan_name(settings, run.plan), digest(settings)[:4], epochs


def edited_text(own: Own) -> str:
    """What an edited plan says otherwise than the planner: ``: learning_rate 0.01``; empty where that is not known."""
    changed = edits(own.get("settings") or {})
    return f": {words_of({name: now for name, (_, now) in changed.items()})}" if changed else ""


def start_text(own: Own, *, fold: bool = True) -> str:
    """What a run with ``--start-from`` began with: ``a run on DDTI (fold 0, 200 epochs)``; empty for others.

    Also that this run, or one before it, was itself pre-trained on simulation. Without ``fold`` only ``a run on DDTI``.
    """
    if not (start := (own.get("settings") or {}).get("start_checkpoint")):
        return ""
    if not start.get("dataset") and start.get("weights") == PHANTOM:
        return SIMULATED_START
    dataset = DatasetPaths(start["dataset"]).short_name if start.get("dataset") else "unknown data"
    if not fold:
        return f"a run on {dataset}"
    text = f"a run on {dataset} (fold {start.get('fold')}, {counted(int(start.get('num_epochs') or 0), 'epoch')})"
    first = start
    while first.get("start_checkpoint"):
        first = first["start_checkpoint"]
    return f"{text}, itself pre-trained on simulation" if first.get("weights") == PHANTOM else text


def unlike_configurations(arms: Sequence[Own]) -> list[str]:
    """For each arm, given by one of its runs, in what it differs from arms that columns do not tell it apart from.

    Edits of a plan are not repeated, because the name of the plan says them.
    """
    columns = [run_columns(own) | {"plan": own.get("plan")} for own in arms]
    alike = [tuple(about[name] for name in ("dataset", *ARM) if name != CONFIGURATION) for about in columns]
    found = []
    for own, key in zip(arms, alike, strict=True):
        rivals = [other for other, its_key in zip(arms, alike, strict=True) if its_key == key]
        found.append(_differences(own, rivals) if len(rivals) > 1 else "")
    return found


def _differences(own: Own, rivals: Sequence[Own]) -> str:
    settings = [one.get("settings") or {} for one in rivals]
    known = [values for values in map(configuration, settings) if values is not None]
    mine = configuration(own.get("settings") or {})
    if mine is None:
        return "configuration not recorded"
    edited = {name for one in settings for name in edits(one)}
    names = sorted({name for values in known for name in values} - edited)
    differing = {name: mine.get(name) for name in names if any(one.get(name) != mine.get(name) for one in known)}
    return f"configuration with {words_of(differing)}" if differing else ""


__all__ = [
    "edited_text",
    "mark_splits",
    "of_any_dataset",
    "plan_differences",
    "recorded",
    "start_text",
    "unlike_configurations",
    "with_usual_augmentation",
]
