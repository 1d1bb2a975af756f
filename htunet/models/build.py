"""From a method's name to a network. The only place that knows sizes.

Methods are written BACKBONE or BACKBONE_ADAPTER (``CLIP``, ``CLIP_HT``), or name a network of its own (``UNet``).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.models.adapters import ADAPTERS
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone
from htunet.models.encoder import AdaptedEncoder
from htunet.models.heads.aggregation import FeatureAggregation
from htunet.models.heads.segmentation import SegmentationHead
from htunet.models.network import Network, SegmentationNetwork
from htunet.models.unet import UNet
from htunet.models.weights import NONE, PRETRAINED, RANDOM, WeightsRecord, build_backbone
from htunet.registry import Registry
from htunet.reproducibility import derived_seed

TAPS = (3, 6, 9)
FEATURES = 512

STANDALONE: Registry[Callable[[int], Network]] = Registry("network")
STANDALONE.register("UNet")(UNet)


@dataclass(frozen=True)
class Method:
    """A method's name, taken apart."""

    name: str
    backbone: str | None
    adapter: str | None


def method_names() -> list[str]:
    """Every name that ``parse_method`` takes."""
    adapted = [f"{backbone}_{adapter}" for backbone in BACKBONES.names() for adapter in ADAPTERS.names()]
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


def build_network(
    method: str, *, num_labels: int, seed: int, weights: str, adapter_settings: Mapping[str, Any] | None = None
) -> tuple[Network, WeightsRecord]:
    """The segmentation network of a method: trainable parts initialised from ``seed``, frozen ones from ``weights``.

    Args:
        method: A name from ``method_names``.
        num_labels: Mask values, background included.
        seed: Of the run; equal seeds give equal trainable weights.
        weights: ``pretrained``, ``random``, or the path of a file.
        adapter_settings: What differs from the adapter's defaults.

    Raises:
        UsageError: An unknown method or adapter setting, or a weights file for a method without frozen weights.
        HtunetError: Weights that cannot be had or do not fit.
    """
    parsed = parse_method(method)
    if parsed.backbone is None:
        if weights not in (PRETRAINED, RANDOM):
            raise UsageError(
                f"{method} has no frozen weights, so that --weights {weights} would do nothing. Leave it out."
            )
        with _seeded(seed):
            return STANDALONE[method](num_labels), WeightsRecord(source=NONE)
    backbone, record = build_backbone(parsed.backbone, weights)
    with _seeded(seed):
        return _assemble(backbone, parsed.adapter, num_labels, adapter_settings or {}), record


def check_input_size(method: str, image_hw: tuple[int, int], adapter_settings: Mapping[str, Any] | None = None) -> None:
    """Raise HtunetError when a method cannot take images of this (height, width), before weights are looked for.

    The network is put together without memory for its weights; UsageError for impossible adapter settings.
    """
    parsed = parse_method(method)
    with _seeded(0), torch.device("meta"):
        if parsed.backbone is None:
            network = STANDALONE[method](2)
        else:
            network = _assemble(BACKBONES[parsed.backbone](), parsed.adapter, 2, adapter_settings or {})
    try:
        network.check_input(image_hw)
    except ValueError as error:
        raise HtunetError(
            f"{method} cannot take the plan's input_size. {error} Change it in plans.json under a plan name of your "
            "own, and preprocess that plan."
        ) from None


def _assemble(backbone: Backbone, adapter_name: str | None, num_labels: int, settings: Mapping[str, Any]) -> Network:
    adapter = ADAPTERS[adapter_name] if adapter_name else None
    make_adapter = (lambda: adapter(backbone.width, settings)) if adapter else None
    encoder = AdaptedEncoder(backbone, make_adapter, TAPS)
    aggregation = FeatureAggregation(len(TAPS), backbone.width, FEATURES)
    return SegmentationNetwork(encoder, aggregation, SegmentationHead(FEATURES, num_labels))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch inside the block only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initial weights"))
        yield
