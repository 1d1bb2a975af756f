"""From a method's name to a network. The only place that knows sizes.

Methods are written BACKBONE or BACKBONE_ADAPTER (``CLIP``, ``CLIP_HT``), or name a network of its own (``UNet``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.models.adaptation import LAYERS, adapted_encoder, adapter_names
from htunet.models.adapters import WEIGHT_ADAPTERS
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone
from htunet.models.catalogue import CATALOGUE, CatalogueEntry
from htunet.models.heads import CLASS_HEADS, HEADS
from htunet.models.heads.aggregation import FeatureAggregation
from htunet.models.heads.both import BothHeads
from htunet.models.network import EncoderNetwork, Network
from htunet.models.standalone import STANDALONE
from htunet.models.tasks import CLASSIFICATION, CONVOLUTION, HIDDEN_LAYER, SEGMENTATION, TASKS, Outputs
from htunet.models.weights.formats import read_state
from htunet.models.weights.load import (
    PRETRAINED,
    RANDOM,
    WeightsRecord,
    build_backbone,
    locate,
    part_of,
    random_weights,
)
from htunet.models.weights.store import PHANTOM_CLIP, PRETRAINABLE
from htunet.reproducibility import derived_seed

OUT_INDICES = (3, 6, 9)
DECODER = "decoder."
"""Prefix of the tensors of the aggregation and the segmentation head in a file of PhantomCLIP."""
USUAL_HEADS = (CONVOLUTION, HIDDEN_LAYER)
PAPER_PLAN, PUBLIC_PLAN = "paper", "public"
"""The plans of nearly all methods: by the paper's text, and by its public code."""


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
        hint = did_you_mean(name, method_names())
        kinds = (("networks", STANDALONE.names()), ("encoders", BACKBONES.names()), ("adapters", adapter_names()))
        known = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds)
        raise UsageError(
            f"No method is called {name!r}.{hint} A method is a network, an encoder, or ENCODER_ADAPTER. Known {known}."
        )
    if name in STANDALONE:
        return Method(name, None, None)
    backbone = max((one for one in BACKBONES if name == one or name.startswith(f"{one}_")), key=len)
    return Method(name, backbone, name[len(backbone) + 1 :] or None)


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


def check_published_defects(method: str) -> None:
    """Raise UsageError for a method that the defects of the paper's public code do not change."""
    if parse_method(method).adapter not in ("LoRA", "LoRAVT") and method != "DINOv2":
        raise UsageError(
            f"--as-published-defects would change nothing in {method}: it is for DINOv2, which then lacks its "
            "LayerScale, and for LoRA, whose trained matrices are then not in the checkpoint."
        )


def has_frozen_part(method: str) -> bool:
    """Whether a checkpoint of the method needs weights that it does not hold; UsageError for an unknown method."""
    return parse_method(method).backbone is not None or STANDALONE[method].has_frozen_part


def keeps_encoder(method: str) -> bool:
    """Whether a method's encoder stays as it was loaded; False where it is trained, and for a network without one."""
    parsed = parse_method(method)
    if parsed.adapter and parsed.adapter in WEIGHT_ADAPTERS:
        return WEIGHT_ADAPTERS[parsed.adapter].keeps_weights
    return parsed.backbone is not None


def published_weights(method: str) -> CatalogueEntry | None:
    """The catalogue's entry of the weights that a method starts from; None where nobody published any."""
    return CATALOGUE.get(parse_method(method).backbone or method)


def paper_plan(method: str) -> str:
    """The plan with which the paper trains a method; UsageError for an unknown method."""
    parsed = parse_method(method)
    return PAPER_PLAN if parsed.backbone else STANDALONE[method].plan


def check_plan_name(method: str, plan: str) -> None:
    """Raise UsageError when ``plan`` is the one of nearly all methods and the paper trains this one with another."""
    requested = paper_plan(method)
    if plan in (PAPER_PLAN, PUBLIC_PLAN) and requested != PAPER_PLAN:
        requested = requested.replace(PAPER_PLAN, plan)
        raise UsageError(
            f"The paper trains {method} with the plan {requested}, not with {plan}. Preprocess it with "
            f"htunet_plan_and_preprocess --plan {requested}, and choose it: --plan {requested}."
        )


def build_network(
    method: str,
    outputs: Outputs,
    *,
    seed: int,
    weights: str,
    adapter_settings: Mapping[str, Any] | None = None,
) -> tuple[Network, WeightsRecord]:
    """The network of a method for a task: trainable parts initialised from ``seed``, frozen ones from ``weights``.

    It gives (B, K, H, W) scores for ``seg``, (B, N) for ``cls``, and a dict with both for ``seg+cls``.

    Args:
        method: A name from ``method_names``.
        outputs: The task, its labels and classes, and the heads.
        seed: Of the run; equal seeds give equal trainable weights.
        weights: ``pretrained``, ``random``, or the path of a file.
        adapter_settings: What differs from the adapter's defaults.

    Raises:
        UsageError: An unknown method, task, head or adapter setting, a task that the method cannot do, weights that
            nobody has published, or a weights file for a method that starts without any.
        HtunetError: Weights that are missing or do not fit; fewer than two classes.
    """
    check_task(method, outputs.task)
    if outputs.task != SEGMENTATION and outputs.num_classes < 2:
        raise HtunetError(f"The task {outputs.task!r} needs images of at least two classes, got {outputs.num_classes}.")
    parsed, initial = parse_method(method), derived_seed(seed, "initial weights")
    if parsed.backbone is None:
        entry = STANDALONE[method]
        if weights not in (PRETRAINED, RANDOM) and not entry.has_published_weights and method not in PRETRAINABLE:
            raise UsageError(f"{method} has no published weights: --weights {weights} would do nothing. Omit it.")
        with random_weights(initial):
            network, record = entry.build(outputs, weights)
    else:
        backbone, record = build_backbone(parsed.backbone, weights)
        with random_weights(initial):
            network = _assemble(backbone, parsed, outputs, adapter_settings or {})
        if parsed.backbone == PHANTOM_CLIP and weights != RANDOM:
            _start_decoder(network, locate(parsed.backbone, weights))
    return network if outputs.normalise else network.without_normalisation(), record


def check_input_size(
    method: str,
    image_hw: tuple[int, int],
    outputs: Outputs | None = None,
    *,
    adapter_settings: Mapping[str, Any] | None = None,
) -> None:
    """Raise HtunetError when a method cannot take images of this (height, width), before weights are looked for.

    The network is put together without memory for its weights; UsageError for a task that the method cannot do, and
    for impossible settings of its adapter and heads.
    """
    outputs = outputs or Outputs()
    check_task(method, outputs.task)
    try:
        sketch(method, outputs, adapter_settings or {}).check_input(image_hw)
    except UsageError:
        raise
    except ValueError as error:
        raise HtunetError(
            f"{method} cannot take the plan's input_size. {error} The paper trains it with the plan "
            f"{paper_plan(method)}: preprocess and choose that one (--plan), or change the size in plans.json under a "
            "plan name of your own."
        ) from None


def settings_without_effect(method: str, outputs: Outputs, adapter_settings: Mapping[str, Any]) -> list[str]:
    """What a plan asks for and ``method`` does not use, in words; of settings that ``check_input_size`` has checked.

    Raises UsageError where the adapter's settings leave no adapter to train.
    """
    parsed, last = parse_method(method), max(OUT_INDICES)
    if parsed.backbone is None:
        heads = [(outputs.head, outputs.head_parameters)] * (SEGMENTATION in outputs.task)
        heads += [(outputs.class_head, outputs.class_head_parameters)] * (CLASSIFICATION in outputs.task)
        more = [parameters or name for name, parameters in heads if parameters or name not in USUAL_HEADS]
        return [f"{method} has a head of its own: {one!r} in the plan does nothing." for one in more]
    layers = adapter_settings.get(LAYERS) or [] if parsed.adapter else []
    if layers and min(layers) > last:
        raise UsageError(
            f"The adapter's setting {LAYERS!r} names only blocks after {last}, the last one that is computed: "
            f"{sorted(layers)}. No adapter would be trained."
        )
    beyond = f"The adapter's setting {LAYERS!r} names blocks after {last}, which are not computed."
    return [beyond] * (max(layers, default=0) > last)


def sketch(method: str, outputs: Outputs, settings: Mapping[str, Any]) -> Network:
    """The network without memory for its weights."""
    parsed = parse_method(method)
    with random_weights(), torch.device("meta"):
        if parsed.backbone is None:
            return STANDALONE[method].sketch(outputs)
        return _assemble(BACKBONES[parsed.backbone](), parsed, outputs, settings)


def _assemble(backbone: Backbone, method: Method, outputs: Outputs, settings: Mapping[str, Any]) -> EncoderNetwork:
    encoder = adapted_encoder(backbone, method.adapter, OUT_INDICES, settings)
    aggregation = FeatureAggregation(len(OUT_INDICES), backbone.width, backbone.features)
    return EncoderNetwork(encoder, aggregation, _head(outputs, str(method.backbone), backbone.features))


def _start_decoder(network: EncoderNetwork, path: Path | None) -> None:
    """Fill the aggregation, and the segmentation head if its number of labels is the same, from a file with both."""
    state = part_of(read_state(path) if path else {}, DECODER)
    head = network.head.segmentation if isinstance(network.head, BothHeads) else network.head
    parts = {"aggregation.": network.aggregation, "head.": head}
    for prefix, module in parts.items():
        own = part_of(state, prefix)
        if {key: value.shape for key, value in own.items()} == {k: v.shape for k, v in module.state_dict().items()}:
            module.load_state_dict(own)


def _head(outputs: Outputs, backbone: str, features: int) -> nn.Module:
    heads: dict[str, nn.Module] = {}
    if SEGMENTATION in outputs.task:
        heads["segmentation"] = HEADS.build(outputs.head, outputs.head_parameters, features, outputs.num_labels)
    if CLASSIFICATION in outputs.task:
        name, parameters = outputs.class_head, outputs.class_head_parameters
        if backbone in outputs.class_head_by_backbone:
            name, parameters = outputs.class_head_by_backbone[backbone], {}
        heads["classification"] = CLASS_HEADS.build(name, parameters, features, outputs.num_classes)
    return BothHeads(**heads) if len(heads) == 2 else next(iter(heads.values()))
