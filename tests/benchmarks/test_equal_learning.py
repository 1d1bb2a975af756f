"""The plain loop sees what htunet's training sees, and learns the same but for rounding."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from builders.training import build_training, tiny_plan

from benchmarks import equal_learning
from htunet.models.kernels.dropout import Dropout


def test_without_dropout_both_loops_have_the_same_curves(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = build_training(more_plans=(tiny_plan(name=equal_learning.PLAN, learning_rate=1e-3),))
    monkeypatch.setattr(Dropout, "forward", lambda _, values: values)
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda _, values: values)
    monkeypatch.setattr(equal_learning, "has_bf16", lambda _: False)
    found = equal_learning.learn(dataset, 6, [3], 2)
    assert list(found) == [equal_learning.PLAIN, "htunet, fp32"]
    (plain,), (ours,) = found.values()
    for one, other in zip(plain, ours, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    assert plain[0]["train_loss"] != plain[1]["train_loss"]


def test_the_table_compares_within_a_seed_and_between_seeds() -> None:
    def curves(*values: float) -> Iterator[list[dict[str, float]]]:
        yield from ([dict.fromkeys(equal_learning.FIGURES, value)] * 7 for value in values)

    found = {equal_learning.PLAIN: list(curves(0.4, 0.6)), "htunet, fp32": list(curves(0.5, 0.6))}
    *_, plain, ours = equal_learning.lines(found)
    assert plain.split(" | ")[1] == "0.500 ± 0.141"
    assert ours.split(" | ")[1] == "0.550 ± 0.071, +0.050"
