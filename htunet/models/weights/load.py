"""Frozen weights: loaded strictly and recorded with their hash. Nothing here uses the internet."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from htunet.errors import HtunetError, UsageError
from htunet.files import parse_json, read_object
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone
from htunet.models.catalogue import CATALOGUE, LOGIT_SCALE, OPENAI_STATISTICS, CatalogueEntry
from htunet.models.weights.formats import read_state, weights_file
from htunet.models.weights.store import CHECKPOINT, PHANTOM_CLIP, find_phantom, find_pretrained, is_by_hand
from htunet.paths import PHANTOM

PRETRAINED, RANDOM, NONE = "pretrained", "random", "none"
KEY = "htunet"
"""Of the description in the metadata of safetensors files that htunet writes."""
OPEN_CLIP_CONFIG = "open_clip_config.json"
RANDOM_WEIGHTS_SEED = 0
"""Random frozen weights are the same in every run, so that a checkpoint finds the backbone that it was trained on."""


@dataclass(frozen=True, kw_only=True)
class WeightsRecord:
    """Which frozen weights a run used; stored in its settings, checkpoints and tables."""

    source: str
    """``pretrained``, ``random``, ``phantom`` (pre-trained on simulation), ``file`` (a path that the user gave), or
    ``none`` (nothing is frozen)."""
    file: str | None = None
    sha256: str | None = None
    """Hash of the loaded tensors, equal whatever file format they came in."""
    text_sha256: str | None = None
    """The same of the text tower, where one was loaded."""
    simulated: bool = False
    """Whether it is a file that ``htunet_pretrain`` has made."""

    @property
    def identity(self) -> str:
        """The hash of the image tower's tensors, which must be equal for a checkpoint to fit."""
        return self.sha256 or NONE

    def content(self) -> dict[str, Any]:
        """For JSON; ``simulated`` is only there if it is true."""
        return {name: value for name, value in asdict(self).items() if name != "simulated" or value}


def build_backbone(name: str, source: str) -> tuple[Backbone, WeightsRecord]:
    """Build a backbone with ``pretrained`` or ``random`` weights, or those of a file or of a folder of the hub.

    Raises UsageError for an unknown backbone, HtunetError when the weights are not on this machine or do not fit.
    """
    builder = BACKBONES[name]
    path = locate(name, source)
    if path is None:
        with random_weights():
            backbone = builder()
    else:
        with torch.device("meta"):
            backbone = builder()
        load_strictly(backbone, image_state(read_state(path), CATALOGUE.get(name), backbone.own_key), path)
    return backbone, record_of(source, path, backbone)


def load_weights(module: nn.Module, name: str, source: str) -> WeightsRecord:
    """Fill a module with a model's published weights, or leave it as it is for ``random``.

    Its tensors have their published names. Raises HtunetError as ``build_backbone``.
    """
    path = locate(name, source)
    if path is not None:
        load_strictly(module, image_state(read_state(path), CATALOGUE.get(name), lambda key: key), path)
    return record_of(source, path, module)


def locate(name: str, source: str) -> Path | None:
    """The file of ``pretrained`` or ``phantom`` weights or of a path; None for ``random``; HtunetError if missing.

    Raises UsageError for ``pretrained`` of a model whose weights the catalogue does not know.
    """
    if source == RANDOM:
        return None
    if source == PHANTOM or (source == PRETRAINED and name == PHANTOM_CLIP):
        return find_phantom(name)
    if source == PRETRAINED and name not in CATALOGUE:
        raise UsageError(
            f"No published weights of {name} are known; there are some of {', '.join(CATALOGUE)}. Name a file of yours "
            "with --weights FILE, or try things out with --weights random."
        )
    path = find_pretrained(name) if source == PRETRAINED else weights_file(Path(source))
    if source != PRETRAINED or is_by_hand(name, path):
        refuse_other_config(name, path)
    return path


def refuse_other_config(name: str, path: Path) -> None:
    """Raise HtunetError where open_clip's description beside a weights file is of another network than ``name``.

    Tensors of equal shapes do not tell with which activation, mean and deviation they were trained.
    """
    entry, config = CATALOGUE.get(name), path.with_name(OPEN_CLIP_CONFIG)
    if entry is None or not entry.image_keys or not config.is_file():
        return
    content = read_object(config)
    model, images = content.get("model_cfg", content), content.get("preprocess_cfg") or {}
    vision = model.get("vision_cfg") if isinstance(model, dict) else None
    if not isinstance(vision, dict) or not isinstance(images, dict):
        return
    quick = model.get("quick_gelu") and not vision.get("timm_model_name")  # timm's towers are built without it
    usual = OPENAI_STATISTICS
    for what, found, own in (
        ("activation", "QuickGELU" if quick else "GELU", entry.activation),
        ("mean of the images", images.get("mean") or usual.mean, entry.statistics.mean),
        ("deviation of the images", images.get("std") or usual.std, entry.statistics.std),
    ):
        if not _alike(found, own):
            raise HtunetError(
                f"{config} says that {path.name} was trained with the {what} {found}, and {name} has {own}: its "
                f"features would be wrong without a sign. Name the weights of a model that is built like {name}, or, "
                "if that description belongs to another file, put the weights into a folder of their own."
            )


def _alike(found: object, own: object) -> bool:
    with suppress(TypeError, ValueError):  # of names, and of what are no numbers
        return bool(np.allclose(found, own, rtol=0, atol=1e-3))  # type: ignore[arg-type]
    return found == own


@contextmanager
def random_weights(seed: int | None = None) -> Iterator[None]:
    """Draw weights inside the block from ``seed``, or the same in every run, and leave the caller's generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_WEIGHTS_SEED if seed is None else seed)
        yield


def record_of(source: str, path: Path | None, module: nn.Module) -> WeightsRecord:
    """The record of the weights that a module has now."""
    kind = source if source in (PRETRAINED, RANDOM, PHANTOM) else "file"
    if kind == PRETRAINED and path is not None and path.name == CHECKPOINT:  # of a model with no other weights
        kind = PHANTOM
    return WeightsRecord(
        source=kind, file=path.name if path else None, sha256=tensor_hash(module), simulated=is_simulated(source)
    )


def is_simulated(source: str) -> bool:
    """Whether ``source`` of weights is a file that ``htunet_pretrain`` has made."""
    if source in (PRETRAINED, RANDOM, PHANTOM):
        return False
    try:
        with safe_open(weights_file(Path(source)), framework="pt") as content:
            return "recipe" in parse_json((content.metadata() or {}).get(KEY, "{}"), source).get("settings", {})
    except (SafetensorError, OSError, HtunetError, AttributeError):  # a file of another kind, or none
        return False


def image_state(
    state: Mapping[str, Tensor], entry: CatalogueEntry | None, own_key: Callable[[str], str]
) -> dict[str, Tensor]:
    """The image tower's tensors of a published file, under our names.

    Those of the text tower and of the white list are left out; any other name stays, so that strict loading reports it.
    A file that holds the image tower alone, without its prefix, is taken whole, and so is any of a model that the
    catalogue does not know.
    """
    if entry is None or not any(key.startswith(entry.image_keys) for key in state):
        return {own_key(key): value for key, value in state.items()}
    other = (*entry.text_keys, *entry.unused_keys, LOGIT_SCALE)
    return {own_key(key): value for key, value in state.items() if not _is_of(key, entry, other)}


def text_state(state: Mapping[str, Tensor], entry: CatalogueEntry, own_key: Callable[[str], str]) -> dict[str, Tensor]:
    """The text tower's tensors of a published file, under our names; others but the image tower's stay."""
    other = (entry.image_keys, *entry.unused_keys, LOGIT_SCALE)
    return {own_key(key): value for key, value in state.items() if not key.startswith(other)}


def _is_of(key: str, entry: CatalogueEntry, prefixes: tuple[str, ...]) -> bool:
    """``prefixes`` name it and the image tower does not."""
    return key.startswith(prefixes) and not (entry.image_keys and key.startswith(entry.image_keys))


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, by what follows it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_strictly(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load every tensor, in the module's own type, or none; ``state`` is used up, so that no tensor is held twice.

    Missing, unexpected and mis-shaped keys are counted, and the first four of each kind named, in one HtunetError.
    Tensors that need no conversion are not copied: they stay in the file, and are read when they are used.
    """
    own = {key: (value.shape, value.dtype) for key, value in module.state_dict().items()}
    problems = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} for {tuple(shape)}"
            for key, (shape, _) in own.items()
            if key in state and state[key].shape != shape
        ],
    }
    if any(problems.values()):
        parts = [f"{len(keys)} {kind}: {', '.join(keys[:4])}" for kind, keys in problems.items() if keys]
        raise HtunetError(f"{path} does not fit this model. Tensors {'; '.join(parts)}.")
    module.load_state_dict({key: state.pop(key).to(dtype) for key, (_, dtype) in own.items()}, assign=True)


def train_copies(module: nn.Module) -> None:
    """Copy loaded tensors, which are still mapped from their file, into memory, so that they can train.

    Each keeps its memory format, such as channels last.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.preserve_format)


def tensor_hash(module: nn.Module) -> str:
    """sha256 over names, shapes and fp32 values of a module's parameters and buffers, in the order of their names."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.detach().float().contiguous().cpu().numpy().data)
    return digest.hexdigest()
