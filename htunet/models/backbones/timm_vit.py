"""Any Vision Transformer of timm as a backbone, and BiomedCLIP, whose image tower is one.

Dimension key: B batch, C channels, H W pixels, T tokens = 1 + grid height * grid width, D width, E embedding.
"""

import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from htunet.models.backbones.base import Backbone, InputStatistics
from htunet.models.catalogue import CATALOGUE

EMBEDDING = 512


class TimmVision(Backbone):
    """A trunk of timm with its own blocks, attention (one ``qkv`` matrix) and key names.

    The trunk must have one class token before the patch tokens, with a position of its own; a classifier that it
    has is never used. ``projection`` turns the normalised class token into the embedding that texts are compared with;
    a trunk that was trained without texts has none.
    """

    def __init__(
        self, trunk: VisionTransformer, statistics: InputStatistics, projection: nn.Module | None = None
    ) -> None:
        super().__init__()
        if trunk.num_prefix_tokens != 1 or trunk.cls_token is None or trunk.no_embed_class:
            raise ValueError("The trunk must have exactly one token before its patches: the class token.")
        self.trunk = trunk
        self.projection = projection
        self.width = trunk.embed_dim
        self.patch_size = trunk.patch_embed.patch_size[0]
        self.statistics = statistics

    @property
    def blocks(self) -> nn.Sequential:  # type: ignore[override]
        """All blocks of the trunk, in order."""
        return self.trunk.blocks

    def embed(self, images_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, T, D): class token and patches, each with its position."""
        grid_hw = self.grid_hw((images_BCHW.shape[-2], images_BCHW.shape[-1]))
        patches_BTD = self.trunk.patch_embed.proj(images_BCHW).flatten(2).transpose(1, 2)
        assert self.trunk.cls_token is not None  # checked at birth
        class_B1D = self.trunk.cls_token.to(patches_BTD.dtype).expand(len(patches_BTD), -1, -1)
        tokens_BTD = torch.cat([class_B1D, patches_BTD], dim=1) + self.positions(grid_hw).to(patches_BTD.dtype)
        return self.trunk.norm_pre(tokens_BTD)

    def positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """(1, T, D) position embeddings, interpolated (bicubic, as in timm) when the grid is not the trained one."""
        trained_hw = self.trunk.patch_embed.grid_size
        return resample_abs_pos_embed(self.trunk.pos_embed, list(grid_hw), list(trained_hw), num_prefix_tokens=1)

    def normalise(self, tokens_BTD: Tensor) -> Tensor:
        """The trunk's last normalisation, (..., D) -> (..., D)."""
        return self.trunk.norm(tokens_BTD)

    def project(self, tokens_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, E) from the class token; NotImplementedError for a trunk without texts."""
        if self.projection is None:
            return super().project(tokens_BTD)
        return self.projection(self.normalise(tokens_BTD[:, 0]))

    def own_key(self, published: str) -> str:
        """``visual.trunk.`` and ``visual.head.proj.``, as open_clip names the parts of such a tower."""
        name = published.removeprefix("visual.")
        return name.replace("head.proj.", "projection.", 1) if name.startswith("head.proj.") else name


def biomedclip() -> TimmVision:
    """ViT-B/16 of timm and one linear layer to the 512 values of an embedding. Source: arXiv:2303.00915."""
    entry = CATALOGUE["BiomedCLIP"]
    trunk = timm.create_model(entry.architecture, num_classes=0)
    assert isinstance(trunk, VisionTransformer)
    return TimmVision(trunk, entry.statistics, nn.Linear(trunk.embed_dim, EMBEDDING, bias=False))
