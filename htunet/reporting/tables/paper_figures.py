"""The figures of the paper's tables, to stand beside ours, and which of our methods each of its names means."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PAPER = "arXiv 2506.08849"
EPOCHS = 200
SEEDS = 3
PLAN = "paper"
PLANS = {"DINOv2": "paper_518"}
"""Of the methods that the paper trains with another plan than ``PLAN``."""
METHODS = {
    "UNet": "UNet",
    "CLIPSeg": "CLIPSeg",
    "DINOv2": "DINOv2",
    "CLIP": "CLIP",
    "CLIP_HT": "CLIP (HT)",
    "MetaCLIP": "MetaCLIP",
    "MetaCLIP_HT": "MetaCLIP (HT)",
    "UniMedCLIP": "UniMedCLIP",
    "UniMedCLIP_HT": "UniMedCLIP (HT)",
    "BiomedCLIP": "BiomedCLIP",
    "BiomedCLIP_HT": "BiomedCLIP (HT)",
}
"""Our method names to those of Table II, in its order."""
ADAPTERS = {
    "BiomedCLIP_Mona": "Mona",
    "BiomedCLIP_LoRA": "LoRA",
    "BiomedCLIP_LoRAVT": "LoRA (V+T)",
}
"""Our method names to those of Table V, which compares adapters on BiomedCLIP."""
CLASSIFICATION_METHODS = {"ResNet18": "ResNet18"} | {
    ours: theirs for ours, theirs in METHODS.items() if theirs not in ("UNet", "CLIPSeg")
}
"""Our method names to those of Table III, in its order."""
CLASSIFICATION_ADAPTERS = {"BiomedCLIP": "Baseline", "BiomedCLIP_HT": "HT"} | ADAPTERS
"""Our method names to those of Table VI, which compares adapters on BiomedCLIP."""
FEW_SHOT_METHODS = {"BiomedCLIP": "BiomedCLIP", "BiomedCLIP_LoRA": "LoRA", "BiomedCLIP_HT": "HT"}
"""Our method names to those of Table IV, which has means over all of the paper's data sets."""
TRAINED_ON = {"LN-EXT": "LN-INT"}
"""The data sets that the paper only tests on, and the one that it trains on for them."""
CAPTIONS = ("PMC-OA", "CURD", "MedPix")
"""What the paper fine-tunes its adapters on before it trains them on a data set."""
WITHOUT_TEXT = ("ResNet18", "DINOv2")
"""Methods that no image can be asked about in words: they have no zero-shot row and nothing to learn from captions."""
SUPERVISED, ZERO_SHOT = "supervised", "zero-shot"


@dataclass(frozen=True)
class PaperFigures:
    """One row of the paper for one data set: Dice and IoU in percent, HD95 and ASD in pixels."""

    method: str
    dice: float
    iou: float
    hd95: float
    asd: float
    trainable_parameters: str = ""
    """As printed, such as ``4.4 M``; empty where the table does not say."""


@dataclass(frozen=True)
class PaperClassification:
    """What the paper prints of a classification on one data set, in percent; None where no table says it."""

    method: str
    accuracy: float
    auc: float
    recall: float | None = None
    precision: float | None = None
    f1: float | None = None
    trainable_parameters: str = ""


def is_fine_tuned(method: str) -> bool:
    """Does the paper fine-tune this method's adapter on captions first?"""
    backbone, _, adapter = method.partition("_")
    return bool(adapter) and backbone not in WITHOUT_TEXT


def is_its_start(learnt: str) -> bool:
    """Had an adapter learnt what the paper's had, such as ``CURD+MedPix+PMC-OA``?"""
    return set(learnt.split("+")) == set(CAPTIONS)


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of one table as text: ``table2_segmentation`` and so on; raises ValueError for an unknown name."""
    resource = files("results_template") / f"{name}.csv"
    if not resource.is_file():
        raise ValueError(f"The paper's tables are called {', '.join(table_names())}; got {name!r}.")
    return tuple(csv.DictReader(resource.read_text(encoding="utf-8").splitlines()))


def table_names() -> list[str]:
    """The names that ``table`` takes."""
    return sorted(item.name[:-4] for item in files("results_template").iterdir() if item.name.endswith(".csv"))


def segmentation_figures(dataset: str, method: str) -> PaperFigures | None:
    """What the paper prints for a data set (``BUSI``) and one of our methods (``CLIP_HT``); None where it has none."""
    name, source = (
        (METHODS[method], "table2_segmentation")
        if method in METHODS
        else (ADAPTERS.get(method), "table5_adapters_segmentation")
    )
    for row in table(source):
        if row["method"] == name and row["dataset"] == dataset:
            return PaperFigures(
                method=row["method"],
                dice=float(row["dice"]),
                iou=float(row["iou"]),
                hd95=float(row["hd95"]),
                asd=float(row["asd"]),
                trainable_parameters=row.get("trainable_params", ""),
            )
    return None


def classification_figures(dataset: str, method: str, setting: str = SUPERVISED) -> PaperClassification | None:
    """What the paper prints for a data set and one of our methods, ``supervised`` or ``zero-shot``; None for nothing.

    Accuracy and AUC stand in Table III; recall, precision and F1, and the other adapters, in Table VI (supervised).
    """
    main = _row("table3_classification", dataset, CLASSIFICATION_METHODS.get(method), setting=setting)
    more = {}
    if setting == SUPERVISED:
        more = _row("table6_adapters_classification", dataset, CLASSIFICATION_ADAPTERS.get(method))
    if not main and not more:
        return None
    both = more | main
    return PaperClassification(
        method=both["method"],
        accuracy=float(both["acc"]),
        auc=float(both["auc"]),
        recall=float(more["rec"]) if more else None,
        precision=float(more["pre"]) if more else None,
        f1=float(more["f1"]) if more else None,
        trainable_parameters=main.get("trainable_params", ""),
    )


def few_shot_segmentation(ratio: float, method: str) -> PaperFigures | None:
    """The paper's mean over its data sets at a share of the training images (``0.05``); None where it prints none."""
    row = _few_shot_row(ratio, method)
    if not row:
        return None
    dice, iou, hd95, asd = (float(row[name]) for name in ("dice", "iou", "hd95", "asd"))
    return PaperFigures(row["method"], dice, iou, hd95, asd)


def few_shot_classification(ratio: float, method: str) -> PaperClassification | None:
    """The same of a classification."""
    row = _few_shot_row(ratio, method)
    if not row:
        return None
    accuracy, recall, precision, f1, auc = (float(row[name]) for name in ("acc", "rec", "pre", "f1", "auc"))
    return PaperClassification(row["method"], accuracy, auc, recall, precision, f1)


def _few_shot_row(ratio: float, method: str) -> dict[str, str]:
    name = FEW_SHOT_METHODS.get(method)
    rows = (row for row in table("table4_fewshot") if row["method"] == name)
    return next((row for row in rows if abs(float(row["ratio"].rstrip("%")) / 100 - ratio) < 1e-9), {})


def _row(name: str, dataset: str, method: str | None, **other: str) -> dict[str, str]:
    """The one row of a table, or nothing."""
    wanted = {"dataset": dataset, "method": method, **other}
    return next((row for row in table(name) if all(row[key] == value for key, value in wanted.items())), {})
