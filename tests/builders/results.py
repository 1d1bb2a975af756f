"""Contents of summary.json files, made from a list of figures: what a study needs, without images and networks."""

from collections.abc import Mapping, Sequence
from typing import Any

from htunet.reporting.tables.paper_figures import SIZES, SIZES_TABLE, table

DATASET = "Dataset503_BUSI"


def own(method: str, *, seed: int = 1, task: str = "seg", **changes: Any) -> dict[str, Any]:
    trainer = {"seg": "SegmentationTrainer", "cls": "ClassificationTrainer"}[task]
    about = {"format": 1, "dataset": DATASET, "trainer": trainer, "method": method, "task": task, "plan": "paper"}
    name = changes.get("dataset", DATASET).split("_", 1)[1]
    sizes = {row["dataset"]: {ours: int(row[theirs]) for ours, theirs in SIZES.items()} for row in table(SIZES_TABLE)}
    if name in sizes:  # the paper's images, unless a test says otherwise
        source = sizes["LN-INT" if name == "LN-EXT" else name]
        about["split_sizes"] = {"train": source["train"], "val": source["val"], "test": sizes[name]["test"]}
    about |= {"fold": 0, "seed": seed, "ratio": None, "trained_on": None, "num_epochs": 200, "epochs": 200}
    return about | {"trainable_parameters": 4_118_568, "weights": {"source": "pretrained"}, **changes}


def masks(
    method: str, dice: Sequence[float], *, areas: Sequence[int] | None = None, classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None, **about: Any,
) -> dict[str, Any]:  # fmt: skip
    """One label; the distances are 100 times what Dice lacks to 1, and 300 where it is 0: nothing was found."""
    n = len(dice)
    areas = areas or [100 * (i + 1) for i in range(n)]
    cases = [
        _mask_case(f"case_{i}", value, area, (classes or ["benign"] * n)[i], (groups or [""] * n)[i])
        for i, (value, area) in enumerate(zip(dice, areas, strict=True))
    ]
    mean = sum(dice) / n
    distance = sum(_distance(value) for value in dice) / n
    figures = {"Dice": mean, "IoU": mean, "HD95": distance, "ASD": distance}
    means = {name: {"mean": value, "n_used": n, "n_cases": n} for name, value in figures.items()}
    measured = [_distance(value) for value in dice if value]
    known = {"mean": sum(measured) / len(measured) if measured else None, "n_used": len(measured), "n_cases": n}
    means |= {"HD95_max": known, "ASD_directed": known}
    missed = [f"case_{i}" for i, value in enumerate(dice) if value == 0]
    false = [f"case_{i}" for i, area in enumerate(areas) if not area]
    found = own(method, **about) | {"policy": "penalise", "n_cases": n, "means": {"input_size": means}}
    found |= {"empty": {"input_size": {"prediction": missed, "reference": false, "both": []}}}
    return {"metric_per_case": cases, "htunet": found}


def classes(method: str, malignant: Mapping[str, float], truth: Mapping[str, str], **about: Any) -> dict[str, Any]:
    """A classification: probabilities of malignant by case, and the true classes."""
    cases = [
        {
            "case": case,
            "class": truth[case],
            "group": "",
            "probabilities": {"benign": 1 - value, "malignant": value},
            "decided": {"most_probable_class": "malignant" if value > 0.5 else "benign"},
        }
        for case, value in malignant.items()
    ]
    right = sum(case["decided"]["most_probable_class"] == case["class"] for case in cases) / len(cases)  # type: ignore[index]
    figures = {name: {"value": right} for name in ("accuracy", "recall", "precision", "f1", "specificity")}
    found = {
        "classes": ["benign", "malignant"],
        "positive": "malignant",
        "n_cases": len(cases),
        "cases": cases,
        "auc": {"value": right},
        "decisions": {"most_probable_class": {"figures": figures}},
        "calibration": {"before": {"ece": 0.1, "brier": 0.1}, "after": None, "temperature": None},
    }
    return {"htunet": own(method, task="cls", **about) | {"classification": found}}


def _distance(dice: float) -> float:
    return 300.0 if dice == 0 else 100 * (1 - dice)


def _mask_case(case: str, dice: float, area: int, class_name: str, group: str) -> dict[str, Any]:
    values = {"Dice": dice, "IoU": dice, "HD95": _distance(dice), "ASD": _distance(dice), "HD95_mm": None}
    of_paper = _distance(dice) if dice else None
    values |= {"ASD_mm": None, "HD95_max": of_paper, "ASD_directed": of_paper}
    values |= {"empty": "prediction" if dice == 0 else None}
    counts = {"TP": 0, "FP": 0, "FN": area, "TN": 10_000 - area, "n_ref": area, "n_pred": 0}
    about = {"case": case, "class": class_name, "group": group, "spacing_mm": None}
    return {"metrics": {"1": counts}, "htunet": about | {"input_size": {"1": values}, "original_size": {"1": values}}}
