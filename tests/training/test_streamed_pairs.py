"""Fine-tuning on shards: an order that is known beforehand, runs that are killed, and several processes."""

import hashlib
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.contrastive import build_captions, tiny_contrastive, tiny_finetuning
from builders.processes import ForkServer
from builders.training import same_tensors

from dataset_conversion import convert
from dataset_conversion.captions import make_shards as writing
from dataset_conversion.common import Options
from htunet.errors import UsageError
from htunet.files import read_csv, read_json
from htunet.paths import DatasetPaths, FinetuningPaths
from htunet.training import finetuning, loader, record, session
from htunet.training.finetuning import finetune
from htunet.training.loader import BatchOrder, RemainingBatches, Shard, training_batches
from htunet.training.session import Outcome

PATHS = DatasetPaths("Dataset520_Large")
FILES = (5, 9, 1, 12)
FINETUNE = "builders.contrastive:finetune_command"
COMMAND = ("CLIP_HT", "-d", "Large", "--weights", "random", "--device", "cpu", "--precision", "fp32", "--workers", "0",
           "--input-size", "32", "--batch-size", "8", "--lr", "0.01", "--parts", "1", "--num-epochs", "4")  # fmt: skip


@pytest.fixture
def large(home: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetPaths:
    """36 pairs that train, in four shards, and 4 that validate."""
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    monkeypatch.setattr(writing, "PAIRS_PER_SHARD", 10)
    convert("Shards", build_captions().raw, Options(name=PATHS.name, workers=1))
    return PATHS


def finetune_large(**changes: Any) -> Outcome:
    with tiny_contrastive():
        return finetune("CLIP_HT", ["Large"], tiny_finetuning(**changes))


def rows_of(order: BatchOrder, epoch: int) -> list[int]:
    steps = range(epoch * order.per_epoch, (epoch + 1) * order.per_epoch)
    return [row for step in steps for _, row in order.batch(step)]


@pytest.mark.parametrize("window", [4, 100])
def test_an_epoch_has_every_row_once_from_file_to_file(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "WINDOW", window)
    loader._window.cache_clear()
    order = BatchOrder(range(100, 127), 4, seed=1, files=FILES)
    epochs = [rows_of(order, epoch) for epoch in range(3)]
    assert all(sorted(rows) == list(range(100, 127)) for rows in epochs)
    assert len({tuple(rows) for rows in epochs}) == 3
    ends = np.cumsum(FILES)
    if window == 4:  # with rows of at most three files in a window, as one of them has a single row
        for start in range(0, 27, window):
            files = np.searchsorted(ends, np.array(epochs[0][start : start + window]) - 100, side="right")
            assert len(set(files)) <= 3
    loader._window.cache_clear()


def test_rows_that_are_not_used_are_the_last_ones_of_the_epoch() -> None:
    order = BatchOrder(range(27), 4, seed=1, whole=8, files=FILES)
    assert order.per_epoch == 6
    assert len(set(rows_of(order, 0))) == 24


def test_batches_are_the_same_bits_for_one_and_two_processes_and_any_workers(large: DatasetPaths) -> None:
    """Of each batch two processes have every second pair; and so it stays when the run is continued."""
    found: dict[str, list[list[str]]] = {}
    data: list[Any] = []

    class Stop(Exception):  # noqa: N818
        pass

    def keep(_: object, training: Any, **__: object) -> None:
        data.append(training.data)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "run_training", keep)
        with pytest.raises(Stop):
            finetune_large()
    order = BatchOrder(data[0].train_rows, 8, 1, 1, data[0].files)

    def digests(shard: Shard, workers: int, first: int = 0) -> list[list[str]]:
        batches = training_batches(data[0].images, RemainingBatches(order, first, 10, shard), workers, pin_memory=False)
        return [
            [
                hashlib.sha256(image.numpy().tobytes() + text[text != 0].numpy().tobytes()).hexdigest()
                for image, text in zip(batch.images, batch.texts, strict=True)
            ]
            for batch in batches
        ]

    whole = digests(Shard(), 0)
    assert len({digest for batch in whole[:5] for digest in batch}) > 30
    assert digests(Shard(), 2) == whole
    assert digests(Shard(), 0, first=7) == whole[7:]
    found = {str(rank): digests(Shard(rank, 2), 1) for rank in (0, 1)}
    for batch, first, second in zip(whole, found["0"], found["1"], strict=True):
        assert (batch[::2], batch[1::2]) == (first, second)


@pytest.mark.usefixtures("keep_latest")
def test_a_run_that_is_stopped_within_an_epoch_ends_in_the_same_bits(
    large: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune_large().run
    assert read_json(whole.settings_json)["pairs_sha256"][PATHS.name]
    kept = whole.folder.rename(whole.folder.with_name("kept"))
    for steps in (3, 4):
        asked = iter([False] * steps)
        with monkeypatch.context() as patch:
            patch.setattr(session.StopSignals, "requested", lambda _, asked=asked: next(asked, True))
            assert finetune_large().status == "stopped"
    assert finetune_large().status == "finished"
    for name in ("checkpoint_best.safetensors", "checkpoint_latest.safetensors"):
        assert same_tensors(kept / name, whole.folder / name)
    assert (kept / "progress.csv").read_bytes() == whole.progress_csv.read_bytes()


@pytest.mark.usefixtures("keep_latest")
def test_a_long_epoch_is_saved_within(large: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kill leaves it: an error in the 8th step, the third of an epoch, that nobody foresees."""
    monkeypatch.setattr(session, "SAVE_WITHIN_SECONDS", 0.0)
    whole = finetune_large().run
    kept = whole.folder.rename(whole.folder.with_name("kept"))
    steps: list[int] = []
    train_step = session.fit.__globals__["train_step"]

    def fails(loop: Any, batch: Any, step: int) -> float:
        steps.append(step)
        if step == 7:
            raise MemoryError
        return float(train_step(loop, batch, step))

    with monkeypatch.context() as patch:
        patch.setitem(session.fit.__globals__, "train_step", fails)
        with pytest.raises(MemoryError):
            finetune_large()
    again = finetune_large()
    assert (again.status, steps) == ("finished", list(range(8)))
    assert same_tensors(kept / "checkpoint_latest.safetensors", whole.folder / "checkpoint_latest.safetensors")


def test_killed_runs_end_in_the_same_bits(large: DatasetPaths, fork_server: ForkServer) -> None:
    run = FinetuningPaths((PATHS.name,), "CLIP_HT", 1)
    assert fork_server.start(FINETUNE, *COMMAND).whole()[0] == 0
    kept = run.folder.rename(run.folder.with_name("kept"))
    killed = 0
    for epoch in (1, 2):
        process = fork_server.start(FINETUNE, *COMMAND)
        process.wait_for(f"epoch {epoch}/4")
        process.kill()
        killed += process.whole()[0] == -signal.SIGKILL
    assert killed == 2
    assert not run.finished_json.exists()
    assert fork_server.start(FINETUNE, *COMMAND).whole()[0] == 0
    assert same_tensors(kept / "checkpoint_best.safetensors", run.checkpoint_best)
    assert (kept / "progress.csv").read_bytes() == run.progress_csv.read_bytes()


@pytest.mark.slow
def test_the_curves_of_two_processes_are_those_of_one(large: DatasetPaths, fork_server: ForkServer) -> None:
    run, curves = FinetuningPaths((PATHS.name,), "CLIP_HT", 1), []
    for more in ((), ("--devices", "2")):
        target = "builders.contrastive:finetune_without_dropout"
        code, output, errors = fork_server.start(target, *COMMAND, "--lr", "1e-4", "--restart", *more).whole()
        assert code == 0, output + errors
        rows = read_csv(run.progress_csv, ["epoch"])
        curves.append(np.array([[float(value) for value in row.values()] for row in rows]))
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


def test_options_that_shards_have_no_use_for_are_refused(large: DatasetPaths) -> None:
    with tiny_contrastive():
        for sets, more in (
            (["Large", "Words"], {}),
            (["Large"], {"shuffle": True}),
            (["Large"], {"split_by": "group"}),
        ):
            with pytest.raises(UsageError, match="trains alone, without --split-by"):
                finetune("CLIP_HT", sets, tiny_finetuning(), **more)
