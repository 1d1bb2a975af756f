"""From a name and settings to an adapted encoder: which blocks are adapted, and for which grid."""

import pytest
import torch
from builders.backbone import BLOCKS, ToyBackbone, draw, pictures, tiny_clip
from builders.plan import plan_of

from htunet.errors import UsageError
from htunet.models.adaptation import adapted_encoder, adapter_names
from htunet.models.encoder import AdaptedEncoder

SIZE = {"input_size": (64, 48)}
OUT_INDICES = (1, 3)


def trained_blocks(encoder: AdaptedEncoder) -> set[int]:
    (part,) = (module for _, module in encoder.trainable_modules())
    return {int(key.split(".")[0]) for key, _ in part.named_parameters()}


@pytest.mark.parametrize("name", adapter_names())
def test_all_blocks_are_adapted_unless_the_plan_names_some(name: str) -> None:
    assert trained_blocks(adapted_encoder(tiny_clip(), name, OUT_INDICES, SIZE)) == set(range(12))
    assert trained_blocks(adapted_encoder(tiny_clip(), name, OUT_INDICES, SIZE | {"layers": [3, 0]})) == {0, 3}


@pytest.mark.parametrize("name", adapter_names())
def test_blocks_that_the_plan_leaves_out_are_those_of_the_frozen_tower(name: str) -> None:
    torch.manual_seed(0)
    tower, plain = tiny_clip(), tiny_clip()
    plain.load_state_dict(tower.state_dict())
    encoder = adapted_encoder(tower, name, (1, 2, 3), SIZE | {"layers": [2]}).eval()
    for number, (_, module) in enumerate(encoder.trainable_modules()):
        draw(module, seed=number)
    images = pictures(2, 3, 64, 48)
    levels, frozen = encoder(images), adapted_encoder(plain, None, (1, 2, 3), {})(images)
    assert torch.equal(levels[0], frozen[0])
    assert not levels[0].requires_grad
    assert (levels[1] - frozen[1]).abs().max() > 0.01
    assert levels[1].requires_grad


def test_the_grid_of_a_filter_is_that_of_the_plans_images() -> None:
    for settings, grid in (({"input_size": (64, 48)}, (4, 3)), ({}, (14, 14))):
        encoder = adapted_encoder(tiny_clip(), "HTSpectral", OUT_INDICES, settings)
        assert encoder.adapters is not None
        assert encoder.adapters[0].get_parameter("filter.theta").shape == (64, grid[0], grid[1] // 2 + 1)


def test_the_settings_of_a_plan_tell_the_size_of_its_images() -> None:
    plan = plan_of(input_size=(64, 48), adapter={"bottleneck": 8})
    assert plan.adapter_settings == {"input_size": (64, 48), "bottleneck": 8}


@pytest.mark.parametrize("name", ["HT", "HTNE", "HTFF", "HTSpectral", "Mona"])
def test_the_bottleneck_is_a_setting_of_every_adapter_with_one(name: str) -> None:
    sizes = [
        sum(
            p.numel()
            for p in adapted_encoder(tiny_clip(), name, OUT_INDICES, SIZE | {"bottleneck": size}).adapters.parameters()
        )
        for size in (8, 16)
    ]
    assert 1.5 < sizes[1] / sizes[0] < 2.5


@pytest.mark.parametrize("layers", [[], "all", [0.5], [True], 3], ids=repr)
def test_layers_that_are_no_list_of_numbers_are_refused(layers: object) -> None:
    with pytest.raises(UsageError, match="'layers' must be a list of block numbers"):
        adapted_encoder(ToyBackbone(), "HT", (0,), {"layers": layers})


@pytest.mark.parametrize("layers", [[BLOCKS], [-1], [0, 0]], ids=repr)
def test_layers_that_the_tower_does_not_have_are_refused_with_the_range(layers: list[int]) -> None:
    with pytest.raises(UsageError, match=rf"must name blocks 0\.\.{BLOCKS - 1} once each"):
        adapted_encoder(ToyBackbone(), "HT", (0,), {"layers": layers})
