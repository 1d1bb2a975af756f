from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.training import Plain, tiny_plan

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


def test_weights_that_several_networks_have_are_in_memory_once() -> None:
    first, second = Plain(2), Plain(2)
    second.layers[0].load_state_dict(first.layers[0].state_dict())  # as of a frozen encoder
    image = np.random.default_rng(0).integers(0, 255, (1, 1, 16, 16), dtype=np.uint8)
    with torch.inference_mode():
        alone = [network(torch.tensor(image)).softmax(dim=1).numpy() for network in (first, second)]
    about: dict[str, Any] = {"plan": tiny_plan(), "device": torch.device("cpu"), "precision": "fp32"}
    together = Predictor((network for network in (first, second)), **about)
    places = [[weight.data_ptr() for weight in network.parameters()] for network in together.networks]
    assert places[0][:2] == places[1][:2]
    assert not {*places[0][2:]} & {*places[1][2:]}
    np.testing.assert_array_equal(together.probabilities(image).members_MBKHW, alone)
