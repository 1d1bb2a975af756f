"""Results that every figure can be drawn from, made by hand: no network, a few cases."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from builders.class_run import build_class_dataset, build_class_run
from builders.run import build_run
from htunet.data.measurements import write_measurement
from htunet.evaluation.class_summary import class_content, evaluate_classes
from htunet.evaluation.evaluate import evaluate_run
from htunet.evaluation.predicted_run import open_predicted
from htunet.evaluation.summary import write_own, write_summary
from htunet.files import write_csv
from htunet.paths import RunPaths

PROGRESS = ("epoch", "learning_rate", "train_loss", "val_loss", "val_metric")
METHOD = "BiomedCLIP_HT"


def build_everything() -> list[RunPaths]:
    """Two methods, one with two seeds and a few-shot run, a classification, and what is measured of networks."""
    dataset = build_class_dataset(name="Dataset503_BUSI")
    unet = evaluated(build_run(dataset, method="UNet", shift=1))
    runs = [evaluated(build_run(dataset, method=METHOD, seed=seed, shift=2 * seed)) for seed in (1, 2)]
    few = evaluated(few_shot(build_run(dataset, method=METHOD, seed=3, shift=6), 0.5))
    classes = evaluated(build_class_run(dataset, method=METHOD, task="cls"))
    for run in (unet, *runs, few, classes):
        write_progress(run, [0.5, 0.6 + 0.1 * run.seed])
    measure(runs[0])
    return [unet, *runs, few, classes]


def evaluated(run: RunPaths) -> RunPaths:
    """The run with its summary.json, without pictures."""
    predicted = open_predicted(run)
    if run.task == "cls":
        write_own(predicted.identity, run.test_folder, {"classification": class_content(evaluate_classes(predicted))})
    else:
        write_summary(evaluate_run(predicted), run.test_folder)
    return run


def few_shot(run: RunPaths, ratio: float) -> RunPaths:
    """The same run as one that has learnt from a share of the images."""
    few = replace(run, ratio=ratio)
    few.folder.parent.mkdir(parents=True)
    run.folder.rename(few.folder)
    return few


def write_progress(run: RunPaths, metric: Sequence[float]) -> None:
    """One epoch a figure; the losses fall with it."""
    rows = [
        {"epoch": n, "learning_rate": 1e-4, "train_loss": 1 - value, "val_loss": 1.1 - value, "val_metric": value}
        for n, value in enumerate(metric)
    ]
    write_csv(run.progress_csv, PROGRESS, rows)


def measure(run: RunPaths) -> None:
    """What a look into the network finds: twelve images, three blocks, three levels."""
    classes = ["benign", "malignant"] * 6
    before = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    after = before + 6 * (np.array(classes) == "malignant")[:, None].astype(np.float32)
    images = {"before": before, "after": after, "classes": np.array(classes), "cases": np.array(classes)}
    write_measurement(
        run.measurement("features"),
        images | {"datasets": np.array(["BUSI"] * 6 + ["DDTI"] * 6)},
        {"block": 9, "parts": {"BUSI": "test part (6)", "DDTI": "all (6)"}},
    )
    theta = np.ones((3, 4), np.float32)
    theta[0, 0] = 1.5
    filters = {"theta": theta, "initial": np.ones_like(theta), "blocks": np.arange(3)}
    write_measurement(run.measurement("filter"), filters, {"grid_hw": [4, 4], "adapter": None, "last_block": 1})
    mean = np.full((3, 3, 3), 1 / 3)
    mean[-1, 1] = (0.5, 0.3, 0.2)
    noise = {"levels": np.array([0.0, 0.5, 1.0]), "mean": mean, "std": mean / 10, "blocks": np.arange(3)}
    write_measurement(run.measurement("noise"), noise, {"kernels": [3, 5, 7], "n_images": 4, "speckle": "Speckle."})
