"""A finished run as training and prediction leave it, without a network: predictions are shifted reference masks."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from builders.raw import build_raw
from htunet.data.image_io import read_labels, write_png
from htunet.data.preprocessed import COLUMNS
from htunet.data.raw import read_raw
from htunet.files import write_csv, write_json
from htunet.paths import DatasetPaths, RunPaths

SIZE = 32
TRAINER = "SegmentationTrainer"


def resized(mask: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize((SIZE, SIZE), Image.Resampling.NEAREST))


def build_dataset(n: int = 10, test: Sequence[int] = (6, 7, 8, 9), plan: str = "paper", **raw: Any) -> DatasetPaths:
    """Raw folder, arrays and splits of a small data set; ``test`` are the numbers of its test cases."""
    paths = build_raw(n, **raw)
    dataset = read_raw(paths)
    masks = [read_labels(dataset.label_path(case)) for case in dataset.cases]
    folder = paths.plan_folder(plan)
    folder.mkdir(parents=True)
    np.save(folder / "masks.npy", np.stack([resized(mask) for mask in masks]))
    np.save(folder / "images.npy", np.zeros((n, 1, SIZE, SIZE), np.uint8))
    rows = (
        dict(zip(COLUMNS, (case.id, case.class_name, case.group, *mask.shape, 0, 0, *mask.shape), strict=True))
        for case, mask in zip(dataset.cases, masks, strict=True)
    )
    write_csv(folder / "cases.csv", COLUMNS, rows)
    write_json(folder / "preprocessed.json", {})
    ids = [case.id for case in dataset.cases]
    splits = {"test": [ids[i] for i in test], "train": [case for i, case in enumerate(ids) if i not in test]}
    write_json(paths.splits_json, [splits | {"val": []}] * 2)
    return paths


def build_run(
    dataset: DatasetPaths,
    *,
    method: str = "CLIP_HT",
    plan: str = "paper",
    seed: int = 1,
    fold: int = 0,
    shift: int = 2,
    missed: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
) -> RunPaths:
    """A finished run whose predictions are the references shifted down by ``shift`` pixels; ``missed`` are empty."""
    run = RunPaths(dataset, TRAINER, plan, method, fold, seed)
    weights = {"source": "pretrained", "file": "clip.safetensors", "sha256": "0" * 64}
    defaults = {"task": "seg", "num_epochs": 200, "trainable_parameters": 4_118_568, "weights": weights}
    write_json(run.settings_json, defaults | (settings or {}))
    run.checkpoint_best.write_bytes(b"weights")
    write_json(
        run.finished_json, {"best_epoch": 3, "best_val_dice": 0.5, "epochs": (settings or defaults).get("epochs", 200)}
    )
    predict(run, shift=shift, missed=missed)
    return run


def predict(run: RunPaths, *, shift: int = 2, missed: Sequence[str] = ()) -> None:
    """Write both prediction folders, newer than the checkpoint."""
    raw = read_raw(run.dataset)
    arrays = np.load(run.dataset.plan_folder(run.plan) / "masks.npy")
    test = set(read_test(run))
    for row, case in enumerate(raw.cases):
        if case.id in test:
            keep = 0 if case.id in missed else 1
            label = read_labels(raw.label_path(case))
            write_png(run.predictions / f"{case.id}.png", np.roll(label, shift, axis=0) * np.uint8(keep))
            write_png(run.predictions_at_input / f"{case.id}.png", np.roll(arrays[row], shift, axis=0) * np.uint8(keep))


def read_test(run: RunPaths) -> list[str]:
    from htunet.evaluation.predicted_run import split_cases

    return split_cases(run.dataset, run.fold, "test")


def make_older(path: os.PathLike[str], seconds: int = 100) -> None:
    """Set a file's time back."""
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * 10**9))
