"""LoRA by peft on both kinds of attention, against W + s B A written out; what it trains, and what it leaves alone."""

from collections.abc import Callable

import pytest
import torch
from builders.backbone import ToyBackbone, draw, pictures, tiny_clip, tiny_timm
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from htunet.errors import UsageError
from htunet.models.adaptation import adapt_text, adapted_encoder
from htunet.models.adapters.lora import LowRankUpdates, SplitProjection
from htunet.models.backbones.base import Backbone
from htunet.models.backbones.clip import SelfAttention
from htunet.models.encoder import AdaptedEncoder
from htunet.models.precision import convert_frozen_to_bf16
from htunet.models.weights.load import tensor_hash

TOWERS = {"open_clip's attention": tiny_clip, "timm's attention": tiny_timm}
IMAGES = (2, 3, 64, 48)
OUT_INDICES = (1, 3)
LAYERS = ("q", "k", "v", "out")


@pytest.fixture(params=TOWERS)
def make_tower(request: pytest.FixtureRequest) -> Callable[[], Backbone]:
    return TOWERS[request.param]


def lora(tower: Backbone, **settings: object) -> AdaptedEncoder:
    return adapted_encoder(tower, "LoRA", OUT_INDICES, settings)


def drawn(tower: Backbone, **settings: object) -> AdaptedEncoder:
    encoder = lora(tower, **settings)
    assert encoder.updates is not None
    draw_small(encoder.updates)
    return encoder.eval()


def draw_small(updates: nn.Module) -> None:
    """Updates beside the frozen weights, not far above them: there the tower would amplify the last bit of a sum."""
    draw(updates)
    with torch.no_grad():
        for parameter in updates.parameters():
            parameter.mul_(0.3)


def twin_of(make_tower: Callable[[], Backbone], tower: Backbone) -> Backbone:
    twin = make_tower()
    twin.load_state_dict(tower.state_dict())
    return twin


def add_by_hand(tower: Backbone, updates: nn.ModuleList, scale: float) -> None:
    """W + scale * B A in the fused weights: the rows of q, k and v lie below each other."""
    with torch.no_grad():
        for block, update in zip(tower.blocks, updates, strict=True):
            deltas = {name: scale * update[name]["B"].weight @ update[name]["A"].weight for name in LAYERS}
            block.attn.qkv.weight += torch.cat([deltas["q"], deltas["k"], deltas["v"]])
            (block.attn.out_proj if hasattr(block.attn, "out_proj") else block.attn.proj).weight += deltas["out"]


def assert_close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(expected.detach().abs().max())))


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 32 / 16),
        ({"rank": 4, "alpha": 6}, 6 / 4),
        ({"rank_stabilised": True}, 32 / 4),
        ({"rank": 4, "alpha": 6, "rank_stabilised": True}, 6 / 2),
    ],
    ids=str,
)
def test_the_weights_are_those_of_the_frozen_layer_plus_scale_times_b_a(
    make_tower: Callable[[], Backbone], settings: dict[str, object], scale: float
) -> None:
    tower = make_tower()
    twin = twin_of(make_tower, tower)
    encoder = drawn(tower, **settings)
    unadapted = adapted_encoder(twin_of(make_tower, twin), None, OUT_INDICES, {})(pictures(*IMAGES))
    add_by_hand(twin, encoder.updates, scale)
    expected = adapted_encoder(twin, None, OUT_INDICES, {})(pictures(*IMAGES))
    for mine, theirs, before in zip(encoder(pictures(*IMAGES)), expected, unadapted, strict=True):
        assert (theirs - before).abs().max() > 0.01
        assert_close(mine, theirs)


def test_gradients_of_a_and_b_are_those_of_the_sum(make_tower: Callable[[], Backbone]) -> None:
    """With G the gradient of W + s B A by the plain network: dB = s G A^T, dA = s B^T G."""
    tower = make_tower()
    twin = twin_of(make_tower, tower)
    encoder = drawn(tower)
    add_by_hand(twin, encoder.updates, 2.0)
    plain = adapted_encoder(twin, None, OUT_INDICES, {})
    weights = [block.attn.qkv.weight.requires_grad_() for block in plain.backbone.blocks[:4]]
    for one in (encoder, plain):
        sum((level * pictures(*level.shape, seed=7)).sum() for level in one(pictures(*IMAGES))).backward()
    for update, weight in zip(encoder.updates, weights, strict=False):
        assert weight.grad is not None
        for name, gradient in zip("qkv", weight.grad.chunk(3), strict=True):
            a, b = update[name]["A"].weight, update[name]["B"].weight
            for mine, theirs in ((b.grad, 2.0 * gradient @ a.T), (a.grad, 2.0 * b.T @ gradient)):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * float(theirs.detach().abs().max()))


def test_fresh_updates_change_nothing(make_tower: Callable[[], Backbone]) -> None:
    tower = make_tower()
    plain = adapted_encoder(twin_of(make_tower, tower), None, OUT_INDICES, {})
    encoder = lora(tower).eval()
    assert all(not update[name]["B"].weight.any() for update in encoder.updates for name in LAYERS)
    for mine, theirs in zip(encoder(pictures(*IMAGES)), plain(pictures(*IMAGES)), strict=True):
        assert_close(mine, theirs)


def test_a_gradient_reaches_q_k_v_and_output_of_each_block_up_to_the_last_tap(
    make_tower: Callable[[], Backbone],
) -> None:
    encoder = drawn(make_tower()).train()
    sum((level * pictures(*level.shape, seed=7)).sum() for level in encoder(pictures(*IMAGES))).backward()
    for depth, update in enumerate(encoder.updates):
        assert set(update) == set(LAYERS)
        for name in LAYERS:
            for matrix in ("A", "B"):
                gradient = update[name][matrix].weight.grad
                if depth > max(OUT_INDICES):
                    assert gradient is None, "feeds nothing"
                else:
                    assert gradient is not None
                    assert gradient.abs().sum() > 0, (depth, name, matrix)


def test_only_the_matrices_train_and_the_frozen_ones_keep_their_values(make_tower: Callable[[], Backbone]) -> None:
    tower = make_tower()
    fused = [block.attn.qkv.weight.clone() for block in tower.blocks]
    encoder = lora(tower)
    assert encoder.updates is not None
    training = {id(parameter) for parameter in encoder.parameters() if parameter.requires_grad}
    assert training == {id(parameter) for parameter in encoder.updates.parameters()}
    assert len(training) == 12 * 4 * 2
    assert [name for name, _ in encoder.trainable_modules()] == ["updates"]
    for block, weight in zip(tower.blocks, fused, strict=True):
        assert isinstance(block.attn.qkv, SplitProjection)
        parts = [getattr(block.attn.qkv, name).base_layer.weight for name in "qkv"]
        assert torch.equal(torch.cat(parts), weight)
        assert not any(part.requires_grad for part in parts)


def test_a_checkpoint_names_block_layer_and_matrix(make_tower: Callable[[], Backbone]) -> None:
    tower = make_tower()
    updates = lora(tower, rank=4).updates
    assert updates is not None
    state = updates.state_dict()
    expected = {f"{depth}.{name}.{matrix}.weight" for depth in range(12) for name in LAYERS for matrix in "AB"}
    assert set(state) == expected
    assert (state["3.q.A.weight"].shape, state["3.q.B.weight"].shape) == ((4, tower.width), (tower.width, 4))


def test_the_first_chosen_layer_is_where_the_graph_begins() -> None:
    encoder = drawn(tiny_clip(), layers=[2])
    entering: dict[int, bool] = {}
    for depth in range(4):
        encoder.backbone.blocks[depth].register_forward_hook(
            lambda _, __, tokens, depth=depth: entering.update({depth: tokens.requires_grad})
        )
    encoder(pictures(*IMAGES))
    assert entering == {0: False, 1: False, 2: True, 3: True}
    assert {key.split(".")[0] for key in encoder.updates.state_dict()} == {"2"}


def test_dropout_acts_in_training_only_and_on_the_updates_only() -> None:
    encoder = drawn(tiny_clip(), dropout=0.5)
    first = encoder(pictures(*IMAGES))[-1]
    assert torch.equal(first, encoder(pictures(*IMAGES))[-1])
    encoder.train()
    training = [module for module in encoder.backbone.modules() if module.training]
    assert all(isinstance(module, nn.Linear | nn.Dropout | nn.ModuleDict) for module in training)
    assert sum(isinstance(module, nn.Dropout) for module in training) == 12 * 4
    assert not torch.equal(encoder(pictures(*IMAGES))[-1], encoder(pictures(*IMAGES))[-1])


def test_the_parameters_are_those_of_the_matrices() -> None:
    """Two matrices of 16 x D for each of four layers in twelve blocks; the width is that of a ViT-B/16."""
    with torch.device("meta"):
        encoder = lora(tiny_timm(embed_dim=768, num_heads=12))
    assert encoder.updates is not None
    assert sum(p.numel() for p in encoder.updates.parameters()) == 12 * 4 * 2 * 16 * 768 == 1_179_648


def text_tower(width: int = 32, layers: int = 2) -> TextTransformer:
    return TextTransformer(context_length=9, vocab_size=40, width=width, heads=2, layers=layers, output_dim=16).eval()


def bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertModel(BertConfig(vocab_size=40, max_position_embeddings=9, **sizes), add_pooling_layer=False).eval()


@pytest.mark.parametrize("kind", ["open_clip", "BERT"])
def test_a_text_tower_is_adapted_in_place_and_merges_back(kind: str) -> None:
    tower = text_tower() if kind == "open_clip" else bert()
    blocks = tower.transformer.resblocks if kind == "open_clip" else tower.encoder.layer
    ids = torch.randint(1, 39, (3, 9), generator=torch.Generator().manual_seed(0))

    def output() -> Tensor:
        result = tower(ids)
        return result if isinstance(result, Tensor) else result.last_hidden_state

    tower.requires_grad_(False)
    before = output()
    updates = adapt_text(blocks, "LoRAVT", {"layers": [0], "rank": 4})
    assert isinstance(updates, LowRankUpdates)
    assert sum(p.numel() for p in updates.parameters()) == 2 * 4 * 2 * 4 * 32
    assert_close(output(), before)
    draw_small(updates)
    output().square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in updates.parameters())
    adapted = output()
    assert (adapted - before).abs().max() > 0.01
    updates.merge()
    assert_close(output(), adapted)
    assert not any("lora" in key for key in tower.state_dict())


def test_a_text_tower_of_clip_keeps_its_causal_mask() -> None:
    tower = text_tower()
    tower.pool_type = "none"
    ids = torch.randint(1, 39, (1, 9), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, 6] = ids[0, 6] % 38 + 1
    adapt_text(tower.transformer.resblocks, "LoRAVT", {})
    assert any(isinstance(module, SelfAttention) for module in tower.modules())
    first, second = tower(ids)[0], tower(other)[0]
    torch.testing.assert_close(first[:6], second[:6])
    assert (first[6:] - second[6:]).abs().max() > 1e-4


@pytest.mark.parametrize("adapter", [None, "HT", "LoRA"])
def test_other_methods_leave_the_text_tower_alone(adapter: str | None) -> None:
    tower = text_tower()
    before = tensor_hash(tower)
    assert adapt_text(tower.transformer.resblocks, adapter, {}) is None
    assert tensor_hash(tower) == before


@pytest.mark.parametrize(
    ("key", "value"), [("rank", 0), ("alpha", 0), ("dropout", 1.0), ("dropout", -0.1), ("rank_stabilised", 1)]
)
def test_an_impossible_setting_names_itself_and_the_rule(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"{key} must be .*{value}"):
        lora(tiny_clip(), **{key: value})


def test_a_block_without_an_attention_that_is_known_is_refused() -> None:
    with pytest.raises(ValueError, match="LoRA knows no attention in ToyBlock"):
        adapted_encoder(ToyBackbone(), "LoRA", (0,), {})


def test_the_matrices_stay_in_fp32_where_frozen_ones_are_kept_in_bf16() -> None:
    from htunet.models.build import _assemble, parse_method
    from htunet.models.tasks import Outputs

    network = _assemble(tiny_clip(), parse_method("CLIP_LoRA"), Outputs(), {})
    convert_frozen_to_bf16(network)
    encoder = network.get_submodule("encoder")
    assert isinstance(encoder, AdaptedEncoder)
    assert {parameter.dtype for parameter in network.trainable_parameters()} == {torch.float32}
    attention = encoder.backbone.blocks[0].attn
    frozen = [attention.out_proj, *(getattr(attention.qkv, name) for name in "qkv")]
    assert {layer.base_layer.weight.dtype for layer in frozen} == {torch.bfloat16}


def test_one_matrix_for_query_key_and_value_where_the_block_has_one_layer() -> None:
    """As in the public code: of ViT-B 12 * 16 * (768 + 3 * 768 + 768 + 768) = 884,736 parameters."""
    tower = tiny_timm()
    plain, twin = twin_of(tiny_timm, tower), twin_of(tiny_timm, tower)
    encoder = drawn(tower, LoRA={"fused_qkv": True, "rank_stabilised": True, "rank": 4, "alpha": 8}, dropout=0.0)
    updates = encoder.updates
    assert updates is not None
    assert [sorted(update) for update in updates] == [["out", "qkv"]] * len(updates)
    width = tower.width
    assert sum(p.numel() for p in updates.parameters()) == len(updates) * 4 * (width + 3 * width + 2 * width)
    with torch.no_grad():
        for block, update in zip(twin.blocks, updates, strict=True):
            for layer, name in ((block.attn.qkv, "qkv"), (block.attn.proj, "out")):
                layer.weight += 8 / 4**0.5 * update[name]["B"].weight @ update[name]["A"].weight
        images = pictures(*IMAGES)
        by_hand = adapted_encoder(twin, None, OUT_INDICES, {})(images)
        found = encoder(images)
        for mine, theirs in zip(found, by_hand, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        encoder.merge()
        torch.testing.assert_close(encoder(images)[-1], found[-1], rtol=1e-4, atol=1e-4)
        assert (found[-1] - adapted_encoder(plain, None, OUT_INDICES, {})(images)[-1]).abs().max() > 1e-3


def test_the_attention_of_clip_keeps_a_matrix_each_for_query_key_and_value() -> None:
    """As in the public code, which takes OpenAI's attention apart."""
    updates = lora(tiny_clip(), fused_qkv=True).updates
    assert updates is not None
    assert [sorted(update) for update in updates] == [sorted(LAYERS)] * len(updates)


def test_settings_under_the_name_of_an_adapter_are_for_it_alone() -> None:
    named = {"LoRA": {"rank": 2}}
    assert len(lora(tiny_timm(), **named).updates[0]["q"]["A"].weight) == 2  # type: ignore[index]
    assert adapted_encoder(tiny_clip(), "Mona", OUT_INDICES, named | {"input_size": (64, 48)}).adapters is not None
    with pytest.raises(UsageError, match="LoRAConfig has no setting 'ranks'"):
        lora(tiny_timm(), LoRA={"ranks": 2})
    with pytest.raises(UsageError, match=r"settings of LoRA .* must be an object, got 3"):
        lora(tiny_timm(), LoRA=3)
