"""Nothing that planning or training keeps depends on the images, the masks or the classes of the test split."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.raw import build_raw
from builders.training import register_tiny_methods, same_tensors
from PIL import Image

from htunet import api
from htunet.cli.evaluate import main as evaluate
from htunet.cli.train import main as train
from htunet.data.raw import TEST, read_raw
from htunet.data.split_files import load_splits
from htunet.files import read_json
from htunet.paths import ROOTS, DatasetPaths, RunPaths, find_runs
from htunet.training import record

SMALL = {"input_size": [32, 32], "batch_size": 4, "num_epochs": 2, "crop_border": False}
ON_CPU = ("--weights", "random", "--device", "cpu", "--workers", "0")


@dataclass
class Kept:
    """What one data set has led to."""

    files: dict[str, bytes]
    fingerprint: dict[str, Any]
    chosen: dict[str, Any]
    runs: list[RunPaths]
    scored: list[dict[str, float]]


def damage(paths: DatasetPaths) -> None:
    """Test images of another size, brightness and border with masks on the other side, and of the other class."""
    raw, rng = read_raw(paths), np.random.default_rng(7)
    tested = {case.id for case in raw.cases if case.split == TEST} or set(load_splits(paths.splits_json)[0]["test"])
    for case in (case for case in raw.cases if case.id in tested):
        image = np.zeros((150, 90), np.uint8)
        image[40:, 20:] = rng.integers(200, 256, (110, 70))
        mask = np.zeros_like(image)
        mask[:30] = mask[100:103, 50:52] = 1
        Image.fromarray(image).save(raw.image_path(case))
        Image.fromarray(mask).save(raw.label_path(case))
    if any(case.split == TEST for case in raw.cases):  # else the classes have dealt out the splits
        lines = paths.cases_csv.read_text().splitlines()
        swap = {"benign": "malignant", "malignant": "benign"}
        changed = [
            ",".join(swap.get(cell, cell) for cell in line.split(",")) if ",test," in line else line for line in lines
        ]
        paths.cases_csv.write_text("\n".join(changed) + "\n")


def work(folder: Path, monkeypatch: pytest.MonkeyPatch, *, test: int, damaged: bool) -> Kept:
    """Plan, train two tasks and a few-shot run, and evaluate; ``test``: the images of a test split of its own."""
    for variable, name in ROOTS.items():
        monkeypatch.setenv(variable, str(folder / name))
    paths = build_raw(40, test=test, rule="8:2" if test else "8:1:1")
    if damaged:
        if not test:  # the split is there before anybody looks at an image
            api.plan("Tiny", plans=["paper"], preprocess=False)
            for path in (paths.fingerprint_json, paths.plans_json, paths.warnings_json):
                path.unlink()
        damage(paths)
    api.plan("Tiny", plans=["paper", "adaptive", "public"], preprocess=False)
    planned = paths.plans_json.read_bytes()
    content = json.loads(planned)
    content["plans"]["paper"] |= SMALL
    paths.plans_json.write_text(json.dumps(content))
    api.plan("Tiny", plans=["paper"])
    for words in (["TINY_HT", "--task", "seg+cls"], ["Plain", "--ratio", "0.3"]):
        assert train(["Tiny", words[0], "fold0", "--plan", "paper", *words[1:], *ON_CPU]) == 0
    assert evaluate(["Tiny"]) == 0
    runs = list(find_runs(paths))
    files = {"plans": planned, "splits": paths.splits_json.read_bytes()}
    files |= {path.name: path.read_bytes() for path in (paths.preprocessed / "few_shot").glob("*.json")}
    chosen: dict[str, Any] = {}
    for run in runs:
        files |= {f"{run.label} {path.name}": path.read_bytes() for path in (run.finished_json, run.val_classes_csv)
                  if path.exists()}  # fmt: skip
        own = read_json(run.summary_json)["htunet"]
        found = own.get("classification", {})
        chosen[run.label] = [
            {key: found.get(key) for key in ("temperature", "positive")},
            {name: one["threshold"] for name, one in found.get("decisions", {}).items()},
            [{key: value for key, value in row.items() if key not in ("seconds", "images_per_second")}
             for row in csv.DictReader(run.progress_csv.read_text().splitlines())],
        ]  # fmt: skip
    scored = [case["metrics"]["1"] for run in runs for case in read_json(run.summary_json)["metric_per_case"]]
    fingerprint = {key: value for key, value in read_json(paths.fingerprint_json).items() if key != "raw_sha256"}
    return Kept(files, fingerprint, chosen, runs, scored)


@pytest.mark.parametrize("test", [8, 0], ids=["a test split of its own", "a test split that was dealt out"])
def test_damaged_test_images_masks_and_classes_change_no_plan_no_weight_and_no_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: int
) -> None:
    register_tiny_methods()
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    sound = work(tmp_path / "sound", monkeypatch, test=test, damaged=False)
    checkpoints = [run.checkpoint_best for run in sound.runs]
    other = work(tmp_path / "other", monkeypatch, test=test, damaged=True)
    assert sound.files.keys() == other.files.keys()
    assert {name for name in sound.files if sound.files[name] != other.files[name]} == set()
    assert sound.fingerprint == other.fingerprint
    assert sound.chosen == other.chosen
    for first, run in zip(checkpoints, other.runs, strict=True):
        assert first != run.checkpoint_best
        assert same_tensors(first, run.checkpoint_best)
    assert sound.scored != other.scored  # the damage was seen where it may be
