"""Two real processes on the CPU: the same figures as one, however they are started, and no process outlives another.

Batches of 4 images over epochs of 14 leave a last batch of 2, and 3 validation images are shared unevenly.
"""

import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from builders.processes import LIMIT, ForkServer, Process, start_command
from builders.training import VAL, build_training, train_script

from htunet.data.split_files import load_splits, save_splits
from htunet.errors import UsageError
from htunet.files import read_csv, read_json
from htunet.paths import TASK_OF_TRAINER, DatasetPaths, RunPaths
from htunet.training.devices import Places, places

TINY = ("Tiny", "--plan", "tiny", "--device", "cpu", "--precision", "fp32", "--weights", "random", "--workers", "0")
TRAINERS = {task: trainer for trainer, task in TASK_OF_TRAINER.items()}
TRAIN = "builders.training:train_command"
METHODS = {"seg": "Plain", "cls": "PlainClasses"}


@pytest.fixture
def dataset(home: Path) -> DatasetPaths:
    """Fold 0 has 14 training images and 3 for validation, the last of which is in no split."""
    paths = build_training()
    folds = load_splits(paths.splits_json)
    assert len(folds[0]["val"]) == VAL
    save_splits(paths.splits_json, [folds[0] | {"val": folds[0]["val"][:-1]}, folds[1]])
    return paths


def place(dataset: DatasetPaths, task: str) -> RunPaths:
    return RunPaths(dataset, TRAINERS[task], "tiny", METHODS[task], 0, 1)


def curves(run: RunPaths) -> np.ndarray:
    return np.array([[float(value) for value in row.values()] for row in read_csv(run.progress_csv, ["epoch"])])


def child_of(pid: int) -> int:
    """The process that the first one has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(children[0])


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + LIMIT
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the other process hangs"
        time.sleep(0.1)


def command(task: str = "seg", num_epochs: int = 3) -> tuple[str, ...]:
    return (*TINY, METHODS[task], "fold0", "--num-epochs", str(num_epochs), "--task", task)


def finished(process: Process) -> str:
    """What a process that has to succeed has printed."""
    code, output, errors = process.whole()
    assert code == 0, output + errors
    return output


@pytest.mark.slow
@pytest.mark.parametrize("task", ["seg", "cls"])
def test_the_curves_of_two_processes_are_those_of_one(
    dataset: DatasetPaths, fork_server: ForkServer, task: str
) -> None:
    run, found = place(dataset, task), []
    for more in ((), ("--devices", "2")):
        output = finished(fork_server.start(TRAIN, *command(task), "--restart", *more))
        assert output.count(f"Finished: Tiny {METHODS[task]} fold0 seed1") == 1
        found.append((curves(run), read_json(run.settings_json)["devices"]))
    assert [devices for _, devices in found] == [1, 2]
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "more"),
    [
        pytest.param((), ("--devices", "2"), id="devices"),
        pytest.param(("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"), (), id="torchrun"),
    ],
)
def test_fresh_interpreters_and_torchrun_give_the_same_curves(
    dataset: DatasetPaths, fork_server: ForkServer, tmp_path: Path, launcher: tuple[str, ...], more: tuple[str, ...]
) -> None:
    run, script = place(dataset, "seg"), train_script(tmp_path)
    finished(fork_server.start(TRAIN, *command(num_epochs=2)))
    expected = curves(run)
    output = finished(
        start_command(tmp_path / "process", *launcher, script, *command(num_epochs=2), "--restart", *more)
    )
    assert output.count("Finished: Tiny Plain fold0 seed1") == 1
    assert read_json(run.settings_json)["devices"] == 2
    assert curves(run) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_killed_process_stops_the_run_and_the_same_command_continues_it(
    dataset: DatasetPaths, fork_server: ForkServer
) -> None:
    run, words = place(dataset, "seg"), command(num_epochs=20)
    finished(fork_server.start(TRAIN, *words))
    expected = curves(run)
    run.folder.rename(run.folder.with_name("seed_of_before"))
    for victim, epoch in (("second", 3), ("first", 10)):
        process = fork_server.start(TRAIN, *words, "--devices", "2")
        process.wait_for(f"epoch {epoch}/20")
        second = child_of(process.pid)
        os.kill(process.pid if victim == "first" else second, signal.SIGKILL)
        assert process.whole()[0] != 0
        wait_until_gone(second)
        assert not run.finished_json.exists()
    assert "Continuing" in finished(fork_server.start(TRAIN, *words, "--devices", "2"))
    assert curves(run) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_run_that_is_in_use_ends_every_process_with_the_reason(
    dataset: DatasetPaths, fork_server: ForkServer
) -> None:
    holder = fork_server.start(TRAIN, *command(num_epochs=2000))
    holder.wait_for("epoch 1/2000")
    ranks = [
        fork_server.start(TRAIN, *command(num_epochs=2000), **of_torchrun(rank, port))
        for port in [free_port()]
        for rank in (0, 1)
    ]
    ended = [process.whole() for process in ranks]
    holder.kill()
    holder.whole()
    assert all(code != 0 for code, _, _ in ended)
    assert "is in use by another process" in ended[0][2]


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def of_torchrun(rank: int, port: int) -> dict[str, str]:
    """What torchrun sets for one of two processes."""
    return {
        "TORCHELASTIC_RUN_ID": "none",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
    }


def test_one_process_starts_the_others_where_no_launcher_did(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    assert places(1) == Places(1, 1)
    assert places(4) == Places(4, 1)


@pytest.mark.parametrize(
    ("launcher", "environment"),
    [
        ("torchrun", {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2"}),
        ("srun", {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "2"}),
    ],
)
def test_all_processes_of_a_launcher_are_used(
    monkeypatch: pytest.MonkeyPatch, launcher: str, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert places(1) == places(2) == Places(2, 3, launcher)
    with pytest.raises(UsageError, match=f"--devices 3: {launcher} started 2 processes on this machine"):
        places(3)


def test_machines_with_unequal_numbers_of_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "5", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="started 5 processes, 2 on this machine: every machine needs equally many"):
        places(1)


def test_a_job_script_without_srun_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "6")
    assert places(1) == Places(1, 1)
