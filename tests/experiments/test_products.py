"""A finished run counts only where its plan is what the plan of that name is now."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from builders.training import tiny_plan

from htunet.errors import HtunetError
from htunet.experiments.products import Trained
from htunet.files import write_json
from htunet.paths import DatasetPaths, FinetuningPaths, RunPaths
from htunet.planning.finetuning_plan import finetuning_plan
from htunet.planning.plans import Plan, save_plans

NOW = tiny_plan()


def started(home: Path, plan: Plan) -> Trained:
    data = DatasetPaths("Dataset903_Tiny")
    save_plans(data.plans_json, {"tiny": NOW})
    run = RunPaths(data, "SegmentationTrainer", "tiny", "UNet", 0, 1)
    write_json(run.settings_json, {"num_epochs": 4, "weights": {"source": "none"}, "plan_content": asdict(plan)})
    write_json(run.finished_json, {})
    return Trained(run, None, "pretrained")


def test_a_run_of_another_plan_of_the_name_is_refused(home: Path) -> None:
    with pytest.raises(HtunetError, match=r"started with learning_rate 0\.01, not 0\.001.*remove the run first"):
        started(home, replace(NOW, learning_rate=0.01)).check()


def test_what_changes_no_result_is_no_other_plan(home: Path) -> None:
    product = started(home, replace(NOW, accumulation=3, workers=5, because={"patience": "why"}))
    product.check()
    assert product.done()


@pytest.mark.parametrize("plan", ["paper", "public"])
def test_a_fine_tuning_with_options_of_its_own_is_no_start_of_the_papers_rows(home: Path, plan: str) -> None:
    run = FinetuningPaths(("Dataset912_MedPix",), "BiomedCLIP_HT", 1, False, plan)
    usual = finetuning_plan(
        run.name,
        batch_size=None,
        learning_rate=1e-4,
        input_size=(224, 224),
        public=plan == "public",
        backbone="BiomedCLIP",
    )
    settings = {"num_epochs": 32, "weights": {"source": "pretrained"}}

    write_json(run.settings_json, settings | {"plan_content": asdict(usual)})
    Trained(run, None, "pretrained").check()

    write_json(run.settings_json, settings | {"plan_content": asdict(replace(usual, learning_rate=0.01))})
    with pytest.raises(HtunetError, match=r"started with learning_rate 0\.01, not 0\.0001.*remove the run first"):
        Trained(run, None, "pretrained").check()
