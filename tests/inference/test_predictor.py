from pathlib import Path
from typing import Any

import pytest
from builders.training import tiny_plan

from htunet.inference.predictor import Predictor
from htunet.inference.trained import TrainedModel


def test_the_precision_of_several_networks_does_not_depend_on_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(TrainedModel, "network", lambda _: None)
    monkeypatch.setattr(Predictor, "__init__", lambda *_, precision, **__: used.append(precision))
    about: dict[str, Any] = {"method": "UNet", "task": "seg", "plan": tiny_plan(), "seed": 1, "weights": "random"}
    both = [TrainedModel(precision=name, checkpoint=Path(name), **about) for name in ("bf16", "fp32")]
    for models in (both, both[::-1], both[1:]):
        Predictor.from_trained(*models, device="cpu")
    assert used == ["fp32"] * 3
