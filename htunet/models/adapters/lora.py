"""LoRA on the attention of frozen blocks, through the library peft.

Source: Hu et al. 2021, arXiv:2106.09685: W becomes W + s B A with A (r, in) drawn, B (out, r) starting at zero, and s =
alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023, arXiv:2312.03732), as in the public code of arXiv 2506.08849.
It acts on the query, key, value and output of each attention, as in that paper's figure 2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from htunet.models.adapters.base import WeightAdapter, WeightUpdates, checked_settings
from htunet.models.backbones.clip import SelfAttention, linear_of

NAME = "default"
"""The name that peft gives to matrices when there is one set of them."""
LAYOUTS = (
    {"q": "attn.qkv.q", "k": "attn.qkv.k", "v": "attn.qkv.v", "out": "attn.out_proj"},
    {"q": "attn.qkv.q", "k": "attn.qkv.k", "v": "attn.qkv.v", "out": "attn.proj"},
    {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "out": "attention.output.dense",
    },
)
"""Where blocks have their four layers: those of open_clip, timm (both once ``qkv`` is split) and transformers' BERT."""
FUSED = {"qkv": "attn.qkv", "out": "attn.proj"}
"""Where blocks of timm have their two layers before that."""


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Settings of LoRA, as a plan may set them under ``adapter``."""

    rank: int = 16
    """Rows r of A."""
    alpha: int = 32
    dropout: float = 0.0
    """Fraction of the values that enter A that is zeroed in training."""
    rank_stabilised: bool = False
    """Scale by alpha / sqrt(rank) in place of alpha / rank."""
    fused_qkv: bool = False
    """One A for query, key and value where the block is one of timm, which computes them with one layer."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"LoRAConfig.rank must be at least 1, got {self.rank}.")
        if self.alpha <= 0:
            raise ValueError(f"LoRAConfig.alpha must be positive, got {self.alpha}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"LoRAConfig.dropout must be in [0, 1), got {self.dropout}.")
        for name in ("rank_stabilised", "fused_qkv"):
            if not isinstance(value := getattr(self, name), bool):
                raise TypeError(f"LoRAConfig.{name} must be true or false, got {value!r}.")


class SplitProjection(nn.Module):
    """Query, key and value as three layers, whose weights are the rows of the one layer that they replace."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        weights = fused.weight.detach().chunk(3)
        biases = fused.bias.detach().chunk(3) if fused.bias is not None else (None, None, None)
        self.q, self.k, self.v = (linear_of(weight, bias) for weight, bias in zip(weights, biases, strict=True))

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, 3 D), as the one layer."""
        return torch.cat([self.q(tokens_BTD), self.k(tokens_BTD), self.v(tokens_BTD)], dim=-1)

    def fused(self) -> nn.Linear:
        """The one layer again, with the weights as they are now."""
        parts = [cast(nn.Linear, part) for part in (self.q, self.k, self.v)]
        bias = torch.cat([part.bias.detach() for part in parts]) if parts[0].bias is not None else None
        return linear_of(torch.cat([part.weight.detach() for part in parts]), bias)


class LowRankUpdates(WeightUpdates):
    """LoRA in the attention of some blocks. ``updates[depth][name]`` holds ``A``, ``B`` and the dropout before them.

    Args:
        blocks: By their number; each is changed in place: one layer for q, k and v becomes three, or stays with
            ``fused_qkv``.
        config: The same for all layers.
    """

    def __init__(self, blocks: Mapping[int, nn.Module], config: LoRAConfig) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        layouts = {depth: _layout(block, fused_qkv=config.fused_qkv) for depth, block in blocks.items()}
        peft_config = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            use_rslora=config.rank_stabilised,
            target_modules=[f"{depth}.{path}" for depth, layout in layouts.items() for path in layout.values()],
        )
        inject_adapter_in_model(peft_config, nn.ModuleDict({str(depth): block for depth, block in blocks.items()}))
        super().__init__(nn.ModuleDict() for _ in range(max(blocks) + 1))
        for depth, layout in layouts.items():
            for name, path in layout.items():
                layer: Any = blocks[depth].get_submodule(path)  # one of peft's
                trained = {"A": layer.lora_A[NAME], "B": layer.lora_B[NAME], "dropout": layer.lora_dropout[NAME]}
                cast(nn.ModuleDict, self[depth])[name] = nn.ModuleDict(trained)
        self._places = [(blocks[depth], layout) for depth, layout in layouts.items()]

    @torch.no_grad()
    def merge(self) -> None:
        """Add the scaled ``B A`` to each frozen matrix; what had been split into q, k and v is one layer again."""
        for block, layout in self._places:
            for path in layout.values():
                layer: Any = block.get_submodule(path)
                layer.merge(safe_merge=True)
                block.set_submodule(path, layer.get_base_layer())
            for path, split in list(_modules_of(block, SplitProjection)):
                block.set_submodule(path, split.fused())


def _layout(block: nn.Module, *, fused_qkv: bool) -> dict[str, str]:
    """Make the layers of a block's attention modules of their own and return the path of each within the block."""
    layers = dict(block.named_modules())
    if fused_qkv and all(isinstance(layers.get(path), nn.Linear) for path in FUSED.values()):
        return FUSED
    for path, attention in list(_modules_of(block, nn.MultiheadAttention)):
        block.set_submodule(path, SelfAttention(attention))
    for layout in LAYOUTS:
        owner = layout["q"].removesuffix(".q")
        paths = dict(block.named_modules())
        if not {owner, layout["out"]} <= set(paths):
            continue
        if isinstance(fused := paths[owner], nn.Linear) and owner.endswith("qkv"):
            block.set_submodule(owner, SplitProjection(fused))
        return layout
    raise ValueError(f"LoRA knows no attention in {type(block).__name__}: it needs the layers of one of {LAYOUTS}.")


def _modules_of(block: nn.Module, kind: type) -> Iterator[tuple[str, Any]]:
    return ((path, module) for path, module in block.named_modules() if isinstance(module, kind))


def _lora(blocks: Mapping[int, nn.Module], settings: Mapping[str, Any]) -> WeightUpdates:
    return LowRankUpdates(blocks, checked_settings(LoRAConfig, settings))


LORA = WeightAdapter(update=_lora, texts_too=False)
LORA_VT = WeightAdapter(update=_lora, texts_too=True)
