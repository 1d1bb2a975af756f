"""PhantomCLIP's text encoder: words of simulated captions, and any others, in a transformer of one block.

Dimension key: B texts, L tokens, D width, E embedding.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor, nn

from htunet.models.backbones.clip import Block, LayerNorm, VisionSizes
from htunet.models.text.base import TextTower

WORD = re.compile(r"[a-z]+|\d")
WORDS, CONTEXT = 2048, 64
WIDTH, EMBEDDING = 64, 128


def word_numbers(text: str) -> list[int]:
    """A number 1..2047 for each word or digit, by its CRC-32, so that no list of words is needed; at most CONTEXT.

    >>> word_numbers("Oval mass") == word_numbers("oval, mass.") != word_numbers("mass oval")
    True
    """
    return [1 + crc32(word.encode()) % (WORDS - 1) for word in WORD.findall(text.lower())[:CONTEXT]]


class PhantomText(TextTower):
    """The mean over the words of a text after one block in which each sees all others."""

    context_length = CONTEXT

    def __init__(self, _: Path | None = None) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.positions = nn.Parameter(torch.randn(CONTEXT, WIDTH) * 0.02)
        sizes = VisionSizes(
            image_size=0, patch_size=1, width=WIDTH, layers=1, embedding=EMBEDDING, quick_gelu=False
        )  # of a block; texts have no image
        self.block = Block(sizes)
        self.norm = LayerNorm(WIDTH)
        self.projection = nn.Linear(WIDTH, EMBEDDING, bias=False)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (B, L) numbers of words, 0 behind the end."""
        rows = [word_numbers(text) or [0] for text in texts]
        length = max(map(len, rows))
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L) -> (B, E), not of unit length."""
        there_BL = ids_BL != 0
        tokens_BLD = self.words(ids_BL) + self.positions[: ids_BL.shape[1]]
        hidden_B11L = torch.zeros(there_BL.shape, device=ids_BL.device).masked_fill(~there_BL, -1e4)[:, None, None]
        tokens_BLD = tokens_BLD + self.block.attn(self.block.ln_1(tokens_BLD), attn_mask=hidden_B11L)[0]
        tokens_BLD = self.norm(tokens_BLD + self.block.mlp(self.block.ln_2(tokens_BLD)))
        there_BL1 = there_BL[..., None].to(tokens_BLD.dtype)
        return self.projection((tokens_BLD * there_BL1).sum(dim=1) / there_BL1.sum(dim=1).clamp(min=1))

    def blocks(self) -> Sequence[nn.Module]:
        """The one block."""
        return [self.block]

    def own_key(self, published: str) -> str:
        """``text.words.weight`` is ``words.weight`` here."""
        return published.removeprefix("text.")
