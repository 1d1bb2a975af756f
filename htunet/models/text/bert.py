"""The text encoder of BiomedCLIP and UniMed-CLIP: a BERT, its first token, and two linear layers.

Source: Gu et al. 2021, arXiv:2007.15779 (the BERT); Zhang et al. 2023, arXiv:2303.00915 (how it is used).
Dimension key: B texts, L tokens, D width, E embedding.
"""

import logging
import re
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from open_clip.tokenizer import get_clean_fn
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from htunet.errors import HtunetError
from htunet.files import read_text
from htunet.models.text.base import TextTower

CONTEXT_LENGTH = 256
EMBEDDING = 512
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
BEFORE_WORDS = 10
"""BiomedBERT's special tokens have lower numbers, ``PAD`` 0. Google's ``START`` has 101, SciBERT's 102."""
log = logging.getLogger(__name__)


class Tokenizer(Protocol):
    """Texts to lists of numbers."""

    def __call__(self, texts: Sequence[str]) -> list[list[int]]: ...


class WordPieces:
    """BERT's tokenizer on the words of a ``vocab.txt``, lower case, for a model that knows ``known`` words.

    HtunetError when the file is none, has more words, or its special tokens have other numbers than BiomedBERT's, as
    Google's BERT has: words then have others, too, so that each text would be read as another one.
    """

    def __init__(self, vocabulary: Path, context_length: int, known: int) -> None:
        from tokenizers import BertWordPieceTokenizer

        text = read_text(vocabulary).replace("\r\n", "\n")
        words = text.removesuffix("\n").split("\n")  # not by splitlines: a word may be another line separator
        if missing := [word for word in (PAD, UNKNOWN, START, END) if word not in words]:
            raise HtunetError(
                f"{vocabulary} is not a vocabulary of BERT: it lacks {', '.join(missing)}. Download it again."
            )
        special = [words.index(word) for word in (PAD, UNKNOWN, START, END)]
        if len(words) > known or special[0] != 0 or max(special) >= BEFORE_WORDS:
            raise HtunetError(
                f"{vocabulary} is the vocabulary of another BERT: it has {len(words)} words, {PAD} with the number "
                f"{special[0]} and {START} with {special[2]}, and the text encoder, BiomedBERT's, was trained with "
                f"{known} in another order. Take the vocab.txt of its repository: htunet_weights "
                "download, or the page of BiomedCLIP."
            )
        if len(words) < known:
            log.warning("%s may be cut off: it has %d of the text encoder's %d words.", vocabulary, len(words), known)
        self.pieces = BertWordPieceTokenizer({word: number for number, word in enumerate(words)}, lowercase=True)
        self.pieces.enable_truncation(context_length)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.pieces.encode_batch(list(texts))]


class StandInWords:
    """Tokenizer for random weights on a machine without the vocabulary.

    The number of each word and sign is a hash of its letters, so that everything can be tried out without a file. With
    random weights the embeddings mean nothing, whichever tokenizer is used.
    """

    FIRST = 1000
    """Numbers below are left to special tokens, as in BERT's vocabularies."""

    def __init__(self, vocabulary_size: int, context_length: int) -> None:
        self.first = min(self.FIRST, vocabulary_size // 2)
        self.span = vocabulary_size - self.first
        self.context_length = context_length

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        rows = []
        for text in texts:
            words = re.findall(r"\w+|[^\w\s]", text.lower())[: self.context_length - 2]
            rows.append([2, *(self.first + zlib.crc32(word.encode()) % self.span for word in words), 3])
        return rows


class BertText(TextTower):
    """A BERT of transformers, its first token after the last block, and a projection with one hidden layer.

    Args:
        prefix: Of the text tower's tensors in the published file.
        vocabulary: The file with the tokenizer's words; None for ``StandInWords``.
        embedding: Length of an embedding.
        sizes: What differs from BERT's own sizes (base, uncased).
    """

    def __init__(self, prefix: str, vocabulary: Path | None, embedding: int = EMBEDDING, **sizes: Any) -> None:  # noqa: ANN401
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(**sizes)
        self.prefix = prefix
        self.context_length = min(CONTEXT_LENGTH, config.max_position_embeddings)
        self.transformer = BertModel(config, add_pooling_layer=False)
        # constants that no file holds; a tower that was built without memory for its weights needs them too
        positions = torch.arange(config.max_position_embeddings, device="cpu")[None]
        self.transformer.embeddings.register_buffer("position_ids", positions, persistent=False)
        self.transformer.embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)
        hidden = (config.hidden_size + embedding) // 2
        self.proj = nn.Sequential(
            nn.Linear(config.hidden_size, hidden, bias=False), nn.GELU(), nn.Linear(hidden, embedding, bias=False)
        )
        self.tokenizer: Tokenizer = (
            WordPieces(vocabulary, self.context_length, config.vocab_size)
            if vocabulary
            else StandInWords(config.vocab_size, self.context_length)
        )

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (B, L) token numbers, 0 behind the end of the shorter ones."""
        clean = get_clean_fn("whitespace")
        rows = self.tokenizer([clean(text) for text in texts])
        return pad_sequence([torch.tensor(row, dtype=torch.int64) for row in rows], batch_first=True, padding_value=0)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L) -> (B, E): the first token in the space that texts share with images; not normalised."""
        tokens_BLD = self.transformer(input_ids=ids_BL, attention_mask=(ids_BL != 0).long()).last_hidden_state
        return self.proj(tokens_BLD[:, 0])

    def blocks(self) -> Sequence[nn.Module]:
        """All blocks of BERT, in order."""
        return list(self.transformer.encoder.layer)

    def own_key(self, published: str) -> str:
        """The published name without the prefix of the text tower."""
        return published.removeprefix(self.prefix)


biomedclip = partial(BertText, "text.")
unimedclip = partial(BertText, "text_encoder.")
