"""A finished classification run as training and prediction leave it, without a network: probabilities by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from builders.run import build_dataset, build_run
from htunet.data.class_probabilities import ClassProbabilities, write_class_probabilities
from htunet.data.raw import read_raw
from htunet.files import write_json
from htunet.paths import TASK_OF_TRAINER, DatasetPaths, RunPaths

TEST = {"case_0006": 0.2, "case_0007": 0.6, "case_0008": 0.7, "case_0009": 0.9}
"""Probability of malignant; true are benign, malignant, benign, malignant: 3 of 4 right, AUC 3/4."""
VAL = {"case_0002": 0.3, "case_0003": 0.75, "case_0004": 0.65, "case_0005": 0.6}
"""True are benign, malignant, benign, malignant: above 0.675 both benign and one malignant are right."""


def build_class_dataset(**raw: Any) -> DatasetPaths:
    """Ten cases, benign and malignant in turn: two for training, four for validation, four for the test."""
    dataset = build_dataset(**raw)
    ids = [case.id for case in read_raw(dataset).cases]
    write_json(dataset.splits_json, [{"train": ids[:2], "val": ids[2:6], "test": ids[6:]}] * 2)
    return dataset


def build_class_run(
    dataset: DatasetPaths,
    *,
    method: str = "ResNet18",
    task: str = "cls",
    seed: int = 1,
    test: dict[str, float] | None = None,
    settings: dict[str, Any] | None = None,
) -> RunPaths:
    """A finished run of a task with classes; ``test`` are probabilities of the last class."""
    trainer = next(name for name, its_task in TASK_OF_TRAINER.items() if its_task == task)
    run = RunPaths(dataset, trainer, "paper", method, 0, seed)
    weights = {"source": "pretrained", "file": "resnet18.safetensors", "sha256": "0" * 64}
    defaults = {"task": task, "num_epochs": 200, "trainable_parameters": 11_177_538, "weights": weights}
    if "seg" in task:
        masks = build_run(dataset, method=method, seed=seed)
        run.folder.parent.mkdir(parents=True)
        masks.folder.rename(run.folder)
    write_json(run.settings_json, defaults | (settings or {}))
    run.checkpoint_best.write_bytes(b"weights")
    write_json(run.finished_json, {"best_epoch": 3, "best_val_auc": 0.75, "epochs": 200})
    predict_classes(run, test or TEST)
    return run


def predict_classes(run: RunPaths, test: dict[str, float], val: dict[str, float] | None = None) -> None:
    """Write the probabilities of both splits, newer than the checkpoint."""
    for path, positive in ((run.classes_csv, test), (run.val_classes_csv, val or VAL)):
        write_class_probabilities(path, probabilities(run.dataset, positive))


def probabilities(
    dataset: DatasetPaths, positive: dict[str, float], classes: Sequence[str] = ("benign", "malignant")
) -> ClassProbabilities:
    known = {case.id: case.class_name for case in read_raw(dataset).cases}
    return ClassProbabilities(
        classes=tuple(classes),
        cases=tuple(positive),
        truth=tuple(known.get(case, "") for case in positive),
        values_NK=np.array([[1 - value, value] for value in positive.values()]),
    )
