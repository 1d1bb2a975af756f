"""An exported model: one folder that predicts where neither the data set nor the run is.

model.json names every other file with its hash. Reading one runs no code from it.
"""

import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.files import read_object
from htunet.inference.trained import TrainedModel
from htunet.models.build import has_frozen_part
from htunet.models.precision import FABRIC_PRECISION
from htunet.models.weights.load import PRETRAINED, RANDOM, WeightsRecord
from htunet.models.weights.store import check_hash
from htunet.paths import DATASET_NAME, PHANTOM, TRAINER_OF_TASK, DatasetPaths, RunPaths, checked_name, imported_models
from htunet.planning.plans import check_plan, check_task, plan_from
from htunet.records import check_schema, of_format, record_from
from htunet.schemas import MEMBERS, QUALITY

if TYPE_CHECKING:
    from htunet.inference.predictor import Predictor

FORMAT = 1
MODEL_JSON = "model.json"
CHECKPOINT = "checkpoint.safetensors"
BACKBONE = "backbone.safetensors"
README = "README.md"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The content of model.json."""

    format: int
    name: str
    """What the model is called where it is imported, unless the user says otherwise."""
    dataset: str
    method: str
    task: str
    fold: int
    seed: int
    ratio: float | None
    """Share of the training images that it has learnt from; None: all."""
    adapter: str
    """Where the adapter started; empty: anew."""
    plan: dict[str, Any]
    """All of the plan that the model was trained with, label and class names among it."""
    precision: str
    weights: dict[str, Any]
    """Which frozen weights it was trained on: source, file and hash of the tensors."""
    backbone: dict[str, Any]
    """Of the published weights: architecture, statistics, where they are, licence, citation; empty where none are."""
    licences: dict[str, str]
    citations: dict[str, str]
    figures: dict[str, Any]
    """Of the best epoch on the validation images and, where the run has been evaluated, on the test images."""
    trained_by: dict[str, Any]
    exported_by: dict[str, Any]
    files: dict[str, str]
    """SHA-256 of each other file."""
    members: list[dict[str, Any]] = field(default_factory=list)
    """The other networks of an ensemble, whose probabilities are averaged with those of the first: method, fold, seed,
    weights as above, and checkpoint, the name of a file. ``figures`` are those of the first alone."""
    quality: dict[str, Any] = field(default_factory=dict)
    """What ``predicted_dice`` and ``unlike_images`` need: under ``methods`` the expected and the true Dice of tested
    images, under ``familiar`` what each network has learnt from; and ``postprocessing``, see ``Prediction``."""

    @property
    def predicts_with(self) -> list[str]:
        """The files that htunet predicts with; any other is for people and for other programs."""
        return [CHECKPOINT, *(str(member["checkpoint"]) for member in self.members), BACKBONE]


@dataclass(frozen=True)
class ExportedModel:
    """A folder with a model, as read; its files have been checked where ``open_model`` gave it."""

    folder: Path
    card: ModelCard

    @property
    def run(self) -> RunPaths:
        """The run that it was exported from, by its name; its folder is on another machine."""
        card = self.card
        trainer, plan = TRAINER_OF_TASK[card.task], card.plan["name"]
        run = RunPaths(DatasetPaths(card.dataset), trainer, plan, card.method, card.fold, card.seed)
        return replace(run, ratio=card.ratio, adapter=card.adapter)

    @property
    def others(self) -> list[RunPaths]:
        """The runs of the other members of an ensemble."""
        return [replace(self.run, **{key: member[key] for key in ("method", "fold", "seed")})
                for member in self.card.members]  # fmt: skip

    def members(self, weights: str | None = None) -> list[TrainedModel]:
        """All networks that predict together, as ``trained``; one unless the model is an ensemble."""
        first = self.trained(weights)
        others = [replace(first, method=member["method"], seed=member["seed"],
                          weights=weights or self._frozen_weights(member["method"], member["weights"]),
                          checkpoint=self.folder / member["checkpoint"]) for member in self.card.members]  # fmt: skip
        return [first, *others]

    def predictor(self, weights: str | None = None, device: str = "auto") -> "Predictor":
        """The networks of ``members`` on a device; raises as ``Predictor.from_trained``."""
        from htunet.inference.predictor import Predictor

        return Predictor.from_trained(*self.members(weights), device=device)

    def trained(self, weights: str | None = None) -> TrainedModel:
        """What predicts; ``weights`` names the frozen ones, None takes those in the folder or the published ones.

        Raises HtunetError for a plan that is broken, and when only the user can know where the frozen weights are.
        """
        card = self.card
        plan = plan_from(card.plan, f"{self.folder / MODEL_JSON}, plan")
        check_plan(plan)
        check_task(plan, card.task)
        return TrainedModel(
            method=card.method,
            task=card.task,
            plan=plan,
            seed=card.seed,
            precision=card.precision,
            weights=weights or self._frozen_weights(card.method, card.weights),
            checkpoint=self.folder / CHECKPOINT,
        )

    def _frozen_weights(self, method: str, weights: dict[str, Any]) -> str:
        record = record_from(WeightsRecord, weights, f"{self.folder / MODEL_JSON}, weights")
        if not has_frozen_part(method):
            return RANDOM
        if BACKBONE in self.card.files:
            return str(self.folder / BACKBONE)
        if record.source in (PHANTOM, PRETRAINED, RANDOM):
            return record.source
        raise HtunetError(
            f"The model {self.card.name} was trained on the weights file {record.file} ({record.identity[:12]}), which "
            "is not in it. Name it: --weights FILE; or export the model --with-backbone."
        )


def needed_weights(card: ModelCard) -> str:
    """What to do for the frozen weights that are not in the model, in one sentence; empty where nothing is."""
    if not has_frozen_part(card.method) or BACKBONE in card.files or card.weights["source"] in (PHANTOM, RANDOM):
        return ""
    if card.weights["source"] == PRETRAINED:
        name = card.method.partition("_")[0]
        return f"The frozen weights are not in the model. Download them once: htunet_weights download {name}."
    return f"The frozen weights are not in the model. Name their file, {card.weights['file']}: --weights FILE."


def open_model(folder: Path) -> ExportedModel:
    """Read a model's folder and check the hash of each file that predicts.

    Raises HtunetError when the folder holds no model, one of another format, or a file that is missing or changed.
    """
    model = read_model(folder)
    for name in model.card.predicts_with:
        if name in model.card.files:
            if not (folder / name).is_file():
                raise HtunetError(f"The model {folder} lacks its {name}. Export or import it again.")
            check_hash(folder / name, model.card.files[name])
    return model


def read_model(folder: Path) -> ExportedModel:
    """Read model.json alone; raises HtunetError when it is missing, broken, or of another format."""
    path = folder / MODEL_JSON
    if not path.is_file():
        raise HtunetError(f"{folder} holds no model: {MODEL_JSON} is missing. htunet_export writes one.")
    content = read_object(path)
    of_format(content, FORMAT, path, ": use the htunet that exported it.")
    card = record_from(ModelCard, content, str(path))
    check_plan(plan_from(card.plan, f"{path}, plan"))
    record_from(WeightsRecord, card.weights, f"{path}, weights")
    check_schema(card.members, MEMBERS, f"{path}, members")
    check_schema(card.quality, QUALITY, f"{path}, quality")
    for member in card.members:
        record_from(WeightsRecord, member["weights"], f"{path}, members, weights")
    for what, name in (("the method", card.method), ("the adapter", card.adapter or "none")):
        checked_name(name, what, path)
    wrong = {
        "name": not NAME.fullmatch(card.name),
        "task": card.task not in TRAINER_OF_TASK,
        "precision": card.precision not in FABRIC_PRECISION,
        "dataset": not DATASET_NAME.fullmatch(card.dataset),
        "fold": card.fold < 0,
        "seed": card.seed < 0,
        "ratio": card.ratio is not None and not 0 < card.ratio < 1,
        "members": any(min(member["fold"], member["seed"]) < 0 for member in card.members),
        "files": not {*card.predicts_with} - {BACKBONE} <= card.files.keys()
        or not all(NAME.fullmatch(name) for name in card.files),
    }
    if named := [f"{key} {getattr(card, key)!r}"[:100] for key, is_wrong in wrong.items() if is_wrong]:
        raise HtunetError(f"{path} has values without a meaning: {', '.join(named)}. Export the model again.")
    return ExportedModel(folder, card)


def find_model(name: str) -> ExportedModel:
    """A model by its folder, or by the name under which it was imported; raises UsageError as ``open_model``."""
    folder = Path(name)
    if folder.is_dir():
        return open_model(folder)
    known = [model.folder.name for model in all_imported()]
    if name not in known:
        listing = ", ".join(known) or "none yet"
        way_out = did_you_mean(name, [*known, PHANTOM]) or " Import one with htunet_import, or take the model phantom."
        raise UsageError(f"No folder and no imported model is called {name!r}; imported: {listing}.{way_out}")
    return open_model(imported_models() / name)


def all_imported() -> list[ExportedModel]:
    """Every imported model, in a stable order; files are not checked, and a broken model is a warning in the log."""
    models = []
    for path in sorted(imported_models().glob(f"[!.]*/{MODEL_JSON}")):
        try:
            models.append(read_model(path.parent))
        except HtunetError as error:
            log.warning("Ignored an imported model: %s", error)
    return models
