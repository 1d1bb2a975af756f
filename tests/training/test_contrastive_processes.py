"""Fine-tuning in real processes: gradients over two of them, and runs that are killed."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.contrastive import BothTowers, build_captions, pairs_of_words
from builders.processes import LIMIT, ForkServer
from builders.training import same_tensors

from htunet.files import PART, read_csv
from htunet.paths import FinetuningPaths
from htunet.training.contrastive import info_nce

CASES = ((13, 1), (13, 3), (6, 2), (3, 2), (1, 1))
"""Pairs of the whole batch, and parts of each process; two processes share the pairs unevenly, or one has none."""
FINETUNE = "builders.contrastive:finetune_command"
COMMAND = ("CLIP_HT", "-d", "Words", "--weights", "random", "--device", "cpu", "--precision", "fp32", "--workers", "0")
SMALL = ("--input-size", "32", "--batch-size", "8", "--lr", "0.01", "--parts", "2")


def expected(count: int) -> list[torch.Tensor]:
    """Loss and gradients of the whole batch at once, in one process."""
    network, pairs = BothTowers(), pairs_of_words(count)
    loss = info_nce(*network(pairs.images, pairs.texts)).mean()
    loss.backward()
    return [loss.detach(), *(value.grad for value in network.parameters() if value.grad is not None)]


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path: Path, fork_server: ForkServer) -> None:
    process = fork_server.start("builders.contrastive:save_gradients", tmp_path / "found", json.dumps(CASES))
    code, _, errors = process.whole()
    assert code == 0, errors
    for rank in (0, 1):
        for (count, _), found in zip(CASES, torch.load(tmp_path / f"found.{rank}"), strict=True):
            reference = expected(count)
            for one, other in zip(found[: len(reference)], reference, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
            assert count == 1 or max(float(value.abs().max()) for value in reference[1:]) > 1e-2


def run_of_words() -> FinetuningPaths:
    return FinetuningPaths(("Dataset907_Words",), "CLIP_HT", 1)


def test_a_fine_tuning_that_is_killed_again_and_again_ends_in_the_same_bits(
    home: Path, fork_server: ForkServer
) -> None:
    build_captions()
    run = run_of_words()
    command = (*COMMAND, *SMALL, "--num-epochs", "4")
    assert fork_server.start(FINETUNE, *command).whole()[0] == 0
    kept = run.folder.rename(run.folder.with_name("kept"))
    rng, killed = np.random.default_rng(0), 0
    for epoch in (1, 2):
        process = fork_server.start(FINETUNE, *command)
        process.wait_for(f"epoch {epoch}/4")
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        killed += process.whole()[0] == -signal.SIGKILL
    assert killed == 2
    assert not run.finished_json.exists()
    code, output, errors = fork_server.start(FINETUNE, *command).whole()
    assert code == 0, errors
    assert "Continuing CLIP_HT on Words seed1 at epoch" in output
    for name in ("checkpoint_best.safetensors", "checkpoint_latest.safetensors"):
        assert same_tensors(kept / name, run.folder / name)
    assert (kept / "progress.csv").read_bytes() == run.progress_csv.read_bytes()
    assert not list(home.rglob(f"{PART}*"))
    assert "Already finished: CLIP_HT on Words seed1" in fork_server.start(FINETUNE, *command).whole()[1]


@pytest.mark.slow
def test_a_killed_process_of_two_ends_the_run_and_the_same_command_continues_it(
    home: Path, fork_server: ForkServer
) -> None:
    build_captions()
    run = run_of_words()
    command = (*COMMAND, *SMALL, "--num-epochs", "4", "--devices", "2")
    code, output, errors = fork_server.start(FINETUNE, *command).whole()
    assert code == 0, errors
    assert output.count("Finished: CLIP_HT on Words seed1") == 1
    kept = run.folder.rename(run.folder.with_name("kept"))
    process = fork_server.start(FINETUNE, *command)
    process.wait_for("epoch 2/4")
    second = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()[0])
    os.kill(second, signal.SIGKILL)
    assert process.whole()[0] != 0
    deadline = time.monotonic() + LIMIT
    while Path(f"/proc/{second}").exists():
        assert time.monotonic() < deadline, "the killed process hangs"
        time.sleep(0.1)
    assert not run.finished_json.exists()
    code, output, errors = fork_server.start(FINETUNE, *command).whole()
    assert code == 0, errors
    assert "Continuing" in output
    assert curves(run.folder) == pytest.approx(curves(kept), abs=1e-6)


def curves(folder: Path) -> np.ndarray:
    rows = read_csv(folder / "progress.csv", ["epoch"])
    return np.array([[float(value) for value in row.values()] for row in rows])
