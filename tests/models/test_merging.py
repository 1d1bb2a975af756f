"""A merged network: the same scores with fewer products, for predictions only. One contract for every method."""

import pytest
import torch
from builders.backbone import draw, one_of_a_class, pictures, tiny_in_place_of_clip
from torch import Tensor, nn

from htunet.models.adapters import ADAPTERS
from htunet.models.adapters.hybrid import HybridAdapter, MergedHybrid
from htunet.models.build import build_network, method_names
from htunet.models.network import Network
from htunet.models.precision import convert_frozen_to_bf16
from htunet.models.tasks import Outputs

WIDTH = 24
GRIDS = [(4, 4), (5, 9), (1, 6)]


def drawn(method: str, **settings: object) -> Network:
    """Weights that are far from their start, in eval mode."""
    with tiny_in_place_of_clip():
        network, _ = build_network(
            method, Outputs(prompts=("lesion",)), seed=1, weights="random", adapter_settings=settings
        )
    for number, (name, module) in enumerate(network.trainable_modules()):
        if name in ("adapters", "updates"):
            draw(module, seed=number)
    return network.eval()


def images() -> Tensor:
    return torch.randint(0, 256, (2, 1, 64, 80), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(params=[name for name in one_of_a_class(method_names()) if name in ("UNet", "CLIP") or "_" in name])
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def test_scores_are_the_same_and_training_is_over(method: str) -> None:
    network = drawn(method)
    with torch.inference_mode():
        expected = network(images())
    network.merge_for_inference()
    with torch.inference_mode():
        scores = network(images())
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(expected.abs().max())))
    network.merge_for_inference()
    with torch.inference_mode():
        assert torch.equal(network(images()), scores), "merging again changed something"
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for forbidden in (network.train, network.trainable_state, lambda: network.load_trainable_state({})):
        with pytest.raises(RuntimeError, match="merged for inference"):
            forbidden()
    assert not network.eval().training


@pytest.mark.parametrize("method", ["CLIP_LoRA", "BiomedCLIP_LoRA", "CLIP_LoRAVT"])
def test_a_merged_lora_is_the_network_without_it(method: str) -> None:
    network, plain = drawn(method), drawn(method.partition("_")[0])
    network.merge_for_inference()
    assert [type(module) for module in network.modules()] == [type(module) for module in plain.modules()]
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert {key: value.shape for key, value in network.state_dict().items()} == shapes
    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, plain.state_dict()[key])}
    inside = {key for key in moved if "backbone" in key}
    assert inside
    assert all(key.endswith((".in_proj_weight", ".qkv.weight", ".out_proj.weight", ".proj.weight")) for key in inside)


def test_merged_matrices_can_be_kept_in_bf16() -> None:
    network = drawn("CLIP_LoRA")
    network.merge_for_inference()
    convert_frozen_to_bf16(network)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(network(images())).all()


@pytest.mark.parametrize("grid_hw", GRIDS, ids=str)
@pytest.mark.parametrize("name", ADAPTERS.names())
def test_a_merged_adapter_equals_the_adapter(name: str, grid_hw: tuple[int, int]) -> None:
    adapter = draw(ADAPTERS[name](WIDTH, (4, 4), {})).eval()
    merged = adapter.merged()
    tokens = pictures(3, 1 + grid_hw[0] * grid_hw[1], WIDTH)
    expected = adapter(tokens, grid_hw)
    assert (expected - tokens).abs().max() > 0.1
    torch.testing.assert_close(merged(tokens, grid_hw), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "kernels"), [("Mona", 1), ("HTFF", 1), ("HT", 3), ("HTNE", 3), ("HTSpectral", 3)])
def test_constant_weights_of_the_scales_leave_one_kernel(name: str, kernels: int) -> None:
    adapter = draw(ADAPTERS[name](WIDTH, (4, 4), {"bottleneck": 8}))
    before = {key: value.clone() for key, value in adapter.state_dict().items()}
    merged = adapter.merged()
    assert isinstance(merged, MergedHybrid)
    assert merged.kernels_SRKK.shape == (kernels, 8, 7, 7)
    assert (merged.filter is not None) == (name == "HTSpectral")
    assert all(torch.equal(value, before[key]) for key, value in adapter.state_dict().items()), (
        "merging moved the source"
    )


def test_the_kernel_of_htff_can_be_computed_by_hand() -> None:
    """theta 2; kernels of ones with sides 3, 5, 7; a third each; and the identity from before the filter."""
    adapter = ADAPTERS["HTFF"](WIDTH, (4, 4), {"bottleneck": 4})
    assert isinstance(adapter, HybridAdapter)
    with torch.no_grad():
        nn.init.constant_(adapter.get_parameter("filter.theta"), 2.0)
        for scale in adapter.bank.scales.parameters():
            nn.init.ones_(scale)
    merged = adapter.merged()
    assert isinstance(merged, MergedHybrid)
    expected = torch.tensor([2 / 3, 4 / 3, 2.0, 2.0 + 1, 2.0, 4 / 3, 2 / 3])
    torch.testing.assert_close(merged.kernels_SRKK[0, 0, 3], expected)
    torch.testing.assert_close(merged.biases_SR[0], torch.ones(4))
