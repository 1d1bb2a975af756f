"""CLIPSeg: a frozen CLIP with a small decoder that is conditioned on text prompts; the decoder trains.

Source: Lüddecke and Ecker 2022, arXiv:2112.10003, in the form rd64 refined, on the classes and key names of
transformers. It computes one score for each prompt, of "this" against "anything else"; the score of the background is
zero, so that a softmax over two labels equals its sigmoid. Each further label has a prompt of its own. The text tower
is used once, to embed the prompts; it is not stored. Difference: images need not be square.

Dimension key: B batch, C channels, H W pixels, T tokens = 1 + grid height * grid width, D width, R reduced width,
P prompts, E embedding, K = 1 + P labels.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from htunet.errors import HtunetError
from htunet.models.backbones.base import Backbone
from htunet.models.catalogue import CATALOGUE
from htunet.models.encoder import AdaptedEncoder
from htunet.models.network import Network, Normalisation
from htunet.models.standalone.base import Standalone
from htunet.models.tasks import SEGMENTATION, Outputs
from htunet.models.weights.formats import read_state
from htunet.models.weights.load import WeightsRecord, image_state, load_strictly, locate, random_weights, record_of

NAME = "CLIPSeg"
CONFIG: dict[str, Any] = {
    "vision_config": {"patch_size": 16},
    "reduce_dim": 64,
    "use_complex_transposed_convolution": True,
}
"""Settings of the published model that differ from the defaults of transformers."""
CONTEXT = 77
"""Tokens that the text tower reads, the start and the end included."""


class _Block(nn.Module):
    """A block of transformers, which takes a mask, here none."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        return self.layer(tokens_BTD, None)


class PromptedVision(Backbone):
    """The frozen part: the image tower, and the embeddings of the prompts."""

    prompts_PE: Tensor

    def __init__(self, tower: Any, prompts_PE: Tensor) -> None:  # noqa: ANN401
        super().__init__()
        self.embeddings = tower.embeddings
        self.norm_pre = tower.pre_layrnorm
        self.blocks = nn.ModuleList(_Block(layer) for layer in tower.encoder.layers)
        self.register_buffer("prompts_PE", prompts_PE, persistent=False)  # computed: its last bits are the machine's
        self.width = tower.embeddings.embed_dim
        self.patch_size = tower.embeddings.patch_size
        self.statistics = CATALOGUE[NAME].statistics

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, T, D): class token and patches, each with its position."""
        return self.norm_pre(self.embeddings(images_BCHW))


class ClipSegNetwork(Network):
    """The tokens after three blocks, and the decoder that reads them beside each prompt."""

    def __init__(self, vision: PromptedVision, decoder: nn.Module, out_indices: Sequence[int]) -> None:
        super().__init__()
        self.normalise = Normalisation(vision.statistics)
        self.encoder = AdaptedEncoder(vision, None, out_indices)
        self.decoder = decoder

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) values 0..255 -> (B, K, H, W) scores before the softmax, fp32; zero for the background."""
        grid_hw = self.frozen_module().grid_hw((images_BCHW.shape[-2], images_BCHW.shape[-1]))
        levels_BTD = self.encoder(self.normalise(images_BCHW))
        scores_BPHW = self._decode(levels_BTD, grid_hw).float()
        return torch.cat([torch.zeros_like(scores_BPHW[:, :1]), scores_BPHW], dim=1)

    def _decode(self, levels_BTD: Sequence[Tensor], grid_hw: tuple[int, int]) -> Tensor:
        """(B, P, H, W): the steps of the decoder of transformers, all prompts at once and for grids of any shape."""
        decoder: Any = self.decoder
        prompts_PE = self.frozen_module().prompts_PE
        factor_P1R, offset_P1R = decoder.film_mul(prompts_PE)[:, None], decoder.film_add(prompts_PE)[:, None]
        tokens: Tensor | None = None
        for level_BTD, reduce, layer in zip(reversed(levels_BTD), decoder.reduces, decoder.layers, strict=True):
            reduced_BTR = reduce(level_BTD)
            if tokens is None:
                tokens = (factor_P1R * reduced_BTR[:, None] + offset_P1R).flatten(0, 1)
            else:
                tokens = tokens + reduced_BTR.repeat_interleave(len(prompts_PE), dim=0)
            tokens = layer(tokens, None)
        assert tokens is not None
        maps = tokens[:, 1:].transpose(1, 2).unflatten(2, grid_hw)
        return decoder.transposed_convolution(maps).unflatten(0, (-1, len(prompts_PE))).squeeze(2)

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """``decoder`` alone."""
        yield "decoder", self.decoder

    def frozen_module(self) -> PromptedVision:
        """The image tower with the prompts' embeddings."""
        backbone = self.encoder.backbone
        assert isinstance(backbone, PromptedVision)
        return backbone


def whole_model() -> nn.Module:
    """Both towers and the decoder as transformers builds them, with weights that are drawn."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    return CLIPSegForImageSegmentation(CLIPSegConfig(**CONFIG)).eval()


def _network(model: Any, prompts_PE: Tensor) -> ClipSegNetwork:  # noqa: ANN401
    out_indices = tuple(model.extract_layers)
    return ClipSegNetwork(PromptedVision(model.clip.vision_model, prompts_PE), model.decoder, out_indices)


def _sketch(outputs: Outputs) -> ClipSegNetwork:
    model: Any = whole_model()
    return _network(model, torch.empty(outputs.num_labels - 1, model.config.projection_dim))


def _build(outputs: Outputs, source: str) -> tuple[ClipSegNetwork, WeightsRecord]:
    """As ``Standalone.build``; HtunetError for a missing prompt, and for one that would be cut."""
    if len(outputs.prompts) != outputs.num_labels - 1 or not all(words.strip() for words in outputs.prompts):
        raise HtunetError(
            f"{NAME} needs words for each of the {outputs.num_labels - 1} labels beside the background, got "
            f'{list(outputs.prompts)}. Write them into plans.json: {{"prompts": {{"lesion": "breast lesion"}}}}.'
        )
    tokens = tokens_of(outputs.prompts)
    path = locate(NAME, source)
    with random_weights(), torch.device("cpu" if path is None else "meta"):
        model: Any = whole_model()
    if path is None:  # the decoder trains, so that it is drawn from the seed of the run
        model.decoder = type(model.decoder)(model.config)
    else:
        load_strictly(model, image_state(read_state(path), CATALOGUE[NAME], str), path)
        for tower in (model.clip.text_model, model.clip.vision_model):  # numbers of positions, which no file holds
            tower.embeddings.position_ids = torch.arange(tower.embeddings.position_embedding.num_embeddings)[None]
        for parameter in model.decoder.parameters():  # loaded ones lie in the file: these change
            parameter.data = parameter.data.clone()
    prompts_PE = model.get_conditional_embeddings(len(tokens), input_ids=tokens).detach().clone()
    network = _network(model, prompts_PE)
    return network, record_of(source, path, network.frozen_module())


def tokens_of(prompts: Sequence[str]) -> Tensor:
    """(P, 77) numbers of CLIP's byte pairs, which open_clip brings along; HtunetError for a text that would be cut."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=CONTEXT)
    for words in prompts:
        if (count := len(tokenizer.encode(words)) + 2) > CONTEXT:
            raise HtunetError(f"The prompt {words[:40]!r}... has {count} tokens; {NAME} reads {CONTEXT}. Shorten it.")
    return tokenizer(list(prompts))


CLIPSEG = Standalone(tasks=(SEGMENTATION,), sketch=_sketch, build=_build)
