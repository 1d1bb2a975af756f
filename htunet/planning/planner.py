"""From the fingerprint to plans, which are a function of the data set and the options alone.

``paper`` trains as the text of the paper says, ``public`` as its public code does, ``adaptive`` as the data asks for.
What follows the machine is chosen when a run starts.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from htunet.data.raw import DatasetInfo
from htunet.data.splits import TEST_ONLY, split_sizes
from htunet.files import as_read, json_hash
from htunet.planning import rules
from htunet.planning.fingerprint import Fingerprint
from htunet.planning.plans import ACCURACY, BICUBIC, LETTERBOX, OF_THE_MACHINE, STRETCH, Plan, comparable, sides_of
from htunet.planning.prompts import prompts

CHECKSUM = "checksum"
"""Key of ``Plan.because`` by which a plan that was edited by hand is recognised."""
PAPER_SETTINGS: dict[str, Any] = {
    "num_epochs": 200,
    "learning_rate": 1e-4,
    "betas": (0.9, 0.95),
    "weight_decay": 1e-2,
    "augmentation": rules.AUGMENTATION,
}
PAPER = "arXiv 2506.08849, implementation details"
PUBLIC = "the paper's public code (jinggqu/NextGen-UIA, 69dd54f)"
PUBLIC_LORA: dict[str, Any] = {"rank_stabilised": True, "fused_qkv": True}
PUBLIC_DINO_BATCH = 24


@dataclass(frozen=True)
class Planned:
    """What planning did to the entries of ``plans.json``."""

    plans: dict[str, Plan]
    changed: dict[str, dict[str, tuple[Any, Any]]]
    """Of plans that were there and unedited: field to (before, now)."""
    edited: tuple[str, ...]
    """Plans of the planner's names that the user edited by hand; left as they are."""
    own: tuple[str, ...]
    """Plans of other names; left as they are."""


def make_plans(
    fingerprint: Fingerprint,
    info: DatasetInfo,
    *,
    memory_gb: float = rules.MEMORY_GB,
    split_by: str = "image",
    existing: Mapping[str, Plan] | None = None,
) -> Planned:
    """Plan a data set again, and leave what the user wrote: plans of other names and plans edited by hand.

    Only what is a fact of the data set is set in every plan: its labels, classes, channels and how it is split. A plan
    that is gray stays gray, unless the images are coloured only now.
    """
    existing = existing or {}
    made = {name: make(fingerprint, info, memory_gb) for name, make in PLANNERS.items()}
    made = {name: _signed(replace(plan, split_by=split_by)) for name, plan in made.items()}
    edited = tuple(name for name in made if name in existing and is_edited(existing[name]))
    own = tuple(name for name in existing if name not in made)
    facts: dict[str, Any] = {"dataset": fingerprint.dataset, "labels": info.labels, "classes": info.classes}
    as_before = info.channels == max((plan.channels for plan in existing.values()), default=0)
    unchanged = {
        name: replace(
            plan,
            name=name,
            split_by=split_by,
            channels=min(plan.channels if as_before else info.channels, made.get(name, info).channels),
            prompts={label: words for label, words in plan.prompts.items() if label in info.labels},
            **facts,
        )
        for name, plan in existing.items()
        if name in (*edited, *own)
    }
    for name in edited:
        differences = _differences(unchanged[name], made[name])
        by_hand = {key: f"by hand; the rules give {new}" for key, (_, new) in differences.items()}
        unchanged[name] = replace(unchanged[name], because=unchanged[name].because | by_hand)
    unchanged |= {name: _with_copies_named(unchanged[name], made) for name in own}
    changed = {
        name: differences
        for name in made
        if name in existing and name not in edited and (differences := _differences(existing[name], made[name]))
    }
    return Planned(made | unchanged, changed, edited, own)


def is_edited(plan: Plan) -> bool:
    """True when the plan's values are not those that the planner wrote."""
    return plan.because.get(CHECKSUM) != _checksum(plan)


def paper_plan(fingerprint: Fingerprint, info: DatasetInfo, memory_gb: float, *, side: int = rules.BASE_SIDE) -> Plan:
    """The paper's settings, whatever the data and the memory."""
    size = (side, side)
    why_size = f"{PAPER}: 224 x 224" if side == rules.BASE_SIDE else f"{side} x {side}, which DINOv2 was trained at"
    return _plan(
        "paper" if side == rules.BASE_SIDE else f"paper_{side}",
        fingerprint,
        info,
        {
            "geometry": (STRETCH, f"{PAPER}: resized to a square, aspect ratio not kept"),
            "crop_border": (False, "the paper crops only the images that it collected itself, beforehand"),
            "input_size": (size, why_size),
            "batch_size": (rules.BATCH, PAPER),
            "patience": (None, "the paper trains all epochs and keeps the best one on validation"),
            "class_weights": ({}, "the paper names none for its focal loss"),
        },
    )


def public_plan(fingerprint: Fingerprint, info: DatasetInfo, memory_gb: float, *, side: int = rules.BASE_SIDE) -> Plan:
    """The settings of the paper's public code, whatever the data; what that code loses or forgets is not imitated."""
    name = "public" if side == rules.BASE_SIDE else f"public_{side}"
    plan = replace(paper_plan(fingerprint, info, memory_gb, side=side), name=name, channels=1)
    batch = rules.BATCH if side == rules.BASE_SIDE else PUBLIC_DINO_BATCH
    decided: dict[str, tuple[Any, str]] = {
        "batch_size": (batch, PUBLIC),
        "resize": (BICUBIC, f"{PUBLIC}: PIL's default"),
        "normalise": (False, f"{PUBLIC}: values 0 to 1"),
        "augmentation": ({"mirror": 0.0, "spatial": 0.0, "intensity": 0.0}, f"{PUBLIC}: not the usual transforms"),
        "more_augmentation": ({"strong_weak": {}}, f"{PUBLIC}: strong and weak operations on every second image"),
        "drop_last": (True, PUBLIC),
        "loss_parameters": ({"background": True, "squared": True, "smoothing": 1e-8}, f"{PUBLIC}: MONAI's DiceCELoss"),
        "class_loss": ("sigmoid_focal", f"{PUBLIC}: MONAI's FocalLoss"),
        "class_head_by_backbone": (
            dict.fromkeys(("BiomedCLIP", "MetaCLIP", "UniMedCLIP"), "linear"),
            f"{PUBLIC}: the hidden layer for CLIP alone",
        ),
        "class_metric": (ACCURACY, PUBLIC),
        "validate_every": (10, PUBLIC),
        "patience": (150, f"{PUBLIC}: 15 validations without a better metric"),
        "align_corners": (True, PUBLIC),
        "adapter": (dict.fromkeys(("LoRA", "LoRAVT"), PUBLIC_LORA), f"{PUBLIC}: scaled by alpha / sqrt(rank)"),
    }
    because = plan.because | {key: why for key, (_, why) in decided.items()}
    return replace(plan, because=because, **{key: value for key, (value, _) in decided.items()})


def adaptive_plan(fingerprint: Fingerprint, info: DatasetInfo, memory_gb: float) -> Plan:
    """The paper's optimiser with the size, shape and batch that the data ask for, as far as the memory allows."""
    crop, margin, why_crop = rules.crop_border(fingerprint)
    size, why_size = rules.input_size(fingerprint, crop, memory_gb)
    training_cases = _training_cases(fingerprint, info)
    batch, why_batch = rules.batch_size(training_cases)
    return _plan(
        "adaptive",
        fingerprint,
        info,
        {
            "geometry": (LETTERBOX, "lesions keep their shape, which is a clinical sign"),
            "crop_border": (crop, why_crop),
            **({"crop_margin": (margin, "of the longer side, see crop_border")} if margin else {}),
            "input_size": (size, why_size),
            "batch_size": (batch, why_batch),
            "patience": rules.patience(training_cases, batch),
            "class_weights": rules.class_weights(fingerprint.classes, info.classes),
        },
    )


Planner = Callable[[Fingerprint, DatasetInfo, float], Plan]
PLANNERS: dict[str, Planner] = {
    "paper": paper_plan,
    "adaptive": adaptive_plan,
    "paper_518": partial(paper_plan, side=518),
    "public": public_plan,
    "public_518": partial(public_plan, side=518),
}
DEFAULT_PLANS = ("paper", "adaptive")
"""Preprocessed when the user names none."""


def _plan(name: str, fingerprint: Fingerprint, info: DatasetInfo, decided: Mapping[str, tuple[Any, str]]) -> Plan:
    """A plan of the decisions, each (value, reason), and the paper's optimiser."""
    values = {key: value for key, (value, _) in decided.items()}
    because = {key: reason for key, (_, reason) in decided.items()}
    because |= dict.fromkeys(("num_epochs", "learning_rate", "betas", "weight_decay"), PAPER)
    words, because["prompts"] = prompts(fingerprint.dataset, info.labels)
    because["loss"] = f"{PAPER}: Dice plus cross-entropy"
    because["class_loss"] = f"{PAPER}: focal loss"
    because["augmentation"] = "mild; never up-down, because depth has a direction"
    augmentation = dict(rules.AUGMENTATION)
    if sides := sides_of([*info.labels, *info.classes]):
        augmentation["mirror"] = 0.0
        because["augmentation"] += f"; never left-right, which would exchange {' and '.join(sides)}"
    because |= {"channels": info.gray_values} if info.gray_values else {}
    return Plan(
        name=name,
        dataset=fingerprint.dataset,
        channels=info.channels,
        labels=dict(info.labels),
        classes=dict(info.classes),
        prompts=words,
        because=because,
        **(PAPER_SETTINGS | {"augmentation": augmentation} | values),
    )


def _training_cases(fingerprint: Fingerprint, info: DatasetInfo) -> int:
    """Number of images that one fold trains on."""
    if fingerprint.listed_training:
        return fingerprint.listed_training
    if info.split_rule == TEST_ONLY:
        return fingerprint.num_training
    return split_sizes(fingerprint.num_training, info.split_rule)[0]


def _signed(plan: Plan) -> Plan:
    return replace(plan, because=plan.because | {CHECKSUM: _checksum(plan)})


def _checksum(plan: Plan) -> str:
    """Hash of all values but the reasons, ``split_by`` (a fact of the data set), and what ``comparable`` leaves out."""
    return json_hash(comparable(_values(plan)), sort_keys=True)[:16]


def _values(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value in as_read(asdict(plan)).items() if key not in ("because", "split_by")}


def _with_copies_named(own: Plan, made: Mapping[str, Plan]) -> Plan:
    """The reasons of a copied plan, corrected: they came with the values, of which some are others now."""
    values, by_hand = _values(own), dict[str, str]()
    for key in own.because.keys() & values:
        copied = {name: _values(plan)[key] for name, plan in made.items() if plan.because.get(key) == own.because[key]}
        if copied and values[key] not in copied.values():
            name, value = next(iter(copied.items()))
            by_hand[key] = f"by hand; plan {name} has {value}"
    return replace(own, because=own.because | by_hand)


def _differences(before: Plan, now: Plan) -> dict[str, tuple[Any, Any]]:
    old, new = _values(before), _values(now)
    return {key: (old[key], new[key]) for key in new if key not in OF_THE_MACHINE and old[key] != new[key]}
