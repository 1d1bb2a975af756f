"""The figures of the paper's tables, to stand beside ours, and which of our methods each of its names means."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PAPER = "arXiv 2506.08849"
EPOCHS = 200
SEEDS = 3
PLAN = "paper"
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
