"""BatchNorm over the images of all processes: the same statistics as one process takes of the whole batch.

Source: Ioffe and Szegedy 2015, arXiv:1502.03167. torch's SyncBatchNorm does the same on GPUs only, and counts each
process's images; here a process whose images only fill up a batch does not count. Dimension key: B images, C channels.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from htunet.errors import HtunetError
from htunet.models.network import Network


def has_batch_statistics(network: nn.Module) -> bool:
    """Whether the result for an image depends on the others of its part; puts the network into training mode."""
    return any(isinstance(module, _BatchNorm) for module in network.train().modules() if module.training)


def check_single_image(network: Network, images: int, image_hw: tuple[int, int]) -> None:
    """Raise HtunetError for a smallest batch of one image so small that BatchNorm would get a single value of it."""
    if images == 1 and max(image_hw) < 2 * network.smallest_side and has_batch_statistics(network):
        raise HtunetError(
            f"The last batch of an epoch has one image of {image_hw[0]} x {image_hw[1]} pixels. BatchNorm needs more "
            "than one value: in a plan of your own, change batch_size, set drop_last to true, or raise input_size to "
            f"at least {2 * network.smallest_side} pixels."
        )


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:  # noqa: ANN401 (torch's own)
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm(_BatchNorm):
    """BatchNorm over the (B, C, ...) inputs of all processes; in evaluation as usual."""

    counts = True
    """Whether this process's images are part of the batch."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 (torch's name)
        """Any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """The normalised input (B, C, ...), in its type; computed in fp32."""
        if not self.training:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            values, shape = input.float(), (1, -1, *[1] * (input.ndim - 2))
            over = [axis for axis in range(input.ndim) if axis != 1]
            number = values.new_tensor([values.numel() / values.shape[1]])
            sums_C1 = _sum(self.counts * torch.cat([values.sum(over), number]))
            count, mean_C = sums_C1[-1].detach(), sums_C1[:-1] / sums_C1[-1].detach()
            centred = values - mean_C.view(shape)
            variance_C = _sum(self.counts * centred.square().sum(over)) / count
            self._remember(mean_C.detach(), variance_C.detach() * count / (count - 1).clamp(min=1))
            scale_C = torch.rsqrt(variance_C + self.eps)
            scale_C = scale_C if self.weight is None else scale_C * self.weight
            result = centred * scale_C.view(shape)
            return (result if self.bias is None else result + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean_C: Tensor, variance_C: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        new = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, new)
        self.running_var.lerp_(variance_C, new)


def _sum(own: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(own)
    return total


def share_statistics(network: nn.Module) -> None:
    """Make every BatchNorm one over all processes, in place; parameters, buffers and their names stay."""
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SharedBatchNorm


def count_images(network: nn.Module, counts: bool) -> None:
    """Set whether this process's images are part of the batch that it computes next."""
    for module in network.modules():
        if isinstance(module, SharedBatchNorm):
            module.counts = counts
