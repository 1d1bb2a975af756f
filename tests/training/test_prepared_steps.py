"""What a run computes once, before its first step, fits the parts that its batches are computed in."""

from dataclasses import replace

import pytest
from builders.training import tiny_plan, tiny_settings

from htunet.models.network import Network
from htunet.paths import DatasetPaths
from htunet.planning.plans import save_plans
from htunet.training.run import train


@pytest.mark.parametrize(("batch_size", "accumulation", "images"), [(4, 1, 4), (4, 2, 2), (5, 2, 3), (2, 4, 1)])
def test_the_network_is_prepared_for_the_first_part_of_a_batch(
    batch_size: int, accumulation: int, images: int, tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(Network, "prepare_steps", lambda _, images, image_hw: prepared.append((images, image_hw)))
    plan = replace(tiny_plan(), batch_size=batch_size, accumulation=accumulation)
    save_plans(tiny.plans_json, {"tiny": plan})
    train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))
    assert prepared == [(images, plan.input_size)]
