"""The small study whose tables are held: three methods, two seeds, a few-shot run, missed cases, classes, prompts."""

from collections.abc import Iterable, Mapping
from typing import Any

from builders.results import classes, masks
from htunet.paths import DatasetPaths, RunPaths

GROWING = [0.0, 0.2, 0.5, 0.55, 0.8, 0.9, 0.91, 0.4]
CLASSES = ["benign", "benign", "malignant", "malignant"] * 2
TRUTH = {"a": "malignant", "b": "benign", "c": "malignant", "d": "benign"}
PAPER_TABLES = {
    "table2": (["BUSI", "DDTI"], ["UNet", "CLIP", "CLIP_HT"]),
    "table3": (["BUSI"], ["ResNet18", "CLIP", "CLIP_HT"]),
    "table4": (["BUSI"], ["BiomedCLIP_HT"]),
    "table5": (["BUSI", "DDTI"], ["BiomedCLIP", "CLIP_HT"]),
}
"""Data sets and methods of each."""
ZERO_SHOT = {
    **{"dataset": "Dataset503_BUSI", "method": "CLIP", "plan": "paper", "part": "all", "split": "all", "seed": 1},
    **{"adapter": None, "weights": {"source": "random"}},
    "zero_shot": {
        "n_cases": 647,
        "accuracy": {"value": 0.6, "low": 0.5, "high": 0.7},
        "auc": {"value": 0.65, "low": 0.5, "high": 0.8},
        "prompts": [
            {"class": "benign", "text": "Oval & <smooth>.", "auc": 0.55},
            {"class": "malignant", "text": "Spiky|.", "auc": 0.9},
        ],
    },
}


def contents() -> list[dict[str, Any]]:
    """What summary.json files hold."""
    return [
        masks("CLIP_HT", GROWING, classes=CLASSES),
        masks("CLIP_HT", [value + 0.05 for value in GROWING], seed=2, classes=CLASSES),
        masks("CLIP", [value / 2 + 0.1 for value in GROWING], classes=CLASSES, epochs=3, num_epochs=3),
        masks("UNet", [0.3] * 8, classes=CLASSES, weights={"source": "none"}, trainable_parameters=7_700),
        masks("BiomedCLIP_HT", [0.7] * 8, ratio=0.05, weights={"source": "random"}),
        masks("UNet", [0.61, 0.43, 0.52, 0.75], dataset="Dataset504_DDTI", policy="exclude"),
        classes("ResNet18", {"a": 0.9, "b": 0.2, "c": 0.4, "d": 0.1}, TRUTH),
        classes("CLIP_HT", {"a": 0.9, "b": 0.2, "c": 0.8, "d": 0.7}, TRUTH),
        classes("CLIP_HT", {"a": 0.9, "b": 0.2, "c": 0.8, "d": 0.3}, TRUTH, seed=2),
    ]


def by_run(found: Iterable[Mapping[str, Any]]) -> dict[RunPaths, Mapping[str, Any]]:
    """Each content at the place of its run."""
    return {_run(content["htunet"]): content for content in found}


def _run(own: Mapping[str, Any]) -> RunPaths:
    run = RunPaths(DatasetPaths(own["dataset"]), own["trainer"], own["plan"], own["method"], own["fold"], own["seed"])
    return RunPaths(run.dataset, run.trainer, run.plan, run.method, run.fold, run.seed, ratio=own["ratio"])
