"""Prepares a network for training: its device, its precision, and its optimiser."""

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from htunet.models.network import Network
from htunet.models.precision import BF16, convert_frozen_to_bf16, resolve_precision
from htunet.planning.plans import Plan
from htunet.training.batch_norm import share_statistics
from htunet.training.cuda_graphs import RecordedNetwork, can_be_recorded


def make_ready(network: Network, plan: Plan, fabric: Fabric, precision: str) -> tuple[nn.Module, Optimizer]:
    """The network as Fabric wraps it, and AdamW as the plan says; the network itself is changed in place.

    ``precision`` is auto, bf16, tf32 or fp32, as for ``make_fabric``. See also ``cuda_graphs``.
    """
    if resolve_precision(precision, fabric.device.type) == BF16:
        convert_frozen_to_bf16(network)
    network.to(fabric.device)
    if fabric.world_size > 1:
        share_statistics(network)
    optimizer = torch.optim.AdamW(
        network.trainable_parameters(),
        lr=plan.learning_rate,
        betas=plan.betas,
        weight_decay=plan.weight_decay,
        fused=True,
    )
    recorded = fabric.device.type == "cuda" and fabric.world_size == 1 and can_be_recorded(network)
    return fabric.setup(RecordedNetwork(network) if recorded else network, optimizer)
