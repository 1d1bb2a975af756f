"""Steps of a network with BatchNorm on two processes, for comparison with one."""

import sys

import torch
from torch import Tensor, nn

from builders.contrastive import random_uint8
from builders.plan import plan_of
from htunet.models.standalone.unet import UNet
from htunet.training.batch_norm import count_images
from htunet.training.devices import make_fabric
from htunet.training.loader import Batch, Shard
from htunet.training.ready import make_ready
from htunet.training.step import Step
from htunet.training.trainer import SegmentationTrainer

COUNTS = (7, 4, 1)
"""Images of whole batches: shared unevenly, evenly, and not at all."""


def batch_of(count: int) -> Batch:
    """Images of 32 x 32 pixels with masks, which depend on nothing else."""
    masks = random_uint8(count, 32, 32) % 2
    return Batch(random_uint8(count, 1, 32, 32), masks, torch.zeros(count, dtype=torch.int64))


def unet() -> UNet:
    """Without dropout, which each process draws for itself, and smooth, so that rounding moves no value past a kink."""
    torch.manual_seed(0)
    network = UNet(2)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout | nn.LeakyReLU):
                setattr(module, name, nn.Identity() if isinstance(child, nn.Dropout) else nn.SiLU())
    return network


def found_in(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """The loss, the gradients and the buffers after a step."""
    gradients = {f"gradient of {name}": p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    return {"loss": loss.detach()} | gradients | {name: value.clone() for name, value in network.named_buffers()}


def save_steps() -> None:
    """One of two processes: save what is found in a UNet for each of ``COUNTS``; a ``target``.

    Its argument is the file to save to, without the rank.
    """
    fabric = make_fabric(device="cpu", devices=2, precision="fp32")
    found, rank = [], fabric.global_rank
    for count in COUNTS:
        network = unet()
        forward, _ = make_ready(network, plan_of(), fabric, "fp32")
        whole = batch_of(count)
        own = Batch(*(values[rank::2] if count > rank else values[:1] for values in whole))
        shares = {"whole": count, "num_parts": 1, "shard": Shard(rank, 2), "seed": 1, "number": 0}
        step = Step(fabric=fabric, network=network, forward=forward, batch=own, **shares)
        network.train()
        count_images(network, step.has_part)
        loss = fabric.all_reduce(SegmentationTrainer().accumulate(step), reduce_op="sum")
        found.append(found_in(network, loss))
    torch.save(found, f"{sys.argv[1]}.{rank}")
