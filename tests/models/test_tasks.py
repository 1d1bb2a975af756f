"""Classification, and both tasks at once: every method that does them, from the first score to the checkpoint."""

from pathlib import Path

import pytest
import torch
from builders.backbone import draw, frozen_state, one_of_a_class, tiny_in_place_of_clip
from torch import Tensor

from htunet.models import checkpoint
from htunet.models.build import build_network, method_names, tasks_of
from htunet.models.network import Network, Scores
from htunet.models.tasks import Outputs
from htunet.models.weights.load import WeightsRecord

LABELS, CLASSES = 2, 3
PAIRS = [(method, task) for method in one_of_a_class(method_names()) for task in tasks_of(method) if task != "seg"]
"""Segmentation alone is in ``test_network``."""
SHAPES = {"seg": (2, LABELS, 64, 64), "cls": (2, CLASSES)}
UNUSED = tuple(f"{part}.{depth}." for part in ("adapters", "updates") for depth in (10, 11))
"""What follows the last block that a task looks at."""


def built(method: str, task: str, seed: int = 1) -> tuple[Network, WeightsRecord]:
    with tiny_in_place_of_clip():
        return build_network(
            method,
            Outputs(task=task, num_labels=LABELS, num_classes=CLASSES, prompts=("lesion",)),
            seed=seed,
            weights="random",
        )


def images_of(seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def by_task(scores: Scores, task: str) -> dict[str, Tensor]:
    return scores if isinstance(scores, dict) else {task: scores}


def step(network: Network, task: str) -> set[str]:
    """One step from drawn weights, of equal size for small gradients; the names of the parameters that moved."""
    network.train()
    for number, (_, module) in enumerate(network.trainable_modules()):
        draw(module, seed=number)
    scores = by_task(network(images_of()), task)
    assert {name: value.shape for name, value in scores.items()} == {name: SHAPES[name] for name in task.split("+")}
    assert {value.dtype for value in scores.values()} == {torch.float32}
    torch.stack([value.square().mean() for value in scores.values()]).sum().backward()
    before = {id(parameter): parameter.detach().clone() for parameter in network.parameters()}
    torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-3, eps=1e-30).step()
    return {
        f"{part}.{name}"
        for part, module in network.trainable_modules()
        for name, parameter in module.named_parameters()
        if not torch.equal(parameter, before[id(parameter)])
    }


@pytest.mark.parametrize(("method", "task"), PAIRS)
def test_a_step_reaches_all_that_trains_and_nothing_else(method: str, task: str) -> None:
    network, _ = built(method, task)
    frozen = {key: value.clone() for key, value in frozen_state(network).items()}
    moved = step(network, task)
    all_names = {
        f"{part}.{name}" for part, module in network.trainable_modules() for name, _ in module.named_parameters()
    }
    assert moved == {name for name in all_names if not name.startswith(UNUSED)}
    assert frozen.keys() == frozen_state(network).keys()
    assert all(torch.equal(value, frozen[key]) for key, value in frozen_state(network).items())
    training = {module for _, part in network.trainable_modules() for module in part.modules()}
    module = network.frozen_module()
    assert all(part.training == (part in training) for part in (module.modules() if module else ()))


@pytest.mark.parametrize(("method", "task"), [(method, tasks_of(method)[-1]) for method, _ in dict(PAIRS).items()])
def test_a_checkpoint_brings_the_same_scores_back(method: str, task: str, tmp_path: Path) -> None:
    network, weights = built(method, task)
    step(network, task)
    path = tmp_path / "checkpoint_best.safetensors"
    tensors = {checkpoint.MODEL + key: value for key, value in network.trainable_state().items()}
    checkpoint.save(path, tensors, checkpoint.describe(method, weights, {}))
    other, same = built(method, task, seed=2)
    checkpoint.restore(other, same, path)
    state = other.trainable_state()
    assert all(torch.equal(value, state[key]) for key, value in network.trainable_state().items())
    with torch.inference_mode():
        expected, found = (by_task(each.eval()(images_of()), task) for each in (network, other))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize("method", [method for method, task in PAIRS if task == "seg+cls" and "_" not in method])
def test_both_tasks_share_their_features_and_each_head_is_that_of_its_task(method: str) -> None:
    both, _ = built(method, "seg+cls")
    for task, part in (("seg", "segmentation"), ("cls", "classification")):
        alone, _ = built(method, task, seed=2)
        state = {key.replace(f"head.{part}.", "head."): value for key, value in both.trainable_state().items()}
        alone.load_trainable_state({key: value for key, value in state.items() if key in alone.trainable_state()})
        with torch.inference_mode():
            expected = alone.eval()(images_of())
            assert isinstance(expected, Tensor)
            torch.testing.assert_close(by_task(both.eval()(images_of()), "")[task], expected, rtol=1e-6, atol=1e-6)
