"""Adapters and CLIP_HT against the equations written out, which share no code with them: values, gradients, sizes."""

import pytest
import torch
from builders.backbone import GRID, draw, pictures
from builders.literal_adapters import PARTS, literal_adapter
from torch import Tensor

from benchmarks.literal import LiteralHT, LiteralNetwork, _literal_names
from htunet.models.adapters import ADAPTERS
from htunet.models.adapters.base import Adapter
from htunet.models.network import EncoderNetwork

WIDTH = 32
GRIDS = [(14, 14), (5, 9), (9, 4), (1, 6), (2, 2)]
TOLERANCE = 1e-5
TENSORS = {"Mona": 16, "HTFF": 17, "HTNE": 20, "HT": 21, "HTSpectral": 21}
"""Parameter tensors of each variant: theta is one, the estimator has four."""


def adapter_for(name: str, grid_hw: tuple[int, int], seed: int) -> Adapter:
    """Drawn weights and no dropout."""
    ours = ADAPTERS[name](WIDTH, grid_hw, {"dropout": 0.0})
    draw(ours, seed)
    return ours.train()


def leaves(adapter: Adapter) -> dict[str, Tensor]:
    """The parameters again, to be differentiated by the other side."""
    return {key: value.detach().clone().requires_grad_() for key, value in adapter.named_parameters()}


def assert_equal(ours: Tensor | None, literal: Tensor | None, what: str) -> None:
    """Largest difference at most 1e-5 of the largest value, where that is above 1."""
    assert ours is not None, what
    assert literal is not None, what
    assert literal.abs().max() > 0, f"{what} is zero and proves nothing"
    difference = float((ours - literal).detach().abs().max()) / max(1.0, float(literal.detach().abs().max()))
    assert difference <= TOLERANCE, f"{what} differs by {difference:.1e}"


@pytest.mark.parametrize("grid_hw", GRIDS, ids=str)
@pytest.mark.parametrize("name", PARTS)
def test_an_adapter_equals_the_equations_in_values_and_gradients(name: str, grid_hw: tuple[int, int]) -> None:
    ours = adapter_for(name, grid_hw, seed=sum(grid_hw))
    parameters = leaves(ours)
    tokens = pictures(3, 1 + grid_hw[0] * grid_hw[1], WIDTH)
    inputs, twins = tokens.clone().requires_grad_(), tokens.clone().requires_grad_()
    result, expected = ours(inputs, grid_hw), literal_adapter(name, parameters, twins, *grid_hw)
    assert_equal(result, expected, "the output")
    weights = pictures(*tokens.shape, seed=1)
    (result * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_equal(inputs.grad, twins.grad, "the gradient of the input")
    assert len(parameters) == TENSORS[name]
    for key, parameter in ours.named_parameters():
        assert_equal(parameter.grad, parameters[key].grad, f"the gradient of {key}")


@pytest.mark.parametrize("name", PARTS)
def test_an_adapter_equals_the_equations_without_a_graph(name: str) -> None:
    ours = adapter_for(name, (4, 7), seed=3)
    tokens = pictures(2, 1 + 4 * 7, WIDTH)
    with torch.inference_mode():
        expected = literal_adapter(name, dict(ours.named_parameters()), tokens, 4, 7)
        assert_equal(ours.eval()(tokens, (4, 7)), expected, "the output")


@pytest.mark.parametrize("name", PARTS)
def test_an_adapter_equals_the_equations_when_only_it_needs_a_gradient(name: str) -> None:
    """The first block's tokens come from frozen layers and need none."""
    ours = adapter_for(name, (3, 5), seed=4)
    parameters = leaves(ours)
    tokens = pictures(2, 1 + 3 * 5, WIDTH)
    ours(tokens, (3, 5)).square().sum().backward()
    literal_adapter(name, parameters, tokens, 3, 5).square().sum().backward()
    for key, parameter in ours.named_parameters():
        assert_equal(parameter.grad, parameters[key].grad, f"the gradient of {key}")


def test_the_two_transcriptions_of_ht_agree() -> None:
    """The one that is written for speed tests stands for the network's adapters below."""
    ours, literal = adapter_for("HT", (4, 3), seed=5), LiteralHT(WIDTH)
    literal.load_state_dict(_literal_names(ours.state_dict()), strict=True)
    tokens = pictures(2, 1 + 4 * 3, WIDTH)
    expected = literal_adapter("HT", dict(ours.named_parameters()), tokens, 4, 3)
    assert_equal(literal.eval()(tokens, 4, 3), expected, "the output")


def test_an_adapter_starts_from_the_values_of_the_paper() -> None:
    fresh = _literal_names(ADAPTERS["HT"](WIDTH, GRID, {}).state_dict())
    for key in ("gamma", "gamma_x", "theta", "norm.weight", "norm.bias"):
        torch.testing.assert_close(fresh[key], LiteralHT(WIDTH).state_dict()[key], rtol=0, atol=0)


def test_dropout_zeroes_a_tenth_of_the_activated_values() -> None:
    """With an up projection that copies, each zeroed value shows; without dropout none is zero."""
    torch.manual_seed(0)
    ours = ADAPTERS["HT"](64, GRID, {}).train()
    with torch.no_grad():
        for key, parameter in ours.named_parameters():
            if key.startswith("up."):
                parameter.copy_(torch.eye(64) if parameter.ndim == 2 else torch.zeros(64))
    tokens = pictures(8, 1 + 10 * 10, 64)
    zeroed = ((ours(tokens, (10, 10)) - tokens) == 0).float().mean()
    assert 0.09 < zeroed < 0.11


def test_the_whole_network_equals_the_equations(clip_ht: EncoderNetwork) -> None:
    images = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[1, :, :, :112] = 0
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    normalised = (images / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.inference_mode():
        expected = LiteralNetwork.from_network(clip_ht).eval()(normalised)
        scores = clip_ht(images)
    assert scores.shape == (2, 2, 224, 224)
    assert expected.std() > 0.05
    assert (expected[0] - expected[1]).abs().max() > 0.05
    assert_equal(scores, expected, "the scores")


def trained(network: EncoderNetwork) -> dict[str, int]:
    modules = network.trainable_modules()
    return {name: sum(parameter.numel() for parameter in module.parameters()) for name, module in modules}


def test_the_trainable_parameters_are_those_of_the_paper(clip_ht: EncoderNetwork) -> None:
    """The paper prints 2,762,244 for the heads of a CLIP and 4,118,568 with the adapters.

    Both also count the 512 * 2 + 2 = 1,026 weights of a classification layer that segmentation never uses.
    """
    counts = trained(clip_ht)
    assert counts["adapters"] == 12 * 113_027 == 1_356_324
    assert counts["aggregation"] + counts["head"] == 2_761_218 == 2_762_244 - (512 * 2 + 2)
    assert sum(parameter.numel() for parameter in clip_ht.trainable_parameters()) == 4_118_568 - 1_026


def test_ht_of_clip_has_as_many_parameters_as_the_equations() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in LiteralHT().parameters()) == 113_027


MONA = 4 * 768 + (768 * 64 + 64) + (64 * 768 + 768) + 64 * (9 + 25 + 49 + 3) + (64 * 64 + 64)
"""LayerNorm and the two gammas; down; up; three depthwise convolutions with biases; the 1x1 convolution."""
ESTIMATOR = (64 * 16 + 16) + (16 * 3 + 3)
COUNTS = {
    "Mona": MONA,
    "HTFF": MONA + 64,
    "HTNE": MONA + ESTIMATOR,
    "HT": MONA + 64 + ESTIMATOR,
    "HTSpectral": MONA + 64 * 14 * 8 + ESTIMATOR,
}
TWELVE = {"Mona": 1_342_464, "HTFF": 1_343_232, "HTNE": 1_355_556, "HT": 1_356_324, "HTSpectral": 1_441_572}


@pytest.mark.parametrize("name", PARTS)
def test_the_parameters_of_an_adapter_are_those_of_its_parts(name: str) -> None:
    with torch.device("meta"):
        adapter = ADAPTERS[name](768, (14, 14), {})
    count = sum(parameter.numel() for parameter in adapter.parameters())
    assert count == COUNTS[name] == TWELVE[name] / 12
