"""A run that is stopped anywhere and continued ends in the same bits as one that was never stopped."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from builders.training import STEPS, run_of, same_tensors, tensors_in, tiny_settings

from htunet.files import read_json
from htunet.models import checkpoint
from htunet.paths import DatasetPaths, RunPaths
from htunet.training import session
from htunet.training.run import train
from htunet.training.trainer import SegmentationTrainer

pytestmark = pytest.mark.usefixtures("without_pictures", "keep_latest")

EPOCHS = 3


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next call of ``train`` is asked to stop when it has done so many steps; it asks before each."""
    asked = iter([False] * steps)
    monkeypatch.setattr(session.StopSignals, "requested", lambda _: next(asked, True))


def never_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.StopSignals, "requested", lambda _: False)


def whole_run(seed: int, method: str = "UNet", **changes: object) -> RunPaths:
    outcome = train("Tiny", method, 0, tiny_settings(num_epochs=EPOCHS, seed=seed, **changes), restart=True)
    assert outcome.status == "finished"
    return outcome.run


def kept(paths: RunPaths, folder: Path) -> Path:
    """The files of a run, moved away so that it can be trained again."""
    folder.mkdir()
    for path in (paths.checkpoint_best, paths.checkpoint_latest, paths.progress_csv, paths.finished_json):
        path.rename(folder / path.name)
    return folder


def assert_same(paths: RunPaths, expected: Path) -> None:
    assert paths.progress_csv.read_bytes() == (expected / paths.progress_csv.name).read_bytes()
    assert paths.finished_json.read_bytes() == (expected / paths.finished_json.name).read_bytes()
    for path in (paths.checkpoint_best, paths.checkpoint_latest):
        assert same_tensors(path, expected / path.name), path.name
        descriptions = [checkpoint.load(file)[1] | {"made_by": None} for file in (path, expected / path.name)]
        assert descriptions[0] == descriptions[1]


@pytest.mark.parametrize("method", ["UNet", "TINY_HT"])
def test_a_run_that_is_stopped_after_every_step(
    tiny: DatasetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    expected = kept(whole_run(1, method), tmp_path / "expected")
    stops = 0
    for steps in range(EPOCHS * STEPS + 1):
        stop_after(min(steps, 1), monkeypatch)
        outcome = train("Tiny", method, 0, tiny_settings(num_epochs=EPOCHS))
        stops += outcome.status == "stopped"
    assert stops == EPOCHS * STEPS
    assert outcome.status == "finished"
    assert_same(outcome.run, expected)


@pytest.mark.parametrize("steps", [0, 3, 4, 11])
def test_a_run_that_is_stopped_once(
    tiny: DatasetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    expected = kept(whole_run(1, "Plain"), tmp_path / "expected")
    stop_after(steps, monkeypatch)
    first = train("Tiny", "Plain", 0, tiny_settings(num_epochs=EPOCHS))
    assert first.status == "stopped"
    assert not first.run.finished_json.exists()
    losses = checkpoint.load(first.run.checkpoint_latest)[1]["progress"]["losses"]
    assert len(losses) == steps % STEPS
    never_stop(monkeypatch)
    assert_same(train("Tiny", "Plain", 0, tiny_settings(num_epochs=EPOCHS)).run, expected)


def test_the_best_checkpoint_after_a_crash_is_of_an_epoch_that_the_run_has(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third epoch gives 0.9 before the crash and, say on another machine, 0.5 after it: the second one is best."""
    calls = ([0.5, 0.8], [0.9], [0.5, 0.4])
    for found in calls:
        given = iter([(1.0, dice) for dice in found])
        monkeypatch.setattr(SegmentationTrainer, "figures", lambda *_, given=given: next(given))
        stop_after(len(found) * STEPS, monkeypatch) if found == calls[0] else never_stop(monkeypatch)
        with pytest.raises(StopIteration) if found == calls[1] else nullcontext():
            train("Tiny", "Plain", 0, tiny_settings(num_epochs=4))
        run = run_of(tiny, "Plain")
        best = checkpoint.load(run.checkpoint_best)[1]["figures"]
        if found == calls[0]:
            expected = tensors_in(run.checkpoint_best)
    assert read_json(run.finished_json) == {"epochs": 4, "best_epoch": 2, "best_val_dice": 0.8}
    assert (best["epoch"], best["val_metric"]) == (1, 0.8)
    assert all(torch.equal(value, expected[name]) for name, value in tensors_in(run.checkpoint_best).items())
    assert not run.checkpoint_before.exists()


def test_a_stop_at_the_last_step_is_a_finished_run(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(EPOCHS * STEPS, monkeypatch)
    assert train("Tiny", "TINY_HT", 0, tiny_settings(num_epochs=EPOCHS)).status == "finished"


def test_workers_may_change_between_the_parts_of_a_run(
    tiny: DatasetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = kept(whole_run(1), tmp_path / "expected")
    assert_same(whole_run(1, workers=1), expected)
    stop_after(6, monkeypatch)
    train("Tiny", "UNet", 0, tiny_settings(num_epochs=EPOCHS, workers=1), restart=True)
    never_stop(monkeypatch)
    assert_same(train("Tiny", "UNet", 0, tiny_settings(num_epochs=EPOCHS, workers=0)).run, expected)


def test_the_same_seed_gives_the_same_run_and_another_one_another(tiny: DatasetPaths, tmp_path: Path) -> None:
    expected = kept(whole_run(1), tmp_path / "expected")
    again = whole_run(1)
    assert_same(again, expected)
    other = whole_run(2)
    assert other.folder != again.folder
    assert not same_tensors(other.checkpoint_latest, again.checkpoint_latest)


def test_the_latest_checkpoint_holds_the_optimiser_and_the_best_one_only_weights(tiny: DatasetPaths) -> None:
    finished = whole_run(1, "TINY_HT")
    kinds = [
        {name.split(".")[0] for name in tensors_in(path)}
        for path in (finished.checkpoint_latest, finished.checkpoint_best)
    ]
    assert kinds == [{"model", "optimizer"}, {"model"}]
    assert not [name for name in tensors_in(finished.checkpoint_best) if "backbone" in name]
