"""Two real processes on the CPU: the same figures as one, however they are started, and no process outlives another.

Batches of 4 images over epochs of 14 leave a last batch of 2, and 3 validation images are shared unevenly.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders.training import LIMIT, VAL, build_training, start_training, train_script, wait_for, whole

from htunet.data.split_files import load_splits, save_splits
from htunet.errors import UsageError
from htunet.files import read_csv, read_json
from htunet.paths import TASK_OF_TRAINER, DatasetPaths, RunPaths
from htunet.training.devices import Places, places

TINY = ("Tiny", "--plan", "tiny", "--device", "cpu", "--precision", "fp32", "--weights", "random", "--workers", "0")
TRAINERS = {task: trainer for trainer, task in TASK_OF_TRAINER.items()}
METHODS = {"seg": "Plain", "cls": "PlainClasses"}


@pytest.fixture
def dataset(home: Path) -> DatasetPaths:
    """Fold 0 has 14 training images and 3 for validation, the last of which is in no part."""
    paths = build_training()
    folds = load_splits(paths.splits_json)
    assert len(folds[0]["val"]) == VAL
    save_splits(paths.splits_json, [folds[0] | {"val": folds[0]["val"][:-1]}, folds[1]])
    return paths


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return train_script(tmp_path)


def place(dataset: DatasetPaths, task: str) -> RunPaths:
    return RunPaths(dataset, TRAINERS[task], "tiny", METHODS[task], 0, 1)


def curves(run: RunPaths) -> np.ndarray:
    return np.array([[float(value) for value in row.values()] for row in read_csv(run.progress_csv, ["epoch"])])


def start_torchrun(script: Path, *arguments: str) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.Popen(
        [*launcher, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", ["seg", "cls"])
def test_the_curves_of_two_processes_are_those_of_one(dataset: DatasetPaths, script: Path, task: str) -> None:
    run = place(dataset, task)
    command = (*TINY, METHODS[task], "fold0", "--num-epochs", "3", "--task", task, "--restart")
    found = []
    for start, more in ((start_training, ()), (start_training, ("--devices", "2")), (start_torchrun, ())):
        code, output, errors = whole(start(script, *command, *more))
        assert code == 0, errors
        assert output.count(f"Finished: Tiny {METHODS[task]} fold0 seed1") == 1
        found.append((curves(run), read_json(run.settings_json)["devices"]))
    assert [devices for _, devices in found] == [1, 2, 2]
    for several, _ in found[1:]:
        assert several == pytest.approx(found[0][0], abs=1e-5)


@pytest.mark.slow
def test_a_killed_process_stops_the_run_and_the_same_command_continues_it(dataset: DatasetPaths, script: Path) -> None:
    command = (*TINY, "Plain", "fold0", "--num-epochs", "20")
    run = place(dataset, "seg")
    assert whole(start_training(script, *command))[0] == 0
    expected = curves(run)
    run.folder.rename(run.folder.with_name("seed_of_before"))
    for victim, epoch in (("second", 3), ("first", 10)):
        process = start_training(script, *command, "--devices", "2")
        wait_for(process, f"epoch {epoch}/20")
        second = child_of(process.pid)
        os.kill(process.pid if victim == "first" else second, signal.SIGKILL)
        started = time.monotonic()
        assert whole(process)[0] != 0
        wait_until_gone(second)
        assert time.monotonic() - started < 60
        assert not run.finished_json.exists()
    code, output, errors = whole(start_training(script, *command, "--devices", "2"))
    assert code == 0, errors
    assert "Continuing" in output
    assert curves(run) == pytest.approx(expected, abs=1e-5)


def child_of(pid: int) -> int:
    """The process that the first one has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(children[0])


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + LIMIT
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the other process hangs"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_run_that_is_held_ends_every_process_with_the_reason(dataset: DatasetPaths, script: Path) -> None:
    command = (*TINY, "Plain", "fold0", "--num-epochs", "2000")
    holder = start_training(script, *command)
    wait_for(holder, "epoch 1/2000")
    code, _, errors = whole(start_torchrun(script, *command))
    os.killpg(holder.pid, signal.SIGKILL)
    whole(holder)
    assert code != 0
    assert "is in use by another process" in errors


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
