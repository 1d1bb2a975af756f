"""CLIP's text encoder on open_clip's classes, key names and tokenizer. MetaCLIP's differs in the weights alone.

Source: Radford et al. 2021, arXiv:2103.00020. Dimension key: B texts, L tokens, D width, E embedding.
"""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import torch
from open_clip import get_model_config
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn

from htunet.models.backbones.clip import SelfAttention
from htunet.models.catalogue import CATALOGUE
from htunet.models.text.base import TextTower


class ClipText(TextTower):
    """The text tower alone, with the same attention as the image tower: tokens see those before them only."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        config = get_model_config(architecture)
        text = config["text_cfg"]
        self.tower = TextTransformer(
            context_length=text["context_length"],
            vocab_size=text["vocab_size"],
            width=text["width"],
            heads=text["heads"],
            layers=text["layers"],
            output_dim=config["embed_dim"],
            act_layer=QuickGELU if config.get("quick_gelu") else nn.GELU,
        )
        self.tower.attn_mask = None  # made for the length of the texts instead
        for block in self.tower.transformer.resblocks:
            block.attn = SelfAttention(block.attn)
        self.context_length = text["context_length"]

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (B, L) token numbers, 0 behind the end; L is that of the longest text."""
        ids_BL = _tokenizer()(list(texts), context_length=self.context_length)
        return ids_BL[:, : int(ids_BL.argmax(dim=1).max()) + 1]  # 0 is also a token within texts: "!" before a sign

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L) -> (B, E): the last token in the space that texts share with images; not normalised."""
        length = ids_BL.shape[1]
        tokens_BLD = self.tower.token_embedding(ids_BL) + self.tower.positional_embedding[:length]
        mask_LL = torch.full((length, length), -torch.inf, device=ids_BL.device).triu(1)
        for block in self.tower.transformer.resblocks:
            tokens_BLD = block(tokens_BLD, attn_mask=mask_LL)
        ends = ids_BL.argmax(dim=1)  # the token that ends a text has the highest number
        ends_BD = self.tower.ln_final(tokens_BLD[torch.arange(len(ids_BL), device=ids_BL.device), ends])
        return ends_BD @ self.tower.text_projection

    def blocks(self) -> Sequence[nn.Module]:
        """All blocks of the tower, in order."""
        return list(self.tower.transformer.resblocks)

    def own_key(self, published: str) -> str:
        """``ln_final.weight`` is ``tower.ln_final.weight`` here."""
        return f"tower.{published}"


@cache
def _tokenizer() -> SimpleTokenizer:
    """Its words are part of open_clip. Reading them takes a moment: once a process."""
    return SimpleTokenizer()


def clip_text(name: str, _: Path | None = None) -> TextTower:
    """The text tower of a model in the catalogue."""
    return ClipText(CATALOGUE[name].architecture)


clip, metaclip = (partial(clip_text, name) for name in ("CLIP", "MetaCLIP"))
