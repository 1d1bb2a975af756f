"""InfoNCE by hand, and gradients of cached parts against those of the whole batch at once."""

import math

import pytest
import torch
from builders.contrastive import random_uint8, tiny_contrastive
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from htunet.models.dual_encoder import DualEncoder, build_dual_encoder
from htunet.training import contrastive
from htunet.training.contrastive import ContrastiveTrainer, PairBatch, embed, info_nce, recall_at_1
from htunet.training.loader import Shard
from htunet.training.step import Step

PAIRS = 12


@pytest.fixture
def network() -> DualEncoder:
    """CLIP_HT's tiny stand-in with moved adapters, so that none of its parts is at the zero where it starts."""
    with tiny_contrastive():
        found, _ = build_dual_encoder("CLIP_HT", seed=1, weights="random", adapter_settings={"input_size": (32, 32)})
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in found.trainable_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=source))
    return found.train()


def pairs(count: int = PAIRS) -> PairBatch:
    texts = F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    return PairBatch(random_uint8(count, 1, 32, 32), texts, torch.arange(count))


def step_of(network: DualEncoder, batch: PairBatch, parts: int) -> Step:
    fabric = Fabric(accelerator="cpu", devices=1)
    return Step(
        fabric=fabric,
        network=network,
        forward=fabric.setup_module(network),
        batch=batch,
        whole=len(batch.images),
        num_parts=parts,
        shard=Shard(),
        seed=1,
        number=3,
    )


def gradients(network: DualEncoder) -> list[Tensor | None]:
    found = [parameter.grad for parameter in network.trainable_parameters()]
    network.zero_grad(set_to_none=True)
    return found


def test_the_loss_of_two_pairs_is_that_of_the_formula() -> None:
    images, texts = torch.eye(2), torch.tensor([[0.6, 0.8], [0.8, 0.6]])
    scores = [[6.0, 8.0], [8.0, 6.0]]  # at temperature 0.1
    expected = -math.log(math.exp(scores[0][0]) / (math.exp(6) + math.exp(8)))
    assert info_nce(images, texts, 0.1).tolist() == pytest.approx([expected, expected])


def test_the_loss_is_the_mean_over_both_directions_at_the_fixed_temperature() -> None:
    images, texts = torch.eye(2), torch.tensor([[0.6, 0.8], [0.0, 1.0]])  # similarities [[0.6, 0], [0.8, 1]]
    first = (math.log1p(math.exp(-0.6 / 0.07)) + math.log1p(math.exp(0.2 / 0.07))) / 2
    second = (math.log1p(math.exp(-0.2 / 0.07)) + math.log1p(math.exp(-1 / 0.07))) / 2
    assert info_nce(images, texts).tolist() == pytest.approx([first, second], rel=1e-4)


def test_the_loss_of_embeddings_that_say_nothing_is_the_logarithm_of_their_number() -> None:
    same = torch.ones(5, 4) / 2
    assert info_nce(same, same).tolist() == pytest.approx([math.log(5)] * 5)


@pytest.mark.parametrize("parts", [2, 3, 5, 12])
def test_cached_parts_have_the_gradient_of_the_whole_batch(network: DualEncoder, parts: int) -> None:
    step = step_of(network, pairs(), parts)
    embedded = []
    for index, part in enumerate(step.parts):  # the same dropout in each part, one graph over all of them
        step.seed_rng("part", index)
        embedded.append(embed(network, part))
    images, texts = (torch.cat(both) for both in zip(*embedded, strict=True))
    expected_loss = info_nce(images, texts).mean()
    expected_loss.backward()
    expected = gradients(network)
    loss = ContrastiveTrainer(PAIRS).accumulate(step)
    assert float(loss) == pytest.approx(float(expected_loss.detach()), abs=1e-6)
    found = gradients(network)
    assert [value is None for value in found] == [value is None for value in expected]
    used = [(one, other) for one, other in zip(found, expected, strict=True) if one is not None]
    assert used
    for one, other in used:
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    assert max(float(one.abs().max()) for one, _ in used) > 1e-3


def test_without_dropout_the_number_of_parts_changes_nothing(network: DualEncoder) -> None:
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    found = []
    for parts in (1, 4):
        loss = ContrastiveTrainer(PAIRS).accumulate(step_of(network, pairs(), parts))
        found.append([loss, *(value for value in gradients(network) if value is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_the_last_adapters_spatial_part_has_no_gradient(network: DualEncoder) -> None:
    ContrastiveTrainer(PAIRS).accumulate(step_of(network, pairs(), 2))
    last = f"{len(network.encoder.backbone.blocks) - 1}."
    unmoved = [
        name
        for name, value in network.encoder.adapters.named_parameters()  # type: ignore[union-attr]
        if value.grad is None or not value.grad.any()
    ]
    assert unmoved
    assert all(name.startswith(last) for name in unmoved)


def test_recall_counts_equal_captions_as_right_in_both_directions() -> None:
    images, texts = torch.eye(3), torch.eye(3)[[1, 0, 2]]
    assert recall_at_1(images, texts, torch.tensor([0, 1, 2])) == pytest.approx(1 / 3)
    assert recall_at_1(images, texts, torch.tensor([0, 0, 2])) == 1


def test_recall_is_the_mean_of_both_directions_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = torch.eye(2), torch.tensor([[0.6, 0.8], [0.0, 1.0]])  # similarities [[0.6, 0], [0.8, 1]]
    assert recall_at_1(images, texts, torch.tensor([0, 1])) == (1 + 1 / 2) / 2
    monkeypatch.setattr(contrastive, "CHUNK", 1)
    assert recall_at_1(images, texts, torch.tensor([0, 1])) == (1 + 1 / 2) / 2


def test_validation_figures_are_those_of_blocks_of_a_batch(network: DualEncoder) -> None:
    trainer, batch = ContrastiveTrainer(batch_size=4), pairs(10)
    network.eval()
    with torch.no_grad():
        loss, recall = trainer.figures(trainer.validate(network, batch))
        images, texts = embed(network, batch)
    blocks = [info_nce(images[start : start + 4], texts[start : start + 4]) for start in (0, 4, 8)]
    assert loss == pytest.approx(float(torch.cat(blocks).mean()))
    assert recall == recall_at_1(images, texts, batch.captions)


def test_a_step_of_several_blocks_has_the_mean_of_their_gradients(network: DualEncoder) -> None:
    """As the public code accumulates: each loss is divided by the number of blocks, and of a short last step, too."""
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    whole = pairs(12)
    blocks = [PairBatch(*(values[start : start + 4] for values in whole)) for start in (0, 4, 8)]
    losses = []
    for block in blocks:
        loss = info_nce(*embed(network, block)).mean() / 4
        loss.backward()
        losses.append(float(loss.detach()))
    expected = gradients(network)
    loss = ContrastiveTrainer(4, blocks=4).accumulate(step_of(network, whole, 2))
    assert float(loss) == pytest.approx(sum(losses) * 4 / 3, abs=1e-6)
    for one, other in zip(gradients(network), expected, strict=True):
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("count", "blocks"), [(16, [4, 4, 4, 4]), (12, [4, 4, 4]), (6, [4, 2]), (3, [3])])
def test_the_loss_of_a_step_is_the_mean_of_the_blocks_it_has(
    network: DualEncoder, monkeypatch: pytest.MonkeyPatch, count: int, blocks: list[int]
) -> None:
    """Where all pairs are equally similar, the loss of n pairs is log n."""
    monkeypatch.setattr(contrastive, "embed", lambda *found: tuple(0 * values for values in embed(*found)))
    loss = ContrastiveTrainer(4, blocks=4).accumulate(step_of(network, pairs(count), 1))
    assert float(loss) == pytest.approx(sum(map(math.log, blocks)) / len(blocks))


def test_each_block_of_a_step_has_its_own_dropout(network: DualEncoder) -> None:
    drawn: list[float] = []
    network.encoder.register_forward_pre_hook(lambda *_: drawn.append(torch.rand(1).item()))
    ContrastiveTrainer(4, blocks=3).accumulate(step_of(network, pairs(12), 1))
    assert len(set(drawn)) == 3
