"""A network as it trains: on its device, in its precision, with what its steps reuse, and with its optimiser."""

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from htunet.models.network import Network
from htunet.models.precision import BF16, keep_frozen_in_bf16, resolve_precision
from htunet.planning.plans import Plan


def make_ready(network: Network, plan: Plan, fabric: Fabric, precision: str) -> tuple[nn.Module, Optimizer]:
    """The network as Fabric wraps it, and AdamW as the plan says; the network itself is changed in place.

    ``precision`` is auto, bf16 or fp32, as for ``make_fabric``.
    """
    if resolve_precision(precision, fabric.device.type) == BF16:
        keep_frozen_in_bf16(network)
    network.to(fabric.device)
    network.prepare_steps(_images_at_a_time(plan, fabric), plan.input_size)
    optimizer = torch.optim.AdamW(
        network.trainable_parameters(),
        lr=plan.learning_rate,
        betas=plan.betas,
        weight_decay=plan.weight_decay,
        fused=True,
    )
    return fabric.setup(network, optimizer)


def _images_at_a_time(plan: Plan, fabric: Fabric) -> int:
    """Images of the first part of this process's share of a whole batch."""
    share = len(range(fabric.global_rank, plan.batch_size, fabric.world_size))
    return -(-share // plan.accumulation)
