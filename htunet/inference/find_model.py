"""Which trained model a user means: by what a run is, or by the name of a model from elsewhere."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from htunet.data.split_files import all_folds, find_fold
from htunet.errors import HtunetError, UsageError, did_you_mean, some
from htunet.paths import RunPaths, find_dataset, find_runs, imported_models, is_name_of

log = logging.getLogger(__name__)
DISTINGUISH = ("method", "fold", "task", "plan", "seed", "ratio", "adapter")
Found = tuple[RunPaths, Path | None]
"""A run, and the folder of the model from elsewhere that it came with."""


def find_trained(dataset: str, requested: Mapping[str, object], *, also_imported: bool = False) -> Found:
    """The trained run of a data set with the values of ``DISTINGUISH`` that ``requested`` holds.

    What is None or missing may be anything, but the fold is then 0, and the run one of all training images. Of several
    seeds the smallest is taken. With ``also_imported`` models from elsewhere count too; an own run outranks them.
    Raises UsageError that says what there is, HtunetError where nothing is trained.
    """
    values = {name: requested.get(name) for name in DISTINGUISH} | {"fold": requested.get("fold") or 0}
    imported: list[Found] = []
    if also_imported and imported_models().is_dir():
        from htunet.inference.exported import all_imported  # imports torch

        imported = [(model.run, model.folder) for model in all_imported()
                    if is_name_of(dataset, model.card.dataset) and not model.card.members]  # fmt: skip
    try:
        paths = find_dataset(dataset)
    except UsageError:
        if not imported:
            raise
        paths = imported[0][0].dataset
    if isinstance(values["fold"], str):
        values["fold"] = find_fold(paths, values["fold"], str(values["task"] or "seg"))
    found: list[Found] = [(run, None) for run in find_runs(paths) if run.checkpoint_best.exists()]
    found += imported
    name = paths.short_name
    if not found:
        task = f" --task {values['task']}" if values["task"] else ""
        raise HtunetError(
            f"No run of {name} is trained. Train one first: htunet_train {name} {values['method']} "
            f"fold{values['fold']}{task}"
        )
    for key, value in values.items():
        if value is None and key != "ratio":
            continue
        known = sorted({_spelled(getattr(run, key)) for run, _ in found})
        if _spelled(value) not in known:
            listing = ", ".join(known)
            if value is None:
                raise UsageError(f"The runs of {name} are few-shot, of {listing}: choose one with --ratio.")
            hint = did_you_mean(str(value), known)
            raise UsageError(f"No trained run of {name} has the {key} {value!r}; known: {listing}.{hint}")
        found = [(run, folder) for run, folder in found if _spelled(getattr(run, key)) == _spelled(value)]
        name += f" {value}" * (key == "method")
    for key in ("task", "plan", "adapter"):
        if len(several := sorted({_spelled(getattr(run, key)) for run, _ in found})) > 1:
            raise UsageError(f"There are runs with the {key}s {', '.join(several)}: choose one with --{key}.")
    return min(found, key=lambda entry: (entry[1] is not None, entry[0].seed))


def _spelled(value: object) -> str:
    """A value of a run as messages and options have it; an adapter that started untrained is called none."""
    return "none" if value == "" else str(value)


def trained_folds(dataset: str, methods: Sequence[str], requested: Mapping[str, object]) -> list[int]:
    """The folds that are trained of all ``methods``, with the other values of ``requested``; logs which are not.

    All folds of the split where none is: ``find_trained`` then says what there is.
    """
    paths, named = find_dataset(dataset), {key: one for key, one in requested.items() if one}
    values = {"ratio": None, "trained_on": None, **named}
    trained = {
        (run.method, run.fold) for run in find_runs(paths)
        if run.finished_json.exists()
        and all(_spelled(getattr(run, key)) == _spelled(one) for key, one in values.items())
    }  # fmt: skip
    folds = all_folds(paths, str(requested.get("task") or "seg"))
    found = [fold for fold in folds if all((method, fold) in trained for method in methods)]
    if found and (missing := [fold for fold in folds if fold not in found]):
        log.info("Not used, because not trained (of %d folds): %s.", len(folds), some(missing, 10))
    return found or folds
