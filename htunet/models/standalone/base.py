"""What is known of a network of its own: one that is not a frozen CLIP with our adapters and heads."""

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
    """The network without its weights; it is called where tensors take no memory, and reads no file."""
    build: Callable[[Outputs, str], tuple[Network, WeightsRecord]]
    """The network with the weights of ``pretrained``, ``random`` or a path; the rest drawn from torch's generator."""
    has_published_weights: bool = True
    has_frozen_part: bool = True
    """Whether a checkpoint needs those weights beside it; without, it holds all of the network."""
    plan: str = "paper"
    """The plan with which the paper trains it."""
