"""The image tower against open_clip's own forward pass, with its own attention and activation."""

import re
from types import SimpleNamespace

import pytest
import torch
from builders.backbone import TINY, TINY_VISION, draw, pictures, tiny_clip
from open_clip import get_model_config
from open_clip.model import resize_pos_embed
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor

from htunet.errors import HtunetError
from htunet.models.backbones.clip import SIZES, ClipVision, VisionSizes, sizes_of
from htunet.models.build import OUT_INDICES
from htunet.models.encoder import AdaptedEncoder
from htunet.models.network import EncoderNetwork


def their_tower(architecture: str, image_size: int | None = None) -> VisionTransformer:
    """open_clip's vision tower, built from its own configuration."""
    config = get_model_config(architecture)
    vision = config["vision_cfg"]
    return VisionTransformer(
        image_size=image_size or vision["image_size"],
        patch_size=vision["patch_size"],
        width=vision["width"],
        layers=vision["layers"],
        heads=vision["width"] // 64,
        mlp_ratio=4.0,
        output_dim=config["embed_dim"],
        act_layer=QuickGELU,
    ).eval()


def their_levels(tower: VisionTransformer, images: Tensor) -> list[Tensor]:
    found = tower.forward_intermediates(images, indices=list(OUT_INDICES), output_fmt="NLC", output_extra_tokens=True)
    pairs = zip(found["image_intermediates_prefix"], found["image_intermediates"], strict=True)
    return [torch.cat(pair, dim=1) for pair in pairs]


def assert_levels_equal(backbone: ClipVision, tower: VisionTransformer, images: Tensor) -> None:
    tower.load_state_dict(backbone.vit.state_dict(), strict=True)
    with torch.inference_mode():
        levels = AdaptedEncoder(backbone, None, OUT_INDICES)(images)
        for mine, theirs in zip(levels, their_levels(tower, images), strict=True):
            assert theirs.std() > 0.1
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_the_tower_of_real_size_equals_open_clips(clip_ht: EncoderNetwork) -> None:
    backbone = clip_ht.encoder.backbone
    assert isinstance(backbone, ClipVision)
    assert_levels_equal(backbone, their_tower("ViT-B-16-quickgelu"), pictures(1, 3, 224, 224))


@pytest.mark.parametrize("architecture", ["ViT-B-16-quickgelu"])
def test_the_sizes_are_those_that_open_clip_knows(architecture: str) -> None:
    config = get_model_config(architecture)
    vision = config["vision_cfg"]
    assert set(vision) == {"image_size", "patch_size", "width", "layers"}
    expected = VisionSizes(**vision, embedding=config["embed_dim"], quick_gelu=config["quick_gelu"])
    assert SIZES[architecture] == expected


@pytest.mark.parametrize(
    ("architecture", "part"),
    [
        ("ViT-H-14", "'head_width': 80"),  # 16 heads; of width 64 it would have 20, with tensors of the same shapes
        ("RN50", "'layers': [3, 4, 6, 3]"),
        ("ViT-B-16-SigLIP", "'timm_model_name'"),
        ("ViT-B-17", "no such architecture"),
    ],
)
def test_towers_with_other_parts_are_refused(architecture: str, part: str) -> None:
    with pytest.raises(HtunetError, match=f"{architecture} cannot be built.*{re.escape(part)}"):
        sizes_of(architecture)
    assert sizes_of("ViT-L-14") == VisionSizes(
        image_size=224, patch_size=14, width=1024, layers=24, embedding=768, quick_gelu=False
    )


def test_random_weights_are_those_that_open_clip_draws() -> None:
    torch.manual_seed(5)
    drawn = tiny_clip().vit.state_dict()
    torch.manual_seed(5)
    expected = their_tower(TINY).state_dict()
    assert drawn.keys() == expected.keys()
    assert all(torch.equal(drawn[name], value) for name, value in expected.items())


def test_the_tiny_tower_equals_open_clips_with_drawn_weights() -> None:
    torch.manual_seed(0)
    backbone = tiny_clip()
    draw(backbone.vit.transformer.resblocks)
    assert_levels_equal(backbone, their_tower(TINY), pictures(3, 3, 64, 64))


def test_another_image_size_equals_a_tower_built_for_it() -> None:
    torch.manual_seed(0)
    backbone = tiny_clip()
    state = {f"visual.{key}": value for key, value in backbone.vit.state_dict().items()}
    tower = their_tower(TINY, image_size=96)
    resize_pos_embed(state, SimpleNamespace(visual=tower))
    tower.load_state_dict({key.removeprefix("visual."): value for key, value in state.items()})
    images = pictures(2, 3, 96, 96)
    with torch.inference_mode():
        levels = AdaptedEncoder(backbone, None, OUT_INDICES)(images)
        for mine, theirs in zip(levels, their_levels(tower, images), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grid_hw", [(4, 4), (6, 6), (5, 7), (3, 9), (1, 1), (37, 37)], ids=str)
def test_positions_are_interpolated_as_open_clip_does(grid_hw: tuple[int, int]) -> None:
    torch.manual_seed(0)
    backbone = tiny_clip()
    key = "visual.positional_embedding"
    state = {key: backbone.vit.positional_embedding.detach().clone()}
    resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=grid_hw)))
    assert state[key].shape == (1 + grid_hw[0] * grid_hw[1], 128)
    torch.testing.assert_close(backbone.positions(grid_hw).detach(), state[key], rtol=1e-5, atol=1e-6)


def test_attention_lets_a_token_see_all_tokens_of_its_image_and_none_of_another() -> None:
    torch.manual_seed(0)
    block = draw(tiny_clip().blocks[0])
    tokens, changed = pictures(2, 5, 128), pictures(2, 5, 128)
    changed[0, 4] *= -1
    moved = (block(tokens) - block(changed)).detach().abs().amax(dim=2) > 1e-5
    assert moved[0].all()
    assert not moved[1].any()


def test_a_block_leaves_its_input_as_it_was() -> None:
    torch.manual_seed(0)
    tokens = pictures(1, 5, 128)
    with torch.inference_mode():
        tiny_clip().blocks[0](tokens)
    assert torch.equal(tokens, pictures(1, 5, 128))


def test_gradients_through_a_frozen_block_equal_open_clips() -> None:
    """Adapters of shallow blocks learn through deeper ones."""
    torch.manual_seed(0)
    backbone, tower = tiny_clip(), their_tower(TINY)
    tower.load_state_dict(backbone.vit.state_dict())
    gradients = []
    for block in (backbone.requires_grad_(False).blocks[0], tower.requires_grad_(False).transformer.resblocks[0]):
        tokens = pictures(2, 5, 128).requires_grad_()
        (block(tokens) * pictures(2, 5, 128, seed=1)).sum().backward()
        gradients.append(tokens.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_the_text_tower_is_not_built() -> None:
    assert {key.split(".")[0] for key, _ in tiny_clip().named_parameters()} == {"vit"}
    assert TINY_VISION["layers"] == len(tiny_clip().blocks)
