"""Real processes: killed at random moments, and asked to stop.

HTUNET_KILLS sets how often the run is killed; 20 is a thorough test.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from builders.processes import ForkServer
from builders.training import build_training, run_of

from htunet.files import PART, read_csv
from htunet.paths import DatasetPaths

EPOCHS = 6
KILLS = int(os.environ.get("HTUNET_KILLS", "3"))
TINY = ("Tiny", "--plan", "tiny", "--device", "cpu", "--precision", "fp32", "--weights", "random")
TRAIN = "builders.training:train_command"
LONG = ("UNet", "fold0", "--workers", "0", "--num-epochs")


@pytest.fixture
def dataset(home: Path) -> DatasetPaths:
    return build_training()


def contents(dataset: DatasetPaths) -> dict[str, bytes]:
    run = run_of(dataset, "UNet")
    return {
        path.name: path.read_bytes()
        for path in (run.checkpoint_best, run.checkpoint_latest, run.progress_csv, run.finished_json)
    }


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(
    dataset: DatasetPaths, fork_server: ForkServer
) -> None:
    command = (*TINY, *LONG, str(EPOCHS))
    undisturbed = fork_server.start(TRAIN, *command)
    undisturbed.wait_for("fit")
    started = time.monotonic()
    assert undisturbed.whole()[0] == 0
    seconds = time.monotonic() - started
    expected = contents(dataset)
    folder = run_of(dataset, "UNet").folder
    folder.rename(folder.with_name("seed_of_before"))
    rng = np.random.default_rng(0)
    killed = 0
    for number in range(KILLS):
        process = fork_server.start(TRAIN, *command)
        process.wait_for(f"epoch {1 + (EPOCHS - 2) * number // KILLS}/{EPOCHS}")
        time.sleep(rng.uniform(0, seconds / EPOCHS))
        process.kill()
        killed += process.whole()[0] == -signal.SIGKILL
    assert killed > KILLS // 2
    code, output, errors = fork_server.start(TRAIN, *command).whole()
    assert code == 0, errors
    assert "inished: Tiny UNet fold0 seed1" in output
    assert contents(dataset) == expected
    assert not list(folder.rglob(f"{PART}*"))


def test_sigterm_to_all_processes_saves_and_says_how_to_continue(
    dataset: DatasetPaths, fork_server: ForkServer
) -> None:
    process = fork_server.start(TRAIN, *TINY, "Plain", "fold0", "--workers", "1", "--num-epochs", "2000")
    process.wait_for("epoch 2/2000")
    process.signal_all(signal.SIGTERM)
    code, output, errors = process.whole()
    run = run_of(dataset, "Plain")
    assert (code, errors.strip()) == (143, "")
    assert f"Stopped and saved. The same command continues: {run.folder}" in output
    assert run.checkpoint_latest.exists()
    assert not run.finished_json.exists()
    assert len(read_csv(run.progress_csv, ["epoch"])) >= 2


def test_ctrl_c_saves_and_ends_without_a_traceback(dataset: DatasetPaths, fork_server: ForkServer) -> None:
    process = fork_server.start(TRAIN, *TINY, "Plain", "fold0", "--workers", "1", "--num-epochs", "2000")
    process.wait_for("epoch 2/2000")
    process.signal_all(signal.SIGINT)
    code, output, errors = process.whole()
    assert code == 130
    assert "The same command continues" in output
    assert errors == "htunet_train: error: interrupted.\n"
    assert run_of(dataset, "Plain").checkpoint_latest.exists()
