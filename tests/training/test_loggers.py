"""Curves in other places than TensorBoard's files, each in its offline mode; skipped where the package is absent."""

import json
import os
from pathlib import Path

import pytest
from builders.training import STEPS, tiny_settings

from htunet.errors import HtunetError
from htunet.paths import DatasetPaths, RunPaths
from htunet.training import loggers, session
from htunet.training.run import train

pytestmark = pytest.mark.usefixtures("without_pictures")


def train_in_two_parts(monkeypatch: pytest.MonkeyPatch, logger: str) -> Path:
    """Three epochs, stopped in the second one."""
    for steps in (STEPS + 1, 3 * STEPS):
        asked = iter([False] * steps)
        monkeypatch.setattr(session.StopSignals, "requested", lambda _, asked=asked: next(asked, True))
        outcome = train("Tiny", "Plain", 0, tiny_settings(num_epochs=3, logger=logger))
    assert outcome.status == "finished"
    return outcome.run.folder


def test_mlflow_has_every_epoch_of_a_continued_run(
    tiny: DatasetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install htunet[mlflow]")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = train_in_two_parts(monkeypatch, "mlflow")
    number = json.loads((folder / loggers.RECORD).read_text())["mlflow"]
    client = mlflow.MlflowClient(f"file:{tmp_path / 'mlruns'}")
    assert [one.step for one in client.get_metric_history(number, "train_loss")] == [0, 1, 2]
    assert client.get_run(number).data.params["method"] == "Plain"
    assert client.get_run(number).info.status == "FINISHED"
    assert not (folder / "tensorboard").exists()


def test_wandb_stays_offline_in_the_runs_folder(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install htunet[wandb]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = train_in_two_parts(monkeypatch, "wandb")
    number = json.loads((folder / loggers.RECORD).read_text())["wandb"]
    assert len(list((folder / "wandb").glob(f"offline-run-*-{number}/*.wandb"))) >= 1


def test_a_logger_that_is_not_installed_is_refused_before_anything_is_written(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(HtunetError, match=r"--logger wandb needs the package wandb: pip install 'htunet\[wandb\]'"):
        tiny_settings(logger="wandb")
    assert tiny_settings().logger == "tensorboard"


@pytest.mark.parametrize("logger", ["mlflow", "wandb"])
def test_loggers_are_imported_with_reports_to_their_makers_off(monkeypatch: pytest.MonkeyPatch, logger: str) -> None:
    seen: dict[str, str] = {}

    def import_module(_: str) -> None:
        seen.update(os.environ)
        raise ImportError

    monkeypatch.setattr(loggers, "import_module", import_module)
    monkeypatch.setattr(os, "environ", {"WANDB_ERROR_REPORTING": "true"})  # as the user has set it
    with pytest.raises(HtunetError):
        loggers.open_logger(logger, RunPaths(DatasetPaths("Dataset903_Tiny"), "SegTrainer", "tiny", "Plain", 0, 1), {})
    assert seen == {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "true"}


def test_a_server_that_does_not_answer_is_one_error(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no route")

    monkeypatch.setattr(loggers, "find_spec", lambda _: True)
    monkeypatch.setattr(loggers, "MlflowLogger", broken)
    with pytest.raises(HtunetError, match=r"--logger mlflow cannot start: no route\. Omit it"):
        train("Tiny", "Plain", 0, tiny_settings(logger="mlflow"))
