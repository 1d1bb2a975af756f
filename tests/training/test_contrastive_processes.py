"""Fine-tuning in real processes: gradients over two of them, and runs that are killed."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.contrastive import BothTowers, build_captions, finetune_script, pairs_of_words
from builders.training import LIMIT, same_tensors, start_training, wait_for, whole

from htunet.files import PART, read_csv
from htunet.paths import FinetuningPaths
from htunet.training.contrastive import info_nce

CASES = ((13, 1), (13, 3), (6, 2), (3, 2), (1, 1))
"""Pairs of the whole batch, and parts of each process; two processes share the pairs unevenly, or one has none."""
SCRIPT = """
import sys
import torch
from builders.contrastive import BothTowers, pairs_of_words
from htunet.training.contrastive import ContrastiveTrainer
from htunet.training.devices import make_fabric
from htunet.training.loader import Shard
from htunet.training.step import Step

if __name__ == "__main__":
    fabric = make_fabric(device="cpu", devices=2, precision="fp32")
    network = BothTowers()
    forward = fabric.setup_module(network)
    rank, found = fabric.global_rank, []
    for count, parts in %s:
        pairs = pairs_of_words(count)
        own = type(pairs)(*(values[rank::2] if count > rank else values[:1] for values in pairs))
        step = Step(fabric=fabric, network=network, forward=forward, batch=own, whole=count, num_parts=parts,
                    shard=Shard(rank, 2), seed=1, number=0)
        loss = fabric.all_reduce(ContrastiveTrainer(count).accumulate(step), reduce_op="sum")
        found.append([loss, *(parameter.grad.clone() for parameter in network.parameters()
                              if parameter.grad is not None)])
        network.zero_grad(set_to_none=True)
    torch.save(found, f"{sys.argv[1]}.{rank}")
"""
COMMAND = ("CLIP_HT", "-d", "Words", "--weights", "random", "--device", "cpu", "--precision", "fp32", "--workers", "0")
SMALL = ("--input-size", "32", "--batch-size", "8", "--lr", "0.01", "--parts", "2")


def expected(count: int) -> list[torch.Tensor]:
    """Loss and gradients of the whole batch at once, in one process."""
    network, pairs = BothTowers(), pairs_of_words(count)
    loss = info_nce(*network(pairs.images, pairs.texts)).mean()
    loss.backward()
    return [loss.detach(), *(value.grad for value in network.parameters() if value.grad is not None)]


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(SCRIPT % (CASES,), encoding="utf-8")
    code, _, errors = whole(start_training(script, str(tmp_path / "found")))
    assert code == 0, errors
    for rank in (0, 1):
        for (count, _), found in zip(CASES, torch.load(tmp_path / f"found.{rank}"), strict=True):
            wanted = expected(count)
            for one, other in zip(found[: len(wanted)], wanted, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
            assert count == 1 or max(float(value.abs().max()) for value in wanted[1:]) > 1e-2


def run_of_words() -> FinetuningPaths:
    return FinetuningPaths(("Dataset907_Words",), "CLIP_HT", 1)


def test_a_fine_tuning_that_is_killed_again_and_again_ends_in_the_same_bits(home: Path, tmp_path: Path) -> None:
    build_captions()
    script, run = finetune_script(tmp_path), run_of_words()
    command = (*COMMAND, *SMALL, "--num-epochs", "4")
    assert whole(start_training(script, *command))[0] == 0
    kept = run.folder.rename(run.folder.with_name("kept"))
    rng, killed = np.random.default_rng(0), 0
    for epoch in (1, 2):
        process = start_training(script, *command)
        wait_for(process, f"epoch {epoch}/4")
        time.sleep(rng.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        killed += whole(process)[0] == -signal.SIGKILL
    assert killed == 2
    assert not run.finished_json.exists()
    code, output, errors = whole(start_training(script, *command))
    assert code == 0, errors
    assert "Continuing CLIP_HT on Words seed1 at epoch" in output
    for name in ("checkpoint_best.safetensors", "checkpoint_latest.safetensors"):
        assert same_tensors(kept / name, run.folder / name)
    assert (kept / "progress.csv").read_bytes() == run.progress_csv.read_bytes()
    assert not list(home.rglob(f"{PART}*"))
    assert "Already finished: CLIP_HT on Words seed1" in whole(start_training(script, *command))[1]


@pytest.mark.slow
def test_a_killed_process_of_two_ends_the_run_and_the_same_command_continues_it(home: Path, tmp_path: Path) -> None:
    build_captions()
    script, run = finetune_script(tmp_path), run_of_words()
    command = (*COMMAND, *SMALL, "--num-epochs", "4", "--devices", "2")
    code, output, errors = whole(start_training(script, *command))
    assert code == 0, errors
    assert output.count("Finished: CLIP_HT on Words seed1") == 1
    kept = run.folder.rename(run.folder.with_name("kept"))
    process = start_training(script, *command)
    wait_for(process, "epoch 2/4")
    second = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()[0])
    os.kill(second, signal.SIGKILL)
    assert whole(process)[0] != 0
    deadline = time.monotonic() + LIMIT
    while Path(f"/proc/{second}").exists():
        assert time.monotonic() < deadline, "the killed process hangs"
        time.sleep(0.1)
    assert not run.finished_json.exists()
    code, output, errors = whole(start_training(script, *command))
    assert code == 0, errors
    assert "Continuing" in output
    assert curves(run.folder) == pytest.approx(curves(kept), abs=1e-6)


def curves(folder: Path) -> np.ndarray:
    rows = read_csv(folder / "progress.csv", ["epoch"])
    return np.array([[float(value) for value in row.values()] for row in rows])
