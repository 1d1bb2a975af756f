"""The device, and bf16 where it has it. Frozen weights are stored in the precision in which they are multiplied.

Autocast converts fp32 weights to bf16 again in each step. For weights that never change, converting once gives the same
products and saves the time and half of the memory.
"""

import torch
from torch import nn

from htunet.errors import UsageError
from htunet.models.network import Network
from htunet.settings import DEVICES

AUTO, BF16, FP32 = "auto", "bf16", "fp32"
FABRIC_PRECISION = {BF16: "bf16-mixed", FP32: "32-true"}


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


def resolve_precision(requested: str, device_type: str) -> str:
    """``auto`` becomes ``bf16`` where the device has it, else ``fp32``; anything else raises UsageError."""
    if requested not in (AUTO, BF16, FP32):
        raise UsageError(f"--precision takes auto, bf16 or fp32, got {requested!r}.")
    if requested == AUTO:
        return BF16 if has_bf16(device_type) else FP32
    return requested


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
