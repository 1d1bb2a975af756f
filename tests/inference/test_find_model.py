"""Which runs a user means."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from htunet.errors import UsageError
from htunet.files import write_json
from htunet.inference import exported
from htunet.inference.find_model import find_trained, trained_folds
from htunet.paths import DatasetPaths, RunPaths

ABOUT = {"task": None, "plan": "run", "ratio": None, "adapter": None}


def finished(dataset: DatasetPaths, method: str, fold: int, plan: str = "run") -> RunPaths:
    run = RunPaths(dataset, "SegmentationTrainer", plan, method, fold, 1)
    write_json(run.settings_json, {})
    write_json(run.finished_json, {})
    return run


@pytest.mark.usefixtures("home")
def test_all_folds_are_those_that_every_method_has_finished(caplog: pytest.LogCaptureFixture) -> None:
    dataset = DatasetPaths("Dataset600_Mine")
    dataset.raw.mkdir(parents=True)
    write_json(dataset.splits_json, [{"train": ["a"], "val": ["b"], "test": []}] * 5)
    for fold in (0, 1, 2):
        finished(dataset, "UNet", fold)
    finished(dataset, "UNet", 4, plan="paper")
    other = replace(finished(dataset, "UNet", 3), trained_on="Dataset601_Other")  # tested here, trained elsewhere
    finished(dataset, "UNet", 3).finished_json.unlink()
    write_json(other.settings_json, {})
    write_json(other.finished_json, {})
    finished(dataset, "CLIP_HT", 1)
    finished(dataset, "CLIP_HT", 2).finished_json.unlink()  # still trained
    with caplog.at_level(logging.INFO, "htunet"):
        assert trained_folds("Mine", ["UNet"], ABOUT) == [0, 1, 2]
    assert caplog.messages == ["Not used, because not trained (of 5 folds): 3, 4."]
    assert trained_folds("Mine", ["UNet", "CLIP_HT"], ABOUT) == [1]
    assert trained_folds("Mine", ["CLIP"], ABOUT) == [0, 1, 2, 3, 4]  # of which none is trained, as is then said


@pytest.mark.usefixtures("home")
def test_an_own_run_outranks_an_imported_model_whatever_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = DatasetPaths("Dataset600_Mine")
    dataset.raw.mkdir(parents=True)
    own = replace(finished(dataset, "UNet", 0), seed=2)
    imported = SimpleNamespace(run=finished(dataset, "UNet", 0), folder=Path("theirs"))
    imported.card = SimpleNamespace(dataset=dataset.name, members=[])
    monkeypatch.setattr(exported, "all_imported", lambda: [imported])
    (dataset.results.parent / "models").mkdir()
    write_json(own.settings_json, {})
    own.checkpoint_best.write_bytes(b"weights")
    assert find_trained("Mine", {"method": "UNet"}, also_imported=True) == (own, None)
    assert find_trained("Mine", {"method": "UNet", "seed": 1}, also_imported=True) == (imported.run, Path("theirs"))


@pytest.mark.usefixtures("home")
def test_of_several_starts_each_can_be_named_as_the_message_names_it() -> None:
    dataset = DatasetPaths("Dataset600_Mine")
    dataset.raw.mkdir(parents=True)
    write_json(dataset.splits_json, [{"train": ["a"], "val": ["b"], "test": []}] * 2)
    plain = finished(dataset, "UNet", 0)
    phantom = replace(plain, adapter="phantom")
    for run in (plain, phantom):
        write_json(run.settings_json, {})
        run.checkpoint_best.write_bytes(b"weights")
    with pytest.raises(UsageError, match="adapters none, phantom: choose one with --adapter"):
        find_trained("Mine", {"method": "UNet"})
    assert find_trained("Mine", {"method": "UNet", "adapter": "none"}) == (plain, None)
    assert find_trained("Mine", {"method": "UNet", "adapter": "phantom"}) == (phantom, None)
    assert trained_folds("Mine", ["UNet"], {**ABOUT, "adapter": "none"}) == [0]
    with pytest.raises(UsageError, match="known: none, phantom"):
        find_trained("Mine", {"method": "UNet", "adapter": "other"})
