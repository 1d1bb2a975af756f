"""The figures of the paper's tables, to stand beside ours, and which of our methods each of its names means."""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from htunet.evaluation.metrics import METRICS

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
CLASSIFICATION_ADAPTERS = {
    "BiomedCLIP": "Baseline",
    "BiomedCLIP_LoRAVT": "LoRA (V+T)",
    "BiomedCLIP_LoRA": "LoRA",
    "BiomedCLIP_Mona": "Mona",
    "BiomedCLIP_HT": "HT",
}
"""Our method names to those of Table VI, which compares adapters on BiomedCLIP, in its order."""
FEW_SHOT_METHODS = {"BiomedCLIP": "BiomedCLIP", "BiomedCLIP_LoRA": "LoRA", "BiomedCLIP_HT": "HT"}
"""Our method names to those of Table IV, which has means over all of the paper's data sets."""
POSITIVE = "malignant"
"""The class that its recall, precision and F1 are of."""
TRAINED_ON = {"LN-EXT": "LN-INT"}
"""The data sets that the paper only tests on, and the one that it trains on for them."""
CAPTIONS = ("PMC-OA", "CURD", "MedPix")
"""What the paper fine-tunes its adapters on before it trains them on a data set."""
WITHOUT_TEXT = ("ResNet18", "DINOv2")
"""Methods without a text encoder: they have no zero-shot row and cannot learn from captions."""
OTHER = "not a data set of the paper"
SIZES_TABLE = "table1_datasets"
SIZES = {"train": "training", "val": "validation", "test": "testing", "total": "total"}
"""Our names of the sizes to the columns of Table I."""
SUPERVISED, ZERO_SHOT = "supervised", "zero-shot"


Figures = Mapping[str, float]
"""What the paper prints, in percent or pixels, by the name of the metric that it may stand beside."""


def place_of(method: str) -> tuple[int, str]:
    """Sorts methods: the paper's in its order, then the others by name."""
    known = list(dict.fromkeys([*METHODS, *CLASSIFICATION_METHODS, *ADAPTERS]))
    return (known.index(method) if method in known else len(known)), method


def is_fine_tuned(method: str) -> bool:
    """Whether the paper fine-tunes this method's adapter on captions first."""
    backbone, _, adapter = method.partition("_")
    return bool(adapter) and backbone not in WITHOUT_TEXT


def is_its_start(learnt: str) -> bool:
    """Whether an adapter had learnt what the paper's had, such as ``CURD+MedPix+PMC-OA``."""
    return set(learnt.replace("PMC-CURD", "PMC-OA+CURD").split("+")) == set(CAPTIONS)


def comparable(metric: str, positive: str) -> bool:
    """Whether the paper's figure can be compared with ours, which may have another ``positive`` class."""
    return not METRICS[metric].of_class or positive == POSITIVE


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


def printed(name: str, **requested: str | None) -> Figures:
    """The figures of the one row of a table that has these values where it has such columns."""
    rows = (row for row in table(name) if all(row.get(key, value) == value for key, value in requested.items()))
    row = next(rows, {})
    return {metric: float(row[column]) for metric in METRICS if (column := METRICS[metric].paper) in row}


def segmentation_figures(dataset: str, method: str) -> Figures:
    """What the paper prints for a data set (``BUSI``) and one of our methods (``CLIP_HT``)."""
    adapters = printed("table5_adapters_segmentation", dataset=dataset, method=ADAPTERS.get(method))
    return printed("table2_segmentation", dataset=dataset, method=METHODS.get(method)) or adapters


def classification_figures(dataset: str, method: str, setting: str = SUPERVISED) -> Figures:
    """What the paper prints for a data set and one of our methods, ``supervised`` or ``zero-shot``.

    Accuracy and AUC are in Table III; recall, precision and F1, and the other adapters, in Table VI (supervised).
    """
    name = CLASSIFICATION_METHODS.get(method)
    main = printed("table3_classification", dataset=dataset, method=name, setting=setting)
    if setting != SUPERVISED:
        return main
    adapter = CLASSIFICATION_ADAPTERS.get(method)
    return {**printed("table6_adapters_classification", dataset=dataset, method=adapter), **main}


def few_shot_figures(ratio: float, method: str) -> Figures:
    """The paper's means over its data sets at a fraction of the training images (``0.05``), masks and classes."""
    return printed("table4_fewshot", ratio=f"{100 * ratio:.6g}%", method=FEW_SHOT_METHODS.get(method))


def datasets(task: str) -> list[str]:
    """The paper's data sets with masks (``segmentation``) or classes (``classification``)."""
    return [row["dataset"] for row in table(SIZES_TABLE) if row[task] == "yes"]


def sizes(dataset: str) -> dict[str, int] | None:
    """Images in ``train``, ``val``, ``test`` and in ``total`` as Table I has them; None for a set that it lacks."""
    row = next((row for row in table(SIZES_TABLE) if row["dataset"] == dataset), None)
    return {name: int(row[column]) for name, column in SIZES.items()} if row else None


def other_images(dataset: str, ours: Mapping[str, int]) -> str:
    """How the images of a result differ from the paper's; empty where it is the paper's data set and split.

    Names can be anybody's, so the numbers decide: ``ours`` are those that are known of ``train``, ``val``, ``test``
    and ``total``.
    """
    tested, trained = sizes(dataset), sizes(TRAINED_ON.get(dataset, dataset))
    if not tested or not trained:
        return OTHER
    theirs = {**trained, "test": tested["test"], "total": tested["total"]}
    differing = [name for name in theirs if ours.get(name, theirs[name]) != theirs[name]]
    shown, of_paper = (", ".join(f"{some[name]} {name}" for name in differing) for some in (ours, theirs))
    return f"not the paper's images: {shown}, the paper's {dataset} {of_paper}" if differing else ""


def footnote(method: str, setting: str = SUPERVISED) -> str:
    """What the paper's public code does to a method that its figures may rest on; empty where nothing is known."""
    backbone, _, adapter = method.partition("_")
    if adapter.startswith("LoRA"):
        return "paper's result: its public code does not save what LoRA learns and tests without it"
    if backbone == "DINOv2":
        return "paper's result: its public code drops DINOv2's LayerScale"
    if backbone == "UniMedCLIP" and (adapter or setting == ZERO_SHOT):
        return "paper's result: its public code gives UniMedCLIP a random text encoder"
    return ""
