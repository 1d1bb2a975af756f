"""Losses and the validation metric over the epochs: a line a method, mean and deviation of its seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from htunet.errors import HtunetError
from htunet.evaluation.metrics import label_of
from htunet.files import read_csv, read_numbers, read_object
from htunet.paths import RunPaths
from htunet.reporting.figures.base import (
    Drawing,
    NotYetError,
    Results,
    by_arm,
    by_dataset,
    random_weights_note,
)
from htunet.reporting.figures.style import DOUBLE_MM, Look, add_note, in_style, legend_columns, looks_of, new_figure
from htunet.schemas import FINISHED

COLUMNS = ("train_loss", "val_loss", "val_metric")
PANEL_MM, LEGEND_ROW_MM = 52.0, 4.0
WIDE = 20.0
"""Losses this many times larger than others stand on a logarithmic axis."""


@dataclass(frozen=True)
class TrainingCurve:
    """One column of progress.csv over the epochs that all seeds have. Dimension key: E epochs."""

    epochs_E: NDArray[np.float64]
    mean_E: NDArray[np.float64]
    std_E: NDArray[np.float64] | None
    """Sample standard deviation over the runs; None for one run."""


def training_curves(results: Results) -> list[Drawing]:
    """Training loss, validation loss and validation Dice or AUC over the epochs, for each data set and task.

    Raises NotYetError where there is no such run.
    """
    drawings = []
    for task in sorted({run.task for run in results.runs}):
        runs = [run for run in results.own(task.split("+")[0]) if run.task == task and run.progress_csv.exists()]
        for dataset, own in by_dataset(runs).items():
            drawings.append(Drawing(f"training_curves_{dataset.unique_name}_{task}", _draw(dataset.unique_name, own)))
    if not drawings:
        raise NotYetError(
            "no run on all training images is finished. Provide one: htunet_train BUSI PhantomCLIP_HT fold0."
        )
    return drawings


def curve_of(paths: Sequence[Path], column: str) -> TrainingCurve:
    """Mean and deviation of a column of several progress.csv files, over the epochs that all of them have it for.

    Raises HtunetError where there is none.
    """
    found = [read_numbers(path, [column])[column] for path in paths]
    shared = sorted(set.intersection(*map(set, found)))
    if not shared:
        raise HtunetError(f"{paths[0]} holds no epoch. Train the run again with --restart.")
    values_RE = np.array([[values[epoch] for epoch in shared] for values in found])
    std_E = values_RE.std(axis=0, ddof=1) if len(found) > 1 else None
    return TrainingCurve(np.array(shared) + 1.0, values_RE.mean(axis=0), std_E)


def _draw(dataset: str, runs: Sequence[RunPaths]) -> Figure:
    arms = by_arm(runs)
    looks = looks_of([members[0].method for members in arms.values()])
    names = ("Training loss", "Validation loss", f"Validation {' or '.join(dict.fromkeys(map(_metric, runs)))}")
    across = legend_columns(DOUBLE_MM, [*arms])
    legend_rows = -(-len(arms) // across)
    with in_style():
        figure = new_figure(DOUBLE_MM, PANEL_MM + LEGEND_ROW_MM * legend_rows + 8)
        panels = figure.subplots(1, len(COLUMNS))
        for panel, column, name in zip(panels, COLUMNS, names, strict=True):
            for (arm, members), look in zip(arms.items(), looks, strict=True):
                _add_curve(panel, curve_of([run.progress_csv for run in members], column), look, arm)
            panel.set(xlabel="Epoch", ylabel=name)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
            panel.grid(axis="y")
            if column != "val_metric":
                # logarithmic where one method's losses would press those of the others flat
                values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in panel.lines])
                if values.min() > 0 and values.max() > WIDE * values.min():
                    panel.set_yscale("log")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=across, title=dataset)
        several = any(len(members) > 1 for members in arms.values())
        notes = ["Lines: means over runs (seeds, folds); bands: ± one standard deviation."] * several
        epochs = {arm: {len(read_csv(run.progress_csv, COLUMNS)) for run in members} for arm, members in arms.items()}
        if uneven := [arm for arm, numbers in epochs.items() if len(numbers) > 1]:
            notes.append(f"Cut to the shortest of its runs: {', '.join(uneven)}.")
        add_note(figure, " ".join(notes), random_weights_note(runs))
    return figure


def _add_curve(panel: Axes, curve: TrainingCurve, look: Look, name: str) -> None:
    marker = look.marker if len(curve.epochs_E) <= 3 else ""  # so few points that a line hides them
    panel.plot(curve.epochs_E, curve.mean_E, label=name, marker=marker, **look.line())
    if curve.std_E is not None:
        low, high = np.maximum(curve.mean_E - curve.std_E, 0), curve.mean_E + curve.std_E
        panel.fill_between(curve.epochs_E, low, high, color=look.colour, alpha=0.15, linewidth=0)


def _metric(run: RunPaths) -> str:
    """The validation metric, as the end of the training names it: ``Dice``, ``AUC``."""
    found = [
        name.removeprefix("best_val_")
        for name in read_object(run.finished_json, FINISHED)
        if name.startswith("best_val_")
    ]
    return label_of(found[0]) if found else "metric"
