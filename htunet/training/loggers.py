"""Further places for the curves of a run: TensorBoard's files, Weights & Biases, or MLflow.

Only the values of ``progress.csv``, the settings and the names of data set and method leave the run; no image does.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from htunet.errors import HtunetError
from htunet.files import read_object, write_json
from htunet.paths import RunFolder

LOGGERS = ("tensorboard", "wandb", "mlflow")
PROJECT = "htunet"
RECORD = "logger.json"
"""In the run's folder: the ids under which a logger continues a run."""
NOTHING_TO_THEIR_MAKERS = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
"""Environment of the packages, unless the user has set it: MLflow since 3.2 reports its use, wandb its crashes."""


class RunLogger(Protocol):
    """A place for curves."""

    def add(self, values: Mapping[str, float], epoch: int) -> None:
        """The values of an epoch."""

    def close(self) -> None:
        """Write what is still to be written."""


def check_logger(name: str) -> None:
    """Raise HtunetError where the package of a logger is not installed."""
    if name != "tensorboard" and find_spec(name) is None:
        raise HtunetError(f"--logger {name} needs the package {name}: pip install 'htunet[{name}]'.")


def open_logger(name: str, run: RunFolder, settings: Mapping[str, Any]) -> RunLogger:
    """A logger for a run that starts or is continued; ``settings`` is what settings.json says of it.

    Raises HtunetError where its server cannot be reached or refuses the run.
    """
    if name == "tensorboard":
        return TensorBoardLogger(run)
    os.environ.update(NOTHING_TO_THEIR_MAKERS | os.environ)  # which they read when they are imported
    try:
        return (WandbLogger if name == "wandb" else MlflowLogger)(run, settings)
    except Exception as error:  # of any kind: these libraries raise their own and those of what they use
        raise HtunetError(f"--logger {name} cannot start: {error}. Omit it, or use its offline mode.") from error


class TensorBoardLogger:
    """Files in ``tensorboard/``. The curves of an earlier process are dropped; the caller adds them again."""

    def __init__(self, run: RunFolder) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=0)

    def add(self, values: Mapping[str, float], epoch: int) -> None:
        """Each value is a curve."""
        for name, value in values.items():
            self.board.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Flush the files."""
        self.board.close()


class WandbLogger:
    """A run of the project ``htunet``; with WANDB_MODE=offline it stays in the run's folder."""

    def __init__(self, run: RunFolder, settings: Mapping[str, Any]) -> None:
        wandb = import_module("wandb")
        self.run = wandb.init(project=PROJECT, name=run.label, dir=str(run.folder), config=dict(settings),
                              id=_stored(run).get("wandb"), resume="allow")  # fmt: skip
        _store(run, "wandb", self.run.id)

    def add(self, values: Mapping[str, float], epoch: int) -> None:
        """One step of the run is an epoch."""
        self.run.log(dict(values), step=epoch)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()


class MlflowLogger:
    """A run of the experiment ``htunet``, where MLFLOW_TRACKING_URI says or MLflow writes by default."""

    def __init__(self, run: RunFolder, settings: Mapping[str, Any]) -> None:
        self.mlflow = import_module("mlflow")
        before = _stored(run).get("mlflow")
        if before is None:
            self.mlflow.set_experiment(PROJECT)
        self.run = self.mlflow.start_run(run_id=before, run_name=run.label)
        if before is None:
            plain = {name: value for name, value in settings.items() if isinstance(value, str | int | float)}
            self.mlflow.log_params(plain)
            _store(run, "mlflow", self.run.info.run_id)

    def add(self, values: Mapping[str, float], epoch: int) -> None:
        """One step of the run is an epoch."""
        self.mlflow.log_metrics(dict(values), step=epoch)

    def close(self) -> None:
        """End the run."""
        self.mlflow.end_run()


def _stored(run: RunFolder) -> dict[str, Any]:
    path = run.folder / RECORD
    return read_object(path) if path.exists() else {}


def _store(run: RunFolder, name: str, value: str) -> None:
    write_json(run.folder / RECORD, _stored(run) | {name: value})
