"""Entries of the registry of standalone networks: those that are not a frozen CLIP with our adapters and heads."""

from collections.abc import Callable
from dataclasses import dataclass

from htunet.models.network import Network
from htunet.models.tasks import Outputs
from htunet.models.weights.load import WeightsRecord


@dataclass(frozen=True, kw_only=True)
class Standalone:
    """One entry of the registry."""

    tasks: tuple[str, ...]
    sketch: Callable[[Outputs], Network]
    """Builds the network without its weights; called on the meta device, and reads no file."""
    build: Callable[[Outputs, str], tuple[Network, WeightsRecord]]
    """Builds the network with ``pretrained`` or ``random`` weights or those of a path; the rest is drawn at random."""
    has_published_weights: bool = True
    has_frozen_part: bool = True
    """Whether a checkpoint needs those weights beside it; otherwise it contains the whole network."""
    plan: str = "paper"
    """The plan with which the paper trains it."""
