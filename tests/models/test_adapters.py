"""One contract for every adapter in the registry; a new one is covered as soon as it has a name."""

from pathlib import Path

import pytest
import torch
from builders.backbone import BLOCKS, GRID, PATCH, WIDTH, draw, pictures, toy_encoder
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from htunet.errors import UsageError
from htunet.models.adapters import ADAPTERS
from htunet.models.encoder import AdaptedEncoder

SIZES = [(2, 3, 16, 16), (1, 3, 12, 20), (3, 3, 8, 4)]
OPTIMISERS = {
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1),
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, weight_decay=0.1),
}


@pytest.fixture(params=ADAPTERS.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def encoder(name: str) -> AdaptedEncoder:
    return toy_encoder(name)


def loss_of(levels: list[Tensor]) -> Tensor:
    """Each value has a weight of its own, so that no gradient cancels."""
    return sum((level * pictures(*level.shape, seed=number)).sum() for number, level in enumerate(levels))


def copies(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tokens_keep_their_shape_and_stay_finite(name: str, size: tuple[int, ...]) -> None:
    adapter = draw(ADAPTERS[name](WIDTH, GRID, {}))
    grid_hw = (size[2] // PATCH, size[3] // PATCH)
    tokens = pictures(size[0], 1 + grid_hw[0] * grid_hw[1], WIDTH)
    result = adapter(tokens, grid_hw)
    assert result.shape == tokens.shape
    assert torch.isfinite(result).all()
    assert not torch.equal(result, tokens)


def test_extreme_tokens_stay_finite(name: str) -> None:
    adapter = draw(ADAPTERS[name](WIDTH, GRID, {}))
    for factor in (0.0, 1e4):
        assert torch.isfinite(adapter(factor * pictures(1, 5, WIDTH), (2, 2))).all()


def test_the_input_is_left_as_it_was(name: str) -> None:
    tokens = pictures(2, 7, WIDTH)
    draw(ADAPTERS[name](WIDTH, GRID, {}))(tokens, (2, 3))
    assert torch.equal(tokens, pictures(2, 7, WIDTH))


def test_images_do_not_see_each_other(name: str) -> None:
    adapter = draw(ADAPTERS[name](WIDTH, GRID, {})).eval()
    tokens = pictures(3, 7, WIDTH)
    one_by_one = torch.cat([adapter(tokens[i : i + 1], (2, 3)) for i in range(3)])
    torch.testing.assert_close(adapter(tokens, (2, 3)), one_by_one, rtol=1e-5, atol=1e-6)


def test_dropout_is_off_in_eval_mode_and_every_way_to_evaluate_agrees(name: str) -> None:
    adapter = draw(ADAPTERS[name](WIDTH, GRID, {})).eval()
    tokens = pictures(2, 7, WIDTH)
    first = adapter(tokens, (2, 3))
    assert torch.equal(first, adapter(tokens, (2, 3)))
    for way in (torch.no_grad, torch.inference_mode):
        with way():
            torch.testing.assert_close(adapter(tokens, (2, 3)), first.detach(), rtol=1e-6, atol=1e-6)


def test_all_parameters_of_an_adapter_train(name: str) -> None:
    adapter = ADAPTERS[name](WIDTH, GRID, {})
    assert all(parameter.requires_grad for parameter in adapter.parameters())
    assert sum(parameter.numel() for parameter in adapter.parameters()) > 0


def test_gradient_reaches_every_adapter_parameter_that_is_used(encoder: AdaptedEncoder) -> None:
    assert encoder.adapters is not None
    loss_of(encoder(pictures(4, 3, 12, 20))).backward()
    for key, parameter in encoder.adapters.named_parameters():
        if int(key.split(".")[0]) > max(encoder.out_indices):
            assert parameter.grad is None, f"{key} feeds nothing"
        else:
            assert parameter.grad is not None, f"{key} has no gradient"
            assert torch.isfinite(parameter.grad).all(), key
            assert parameter.grad.abs().sum() > 0, f"{key} has a gradient of zero"


def test_only_the_adapters_may_train(encoder: AdaptedEncoder) -> None:
    training = {key for key, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert training == {key for key, _ in encoder.named_parameters() if key.startswith("adapters.")}
    assert {name for name, _ in encoder.trainable_modules()} == {"adapters"}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_adapters_move_and_nothing_else_does(name: str, optimiser: str) -> None:
    encoder = toy_encoder(name, out_indices=(BLOCKS - 1,)).train()
    before = copies(encoder)
    steps = OPTIMISERS[optimiser]([parameter for parameter in encoder.parameters() if parameter.requires_grad])
    for number in range(2):
        steps.zero_grad()
        loss_of(encoder(pictures(4, 3, 12, 20, seed=number))).backward()
        steps.step()
    after = encoder.state_dict()
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    assert moved == {key for key, _ in encoder.named_parameters() if key.startswith("adapters.")}


def test_saved_adapters_come_back_bit_by_bit(name: str, encoder: AdaptedEncoder, tmp_path: Path) -> None:
    images = pictures(2, 3, 12, 20)
    assert encoder.adapters is not None
    encoder.eval()
    save_file(encoder.adapters.state_dict(), tmp_path / "adapters.safetensors")
    other = toy_encoder(name, seed=5).eval()
    other.backbone.load_state_dict(encoder.backbone.state_dict())
    expected = encoder(images)
    assert not torch.equal(other(images)[-1], expected[-1])
    other.adapters.load_state_dict(load_file(tmp_path / "adapters.safetensors"), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(other(images), expected, strict=True))


@pytest.mark.parametrize("damage", ["missing", "unexpected", "of another shape"])
def test_saved_adapters_are_taken_whole_or_not_at_all(encoder: AdaptedEncoder, damage: str) -> None:
    assert encoder.adapters is not None
    state = copies(encoder.adapters)
    key = next(iter(state))
    if damage == "missing":
        del state[key]
    elif damage == "unexpected":
        state["0.another"] = torch.zeros(1)
    else:
        state[key] = torch.zeros(3, 3, 3)
    with pytest.raises(RuntimeError, match=r"0\."):
        encoder.adapters.load_state_dict(state, strict=True)


def test_adapters_of_an_encoder_share_no_weights(encoder: AdaptedEncoder) -> None:
    assert encoder.adapters is not None
    owners = [parameter.data_ptr() for parameter in encoder.adapters.parameters() if parameter.numel()]
    assert len(owners) == len(set(owners))


@pytest.mark.parametrize("key", ["bottlenek", "droput"])
def test_a_misspelt_setting_gets_a_hint(key: str) -> None:
    with pytest.raises(UsageError, match=r"known: bottleneck, dropout.*Did you mean"):
        ADAPTERS["HT"](WIDTH, GRID, {key: 4})


@pytest.mark.parametrize(("key", "value"), [("bottleneck", 6), ("bottleneck", 0), ("dropout", 1.0), ("dropout", -0.1)])
def test_an_impossible_setting_names_itself_and_the_rule(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"{key} must be .*{value}"):
        ADAPTERS["HT"](WIDTH, GRID, {key: value})


@pytest.mark.parametrize(("key", "value"), [("bottleneck", "64"), ("dropout", None)])
def test_a_setting_of_another_type_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(UsageError, match="HybridConfig"):
        ADAPTERS["HT"](WIDTH, GRID, {key: value})


def test_settings_change_the_sizes() -> None:
    adapter = ADAPTERS["HT"](WIDTH, GRID, {"bottleneck": 8, "dropout": 0.0}).train()
    assert sum(parameter.numel() for parameter in adapter.parameters()) < 8 * 8 * 30
    tokens = pictures(1, 7, WIDTH)
    assert torch.equal(adapter(tokens, (2, 3)), adapter(tokens, (2, 3)))


def test_a_fresh_adapter_with_dropout_differs_in_training() -> None:
    adapter = draw(ADAPTERS["HT"](WIDTH, GRID, {"dropout": 0.5})).train()
    tokens = pictures(1, 7, WIDTH)
    torch.manual_seed(0)
    assert not torch.equal(adapter(tokens, (2, 3)), adapter(tokens, (2, 3)))
