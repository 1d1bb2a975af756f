"""A whole network: what a step changes, what its checkpoint state holds, and how images come in."""

from pathlib import Path

import pytest
import torch
from builders.backbone import draw, frozen_state, one_of_a_class, pictures, tiny_in_place_of_clip
from torch import Tensor

from htunet.models import checkpoint
from htunet.models.backbones.base import InputStatistics
from htunet.models.build import build_network, has_frozen_part, method_names, tasks_of
from htunet.models.network import Network, Normalisation
from htunet.models.precision import convert_frozen_to_bf16
from htunet.models.tasks import Outputs

METHODS = one_of_a_class(method for method in method_names() if "seg" in tasks_of(method))
"""The other tasks are in ``test_tasks``."""
SHAPES = [(2, 1, 64, 64), (2, 3, 48, 80)]


def built(method: str, seed: int = 1, **settings: object) -> Network:
    with tiny_in_place_of_clip():
        network, _ = build_network(
            method, Outputs(prompts=("breast lesion",)), seed=seed, weights="random", adapter_settings=settings or None
        )
    return network


def images_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def trained(network: Network, steps: int = 2) -> Network:
    """Train on noise with everything that asks for a gradient in the optimiser, as a careless caller would."""
    network.train()
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for step in range(steps):
        scores = network(images_of(2, 1, 64, 64, seed=step))
        (scores * pictures(*scores.shape, seed=step)).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return network


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_finite_fp32_and_of_the_images_size(method: str, shape: tuple[int, ...]) -> None:
    with torch.inference_mode():
        scores = built(method).eval()(images_of(*shape))
    assert scores.shape == (shape[0], 2, *shape[2:])
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("method", METHODS)
def test_training_leaves_the_frozen_part_as_it_was(method: str) -> None:
    network = built(method)
    frozen = network.frozen_module()
    before = {key: value.clone() for key, value in frozen_state(network).items()}
    assert bool(before) == (frozen is not None)
    trained(network)
    training = {module for _, part in network.trainable_modules() for module in part.modules()}
    for module in frozen.modules() if frozen else ():
        assert module.training == (module in training)
    after = frozen_state(network)
    assert after.keys() == before.keys()
    for key, value in after.items():
        assert torch.equal(value, before[key]), f"{key} moved"


@pytest.mark.parametrize("method", METHODS)
def test_every_part_that_trains_moves_where_the_task_uses_it(method: str) -> None:
    network = built(method)
    before = {key: value.clone() for key, value in network.trainable_state().items()}
    after = trained(network).trainable_state()
    still = {key for key, value in after.items() if torch.equal(value, before[key])}
    idle = tuple(f"{part}.{depth}." for part in ("adapters", "updates") for depth in (10, 11))  # feed no tap
    assert {key for key in still if not key.startswith(idle)} == set()
    assert all(key in still for key in after if key.startswith(idle))


@pytest.mark.parametrize("method", METHODS)
def test_what_trains_and_what_is_frozen_make_up_the_whole(method: str) -> None:
    network = built(method)
    training = {id(parameter) for parameter in network.trainable_parameters()}
    frozen = network.frozen_module()
    inside = {id(parameter) for parameter in frozen.parameters()} if frozen else set()
    resting = inside - training
    assert len(resting) <= len(frozen_state(network))
    within = method.endswith(("LoRA", "LoRAVT", "FullFT"))
    assert (inside == resting) != within, "only these train within the frozen part"
    assert training | resting == {id(parameter) for parameter in network.parameters()}
    assert {id(parameter) for parameter in network.parameters() if parameter.requires_grad} == training
    assert len(training) == len(network.trainable_parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_state_rebuilds_the_network_on_the_same_frozen_weights(method: str, tmp_path: Path) -> None:
    network, other = trained(built(method, seed=1)), built(method, seed=2)
    images = images_of(1, 1, 64, 64)
    with torch.inference_mode():
        expected = network.eval()(images)
        assert not torch.equal(other.eval()(images), expected)
        checkpoint.save(tmp_path / "state", network.trainable_state(), {})
        other.load_trainable_state(checkpoint.load(tmp_path / "state")[0])
        assert torch.equal(other(images), expected)


def test_the_trainable_state_of_clip_ht_holds_all_twelve_adapters_and_no_frozen_weight() -> None:
    state = built("CLIP_HT").trainable_state()
    assert {key.split(".")[1] for key in state if key.startswith("adapters.")} == {str(depth) for depth in range(12)}
    assert {key.split(".")[0] for key in state} == {"adapters", "aggregation", "head"}


@pytest.mark.parametrize("damage", ["missing", "unexpected", "foreign", "of another shape"])
def test_a_state_that_does_not_fit_is_refused_by_name(damage: str) -> None:
    network = built("CLIP_HT")
    state = dict(network.trainable_state())
    key = "head.classify.bias"
    if damage == "missing":
        del state[key]
    elif damage == "unexpected":
        state[key := "head.more"] = torch.zeros(1)
    elif damage == "foreign":
        state[key := "backbone.vit.proj"] = torch.zeros(1)
    else:
        state[key] = torch.zeros(5)
    with pytest.raises(RuntimeError, match=key.removeprefix("head.")):
        network.load_trainable_state(state)


def test_normalisation_is_of_values_between_0_and_1_and_makes_gray_three_channels() -> None:
    normalise = Normalisation(InputStatistics(mean=(0.5, 0.0, 0.2), std=(0.5, 1.0, 0.1)))
    gray = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    expected = torch.tensor([[-1.0, -0.6, 1.0], [0.0, 0.2, 1.0], [-2.0, 0.0, 8.0]])
    torch.testing.assert_close(normalise(gray), expected.reshape(1, 3, 1, 3), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(normalise(gray.expand(1, 3, 1, 3).float()), normalise(gray))
    assert not normalise.state_dict()


@pytest.mark.parametrize("method", [method for method in METHODS if has_frozen_part(method)])
def test_converting_frozen_weights_once_equals_converting_them_in_each_step(method: str) -> None:
    network = built(method)
    for number, (_, module) in enumerate(network.trainable_modules()):
        draw(module, seed=number)
    network.eval()
    images = images_of(2, 1, 64, 64)
    trainable = {key: value.dtype for key, value in network.trainable_state().items()}
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(images)
        convert_frozen_to_bf16(network)
        scores = network(images)
    assert torch.equal(scores, expected)
    assert scores.dtype == torch.float32
    assert expected.std() > 0.01
    assert {key: value.dtype for key, value in network.trainable_state().items()} == trainable


def test_matrices_of_the_frozen_part_take_half_of_the_memory_and_the_rest_stays_in_fp32() -> None:
    network = built("CLIP_HT")
    frozen = network.frozen_module()
    assert frozen is not None
    convert_frozen_to_bf16(network)
    blocks = {key: value for key, value in frozen.state_dict().items() if ".resblocks." in key}
    matrices = {value.dtype for value in blocks.values() if value.ndim == 2}
    norms = {value.dtype for key, value in blocks.items() if ".ln_" in key}
    assert (matrices, norms) == ({torch.bfloat16}, {torch.float32})
    assert frozen.state_dict()["vit.positional_embedding"].dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in network.trainable_parameters())


def test_gradients_under_autocast_are_the_same_with_converted_weights() -> None:
    gradients = []
    for convert in (False, True):
        network = built("CLIP_HT", dropout=0.0).train()
        if convert:
            convert_frozen_to_bf16(network)
        with torch.autocast("cpu", torch.bfloat16):
            scores = network(images_of(2, 1, 64, 64))
        (scores * pictures(*scores.shape)).sum().backward()
        gradients.append({key: p.grad for key, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][key], gradients[1][key]) for key in gradients[0])


def test_a_network_without_a_frozen_part_is_left_as_it_is() -> None:
    network = built("UNet")
    convert_frozen_to_bf16(network)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
