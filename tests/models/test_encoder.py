"""The one loop over the frozen blocks: what it computes, what it leaves out, and where a graph begins."""

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from builders.backbone import BLOCKS, GRID, ToyBackbone, draw, pictures, tiny_clip, toy_encoder
from torch import Tensor, nn

from htunet.models.adapters import ADAPTERS
from htunet.models.adapters.base import Adapter
from htunet.models.build import OUT_INDICES
from htunet.models.encoder import AdaptedEncoder

IMAGES = (2, 3, 12, 20)


def calls_of(modules: Sequence[nn.Module]) -> Counter[int]:
    """How often each module has been called, counted from now on."""
    calls: Counter[int] = Counter()
    for number, module in enumerate(modules):
        module.register_forward_hook(lambda *_, number=number: calls.update([number]))
    return calls


def all_blocks(encoder: AdaptedEncoder, images: Tensor) -> list[Tensor]:
    """Every block and adapter computed with a graph everywhere, as one would write it without thinking."""
    grid_hw = encoder.backbone.grid_hw((images.shape[2], images.shape[3]))
    tokens, levels = encoder.backbone.embed(images), []
    for block, adapter in zip(encoder.backbone.blocks, encoder.adapters or [None] * 99, strict=False):
        tokens = block(tokens)
        tokens = adapter(tokens, grid_hw) if adapter else tokens
        levels.append(tokens)
    return [levels[tap] for tap in encoder.out_indices]


class Shift(Adapter):
    """Adds one number to each token."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(0.5))

    def forward(self, tokens_BTD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        assert grid_hw == (3, 5)
        return tokens_BTD + self.by


@pytest.mark.parametrize("out_indices", [(0,), (0, 1), (1,), (2,), (0, 2)], ids=str)
def test_out_indices_are_the_tokens_after_block_and_adapter(out_indices: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = AdaptedEncoder(ToyBackbone(), Shift, out_indices)
    images = pictures(*IMAGES)
    tokens = encoder.backbone.embed(images)
    expected = []
    for depth, block in enumerate(encoder.backbone.blocks):
        tokens = block(tokens) + 0.5
        expected += [tokens] if depth in out_indices else []
    levels = encoder(images)
    assert len(levels) == len(out_indices)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(levels, expected, strict=True))


@pytest.mark.parametrize("out_indices", [(0,), (1,), (0, 2)], ids=str)
def test_blocks_and_adapters_after_the_last_tap_are_not_computed(out_indices: tuple[int, ...]) -> None:
    encoder = toy_encoder("HT", out_indices=out_indices)
    assert encoder.adapters is not None
    blocks, adapters = calls_of(list(encoder.backbone.blocks)), calls_of(list(encoder.adapters))
    encoder(pictures(*IMAGES))
    assert blocks == adapters == Counter(range(max(out_indices) + 1))


@pytest.mark.parametrize("adapter", [None, *ADAPTERS.names()])
def test_leaving_work_out_changes_nothing(adapter: str | None) -> None:
    encoder = toy_encoder(adapter).eval()
    images = pictures(*IMAGES)
    levels, expected = encoder(images), all_blocks(encoder, images)
    for mine, theirs in zip(levels, expected, strict=True):
        assert torch.equal(mine, theirs)
    if encoder.adapters is None:
        return
    weights = [pictures(*level.shape, seed=number) for number, level in enumerate(levels)]
    parameters = list(encoder.adapters[: max(encoder.out_indices) + 1].parameters())
    ours = torch.autograd.grad(sum((a * b).sum() for a, b in zip(levels, weights, strict=True)), parameters)
    plain = torch.autograd.grad(sum((a * b).sum() for a, b in zip(expected, weights, strict=True)), parameters)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, plain, strict=True))


def test_nothing_before_the_first_adapter_has_a_graph() -> None:
    encoder = toy_encoder("HT")
    assert encoder.adapters is not None
    entering: list[Tensor] = []
    encoder.adapters[0].register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    encoder.adapters[1].register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    encoder(pictures(*IMAGES))
    first, second = entering
    assert (first.requires_grad, first.grad_fn) == (False, None)
    assert second.grad_fn is not None


def test_an_encoder_without_adapters_has_no_graph() -> None:
    for level in toy_encoder(None)(pictures(*IMAGES)):
        assert (level.requires_grad, level.grad_fn) == (False, None)


def test_the_callers_choice_of_no_graph_is_kept() -> None:
    encoder = toy_encoder("HT")
    with torch.no_grad():
        assert not any(level.requires_grad for level in encoder(pictures(*IMAGES)))
    assert torch.is_grad_enabled()


def test_the_frozen_part_stays_in_eval_mode_while_training() -> None:
    encoder = toy_encoder("HT").train()
    assert encoder.adapters is not None
    assert all(module.training for module in encoder.adapters.modules())
    assert not any(module.training for module in encoder.backbone.modules())
    assert torch.equal(encoder.backbone.blocks[0](torch.ones(1, 3, 8)), encoder.backbone.blocks[0](torch.ones(1, 3, 8)))
    assert not any(module.training for module in encoder.eval().modules())


def test_each_block_has_its_adapter_so_that_a_checkpoint_serves_other_out_indices() -> None:
    encoder = toy_encoder("HT", out_indices=(0,))
    assert encoder.adapters is not None
    assert len(encoder.adapters) == BLOCKS
    assert {key.split(".")[0] for key in encoder.adapters.state_dict()} == {str(depth) for depth in range(BLOCKS)}


@pytest.mark.parametrize("out_indices", [(), (3,), (-1, 0), (0, 12)], ids=str)
def test_out_indices_that_name_no_block_are_refused(out_indices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"out_indices must name blocks 0\.\.2, got \["):
        AdaptedEncoder(ToyBackbone(), None, out_indices)


def test_an_image_of_broken_patches_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match=r"multiples of the patch size 4, got \(12, 18\)"):
        toy_encoder(None)(pictures(1, 3, 12, 18))


def test_clip_computes_ten_blocks_and_leaves_the_last_adapters_without_gradient() -> None:
    encoder = AdaptedEncoder(tiny_clip(), lambda: ADAPTERS["HT"](128, GRID, {}), OUT_INDICES)
    assert encoder.adapters is not None
    draw(encoder.adapters)
    calls = calls_of(list(encoder.backbone.blocks))
    sum(level.square().sum() for level in encoder(pictures(1, 3, 64, 64))).backward()
    assert calls == Counter(range(10))
    idle = {int(key.split(".")[0]) for key, value in encoder.adapters.named_parameters() if value.grad is None}
    assert idle == {10, 11}
    assert all(parameter.grad is None for parameter in encoder.backbone.parameters())
