"""CLIP's image encoder with open_clip's key names. MetaCLIP's and UniMed-CLIP's differ in the weights alone.

Importing open_clip takes seconds, because it brings transformers, timm and torchvision along; an image tower needs none
of them. Its layers are therefore written out here; the tests compare them with open_clip's.

Source: Radford et al. 2021, arXiv:2103.00020.
Dimension key: B batch, C channels, H W pixels, T tokens, D width, E embedding.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.errors import HtunetError
from htunet.models.backbones.base import Backbone, InputStatistics
from htunet.models.catalogue import CATALOGUE
from htunet.models.kernels.attention import attend


@dataclass(frozen=True, kw_only=True)
class VisionSizes:
    """The sizes of a vision tower; heads have a width of 64."""

    image_size: int
    """Side of the images that it was trained on, pixels."""
    patch_size: int
    width: int
    layers: int
    embedding: int
    quick_gelu: bool


VIT_B_16 = VisionSizes(image_size=224, patch_size=16, width=768, layers=12, embedding=512, quick_gelu=True)
PHANTOM_16 = VisionSizes(image_size=224, patch_size=16, width=192, layers=10, embedding=128, quick_gelu=False)
SIZES = {"ViT-B-16-quickgelu": VIT_B_16, "Phantom-16": PHANTOM_16}
"""By open_clip's name of the architecture, and ours."""


def sizes_of(architecture: str) -> VisionSizes:
    """The sizes of an architecture of ``SIZES``, or of another one that open_clip knows and builds as these layers.

    Raises HtunetError for other ones, such as one of timm's, a ResNet, or one with heads of another width.
    """
    if architecture in SIZES:
        return SIZES[architecture]
    from open_clip import get_model_config

    config = get_model_config(architecture) or {"vision_cfg": {}}
    vision = {name: value for name, value in config["vision_cfg"].items() if (name, value) != ("head_width", 64)}
    if vision.keys() != {"image_size", "patch_size", "width", "layers"} or {*map(type, vision.values())} != {int}:
        raise HtunetError(
            f"The image encoder {architecture} cannot be built: open_clip has {vision or 'no such architecture'}. Name "
            "one of its ViTs with heads of width 64 and no other parts, such as ViT-L-14."
        )
    return VisionSizes(**vision, embedding=config["embed_dim"], quick_gelu=bool(config.get("quick_gelu")))


class LayerNorm(nn.LayerNorm):
    """In the type of its input, also under autocast."""

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """(..., D) -> the same shape and type."""
        return super().forward(tokens_BTD).to(tokens_BTD.dtype)


class SelfAttention(nn.Module):
    """nn.MultiheadAttention's weights with one product, ``qkv``, on batch-first tokens; its key names in state dicts.

    nn.MultiheadAttention swaps batch and tokens first, which turns its projections into slow batched products.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = attention.num_heads
        assert attention.in_proj_weight is not None  # queries, keys and values have the same width
        self.qkv = linear_of(attention.in_proj_weight, attention.in_proj_bias)
        # a plain layer: nn.MultiheadAttention's is of a class of its own
        self.out_proj = linear_of(attention.out_proj.weight, attention.out_proj.bias)
        self.register_state_dict_post_hook(partial(_rename, PUBLISHED))
        self.register_load_state_dict_pre_hook(partial(_rename, {theirs: ours for ours, theirs in PUBLISHED.items()}))

    def forward(
        self, tokens_BTD: Tensor, *_: Tensor, attn_mask: Tensor | None = None, **__: object
    ) -> tuple[Tensor, None]:
        """Query, key and value are the first argument, as in open_clip's blocks; the second result is unused there."""
        return self.out_proj(attend(self.qkv(tokens_BTD), self.heads, attn_mask)), None


def linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer of weights that exist, (out, in) and (out); what is no parameter becomes a frozen one."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and not isinstance(tensor, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=False)
        setattr(layer, name, tensor)
    return layer


PUBLISHED = {"qkv.weight": "in_proj_weight", "qkv.bias": "in_proj_bias"}
"""Our names and nn.MultiheadAttention's."""


def _rename(names: Mapping[str, str], _: nn.Module, state: dict[str, Tensor], prefix: str, *__: object) -> None:
    for before, after in names.items():
        if prefix + before in state:
            state[prefix + after] = state.pop(prefix + before)


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)`` (Hendrycks and Gimpel 2016, arXiv:1606.08415), which CLIP was trained with."""

    def forward(self, values: Tensor) -> Tensor:
        """The same shape."""
        return values * torch.sigmoid(1.702 * values)


class Block(nn.Module):
    """Attention and an MLP, each with a normalisation before it and a residual sum after it."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        width = sizes.width
        self.ln_1 = LayerNorm(width)
        self.attn = SelfAttention(nn.MultiheadAttention(width, width // 64, batch_first=True))
        self.ln_2 = LayerNorm(width)
        activation = QuickGELU() if sizes.quick_gelu else nn.GELU()
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": activation, "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """(B, T, D) -> the same shape."""
        tokens_BTD = tokens_BTD + self.attn(self.ln_1(tokens_BTD))[0]
        return tokens_BTD + self.mlp(self.ln_2(tokens_BTD))


def drawn(*shape: int, scale: float) -> nn.Parameter:
    """Normal values times ``scale``; none on the meta device, where it would take seconds to import a compiler."""
    values = torch.empty(shape)
    return nn.Parameter(values if values.is_meta else scale * torch.randn(shape))


class VisionTower(nn.Module):
    """The layers of the vision tower under open_clip's names; random weights are drawn in open_clip's order."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        width, side = sizes.width, sizes.image_size // sizes.patch_size
        scale = width**-0.5
        self.grid_size = (side, side)
        self.conv1 = nn.Conv2d(3, width, sizes.patch_size, stride=sizes.patch_size, bias=False)
        self.class_embedding = drawn(width, scale=scale)
        self.positional_embedding = drawn(side * side + 1, width, scale=scale)
        self.ln_pre = LayerNorm(width)
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(Block(sizes) for _ in range(sizes.layers))})
        self.ln_post = LayerNorm(width)
        self.proj = drawn(width, sizes.embedding, scale=scale)


class ClipVision(Backbone):
    """The vision tower alone: no text tower is built or loaded where no task needs it."""

    def __init__(self, architecture: str, statistics: InputStatistics) -> None:
        super().__init__()
        sizes = sizes_of(architecture)
        self.vit = VisionTower(sizes)
        self.width = sizes.width
        self.patch_size = sizes.patch_size
        self.statistics = statistics

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """All blocks of the tower, in order."""
        return cast(nn.ModuleList, self.vit.transformer["resblocks"])

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, T, D): class token and patches, each with its position."""
        grid_hw = self.grid_hw((images_BCHW.shape[-2], images_BCHW.shape[-1]))
        patches_BTD = self.vit.conv1(images_BCHW).flatten(2).transpose(1, 2)
        class_B1D = self.vit.class_embedding.to(patches_BTD.dtype).expand(len(patches_BTD), 1, -1)
        tokens_BTD = torch.cat([class_B1D, patches_BTD], dim=1) + self.positions(grid_hw).to(patches_BTD.dtype)
        return self.vit.ln_pre(tokens_BTD)

    def positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """(T, D) position embeddings, interpolated (bicubic, as in open_clip) when the grid is not the trained one."""
        trained_TD = self.vit.positional_embedding
        if grid_hw == tuple(self.vit.grid_size):
            return trained_TD
        image_1DHW = trained_TD[1:].T.reshape(1, self.width, *self.vit.grid_size)
        resized_1DHW = F.interpolate(image_1DHW.float(), grid_hw, mode="bicubic", antialias=True, align_corners=False)
        return torch.cat([trained_TD[:1], resized_1DHW.flatten(2)[0].T.to(trained_TD.dtype)])

    def project(self, tokens_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, E): the class token in the space that images share with texts; not normalised."""
        return self.vit.ln_post(tokens_BTD[:, 0]) @ self.vit.proj

    def own_key(self, published: str) -> str:
        """``visual.conv1.weight`` is ``vit.conv1.weight`` here."""
        return f"vit.{published.removeprefix('visual.')}"


def clip_vision(name: str) -> ClipVision:
    """The image tower of a model in the catalogue, which knows its activation and input statistics."""
    return ClipVision(CATALOGUE[name].architecture, CATALOGUE[name].statistics)


clip, metaclip, unimedclip = (partial(clip_vision, name) for name in ("CLIP", "MetaCLIP", "UniMedCLIP"))
