"""A network is made ready for its steps in one place: for the trainings, and for what times a step beforehand."""

import pytest
import torch
from builders.training import tiny_plan
from torch import nn

from htunet.experiments import step_time
from htunet.models.build import build_network
from htunet.models.network import Network
from htunet.models.precision import BF16, FP32
from htunet.models.tasks import Outputs
from htunet.paths import DatasetPaths
from htunet.training import ready
from htunet.training.devices import make_fabric
from htunet.training.ready import make_ready


def tiny_network() -> Network:
    network, _ = build_network("TINY_HT", Outputs(), seed=1, weights="random")
    return network


def types_of(module: nn.Module) -> set[torch.dtype]:
    return {part.weight.dtype for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)}


@pytest.mark.parametrize(("precision", "frozen"), [(FP32, torch.float32), (BF16, torch.bfloat16)])
def test_frozen_matrices_have_the_precision_of_their_products_and_the_trained_ones_fp32(
    precision: str, frozen: torch.dtype, tiny: DatasetPaths
) -> None:
    network = tiny_network()
    make_ready(network, tiny_plan(), make_fabric(device="cpu", devices=1, precision=precision), precision)
    backbone = network.frozen_module()
    assert backbone is not None
    assert types_of(backbone) == {frozen}
    assert {parameter.dtype for parameter in network.trainable_parameters()} == {torch.float32}


def test_the_optimiser_is_the_plans_and_changes_what_trains(tiny: DatasetPaths) -> None:
    network, plan = tiny_network(), tiny_plan(learning_rate=0.25, betas=(0.5, 0.75), weight_decay=0.125)
    _, optimizer = make_ready(network, plan, make_fabric(device="cpu", devices=1, precision=FP32), FP32)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.25, (0.5, 0.75), 0.125)
    assert {id(parameter) for parameter in group["params"]} == {id(p) for p in network.trainable_parameters()}


def test_a_step_is_timed_in_the_precision_that_the_training_will_have(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[Network] = []
    monkeypatch.setattr(ready, "resolve_precision", lambda requested, kind: BF16)
    monkeypatch.setattr(ready, "convert_frozen_to_bf16", converted.append)
    found = step_time.measure("TINY_HT", "seg", tiny_plan())
    assert len(converted) == 1
    assert found["step"] > 0
    assert found["image"] > 0
