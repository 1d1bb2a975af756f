"""Curves over epochs: the mean of the seeds, their deviation, and no epoch that one of them does not have."""

from pathlib import Path

import numpy as np
import pytest
from builders.figures import write_progress
from builders.run import build_dataset, build_run

from htunet.files import write_json
from htunet.reporting.figures.base import Results
from htunet.reporting.figures.style import look_of, looks_of
from htunet.reporting.figures.training_curves import curve_of, training_curves


def test_mean_and_deviation_of_two_seeds_end_with_the_shorter_one(home: Path) -> None:
    runs = [build_run(build_dataset(name=f"Dataset90{n}_Tiny")) for n in (3, 4)]
    write_progress(runs[0], [0.2, 0.4, 0.9])
    write_progress(runs[1], [0.4, 0.4])
    curve = curve_of([run.progress_csv for run in runs], "val_metric")
    assert curve.epochs_E.tolist() == [1, 2]
    assert curve.mean_E.tolist() == pytest.approx([0.3, 0.4])
    assert curve.std_E is not None
    assert curve.std_E.tolist() == pytest.approx([np.sqrt(0.02), 0])


def test_one_seed_has_no_deviation(home: Path) -> None:
    run = build_run(build_dataset())
    write_progress(run, [0.2])
    assert curve_of([run.progress_csv], "train_loss").std_E is None


def test_the_figure_draws_these_numbers_under_the_names_of_what_they_are(home: Path) -> None:
    run = build_run(build_dataset())
    write_progress(run, [0.2, 0.7])
    (drawing,) = training_curves(Results(runs=[run]))
    assert drawing.name == "training_curves_Tiny_seg"
    labels = [axes.get_ylabel() for axes in drawing.figure.axes]
    assert labels == ["Training loss", "Validation loss", "Validation Dice"]
    assert drawing.figure.axes[2].lines[0].get_ydata().tolist() == [0.2, 0.7]  # type: ignore[union-attr]


def test_two_plans_of_one_method_are_told_apart_and_the_first_line_is_as_everywhere() -> None:
    first, other, second, third = looks_of(["UNet", "CLIP_HT", "UNet", "UNet"])
    assert (first, other) == (look_of("UNet"), look_of("CLIP_HT"))
    assert len({look.colour for look in (first, second, third)}) == 3
    assert len({str(look.dashes) for look in (first, second, third)}) == 3


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_ticks_of_epochs_are_whole_numbers_however_few_epochs_there_are(home: Path, n: int) -> None:
    run = build_run(build_dataset())
    write_progress(run, [0.2] * n)
    (drawing,) = training_curves(Results(runs=[run]))
    for axes in drawing.figure.axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [*range(1, n + 1)]


def test_epochs_without_a_validation_are_no_points_of_its_curve(home: Path) -> None:
    run = build_run(build_dataset())
    write_progress(run, [0.2, 0.7, 0.5])
    lines = run.progress_csv.read_text().splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:3], "", ""])
    run.progress_csv.write_text("\n".join(lines) + "\n")
    curve = curve_of([run.progress_csv], "val_metric")
    assert (curve.epochs_E.tolist(), curve.mean_E.tolist()) == ([1, 3], [0.2, 0.5])
    assert curve_of([run.progress_csv], "train_loss").epochs_E.tolist() == [1, 2, 3]


def test_curves_of_two_metrics_have_the_names_of_both(home: Path) -> None:
    dataset = build_dataset()
    runs = [build_run(dataset, seed=seed, settings={"num_epochs": seed}) for seed in (1, 2)]
    for run, metric in zip(runs, ("auc", "accuracy"), strict=True):
        write_progress(run, [0.2, 0.7])
        write_json(run.finished_json, {"best_epoch": 1, f"best_val_{metric}": 0.7})
    (drawing,) = training_curves(Results(runs=runs))
    assert drawing.figure.axes[2].get_ylabel() == "Validation AUC or Accuracy"
