"""plans.json: all that planning decided and all that later stages may know of it. Each decision has its reason."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.files import read_json, write_json

FORMAT = 1
STRETCH, LETTERBOX = "stretch", "letterbox"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Decisions for one data set under one name (``paper``, ``adaptive``). Written by the planner, then only read."""

    name: str
    dataset: str
    channels: int
    labels: dict[str, int]
    classes: dict[str, int]
    geometry: str
    """``stretch`` (aspect ratio not kept, as the paper does) or ``letterbox`` (kept, padded with zeros)."""
    crop_border: bool
    """Crop the black border and overlays outside the insonified field before resizing."""
    input_size: tuple[int, int]
    """(height, width) of the network's input, pixels."""
    batch_size: int
    """Images in one optimiser step, over all devices."""
    accumulation: int
    """Parts that a device computes a batch in; the gradient equals that of the whole batch."""
    workers: int
    """Processes that augment images beside the training process."""
    num_epochs: int
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    patience: int | None
    """Epochs without a better validation figure after which training stops; None: never."""
    class_weights: dict[str, float]
    """Weights of the classes in the focal loss; empty: equal."""
    augmentation: dict[str, float]
    """Settings of ``training.augmentation.AugmentationSettings``."""
    adapter: dict[str, Any] = field(default_factory=dict)
    """Settings of the adapter that differ from its defaults."""
    split_by: str = "image"
    because: dict[str, str] = field(default_factory=dict)
    """For each decision, the rule and the numbers that led to it, in plain words."""


def save_plans(path: Path, plans: Mapping[str, Plan]) -> None:
    """Write all plans of one data set."""
    write_json(path, {"format": FORMAT, "plans": {name: asdict(plan) for name, plan in plans.items()}})


def load_plans(path: Path) -> dict[str, Plan]:
    """Read all plans; raises HtunetError when the file is missing, broken or of another version."""
    if not path.exists():
        raise HtunetError(f"{path} is missing: plan the data set first with htunet_plan_and_preprocess -d NAME.")
    content = read_json(path)
    if (found := content.get("format")) != FORMAT:
        raise HtunetError(f"{path} has format {found}, this version reads {FORMAT}: plan the data set again.")
    return {name: plan_from(entry) for name, entry in content["plans"].items()}


def load_plan(path: Path, name: str) -> Plan:
    """Read one plan; an unknown name raises UsageError with the known ones."""
    plans = load_plans(path)
    if name not in plans:
        raise UsageError(f"{path} has no plan {name!r}; it has {', '.join(plans)}." + did_you_mean(name, plans))
    return plans[name]


def plan_from(entry: Mapping[str, Any]) -> Plan:
    """A plan from its JSON object; raises HtunetError that names missing and unknown keys."""
    known = {item.name for item in fields(Plan)}
    if unknown := sorted(set(entry) - known):
        raise HtunetError(f"plans.json has keys that this version does not know: {unknown}. Plan the data set again.")
    try:
        plan = Plan(**entry)
    except TypeError as error:
        raise HtunetError(f"plans.json is incomplete ({error}). Plan the data set again.") from None
    pairs = {"input_size": tuple(plan.input_size), "betas": tuple(plan.betas)}
    return Plan(**(dict(entry) | pairs))
