"""A trained model: what it takes to predict, wherever it lies, and its network."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from htunet.errors import UsageError
from htunet.files import read_object
from htunet.models import checkpoint
from htunet.models.build import build_network, has_frozen_part
from htunet.models.network import Network
from htunet.models.weights.load import RANDOM, WeightsRecord
from htunet.paths import RunPaths
from htunet.planning.plans import Plan, plan_from
from htunet.schemas import SETTINGS

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A method, the plan that it was trained with, and where its weights are."""

    method: str
    task: str
    plan: Plan
    seed: int
    precision: str
    """Of the training: ``bf16`` or ``fp32``."""
    weights: str
    """The frozen ones: ``pretrained``, ``random``, or a path; not read where the checkpoint holds all."""
    checkpoint: Path

    @classmethod
    def of_run(cls, run: RunPaths, weights: str | None = None) -> "TrainedModel":
        """The best checkpoint of a run; ``weights``: where the frozen ones are now, None: where they were.

        Raises HtunetError when the run's settings are missing or broken.
        """
        settings = read_object(run.settings_json, SETTINGS)
        if not run.finished_json.exists():
            log.warning("The training of %s is not finished: this is its best epoch so far.", run.label)
        return cls(
            method=run.method,
            task=settings["task"],
            plan=plan_from(settings.get("plan_content"), f"{run.settings_json}, plan_content"),
            seed=run.seed,
            precision=str(settings["precision"]),
            weights=weights or (settings["weights_argument"] if has_frozen_part(run.method) else RANDOM),
            checkpoint=run.checkpoint_best,
        )

    def network(self) -> Network:
        """Build the network and fill it.

        Raises HtunetError when the checkpoint is not there, or its frozen weights cannot be had or are others.
        """
        network, record = self.untrained()
        checkpoint.restore(network, record, self.checkpoint)
        return network

    def untrained(self) -> tuple[Network, WeightsRecord]:
        """The network before its training, and which weights it starts from."""
        return build_network(
            self.method,
            self.plan.outputs(self.task),
            seed=self.seed,
            weights=self.weights,
            adapter_settings=self.plan.adapter_settings,
        )


def check_together(models: Sequence[TrainedModel]) -> None:
    """Raise UsageError where inputs, labels, classes or tasks of the members of an ensemble differ."""
    first = models[0]
    fields = ("channels", "labels", "classes", "geometry", "resize", "crop_border", "crop_margin", "input_size")
    for other in models[1:]:
        if other.task != first.task:
            different = ["task"]
        else:
            different = [name for name in fields if getattr(other.plan, name) != getattr(first.plan, name)]
        if different:
            raise UsageError(
                f"{other.checkpoint.parent} and {first.checkpoint.parent} cannot predict together: their "
                f"{different[0]} differs. Train all folds with one plan."
            )
