"""The device, and bf16 where it has it. Frozen weights are stored in the precision in which they are multiplied.

With ``fp32`` every product has factors of 24 bits. PyTorch left alone lets a GPU round those of convolutions, and of
nothing else, to the 11 bits of TF32; ``tf32`` rounds those of all products, and only where it is asked for.

Autocast converts fp32 weights to bf16 again in each step. For weights that never change, converting once gives the same
products and saves the time and half of the memory.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from htunet.errors import HtunetError, UsageError
from htunet.models.network import Network
from htunet.settings import DEVICES

AUTO, BF16, TF32, FP32 = "auto", "bf16", "tf32", "fp32"
FABRIC_PRECISION = {BF16: "bf16-mixed", TF32: "32-true", FP32: "32-true"}

log = logging.getLogger(__name__)


def find_device(device: str) -> str:
    """``cpu``, ``cuda`` or ``mps`` for a name of ``DEVICES``; UsageError for a device that is not there."""
    has_cuda = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if has_cuda else "cpu"
    if device not in DEVICES:
        raise UsageError(f"--device takes {', '.join(DEVICES)}, got {device!r}.")
    if device == "cuda" and not has_cuda:
        raise UsageError("--device cuda: no CUDA device is visible. Take --device cpu, or check the driver and torch.")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: this torch finds no Apple GPU (Metal). Take --device cpu.")
    return device


def has_bf16(device_type: str) -> bool:
    """Whether products in bf16 run in hardware."""
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        if not torch.backends.mkldnn.is_available():
            return False
        answer = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # private: a later torch may lack it
        return answer is not None and bool(answer())
    return False


def check_numbers(values: torch.Tensor, precision: str) -> None:
    """Raise HtunetError where a network's output is not a number: its mask would be empty without any notice."""
    if values.isnan().any():
        raise HtunetError(
            f"The network computes values that are not numbers, in {precision}: its weights are damaged, or too large "
            "for this precision. Replace the weights, or train again with --precision fp32."
        )


def resolve_precision(requested: str, device_type: str) -> str:
    """``auto`` becomes ``bf16`` where the device has it, else ``fp32``; ``tf32`` is ``fp32`` where there is no CUDA.

    Anything else raises UsageError.
    """
    if requested not in (AUTO, *FABRIC_PRECISION):
        raise UsageError(f"--precision takes auto, bf16, tf32 or fp32, got {requested!r}.")
    if requested == AUTO:
        return BF16 if has_bf16(device_type) else FP32
    return FP32 if requested == TF32 and device_type != "cuda" else requested


def warn_if_emulated(precision: str, device_type: str) -> None:
    """Log that a training in bf16 will be slow where a processor or GPU computes its products by other instructions."""
    device = {"cpu": "processor", "cuda": "GPU"}.get(device_type)
    if precision == BF16 and device and not has_bf16(device_type):
        log.warning(
            "This %s has no instructions for bf16, so products are emulated, which takes several times as long as fp32 "
            "(13 times for UNet on a processor with AVX2). Train again with --restart and without --precision.",
            device,
        )


@contextmanager
def fp32_products(precision: str) -> Iterator[None]:
    """Inside the block, a GPU rounds the factors of products of fp32 numbers to TF32 if ``precision`` is ``tf32``."""
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = precision == TF32
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def convert_frozen_to_bf16(network: Network) -> None:
    """Convert the frozen part's matrices once. Normalisations and embeddings stay in fp32, as under autocast.

    So does what trains within the frozen part: the matrices of LoRA.
    """
    frozen = network.frozen_module()
    if frozen is None:
        return
    for module in frozen.modules():
        trains = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        if isinstance(module, nn.Linear | nn.Conv2d) and not trains:
            module.to(torch.bfloat16)
