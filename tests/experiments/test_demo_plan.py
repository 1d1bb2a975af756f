from types import SimpleNamespace

import numpy as np
import pytest
from builders.raw import build_raw
from builders.training import tiny_plan

from htunet.data.image_io import read_labels, write_png
from htunet.data.raw import read_raw
from htunet.experiments import demo_plan
from htunet.planning.plans import save_plans


@pytest.mark.usefixtures("home")
def test_an_image_without_a_lesion_in_which_none_is_found_is_in_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = read_raw(dataset := build_raw(2))
    save_plans(dataset.plans_json, {demo_plan.PLAN: tiny_plan(name=demo_plan.PLAN)})
    masks = [raw.label_path(case) for case in raw.cases]
    write_png(masks[1], np.zeros_like(read_labels(masks[1])))
    found = iter(map(read_labels, masks))
    monkeypatch.setattr(demo_plan, "build_network", lambda *_, **__: (None, None))
    predictor = SimpleNamespace(predict=lambda _: SimpleNamespace(labels=next(found)))
    monkeypatch.setattr(demo_plan, "Predictor", lambda *_, **__: predictor)
    assert demo_plan.dice_before_training(dataset, [case.id for case in raw.cases]) == 1.0
