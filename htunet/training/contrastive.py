"""Stage 1: contrastive training of the images of a batch with their captions.

Source: symmetric InfoNCE of Radford et al. 2021, arXiv:2103.00020, with the fixed temperature 0.07 at which that
training starts; gradient caching of Gao et al. 2021, arXiv:2101.06983. Dimension key: B pairs of a part, N pairs of
the whole batch, P processes, E embedding.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.training.step import Step
from htunet.training.trainer import Trainer

TEMPERATURE = 0.07
CHUNK = 1024
"""Images whose similarities with all captions are in memory at a time."""


class PairBatch(NamedTuple):
    """Images with their captions."""

    images: Tensor
    """(B, C, H, W) uint8."""
    texts: Tensor
    """(B, E) embeddings of unit length where the text tower is frozen; (B, L) numbers of tokens where it trains."""
    captions: Tensor
    """(B,) int64; equal captions have equal numbers."""


def info_nce(images_NE: Tensor, texts_NE: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Symmetric InfoNCE, one value a pair, (N,): the mean of -log softmax over the texts and over the images.

    Embeddings are of unit length. Pairs whose captions are equal count as different ones, as in the source.
    """
    scores_NN = images_NE @ texts_NE.T / temperature
    right_N = torch.arange(len(scores_NN), device=scores_NN.device)
    over_texts_N = F.cross_entropy(scores_NN, right_N, reduction="none")
    return (over_texts_N + F.cross_entropy(scores_NN.T, right_N, reduction="none")) / 2


def embed(network: nn.Module, batch: PairBatch) -> tuple[Tensor, Tensor]:
    """(B, E) embeddings of images and texts, fp32; texts of a frozen tower are in the batch as embeddings already."""
    if batch.texts.is_floating_point():
        return network(batch.images)[0].float(), batch.texts
    images_BE, texts_BE = network(batch.images, batch.texts)
    return images_BE.float(), texts_BE.float()


class ContrastiveTrainer(Trainer):
    """Symmetric InfoNCE over the whole batch; the checkpoint with the lowest validation loss is saved.

    Pairs are compared in blocks of ``batch_size``; an optimiser step has ``blocks`` of them, and its loss is the mean
    of those it has. The last step of an epoch may have fewer: its gradient is then shorter, as in the public code of
    arXiv 2506.08849, its loss is not. Validation pairs are compared in such blocks, too, so that both losses can be
    compared.
    """

    task = "contrastive"
    metric = "recall_at_1"
    chosen_by_loss = True

    def __init__(self, batch_size: int, blocks: int = 1) -> None:
        self.batch_size = batch_size
        self.blocks = blocks

    def accumulate(self, step: Step) -> Tensor:
        """Add the blocks' gradients, in memory for one part of a block; returns this process's share of the mean loss.

        In the gradient each loss is divided by ``blocks``, in the mean by the number of blocks that the step has.
        """
        if step.whole <= self.batch_size:
            return self._accumulate_block(step, 0)
        total, processes = torch.zeros((), device=step.fabric.device), step.shard.world_size
        for start in range(0, step.whole, self.batch_size):
            own = slice(start // processes, (start + self.batch_size) // processes)
            end = min(start + self.batch_size, step.whole)
            block = replace(
                step,
                batch=type(step.batch)(*(values[own] for values in step.batch)),
                whole=end - start,
                final=end == step.whole,
            )
            total += self._accumulate_block(block, start)
        return total / -(-step.whole // self.batch_size)

    def _accumulate_block(self, step: Step, number: int) -> Tensor:
        """Add the gradient of a block's loss, in memory for one part; returns this process's share of its loss.

        Every pair is compared with all of the block, so no part has a loss of its own. Each part is embedded without a
        graph; the loss is a function of all embeddings and gives the gradient with respect to each; then each part is
        embedded again with a graph, and its part of that gradient is propagated back. Dropout is drawn by the part
        alone, so that both passes see the same network. One part alone is embedded once.
        """
        at_once = step.last == 0
        seeded = partial(self._embedded, step, number)
        first = [seeded(index, part, graph=at_once) for index, part in enumerate(step.parts)]
        loss, upstream = self._gradients(step, [torch.cat(both).detach() for both in zip(*first, strict=True)])
        start = 0
        for index, part in enumerate(step.parts):
            with step.exchange(index):
                embedded = first[0] if at_once else seeded(index, part, graph=True)
                own = slice(start, start := start + len(part.images))
                products = [(values * grad[own]).sum() for values, grad in zip(embedded, upstream, strict=True)]
                step.backward(torch.stack(products).sum() / self.blocks)
        return loss / step.shard.world_size

    def validate(self, network: nn.Module, batch: PairBatch) -> Tensor:  # type: ignore[override]
        """(B, 1 + 2 E): number of the caption, embedding of the image, embedding of the text."""
        images_BE, texts_BE = embed(network, batch)
        return torch.cat([batch.captions[:, None].to(images_BE.dtype), images_BE, texts_BE], dim=1)

    def figures(self, cases_NF: Tensor) -> tuple[float, float]:
        """Mean InfoNCE loss over blocks of a batch's size, and the fraction of images nearest to their own caption."""
        images_NE, texts_NE = cases_NF[:, 1:].chunk(2, dim=1)
        blocks = zip(images_NE.split(self.batch_size), texts_NE.split(self.batch_size), strict=True)
        losses = torch.cat([info_nce(images, texts) for images, texts in blocks])
        return float(losses.double().mean()), recall_at_1(images_NE, texts_NE, cases_NF[:, 0])

    @staticmethod
    def _embedded(step: Step, block: int, index: int, part: PairBatch, *, graph: bool) -> tuple[Tensor, Tensor]:
        step.seed_rng("part", index, *(("block", str(block)) if block else ()))
        if graph:
            return embed(step.forward, part)
        with torch.no_grad(), step.fabric.autocast():  # processes may have unequal numbers of parts to go through
            return embed(step.network, part)

    @staticmethod
    def _gradients(step: Step, own: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The loss of the whole batch, and its gradient with respect to this process's embeddings of each kind."""
        whole = [_of_all_processes(step, values) for values in own]
        for values in whole:
            values.requires_grad_()
        with torch.enable_grad():
            loss = info_nce(whole[0], whole[1]).mean()
        gradients = torch.autograd.grad(loss, whole)
        shard, count = step.shard, len(own[0])  # this process's pairs come after those of the ones before it
        start = sum(_size(shard.world_size, rank, step.whole) for rank in range(shard.rank))
        if not step.has_part:
            return loss.detach(), [torch.zeros_like(values) for values in own]
        return loss.detach(), [gradient[start : start + count] for gradient in gradients]


def recall_at_1(images_NE: Tensor, texts_NE: Tensor, captions_N: Tensor) -> float:
    """Fraction of images whose most similar text has their caption, and the reverse, in [0, 1]; their mean."""
    found = []
    for queries_NE, answers_NE in ((images_NE, texts_NE), (texts_NE, images_NE)):
        best_N = torch.cat([(part @ answers_NE.T).argmax(dim=1) for part in queries_NE.split(CHUNK)])
        found.append((captions_N[best_N] == captions_N).double().mean())
    return float(torch.stack(found).mean())


def _of_all_processes(step: Step, own_BE: Tensor) -> Tensor:
    """(N, E) embeddings of the whole batch, process after process; those that have one less fill up with zeros."""
    sizes = [_size(step.shard.world_size, rank, step.whole) for rank in range(step.shard.world_size)]
    room = own_BE.new_zeros(max(sizes), own_BE.shape[1])
    if step.has_part:
        room[: len(own_BE)] = own_BE
    found_PBE = step.gathered(room)
    return torch.cat([values[:size] for values, size in zip(found_PBE, sizes, strict=True)])


def _size(world_size: int, rank: int, whole: int) -> int:
    """Pairs of a batch that a process has: every ``world_size``-th one, from its own rank on."""
    return len(range(rank, whole, world_size))
