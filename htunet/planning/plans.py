"""plans.json: all that planning decided and all that later stages may know of it. Each decision has its reason."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from htunet.data.image_io import MAX_PIXELS
from htunet.data.raw import label_names
from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.files import read_object, write_json
from htunet.models.tasks import CONVOLUTION, HIDDEN_LAYER, Outputs
from htunet.paths import AS_PUBLISHED
from htunet.planning.prompts import in_words
from htunet.records import checked_object, of_format, record_from

FORMAT = 1
STRETCH, LETTERBOX = "stretch", "letterbox"
CENTRE_CROP = "centre_crop"
"""Of stage 1 alone: the shorter side is resized to that of the input, and the middle is taken."""
BILINEAR, BICUBIC = "bilinear", "bicubic"
AUC, ACCURACY = "auc", "accuracy"
MOST_WORKERS = 512
PLAN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_))*")
"""No double underscore: it parts the names in a run's folder."""
LATER = {"later": True}
"""Marks fields that a plan may lack, such as those of earlier versions; see ``comparable``."""
OF_THE_MACHINE = ("accumulation", "workers")
"""Fields that follow the machine that trains and change no result; the planner leaves them open."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Decisions for one data set under one name (``paper``, ``adaptive``). Written by the planner, then only read."""

    name: str
    dataset: str
    channels: int
    labels: dict[str, int]
    classes: dict[str, int]
    geometry: str
    """``stretch`` (the aspect ratio changes, as in the paper) or ``letterbox`` (it does not; padded with zeros)."""
    crop_border: bool
    """Crop the black border and overlays outside the insonified field before resizing."""
    crop_margin: float = field(default=0.0, metadata=LATER)
    """How much more is kept on each side, as a fraction of the image's longer side."""
    input_size: tuple[int, int]
    """(height, width) of the network's input, pixels."""
    batch_size: int
    """Images in one optimiser step, over all devices."""
    num_epochs: int
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    patience: int | None
    """Number of epochs without a better validation metric after which training stops; None: never."""
    class_weights: dict[str, float]
    """Weights of the classes in the focal loss; empty: equal."""
    augmentation: dict[str, float]
    """Settings of ``training.augmentation.AugmentationSettings``."""
    adapter: dict[str, Any] = field(default_factory=dict)
    """Settings of the adapter that differ from its defaults; ``layers`` names the blocks that have one."""
    prompts: dict[str, str] = field(default_factory=dict)
    """For a label, what CLIPSeg is asked to find; a label without an entry is asked for by its name."""
    split_by: str = "image"
    loss: str = field(default="dice_cross_entropy", metadata=LATER)
    """Loss of masks, a name in ``training.losses``."""
    loss_parameters: dict[str, Any] = field(default_factory=dict, metadata=LATER)
    """Parameters of that loss that differ from its defaults."""
    class_loss: str = field(default="focal", metadata=LATER)
    """Loss of classes, a name in ``training.losses``."""
    class_loss_parameters: dict[str, Any] = field(default_factory=dict, metadata=LATER)
    head: str = field(default=CONVOLUTION, metadata=LATER)
    """Head of masks, a name in ``models.heads``."""
    head_parameters: dict[str, Any] = field(default_factory=dict, metadata=LATER)
    class_head: str = field(default=HIDDEN_LAYER, metadata=LATER)
    """Head of classes, a name in ``models.heads``."""
    class_head_parameters: dict[str, Any] = field(default_factory=dict, metadata=LATER)
    more_augmentation: dict[str, dict[str, Any]] = field(default_factory=dict, metadata=LATER)
    """Transforms after the usual ones, in this order: a name in ``training.augmentation`` -> its parameters."""
    resize: str = field(default=BILINEAR, metadata=LATER)
    """How images are resized, ``bilinear`` or ``bicubic``; masks take the nearest label either way."""
    normalise: bool = field(default=True, metadata=LATER)
    """Whether the network sees images in the mean and deviation of its pre-training; else values 0 to 1."""
    drop_last: bool = field(default=False, metadata=LATER)
    """Leave out the last batch of an epoch where it has fewer images than the others."""
    gradient_clip: float | None = field(default=None, metadata=LATER)
    """Largest norm of a step's gradient, over all parameters; None: any."""
    validate_every: int = field(default=1, metadata=LATER)
    """Validate the epochs after the first whose number, from 0, is a multiple of this, and the last one; 1: each."""
    class_metric: str = field(default=AUC, metadata=LATER)
    """Validation metric that chooses a classification's checkpoint: ``auc`` or ``accuracy``."""
    warm_up_epochs: int = field(default=0, metadata=LATER)
    """Epochs in which the learning rate rises to its largest value."""
    class_head_by_backbone: dict[str, str] = field(default_factory=dict, metadata=LATER)
    """Backbones whose head of classes is another than ``class_head``, with its default parameters."""
    align_corners: bool = field(default=False, metadata=LATER)
    """UNet and DINOv2's decoder up-sample with aligned corners, and that decoder ends as its authors publish it."""
    accumulation: int | None = field(default=None, metadata=LATER)
    """Parts that a device computes a batch in; None, as the planner writes: chosen when a run starts."""
    workers: int | None = field(default=None, metadata=LATER)
    """Processes that augment images beside the training process; None likewise."""
    contrast_size: int | None = field(default=None, metadata=LATER)
    """Of stage 1: pairs that are contrasted at a time, of which a batch has a multiple; None: all of the batch."""
    as_published_defects: bool = field(default=False, metadata=LATER)
    """Lose what the paper's public code loses: LoRA as a run trains it, and DINOv2's LayerScale. The name says it."""
    because: dict[str, str] = field(default_factory=dict)
    """For each decision, the rule and the numbers that led to it, in plain words."""

    @property
    def label_prompts(self) -> tuple[str, ...]:
        """The words for each label but the background, in the order of their values."""
        return tuple(self.prompts.get(name) or in_words(name) for name in label_names(self.labels))

    def outputs(self, task: str) -> Outputs:
        """The outputs of a network for ``task``, with the plan's heads and settings."""
        return Outputs(
            task=task,
            num_labels=len(self.labels),
            num_classes=len(self.classes),
            prompts=self.label_prompts,
            head=self.head,
            head_parameters=self.head_parameters,
            class_head=self.class_head,
            class_head_parameters=self.class_head_parameters,
            class_head_by_backbone=self.class_head_by_backbone,
            normalise=self.normalise,
            align_corners=self.align_corners,
            as_published_defects=self.as_published_defects,
        )

    @property
    def adapter_settings(self) -> dict[str, Any]:
        """Settings of the adapter, and the size of the images, which determines its grid."""
        return {"input_size": self.input_size} | self.adapter


def save_plans(path: Path, plans: Mapping[str, Plan]) -> None:
    """Write all plans of one data set."""
    write_json(path, {"format": FORMAT, "plans": {name: asdict(plan) for name, plan in plans.items()}})


def load_plans(path: Path) -> dict[str, Plan]:
    """Read all plans; raises HtunetError when the file is missing, broken or of another version."""
    if not path.exists():
        raise HtunetError(
            f"{path} is missing: plan the data set first with htunet_plan_and_preprocess -d {path.parent.name}."
        )
    content = of_format(read_object(path), FORMAT, path, ": plan the data set again.")
    entries = checked_object(content.get("plans"), f"{path}, plans")
    plans = {name: plan_from(entry, f"{path}, plan {name!r}") for name, entry in entries.items()}
    return {name: replace(plan, name=name) for name, plan in plans.items()}  # a copied entry has its origin's name


def load_plan(path: Path, name: str) -> Plan:
    """Read one plan to work with; raises UsageError for an unknown name, HtunetError as ``check_plan``."""
    plans = load_plans(path)
    if name not in plans:
        raise UsageError(f"{path} has no plan {name!r}; it has {', '.join(plans)}." + did_you_mean(name, plans))
    check_plan(plans[name])
    return plans[name]


def plan_from(entry: object, where: str) -> Plan:
    """A plan from its JSON object; raises HtunetError that names ``where`` and the key that is missing or wrong."""
    return record_from(Plan, entry, where)


def comparable(content: Mapping[str, Any]) -> dict[str, Any]:
    """A plan's JSON object without marked fields that have their defaults: equal for equal plans of all versions."""
    later = [one for one in fields(Plan) if "later" in one.metadata]
    usual = {one.name: one.default if one.default_factory is MISSING else one.default_factory() for one in later}
    return {key: value for key, value in content.items() if key not in usual or value != usual[key]}


def check_task(plan: Plan, task: str) -> None:
    """Raise HtunetError when the data set has no masks or no classes, whichever ``task`` learns from."""
    if "seg" in task.split("+") and len(plan.labels) < 2:
        raise HtunetError(
            f"{plan.dataset} has images with classes and no masks: nothing can be segmented. Train it with --task cls."
        )
    if "cls" in task.split("+") and len(plan.classes) < 2:
        found = ", ".join(plan.classes) or "none"
        raise HtunetError(
            f"The task {task!r} tells at least two classes of images apart; those of {plan.dataset}: {found}. Give its "
            "images classes (cases.csv and dataset.json) and plan it again, or train it with --task seg."
        )


def check_patience(plan: Plan) -> None:
    """Raise HtunetError where the plan's patience would end a training after one validation."""
    if plan.patience is not None and plan.patience < plan.validate_every:
        raise HtunetError(
            f"The plan {plan.name!r} has patience {plan.patience} and validate_every {plan.validate_every}: a training "
            "would end after one validation. Make patience at least validate_every in plans.json."
        )


SIDES = (
    *(("left", "right"), ("link", "recht"), ("gauche", "droite"), ("gauche", "droit"), ("sinist", "dest")),
    *(("sinist", "dext"), ("izquierd", "derech"), ("esquerd", "direit"), ("左", "右")),
    *((rf"(?<![^\W_]){one}(?![^\W_])", other) for one, other in (("l", "r"), ("sx", "dx"), ("sin", "dx"))),
)
"""Regular expressions of a side, and the other side; stems serve both genders, abbreviations are whole words."""


def sides_of(names: Iterable[str]) -> tuple[str, ...]:
    """Two labels or classes that differ in their side alone, which mirroring would exchange; else empty.

    >>> sides_of(["background", "lobe_left", "lobe_right"]), sides_of(["left", "benign"])
    (('lobe_left', 'lobe_right'), ())
    """
    known = {name.casefold(): name for name in names}
    pairs = ((name, re.sub(one, other, name)) for one, other in SIDES for name in known)
    return next(((known[name], known[new]) for name, new in pairs if new != name and new in known), ())


def check_plan(plan: Plan) -> None:
    """Raise HtunetError that names the field of a plan, perhaps written by hand, whose value has no meaning."""
    wrong = {
        "name": not PLAN_NAME.fullmatch(plan.name.removesuffix(AS_PUBLISHED)),
        "as_published_defects": plan.as_published_defects != plan.name.endswith(AS_PUBLISHED),
        "geometry": plan.geometry not in (STRETCH, LETTERBOX),
        "input_size": min(plan.input_size) < 1 or plan.input_size[0] * plan.input_size[1] > MAX_PIXELS,
        "channels": plan.channels not in (1, 3),
        "crop_margin": not 0 <= plan.crop_margin <= 1,
        "labels": sorted(plan.labels.values()) != list(range(max(1, len(plan.labels)))),
        "batch_size": plan.batch_size < 1,
        "accumulation": plan.accumulation is not None and plan.accumulation < 1,
        "workers": plan.workers is not None and not 0 <= plan.workers <= MOST_WORKERS,
        "num_epochs": plan.num_epochs < 1,
        "learning_rate": plan.learning_rate <= 0,
        "betas": not all(0 <= beta < 1 for beta in plan.betas),
        "weight_decay": plan.weight_decay < 0,
        "patience": plan.patience is not None and plan.patience < 1,
        "classes": sorted(plan.classes.values()) != list(range(len(plan.classes))),
        "prompts": not plan.prompts.keys() <= plan.labels.keys(),
        "resize": plan.resize not in (BILINEAR, BICUBIC),
        "gradient_clip": plan.gradient_clip is not None and plan.gradient_clip <= 0,
        "validate_every": plan.validate_every < 1,
        "warm_up_epochs": not 0 <= plan.warm_up_epochs < max(plan.num_epochs, 1),
        "contrast_size": plan.contrast_size is not None,
        "class_metric": plan.class_metric not in (AUC, ACCURACY),
        "class_weights": any(weight <= 0 for weight in plan.class_weights.values())
        or (bool(plan.class_weights) and plan.class_weights.keys() != plan.classes.keys()),
    }
    if found := [f"{key} {getattr(plan, key)!r}" for key, is_wrong in wrong.items() if is_wrong]:
        raise HtunetError(
            f"The plan {plan.name!r} in plans.json has values without a meaning: {', '.join(found)}. A name is "
            f"letters, digits and single _ or -; geometry is {STRETCH} or {LETTERBOX}; resize is {BILINEAR} or "
            f"{BICUBIC}; class_metric is {AUC} or {ACCURACY}; as_published_defects is an option of htunet_train, not a "
            "setting; labels and classes are "
            "numbered from 0; class_weights has every class or none; sizes and counts are positive whole numbers; "
            "betas lie in [0, 1); rates and weights are positive; the warm-up is shorter than the training."
        )
