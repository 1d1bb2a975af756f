"""The interface of a frozen text encoder.

Dimension key: B texts, L tokens, E embedding.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class TextTower(nn.Module):
    """Maps texts to the space of an image tower's embeddings. The dual encoder freezes all its weights."""

    context_length: int
    """Number of tokens that a text may have; the rest of a longer one is cut off, as when the tower was trained."""

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (B, L) numbers of tokens, int64, 0 after the end; L is the longest text's, not the tower's."""
        raise NotImplementedError

    def forward(self, ids_BL: Tensor) -> Tensor:
        """The (B, L) result of ``tokenize`` -> (B, E), not of unit length."""
        raise NotImplementedError

    def blocks(self) -> Sequence[nn.Module]:
        """The transformer's blocks, shallow first, each with its attention within: where LoRA updates a text tower."""
        raise NotImplementedError

    def own_key(self, published: str) -> str:
        """The name in this module's state dict of a text tower's tensor, from its name in the published file."""
        raise NotImplementedError
