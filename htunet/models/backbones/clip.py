"""CLIP's ViT-B/16 image encoder, on open_clip's classes and key names.

Source: Radford et al. 2021, arXiv:2103.00020. Dimension key: B batch, C channels, H W pixels, T tokens, D width.
"""

from typing import Any

import torch
from open_clip import get_model_config
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.backbones.base import BACKBONES, Backbone, InputStatistics

OPENAI_STATISTICS = InputStatistics(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))


class _QuickGELU(torch.autograd.Function):
    """``y = silu(z) / 1.702`` with ``z = 1.702 x``, so dy/dx = silu'(z): the factors cancel in the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        z = 1.702 * x
        ctx.save_for_backward(z)
        return F.silu(z).mul_(1 / 1.702)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        (z,) = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient, z)


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``; one tensor is kept for the gradient, where the plain product keeps two."""

    def forward(self, x: Tensor) -> Tensor:
        return _QuickGELU.apply(x)


class SelfAttention(nn.Module):
    """nn.MultiheadAttention's weights with one product, ``qkv``, on batch-first tokens; its key names in state dicts.

    nn.MultiheadAttention swaps batch and tokens first, which turns its projections into slow batched products.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = attention.num_heads
        self.qkv = nn.Linear(attention.embed_dim, 3 * attention.embed_dim, device="meta")
        self.qkv.weight, self.qkv.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = attention.out_proj
        self.register_state_dict_post_hook(_to_published_names)
        self.register_load_state_dict_pre_hook(_from_published_names)

    def forward(
        self, tokens_BTD: Tensor, *_: Tensor, attn_mask: Tensor | None = None, **__: object
    ) -> tuple[Tensor, None]:
        """Query, key and value are the first argument, as in open_clip's blocks; the second result is unused there."""
        qkv_BTE = self.qkv(tokens_BTD)
        q, k, v = qkv_BTE.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if attn_mask is None and _products_are_faster(qkv_BTE):
            mixed = _attend_by_products(q, k, v)
        else:
            mask = None if attn_mask is None else attn_mask.to(q.dtype)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


PUBLISHED = {"qkv.weight": "in_proj_weight", "qkv.bias": "in_proj_bias"}
"""Our names and nn.MultiheadAttention's."""


def _to_published_names(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: object) -> None:
    for ours, published in PUBLISHED.items():
        if prefix + ours in state:
            state[prefix + published] = state.pop(prefix + ours)


def _from_published_names(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: object) -> None:
    for ours, published in PUBLISHED.items():
        if prefix + published in state:
            state[prefix + ours] = state.pop(prefix + published)


def _products_are_faster(qkv: Tensor) -> bool:
    """On a CPU in bf16 the fused kernel's backward pass takes four times as long as plain products, measured."""
    return qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16 and qkv.requires_grad


def _attend_by_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return torch.softmax(scores, dim=-1) @ v


class ClipVision(Backbone):
    """The vision tower alone: no text tower is built or loaded where no task needs it."""

    def __init__(self, architecture: str, statistics: InputStatistics) -> None:
        super().__init__()
        config = get_model_config(architecture)
        vision = config["vision_cfg"]
        self.vit = VisionTransformer(
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            width=vision["width"],
            layers=vision["layers"],
            heads=vision["width"] // 64,
            mlp_ratio=4.0,
            output_dim=config["embed_dim"],
            act_layer=QuickGELU if config.get("quick_gelu") else nn.GELU,
        )
        for block in self.vit.transformer.resblocks:
            block.attn = SelfAttention(block.attn)
        self.width = vision["width"]
        self.patch_size = vision["patch_size"]
        self.statistics = statistics

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        return self.vit.transformer.resblocks

    def embed(self, images_BCHW: Tensor) -> Tensor:
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


@BACKBONES.register("CLIP")
def clip() -> Backbone:
    """OpenAI's CLIP ViT-B/16, which was trained with QuickGELU."""
    return ClipVision("ViT-B-16-quickgelu", OPENAI_STATISTICS)
