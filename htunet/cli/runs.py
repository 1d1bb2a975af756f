"""Which trained run a command means: the options that name one, and what is said where they name none or several."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.paths import RunPaths, find_dataset, find_runs, imported_models, is_name_of

DISTINGUISH = ("method", "fold", "task", "plan", "seed", "ratio", "adapter")
Candidate = tuple[RunPaths, Path | None]
"""A run, and the folder of the model from elsewhere that it came with."""


def choose_run(options: argparse.Namespace, *, also_imported: bool = False) -> Candidate:
    """The trained run that ``dataset`` and the names of DISTINGUISH of the options name.

    What is None is not asked for, but the fold is then 0, and the run one of all training images. Of several seeds
    the smallest is taken. With ``also_imported`` models from elsewhere count too; an own run outranks them.
    Raises UsageError that says what there is, HtunetError where nothing is trained.
    """
    imported = _imported(options.dataset) if also_imported else []
    try:
        dataset = find_dataset(options.dataset)
    except UsageError:
        if not imported:
            raise
        dataset = imported[0][0].dataset
    own: list[Candidate] = [(run, None) for run in find_runs(dataset) if run.checkpoint_best.exists()]
    runs = [*own, *imported]
    wishes = {name: getattr(options, name, None) for name in DISTINGUISH} | {"fold": options.fold or 0}
    if not runs:
        task = f" --task {options.task}" if options.task else ""
        raise HtunetError(
            f"No run of {dataset.short_name} is trained. Train one first: htunet_train {dataset.short_name} "
            f"{options.method} fold{wishes['fold']}{task}"
        )
    runs = _matching(runs, wishes, dataset.short_name)
    for name in ("task", "plan", "adapter"):
        found = sorted({getattr(run, name) or "none" for run, _ in runs})
        if len(found) > 1:
            raise UsageError(f"There are runs with the {name}s {', '.join(found)}: choose one with --{name}.")
    return min(runs, key=lambda entry: entry[0].seed)


def _matching(runs: list[Candidate], wishes: Mapping[str, object], dataset: str) -> list[Candidate]:
    """The runs with every value that is wished; UsageError with the values that there are."""
    for name, wanted in wishes.items():
        if wanted is None and name != "ratio":
            continue
        known = sorted({str(getattr(run, name)) for run, _ in runs})
        if str(wanted) not in known:
            listing = ", ".join(known)
            if wanted is None:
                raise UsageError(f"The runs of {dataset} are few-shot, of {listing}: choose one with --ratio.")
            hint = did_you_mean(str(wanted), known)
            raise UsageError(f"No trained run of {dataset} has the {name} {wanted!r}; known: {listing}.{hint}")
        runs = [(run, folder) for run, folder in runs if getattr(run, name) == wanted]
    return runs


def _imported(name: str) -> list[Candidate]:
    """The imported models of a data set."""
    if not imported_models().is_dir():
        return []
    from htunet.inference.exported import all_imported

    return [(model.run, model.folder) for model in all_imported() if is_name_of(name, model.card.dataset)]
