"""From a method's name to a network. The only place that knows sizes.

Methods are written BACKBONE or BACKBONE_ADAPTER (``CLIP``, ``CLIP_HT``), or name a network of its own (``UNet``).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.models.adaptation import adapted_encoder, adapter_names
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone
from htunet.models.catalogue import CATALOGUE, CatalogueEntry
from htunet.models.heads.aggregation import FeatureAggregation
from htunet.models.heads.both import BothHeads
from htunet.models.heads.classification import ClassificationHead
from htunet.models.heads.segmentation import SegmentationHead
from htunet.models.network import EncoderNetwork, Network
from htunet.models.standalone import STANDALONE
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION, TASKS, Outputs
from htunet.models.weights.load import PRETRAINED, RANDOM, WeightsRecord, build_backbone
from htunet.reproducibility import derived_seed

OUT_INDICES = (3, 6, 9)
FEATURES = 512
PAPER_PLAN = "paper"
"""The plan of nearly all methods."""


@dataclass(frozen=True)
class Method:
    """A method's name, taken apart."""

    name: str
    backbone: str | None
    adapter: str | None


def method_names() -> list[str]:
    """Every name that ``parse_method`` takes."""
    adapted = [f"{backbone}_{adapter}" for backbone in BACKBONES.names() for adapter in adapter_names()]
    return [*STANDALONE.names(), *BACKBONES.names(), *adapted]


def parse_method(name: str) -> Method:
    """Take a name apart; an unknown one raises UsageError with the known ones and the nearest."""
    if name not in method_names():
        known = ", ".join(method_names())
        raise UsageError(f"No method is called {name!r}; known: {known}." + did_you_mean(name, method_names()))
    if name in STANDALONE:
        return Method(name, None, None)
    backbone, _, adapter = name.partition("_")
    return Method(name, backbone, adapter or None)


def tasks_of(method: str) -> tuple[str, ...]:
    """The tasks that a method can do; UsageError for an unknown method."""
    parsed = parse_method(method)
    return TASKS if parsed.backbone else STANDALONE[method].tasks


def check_task(method: str, task: str) -> None:
    """Raise UsageError for an unknown method or task, and for a task that the method cannot do."""
    possible = tasks_of(method)
    if task not in TASKS:
        raise UsageError(f"No task is called {task!r}; known: {', '.join(TASKS)}." + did_you_mean(task, TASKS))
    if task not in possible:
        able = [name for name in (*STANDALONE.names(), *BACKBONES.names()) if task in tasks_of(name)]
        raise UsageError(
            f"{method} does {' and '.join(possible)}, not {task!r}. Methods that do: {', '.join(able)}, and every "
            "BACKBONE_ADAPTER."
        )


def has_frozen_part(method: str) -> bool:
    """Whether a checkpoint of the method needs weights that it does not hold; UsageError for an unknown method."""
    return parse_method(method).backbone is not None or STANDALONE[method].has_frozen_part


def published_weights(method: str) -> CatalogueEntry | None:
    """What the catalogue says of the weights that a method starts from; None where nobody published any."""
    return CATALOGUE.get(parse_method(method).backbone or method)


def paper_plan(method: str) -> str:
    """The plan with which the paper trains a method; UsageError for an unknown method."""
    parsed = parse_method(method)
    return PAPER_PLAN if parsed.backbone else STANDALONE[method].plan


def check_plan_name(method: str, plan: str) -> None:
    """Raise UsageError when ``plan`` is that of nearly all methods, and the paper trains this one with another."""
    wanted = paper_plan(method)
    if plan == PAPER_PLAN != wanted:
        raise UsageError(
            f"The paper trains {method} with the plan {wanted}, not with {plan}. Preprocess it with "
            f"htunet_plan_and_preprocess --plan {wanted}, and choose it: --plan {wanted}."
        )


def build_network(
    method: str,
    *,
    task: str = SEGMENTATION,
    num_labels: int,
    num_classes: int = 0,
    seed: int,
    weights: str,
    adapter_settings: Mapping[str, Any] | None = None,
    prompts: Sequence[str] = (),
) -> tuple[Network, WeightsRecord]:
    """The network of a method for a task: trainable parts initialised from ``seed``, frozen ones from ``weights``.

    It gives (B, K, H, W) scores for ``seg``, (B, N) for ``cls``, and a dict with both for ``seg+cls``.

    Args:
        method: A name from ``method_names``.
        task: ``seg``, ``cls`` or ``seg+cls``.
        num_labels: Mask values K, background included.
        num_classes: Classes N of an image; not used for ``seg``.
        seed: Of the run; equal seeds give equal trainable weights.
        weights: ``pretrained``, ``random``, or the path of a file.
        adapter_settings: What differs from the adapter's defaults.
        prompts: For each label but the background, what to find; only CLIPSeg reads them, and needs them.

    Raises:
        UsageError: An unknown method, task or adapter setting, a task that the method cannot do, or a weights file for
            a method without published weights.
        HtunetError: Weights that cannot be had or do not fit; fewer than two classes to tell apart.
    """
    check_task(method, task)
    if task != SEGMENTATION and num_classes < 2:
        raise HtunetError(f"The task {task!r} needs images of at least two classes, got {num_classes}.")
    outputs = Outputs(task=task, num_labels=num_labels, num_classes=num_classes, prompts=tuple(prompts))
    parsed = parse_method(method)
    if parsed.backbone is None:
        entry = STANDALONE[method]
        if weights not in (PRETRAINED, RANDOM) and not entry.has_published_weights:
            raise UsageError(f"{method} has no published weights: --weights {weights} would do nothing. Leave it out.")
        with _seeded(seed):
            return entry.build(outputs, weights)
    backbone, record = build_backbone(parsed.backbone, weights)
    with _seeded(seed):
        return _assemble(backbone, parsed.adapter, outputs, adapter_settings or {}), record


def check_input_size(
    method: str,
    image_hw: tuple[int, int],
    *,
    task: str = SEGMENTATION,
    adapter_settings: Mapping[str, Any] | None = None,
) -> None:
    """Raise HtunetError when a method cannot take images of this (height, width), before weights are looked for.

    The network is put together without memory for its weights; UsageError for a task that the method cannot do and
    for impossible adapter settings.
    """
    check_task(method, task)
    try:
        sketch(method, Outputs(task=task), adapter_settings or {}).check_input(image_hw)
    except ValueError as error:
        raise HtunetError(
            f"{method} cannot take the plan's input_size. {error} The paper trains it with the plan "
            f"{paper_plan(method)}: preprocess and choose that one (--plan), or change the size in plans.json under a "
            "plan name of your own."
        ) from None


def sketch(method: str, outputs: Outputs, settings: Mapping[str, Any]) -> Network:
    """The network without memory for its weights."""
    parsed = parse_method(method)
    with _seeded(0), torch.device("meta"):
        if parsed.backbone is None:
            return STANDALONE[method].sketch(outputs)
        return _assemble(BACKBONES[parsed.backbone](), parsed.adapter, outputs, settings)


def _assemble(backbone: Backbone, adapter_name: str | None, outputs: Outputs, settings: Mapping[str, Any]) -> Network:
    encoder = adapted_encoder(backbone, adapter_name, OUT_INDICES, settings)
    aggregation = FeatureAggregation(len(OUT_INDICES), backbone.width, FEATURES)
    return EncoderNetwork(encoder, aggregation, _head(outputs))


def _head(outputs: Outputs) -> nn.Module:
    if outputs.task == SEGMENTATION:
        return SegmentationHead(FEATURES, outputs.num_labels)
    if outputs.task == CLASSIFICATION:
        return ClassificationHead(FEATURES, outputs.num_classes)
    return BothHeads(SegmentationHead(FEATURES, outputs.num_labels), ClassificationHead(FEATURES, outputs.num_classes))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch inside the block only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initial weights"))
        yield
