"""What a run takes from its machine: parts of a batch, threads, workers; none of it makes another run."""

import logging

import pytest
import torch
from builders.training import (
    Plain,
    build_training,
    register_tiny_methods,
    run_of,
    same_tensors,
    tiny_plan,
    tiny_settings,
)
from lightning_fabric import Fabric

from htunet.files import read_json, write_json
from htunet.models import precision
from htunet.models.standalone.unet import UNet
from htunet.paths import DatasetPaths
from htunet.training import machine, session
from htunet.training.machine import Machine, choose
from htunet.training.run import train

FABRIC = Fabric(accelerator="cpu", devices=1)


@pytest.fixture
def tiny(home: object) -> DatasetPaths:
    register_tiny_methods()
    return build_training()


def chosen(network: torch.nn.Module, before: dict[str, object] | None = None, **plan: object) -> Machine:
    settings = tiny_settings(**{name: plan.pop(name) for name in ("parts", "threads") if name in plan})
    return choose(FABRIC, network, tiny_plan(**{"accumulation": None} | plan), settings, before or {})  # type: ignore[arg-type]


def test_the_memory_of_the_moment_says_into_how_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory_gb", lambda: 100.0)
    assert chosen(Plain(2), batch_size=32).parts == 1
    monkeypatch.setattr(machine, "available_memory_gb", lambda: 0.1)
    assert chosen(Plain(2), batch_size=32).parts == 32
    assert chosen(Plain(2), batch_size=32, parts=3).parts == 3
    assert chosen(Plain(2), batch_size=2, parts=3).parts == 2
    assert chosen(Plain(2), accumulation=2).parts == 2
    assert chosen(Plain(2), before={"parts": 4}, accumulation=2).parts == 4
    assert chosen(Plain(2), before={"plan_content": {"accumulation": 3}}).parts == 3


@pytest.mark.parametrize("asked", [{"parts": 4}, {"accumulation": 4}, {"before": {"parts": 4}}])
def test_a_network_with_batch_norm_is_never_cut(asked: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(UNet(2), **asked).parts == 1  # type: ignore[arg-type]
    assert "Computed at once and not in 4 parts: BatchNorm" in caplog.text


def test_threads_are_those_of_the_run_unless_others_are_asked_for() -> None:
    assert chosen(Plain(2)).threads == torch.get_num_threads()
    assert chosen(Plain(2), before={"threads": 3}).threads == 3
    assert chosen(Plain(2), before={"threads": 3}, threads=2).threads == 2


def test_a_continued_run_says_what_it_computes_with_otherwise_and_keeps_both(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, stop_in_epoch_2 = run_of(tiny, "Plain"), iter([False] * 5)
    with monkeypatch.context() as patch:
        patch.setattr(session.StopSignals, "requested", lambda _: next(stop_in_epoch_2, True))
        assert train("Tiny", "Plain", 0, tiny_settings(threads=1, parts=2)).status == "stopped"
    assert "each batch in 2 parts" in run.training_log.read_text(encoding="utf-8")
    assert [read_json(run.settings_json)[name] for name in ("threads", "parts")] == [1, 2]
    about = read_json(run.settings_json)
    installed, about["made_by"]["torch"] = about["made_by"]["torch"], "1.13.0"
    augmented, about["made_by"]["batchgenerators"] = about["made_by"]["batchgenerators"], "0.24"
    computed, about["processor"] = about["processor"], "a card"
    write_json(run.settings_json, about)
    threads = torch.get_num_threads()
    assert train("Tiny", "Plain", 0, tiny_settings(threads=2)).status == "finished"
    assert torch.get_num_threads() == threads
    found = read_json(run.settings_json)
    assert (found["threads"], found["parts"]) == (2, 2)
    changed = {
        "torch": ["1.13.0", installed],
        "batchgenerators": ["0.24", augmented],
        "processor": ["a card", computed],
    }
    assert found["continued_with"] == [{"epoch": 2, "threads": [1, 2], **changed}]
    assert "Continued with threads 2 (before: 1), processor" in caplog.text


def test_a_run_that_was_killed_before_it_saved_a_state_is_computed_anew_and_nothing_is_said(
    tiny: DatasetPaths, caplog: pytest.LogCaptureFixture
) -> None:
    train("Tiny", "Plain", 0, tiny_settings(threads=1))
    run = run_of(tiny, "Plain")
    run.finished_json.unlink()
    assert train("Tiny", "Plain", 0, tiny_settings(threads=2)).status == "finished"
    assert "continued_with" not in read_json(run.settings_json)
    assert "Continued with" not in caplog.text


def test_a_training_in_emulated_bf16_says_that_it_is_slow(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    for name in ("bf16", "fp32"):
        assert train("Tiny", "Plain", 0, tiny_settings(precision=name), restart=True).status == "finished"
        text = run_of(tiny, "Plain").training_log.read_text(encoding="utf-8")
        assert ("no instructions for bf16" in text) is (name == "bf16")


def test_a_run_of_an_earlier_version_is_continued_under_the_plan_of_now(tiny: DatasetPaths, caplog: object) -> None:
    """Its plan holds parts and workers that the plan of now leaves open."""
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    run = run_of(tiny, "Plain")
    content = read_json(run.settings_json)
    content["plan_content"] |= {"accumulation": 2, "workers": 3}
    write_json(run.settings_json, {key: v for key, v in content.items() if key not in ("parts", "threads")})
    run.finished_json.unlink()
    assert train("Tiny", "Plain", 0, tiny_settings(num_epochs=1)).status == "finished"
    assert read_json(run.settings_json)["parts"] == 2


def test_a_cut_unet_is_trained_as_an_uncut_one(tiny: DatasetPaths, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for seed, parts in ((1, 1), (1, 2)):
        train("Tiny", "UNet", 0, tiny_settings(seed=seed, num_epochs=1, parts=parts), restart=True)
        run_of(tiny).folder.rename(run_of(tiny).folder.with_name(f"parts_{parts}"))
    one, two = (run_of(tiny).folder.with_name(f"parts_{parts}") for parts in (1, 2))
    assert same_tensors(one / "checkpoint_best.safetensors", two / "checkpoint_best.safetensors")
