"""Whole pre-trainings: repeated, stopped and continued, ended by time, and never mixed up with others."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from builders.pretraining import tiny_settings

from htunet.errors import HtunetError, UsageError
from htunet.files import read_object
from htunet.models import checkpoint
from htunet.pretraining import pretrain as module
from htunet.pretraining.pretrain import pretrain
from htunet.training.signals import StopSignals


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "checkpoint.safetensors")[0]


def assert_same(one: Path, other: Path) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    assert not [key for key in first if not torch.equal(first[key], second[key])]


class StopAfter(StopSignals):
    """Asks to stop before the step of a number."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def requested(self) -> bool:
        self.steps -= 1
        return self.steps < 0


def test_the_same_command_gives_the_same_weights_and_a_stopped_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["UNet", "PhantomCLIP"]
    whole = pretrain(names, tiny_settings(), out=tmp_path / "whole")
    assert whole.status == "finished"
    with monkeypatch.context() as patch:
        stops: Any = lambda: _Within(StopAfter(2))  # noqa: E731
        patch.setattr(module, "stop_signals", stops)
        assert pretrain(names, tiny_settings(), out=tmp_path / "cut").status == "stopped"
        assert not (tmp_path / "cut" / "UNet" / "checkpoint.safetensors").exists()
    assert pretrain(names, tiny_settings(workers=2), out=tmp_path / "cut").status == "finished"
    for name in names:
        assert_same(tmp_path / "whole" / name, tmp_path / "cut" / name)
        assert not list((tmp_path / "cut").rglob("state*"))
    recipe = read_object(tmp_path / "whole" / "UNet" / "recipe.json")
    assert (recipe["images"], recipe["images_seen"], recipe["steps"]) == (12, 24, 6)
    assert recipe["identity"]["simulation"]["height"] == 32
    assert {value.dtype for value in tensors(tmp_path / "whole" / "UNet").values()} == {torch.float16, torch.int64}
    assert pretrain(names, tiny_settings(), out=tmp_path / "whole").status == "already finished"
    with pytest.raises(HtunetError, match=r"made with other settings.*--restart"):
        pretrain(names, tiny_settings(seed=2), out=tmp_path / "whole")


def test_a_training_that_is_continued_with_another_version_says_so_and_keeps_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        stops: Any = lambda: _Within(StopAfter(2))  # noqa: E731
        patch.setattr(module, "stop_signals", stops)
        patch.setattr(module, "provenance", lambda: {"torch": "1.13"})
        assert pretrain(["UNet"], tiny_settings(), out=tmp_path).status == "stopped"
    assert pretrain(["UNet"], tiny_settings(), out=tmp_path).status == "finished"
    recipe = read_object(tmp_path / "UNet" / "recipe.json")
    assert recipe["continued_with"] == [{"step": 2, "torch": ["1.13", recipe["made_by"]["torch"]]}]
    assert f"Continued with torch {recipe['made_by']['torch']} (before: 1.13)" in caplog.text


def test_a_restart_that_is_stopped_is_continued_and_not_taken_for_what_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(["UNet"], tiny_settings(), out=tmp_path / "one")
    pretrain(["UNet"], tiny_settings(seed=2), out=tmp_path / "other")
    with monkeypatch.context() as patch:
        stops: Any = lambda: _Within(StopAfter(2))  # noqa: E731
        patch.setattr(module, "stop_signals", stops)
        assert pretrain(["UNet"], tiny_settings(seed=2), out=tmp_path / "one", restart=True).status == "stopped"
    assert pretrain(["UNet"], tiny_settings(seed=2), out=tmp_path / "one").status == "finished"
    assert_same(tmp_path / "one" / "UNet", tmp_path / "other" / "UNet")


class _Within:
    def __init__(self, stop: StopSignals) -> None:
        self.stop = stop

    def __enter__(self) -> StopSignals:
        return self.stop

    def __exit__(self, *_: object) -> None:
        return None


def test_time_ends_a_training_with_an_annealed_learning_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(
        module, "time", SimpleNamespace(monotonic=lambda: 0.5 * next(ticks))
    )  # each look: half a second
    settings = tiny_settings(hours=3 / 3600, passes=None, images=None)
    assert pretrain(["UNet"], settings, out=tmp_path).status == "finished"
    recipe = read_object(tmp_path / "UNet" / "recipe.json")
    # called at 0, begun at 0.5 (so 2.5 s are left), the loop at 1; steps end at 1.5, 2, 2.5 and 3
    assert (recipe["steps"], recipe["seconds"]) == (4, 2.5)
    no_time = tiny_settings(hours=1e-6, passes=None, images=None)  # less than the start took
    assert pretrain(["UNet"], no_time, out=tmp_path / "no time").status == "finished"
    assert module._rate(0.0) < 0.05
    assert module._rate(1.0) == 0
    assert module._rate(0.03) == pytest.approx(1, abs=0.01)


def test_names_and_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'Unet' cannot be pre-trained; known: UNet, PhantomCLIP, ResNet18.*UNet"):
        pretrain(["Unet"], tiny_settings(), out=tmp_path)
    with pytest.raises(UsageError, match=r"--hours ends the training by time"):
        tiny_settings(hours=1.0)
    with pytest.raises(UsageError, match=r"--batch-size must be at least 2, got 1"):
        tiny_settings(batch_size=1)
    with pytest.raises(HtunetError, match=r"no organ 'breasts'"):
        pretrain(["UNet"], tiny_settings(organs="thyroid, breasts"), out=tmp_path)
    with pytest.raises(UsageError, match=r"--without organs simulates breasts alone"):
        tiny_settings(organs="thyroid", without="organs")


def test_some_organs_can_be_learnt_alone(tmp_path: Path) -> None:
    pretraining = module._Pretraining(["UNet"], tiny_settings(organs="thyroid, breast"), tmp_path, started=0.0)
    weights = {"breast": 0.48, "thyroid": 0.36, "lymph_node": 0.0, "prostate": 0.0, "muscle": 0.0, "vessel": 0.0}
    assert pretraining.simulation.organs == weights
    simulated = pretraining.identity["simulation"]
    assert {organ: simulated[organ] for organ in weights} == weights
