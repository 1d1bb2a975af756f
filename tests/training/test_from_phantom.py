"""Training that starts from weights pre-trained on simulation: apart from others, and with a gentle start."""

from pathlib import Path

import pytest
import torch
from builders.pretraining import drawn_weights
from builders.training import tiny_plan, write_arrays

from htunet import api
from htunet.files import read_object
from htunet.models import checkpoint
from htunet.models.weights import store
from htunet.paths import DatasetPaths
from htunet.planning.finetuning_plan import from_phantom
from htunet.planning.planner import _signed
from htunet.planning.plans import save_plans
from htunet.reporting.tables.rows import weights_marks
from htunet.reproducibility import training_command
from htunet.training.loop import learning_rate
from htunet.training.settings import TrainSettings


def test_the_start_is_gentle_and_has_its_reasons() -> None:
    plan = from_phantom(tiny_plan(learning_rate=1e-2, num_epochs=40))
    assert (plan.learning_rate, plan.warm_up_epochs) == (1e-4, 4)
    assert {"learning_rate", "warm_up_epochs"} <= plan.because.keys()
    assert from_phantom(tiny_plan(num_epochs=200), 20).warm_up_epochs == 2  # of a run of 20 epochs, not half of it
    assert from_phantom(tiny_plan(learning_rate=1e-5, num_epochs=200)).learning_rate == 1e-5
    frozen = from_phantom(tiny_plan(learning_rate=1e-2, num_epochs=40), frozen=True)
    assert (frozen.learning_rate, frozen.warm_up_epochs) == (1e-2, 4)  # nothing that was learnt can be lost
    assert "frozen" in frozen.because["learning_rate"]
    short = from_phantom(tiny_plan(), 4)
    assert (short.warm_up_epochs, short.because["warm_up_epochs"][:26]) == (0, "at most a tenth of 4 epoch")
    assert [learning_rate(1.0, step, 10**6, warm_up=4) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_a_unet_from_simulation_is_a_run_of_its_own(
    tiny: DatasetPaths, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHIPPED", home / "none")
    drawn_weights("UNet", home / "weights" / "UNet")
    planned = _signed(tiny_plan(name="adaptive"))
    write_arrays(tiny, planned)
    save_plans(tiny.plans_json, {"adaptive": planned})
    changes = {"plan": "adaptive", "num_epochs": 1, "device": "cpu", "precision": "fp32", "workers": 0}
    scratch = api.train("Tiny", "UNet", 0, TrainSettings(**changes))  # type: ignore[arg-type]
    outcome = api.train("Tiny", "UNet", 0, TrainSettings(**changes, weights="phantom"))  # type: ignore[arg-type]
    assert scratch.run.folder != outcome.run.folder
    assert "pre-trained on simulation" in outcome.run.label
    assert training_command(outcome.run).endswith("--weights phantom --precision fp32")
    settings = read_object(outcome.run.settings_json)
    assert settings["weights"]["source"] == "phantom"
    assert settings["weights"]["sha256"]
    assert settings["plan_content"]["learning_rate"] <= 1e-4
    assert settings["plan_edited"] is False  # by nobody: the weights ask for it
    assert "simulated images: Apache-2.0" in checkpoint.read_about(outcome.run.checkpoint_best)["licence"]
    first, second = (checkpoint.load(one.run.checkpoint_best)[0]["model.down.0.0.weight"] for one in (scratch, outcome))
    start = checkpoint.load(home / "weights" / "UNet" / "checkpoint.safetensors")[0]["model.down.0.0.weight"].float()
    assert (second - start).abs().max() < 1e-2 < (first - start).abs().max()
    assert isinstance(first, torch.Tensor)


@pytest.mark.parametrize("option", ["weights", "start_from"])
def test_the_same_file_starts_as_gently_by_either_option(tiny: DatasetPaths, home: Path, option: str) -> None:
    file = drawn_weights("UNet", home / "made")
    planned = _signed(tiny_plan(name="adaptive", learning_rate=1e-3))
    write_arrays(tiny, planned)
    save_plans(tiny.plans_json, {"adaptive": planned})
    changes = {"plan": "adaptive", "num_epochs": 20, "device": "cpu", "precision": "fp32", "workers": 0}
    outcome = api.train("Tiny", "UNet", 0, TrainSettings(**changes, **{option: str(file)}))  # type: ignore[arg-type]
    plan = read_object(outcome.run.settings_json)["plan_content"]
    assert (plan["learning_rate"], plan["warm_up_epochs"]) == (1e-4, 2)


def test_weights_that_somebody_made_with_htunet_pretrain_start_as_gently(tiny: DatasetPaths, home: Path) -> None:
    file = drawn_weights("UNet", home / "made").rename(home / "renamed.safetensors")
    planned = _signed(tiny_plan(name="adaptive"))
    write_arrays(tiny, planned)
    save_plans(tiny.plans_json, {"adaptive": planned})
    changes = {"plan": "adaptive", "num_epochs": 1, "device": "cpu", "precision": "fp32", "workers": 0}
    outcome = api.train("Tiny", "UNet", 0, TrainSettings(**changes, weights=str(file)))  # type: ignore[arg-type]
    settings = read_object(outcome.run.settings_json)
    assert settings["plan_content"]["learning_rate"] <= 1e-4
    assert (settings["weights"]["source"], settings["weights"]["simulated"]) == ("file", True)
    assert weights_marks(settings["weights"]) == {
        "random weights": False,
        "pre-trained on simulation": True,
        "weights of renamed.safetensors": True,
    }
    licence = checkpoint.read_about(outcome.run.checkpoint_best)["licence"]
    assert licence == "trained from renamed.safetensors, pre-trained by htunet_pretrain on simulated images: Apache-2.0"
    assert f"--weights {file} " in training_command(outcome.run)


def test_what_keeps_the_encoder_frozen_keeps_the_plans_learning_rate(tiny: DatasetPaths, home: Path) -> None:
    planned = _signed(tiny_plan(name="adaptive", learning_rate=2e-3))
    write_arrays(tiny, planned)
    save_plans(tiny.plans_json, {"adaptive": planned})
    changes = {"plan": "adaptive", "num_epochs": 1, "device": "cpu", "precision": "fp32", "workers": 0}
    rates = {
        method: read_object(api.train("Tiny", method, 0, TrainSettings(**changes, weights=weights)).run.settings_json)[  # type: ignore[arg-type]
            "plan_content"
        ]["learning_rate"]
        for method, weights in (
            *(("PhantomCLIP_HT", "pretrained"), ("PhantomCLIP_LoRA", "pretrained")),
            *(("PhantomCLIP_FullFT", "pretrained"), ("UNet", "phantom")),
        )
    }
    assert rates == {"PhantomCLIP_HT": 2e-3, "PhantomCLIP_LoRA": 2e-3, "PhantomCLIP_FullFT": 1e-4, "UNet": 1e-4}
