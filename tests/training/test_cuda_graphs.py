"""The passes of a network as CUDA graphs: what is recorded and when; on a GPU, that nothing changes but the time."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from htunet.experiments.cost import plan_content
from htunet.experiments.jobs import Workload
from htunet.experiments.step_time import Trial
from htunet.models.network import EncoderNetwork, Network
from htunet.planning.plans import Plan, plan_from
from htunet.training import cuda_graphs
from htunet.training.cuda_graphs import MOST, SWITCH, NotRecordedError, RecordedNetwork, can_be_recorded
from htunet.training.loop import validate

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class FakePass:
    """A recorded pass that says that it was used; ``parameters`` are the network's."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        self.parameters = list(network.parameters())

    def __call__(self, images: Tensor) -> Tensor:
        return torch.full((len(images),), 7.0)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> RecordedNetwork:
    """A network of one number, doubled by its weight of 2."""
    monkeypatch.setattr(cuda_graphs, "RecordedPass", FakePass)
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(2.0)
    return RecordedNetwork(network)


def used(network: RecordedNetwork, size: int) -> bool:
    """Whether a batch of so many images is computed by a recorded pass."""
    return float(network(torch.ones(size, 1)).detach().flatten()[0]) == 7.0


def test_a_size_is_recorded_when_it_is_seen_again(recorded: RecordedNetwork) -> None:
    assert [used(recorded, 4), used(recorded, 4), used(recorded, 4)] == [False, True, True]


def test_each_size_has_its_own(recorded: RecordedNetwork) -> None:
    assert [used(recorded, size) for size in (4, 4, 3, 3, 4)] == [False, True, False, True, True]


def test_validations_are_computed_as_they_are(recorded: RecordedNetwork) -> None:
    assert [used(recorded, 4), used(recorded, 4)] == [False, True]
    with torch.no_grad():
        assert not used(recorded, 4)
    recorded.network.eval()
    assert not used(recorded, 4)
    recorded.network.train()
    assert used(recorded, 4)


def test_no_more_than_some_are_kept(recorded: RecordedNetwork) -> None:
    assert [used(recorded, size) for size in range(1, MOST + 3) for _ in range(2)] == [False, True] * MOST + [False] * 4


def test_the_second_part_of_a_step_leaves_the_gradients_of_the_first_alone(recorded: RecordedNetwork) -> None:
    used(recorded, 4)
    recorded.network.weight.grad = torch.ones(1, 1)
    assert not used(recorded, 4)
    recorded.network.weight.grad = None
    assert used(recorded, 4)


def test_a_network_that_cannot_be_recorded_is_tried_once(
    recorded: RecordedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def refuse(network: nn.Module, images: Tensor) -> None:
        tries.append(len(images))
        raise NotRecordedError("it waits")

    monkeypatch.setattr(cuda_graphs, "RecordedPass", refuse)
    assert [used(recorded, 4) for _ in range(4)] == [False] * 4
    assert tries == [4]
    assert [used(recorded, 5) for _ in range(3)] == [False] * 3
    assert tries == [4]


class Elsewhere(nn.Linear):
    """A layer of another package: nobody knows what it decides in Python."""


class Layers(Network):
    """A network of some layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)


Layers.__module__ = "htunet.models.made_up"


def test_modules_of_other_packages_are_recorded_only_if_they_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    assert not can_be_recorded(Layers(nn.Linear(1, 1), nn.ReLU())), "graphs are asked for"
    monkeypatch.setenv(SWITCH, "1")
    assert can_be_recorded(Layers(nn.Linear(1, 1), nn.ReLU()))
    network = Layers(nn.Linear(1, 1), Elsewhere(1, 1))
    assert not can_be_recorded(network)
    network.layers[1].graph_safe = True  # type: ignore[assignment]
    assert can_be_recorded(network)
    monkeypatch.setenv(SWITCH, "0")
    assert not can_be_recorded(network)


def test_only_networks_of_images_alone_are_recorded() -> None:
    """Stage 1 gives its network texts, too; a recorded pass has no place for them."""
    found: set[type[Network]] = {EncoderNetwork}
    for name in ("dual_encoder", "standalone.clipseg", "standalone.dinov2", "standalone.resnet", "standalone.unet"):
        module = importlib.import_module(f"htunet.models.{name}")
        found |= {kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Network)}
    assert {"DualEncoder", "UNet", "ResNet18"} <= {kind.__name__ for kind in found}
    for kind in found - {Network}:
        inputs = list(inspect.signature(kind.forward).parameters)
        assert kind.takes_images_alone == (inputs == ["self", "images_BCHW"]), kind


def plan() -> Plan:
    """Plan ``paper`` for batches of eight made-up images."""
    content: dict[str, Any] = plan_content(Workload(plan="paper", side=224))
    return plan_from(content | {"batch_size": 8}, "made up")


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], tuple[Trial, Trial]]:
    """Two trials of a method from the same weights: without graphs, and with them."""

    def make(method: str, task: str, precision: str) -> tuple[Trial, Trial]:
        monkeypatch.setenv(SWITCH, "0")
        plain = Trial(method, task, plan(), precision=precision, device="cuda")
        monkeypatch.setenv(SWITCH, "1")
        return plain, Trial(method, task, plan(), precision=precision, device="cuda")

    return make


KINDS = [
    ("UNet", "seg", "bf16"),
    ("UNet", "seg", "fp32"),
    ("ResNet18", "cls", "bf16"),
    ("PhantomCLIP_HT", "seg", "bf16"),
    ("PhantomCLIP_HT", "seg+cls", "fp32"),
    ("CLIP_LoRA", "seg", "bf16"),
    ("CLIP_HT", "cls", "bf16"),
]


def recorded_of(trial: Trial) -> RecordedNetwork:
    """What Fabric has wrapped."""
    network = trial.forward.module
    assert isinstance(network, RecordedNetwork)
    return network


@needs_gpu
@pytest.mark.parametrize(("method", "task", "precision"), KINDS)
def test_training_with_graphs_is_training_without(
    trials: Callable[[str, str, str], tuple[Trial, Trial]], method: str, task: str, precision: str
) -> None:
    plain, graphs = trials(method, task, precision)
    sizes = [8, 8, 3, 8, 3, 3, 8, 8]  # a last batch that is smaller, too
    losses = [[trial.step(size, number) for number, size in enumerate(sizes)] for trial in (plain, graphs)]
    assert sum(recorded is not None for recorded in recorded_of(graphs).passes.values()) == 2
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert losses[1][:2] == pytest.approx(losses[0][:2], rel=1e-6), "the first steps differ in nothing"
    state, other = plain.network.trainable_state(), graphs.network.trainable_state()
    for name in state:  # statistics of batch normalisation among them
        assert torch.allclose(state[name].float(), other[name].float(), atol=2e-3, rtol=2e-2), name


@needs_gpu
@pytest.mark.parametrize(("method", "task", "precision"), KINDS[:4])
def test_validations_see_the_weights_of_now(
    trials: Callable[[str, str, str], tuple[Trial, Trial]], method: str, task: str, precision: str
) -> None:
    _, graphs = trials(method, task, precision)
    loop = graphs.loop(8, val_size=19)  # two batches of 8, one of 3
    for number in range(6):
        graphs.step(8, number)
        found = validate(loop)
        network = recorded_of(graphs)
        kept, network.refused = dict(network.passes), True
        network.passes.clear()
        assert found == pytest.approx(validate(loop), rel=1e-4 if precision == "fp32" else 1e-2)
        network.passes, network.refused = kept, False


@needs_gpu
def test_a_pass_that_waits_for_the_gpu_is_not_recorded_and_trains_on(
    trials: Callable[[str, str, str], tuple[Trial, Trial]],
) -> None:
    _, graphs = trials("UNet", "seg", "fp32")
    network = graphs.network
    before = network.forward
    network.forward = lambda images: before(images) * float(1 + 0 * images[0, 0, 0, 0].item())
    losses = [graphs.step(8, number) for number in range(5)]
    assert recorded_of(graphs).refused
    assert losses[-1] < losses[0]


@needs_gpu
def test_gradients_of_the_parts_of_a_step_add_up(
    trials: Callable[[str, str, str], tuple[Trial, Trial]],
) -> None:
    plain, graphs = trials("PhantomCLIP_HT", "seg", "fp32")
    found = []
    for trial in (plain, graphs):
        for _ in range(3):
            trial.network.train()
            images = trial.fabric.to_device(trial.images.as_they_are(range(8))).images
            for _ in range(2):
                torch.manual_seed(1)
                trial.fabric.backward(trial.forward(images).square().mean())
            grads = [parameter.grad.clone() for parameter in trial.network.trainable_parameters()
                     if parameter.grad is not None]  # fmt: skip
            trial.optimizer.zero_grad(set_to_none=True)
        found.append(grads)
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6 + 1e-3 * float(one.abs().max()))
