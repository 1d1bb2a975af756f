"""An image tower and a text tower that meet in one space: stage 1, zero-shot classification and retrieval.

Dimension key: B batch, C channels, H W pixels, L tokens, E embedding.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.errors import HtunetError, UsageError
from htunet.models.adaptation import adapt_text, adapted_encoder
from htunet.models.adapters.base import WeightUpdates
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone
from htunet.models.build import parse_method
from htunet.models.catalogue import CATALOGUE, LOGIT_SCALE
from htunet.models.encoder import AdaptedEncoder
from htunet.models.network import Network, Normalisation
from htunet.models.text import TEXT_TOWERS
from htunet.models.text.base import TextTower
from htunet.models.weights.formats import read_state
from htunet.models.weights.load import (
    PRETRAINED,
    RANDOM,
    WeightsRecord,
    image_state,
    load_strictly,
    locate,
    random_weights,
    record_of,
    tensor_hash,
    text_state,
)
from htunet.models.weights.store import find_file, find_vocabulary
from htunet.reproducibility import derived_seed

UNTRAINED_SCALE = 1 / 0.07


class DualEncoder(Network):
    """Images and texts -> embeddings of unit length, whose products are cosine similarities.

    ``encoder`` returns the tokens after its last block; ``text_updates``: what trains in the text tower, or None.
    """

    takes_images_alone = False
    logit_scale: Tensor
    """Factor of the similarities before a softmax with which the two towers were trained; it does not train here."""

    def __init__(
        self, encoder: AdaptedEncoder, text: TextTower, text_updates: WeightUpdates | None, logit_scale: float
    ) -> None:
        super().__init__()
        self.normalise = Normalisation(encoder.backbone.statistics)
        self.encoder = encoder
        self.text = text
        self.text_updates = text_updates
        self.register_buffer("logit_scale", torch.tensor(logit_scale), persistent=False)

    def forward(self, images_BCHW: Tensor, ids_BL: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Images with values 0..255, and what the text tower's ``tokenize`` gives -> two (B, E), see below.

        Without texts None: those of a frozen tower need to be embedded only once.
        """
        return self.encode_image(images_BCHW), None if ids_BL is None else self.embed_text(ids_BL)

    def encode_image(self, images_BCHW: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) values 0..255 -> (B, E) of unit length, fp32."""
        (tokens_BTD,) = self.encoder(self.normalise(images_BCHW))
        return F.normalize(self.encoder.backbone.project(tokens_BTD).float(), dim=1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (B, E) of unit length, fp32. What is beyond the tower's context length is left out.

        Raises ValueError where there is no text.
        """
        if not texts:
            raise ValueError("encode_text needs at least one text.")
        return self.embed_text(self.text.tokenize(texts).to(self.logit_scale.device))

    def embed_text(self, ids_BL: Tensor) -> Tensor:
        """What the text tower's ``tokenize`` gives -> (B, E) of unit length, fp32."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.text_updates is not None):
            return F.normalize(self.text(ids_BL).float(), dim=1)

    def train(self, mode: bool = True) -> Self:
        """Frozen means frozen: the text tower's dropout stays off."""
        super().train(mode)
        self.text.eval()
        if self.text_updates is not None:
            self.text_updates.train(mode)
        return self

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The image tower's adapters and, with LoRA, ``text_updates``."""
        yield from self.encoder.trainable_modules()
        if self.text_updates is not None:
            yield "text_updates", self.text_updates

    def frozen_module(self) -> nn.Module:
        """Both towers: ``image`` and ``text``."""
        return nn.ModuleDict({"image": self.encoder.backbone, "text": self.text})

    def merge_for_inference(self) -> None:
        """As in ``Network``; the text tower's updates are added to its weights too."""
        if self.text_updates is not None:
            self.text_updates.merge()
            self.text_updates = None
        super().merge_for_inference()


def build_dual_encoder(
    method: str,
    *,
    seed: int,
    weights: str,
    adapter_settings: Mapping[str, Any] | None = None,
    normalise: bool = True,
) -> tuple[DualEncoder, WeightsRecord]:
    """Both towers of a method: trainable parts initialised from ``seed``, frozen ones from ``weights``.

    The adapters follow all blocks of the image tower, and have the names that they have in ``build_network``, so that
    what stage 1 trained is where stage 2 starts.

    Args:
        method: BACKBONE or BACKBONE_ADAPTER with a backbone that was trained with texts.
        seed: Of the run; equal seeds give equal trainable weights.
        weights: ``pretrained``, ``random``, or the path of a file or of a folder of the hub.
        adapter_settings: What differs from the adapter's defaults.
        normalise: Whether images get the mean and deviation of the pre-training; else they have values 0 to 1.

    Raises:
        UsageError: An unknown method or adapter setting, or a method that reads no texts.
        HtunetError: Weights, or the tokenizer's words, that cannot be had or do not fit.
    """
    parsed = parse_method(method)
    if parsed.backbone is None or parsed.backbone not in TEXT_TOWERS:
        raise UsageError(f"{method} has no text encoder. Backbones that have one: {', '.join(TEXT_TOWERS.names())}.")
    backbone, text, scale, record = _towers(parsed.backbone, weights)
    with random_weights(derived_seed(seed, "initial weights")):
        settings = adapter_settings or {}
        encoder = adapted_encoder(backbone, parsed.adapter, (len(backbone.blocks) - 1,), settings)
        text.requires_grad_(False).eval()
        network = DualEncoder(encoder, text, adapt_text(text.blocks(), parsed.adapter, settings), scale)
    return network if normalise else network.without_normalisation(), record


def _towers(name: str, weights: str) -> tuple[Backbone, TextTower, float, WeightsRecord]:
    """The two frozen towers, the factor of the similarities, and the record of the weights."""
    path, vocabulary = locate(name, weights), _vocabulary(name, weights)
    if path is None:
        with random_weights():
            backbone = BACKBONES[name]()
        with random_weights():
            text = TEXT_TOWERS[name](vocabulary)
        scale = UNTRAINED_SCALE
    else:
        entry = CATALOGUE.get(name)
        if entry is None:
            raise UsageError(
                f"Which tensors of {path} are the text tower of {name} is not known. Take --weights random."
            )
        with torch.device("meta"):
            backbone, text = BACKBONES[name](), TEXT_TOWERS[name](vocabulary)
        state = read_state(path)
        if LOGIT_SCALE not in state:
            raise HtunetError(
                f"{path} holds no text tower: {LOGIT_SCALE} is missing. Give the file of the whole model."
            )
        scale = math.exp(state.pop(LOGIT_SCALE).item())
        of_image = image_state(state, entry, backbone.own_key)
        of_text = text_state(state, entry, text.own_key)
        del state  # so that each tensor is given up once it is loaded
        load_strictly(backbone, of_image, path)
        load_strictly(text, of_text, path)
    record = record_of(weights, path, backbone)
    return backbone, text, scale, replace(record, text_sha256=tensor_hash(text))


def _vocabulary(name: str, weights: str) -> Path | None:
    """The tokenizer's words: beside a weights file that the user names, else where the published file is stored.

    Raises HtunetError that says how to get them; only random weights do without.
    """
    published = CATALOGUE[name].vocabulary if name in CATALOGUE else None
    if published is None:
        return None
    if weights not in (PRETRAINED, RANDOM):
        folder = Path(weights) if Path(weights).is_dir() else Path(weights).parent
        if (folder / published.name).is_file():
            return folder / published.name
    return find_file(name, published) if weights == RANDOM else find_vocabulary(name)
