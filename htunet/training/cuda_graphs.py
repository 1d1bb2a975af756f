"""The passes of a training step as CUDA graphs: a GPU gets all operations of a pass at once.

A step of CLIP_HT, batch 32, bf16, takes an H100 18 ms of computing, but Python needs 95 ms to start its operations one
by one. A graph holds the operations of one pass for one size of the images, and is started by one call. They are the
same operations on the same numbers, random ones included, in the same order; only the starting is saved.

A graph repeats what was recorded. Whatever a network decides in Python, by a random number say, would be decided once
for all, so networks with modules of other packages than ``PACKAGES`` are not recorded unless each of those modules has
an attribute ``graph_safe = True``. Operations that the processor has to wait for cannot be recorded either; a network
that has some is found by trying, and computed operation by operation as before. So are validations.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from htunet.models.network import Network, Scores

SWITCH = "HTUNET_CUDA_GRAPHS"
"""Environment variable: ``1`` switches graphs on. Off until whole trainings on a GPU have been seen to end alike."""
PACKAGES = {"htunet", "torch", "torchvision", "timm", "open_clip", "transformers", "peft"}
"""Whose modules decide nothing in Python that could differ from one pass to the next."""
MOST = 3
"""Sizes that are recorded: that of a batch, of the last one of an epoch, and one more. Each keeps its memory."""
WARM_UP = 2
"""Passes before the recording: the first ones choose algorithms and take memory, which cannot be recorded."""

log = logging.getLogger(__name__)


def can_be_recorded(network: Network) -> bool:
    """Whether graphs are on, the network takes images alone, and all modules are known to decide nothing in Python."""
    if os.environ.get(SWITCH) != "1" or not network.takes_images_alone:
        return False
    return all(
        type(module).__module__.partition(".")[0] in PACKAGES or getattr(module, "graph_safe", False)
        for module in network.modules()
    )


class RecordedNetwork(nn.Module):
    """A network on a GPU, of one process. A training pass is recorded once its size has been seen twice."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.passes: dict[tuple[Any, ...], RecordedPass | None] = {}
        """By size and type of the images; None for what has been seen once."""
        self.refused = False

    def forward(self, images_BCHW: Tensor) -> Scores:
        """As the network's own."""
        recorded = self._pass_of(images_BCHW) if self.network.training and torch.is_grad_enabled() else None
        # a second part of one step would overwrite the gradients of the first, which are the graph's own memory
        if recorded is None or any(parameter.grad is not None for parameter in recorded.parameters):
            scores: Scores = self.network(images_BCHW)
            return scores
        return recorded(images_BCHW)

    def _pass_of(self, images_BCHW: Tensor) -> "RecordedPass | None":
        key = (images_BCHW.shape, images_BCHW.dtype)
        if key in self.passes and self.passes[key] is None and not self.refused:
            self.passes[key] = self._record(images_BCHW)
        elif len(self.passes) < MOST:
            self.passes.setdefault(key)
        return self.passes.get(key)

    def _record(self, images_BCHW: Tensor) -> "RecordedPass | None":
        try:
            return RecordedPass(self.network, images_BCHW)
        except NotRecordedError as error:
            log.info("No CUDA graph of this network, so its steps take longer: %s", error)
            self.refused = True
            return None


class NotRecordedError(Exception):
    """A pass in which the processor has to wait for the GPU, or for which there is no second lot of memory."""


class RecordedPass:
    """A forward and its backward pass for images of one size.

    Outputs and gradients lie in the graph's own memory, which the next pass overwrites.
    """

    def __init__(self, network: nn.Module, images_BCHW: Tensor) -> None:
        self.images = images_BCHW.clone()
        self.names: list[str] = []
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with _unchanged(network), torch.cuda.stream(stream):
            for number in range(WARM_UP):
                with _tried(last=number == WARM_UP - 1):
                    outputs = self._outputs(network)
                    self._gradients(outputs, [torch.zeros_like(one) for one in outputs if one.requires_grad])
        torch.cuda.empty_cache()
        pool = torch.cuda.graph_pool_handle()
        self.forward_graph, self.backward_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # threads that make batches ready call the driver meanwhile
        with torch.cuda.graph(self.forward_graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            outputs = self._outputs(network)
        self.needs_grad = [output.requires_grad for output in outputs]
        self.grad_outputs = [torch.empty_like(output) for output in outputs if output.requires_grad]
        with torch.cuda.graph(self.backward_graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self.grads = self._gradients(outputs, self.grad_outputs)
        self.outputs = [output.detach() for output in outputs]

    def __call__(self, images_BCHW: Tensor) -> Scores:
        """Repeat the pass with other images."""
        outputs = _Repeat.apply(self, images_BCHW, *self.parameters)
        return dict(zip(self.names, outputs, strict=True)) if self.names else outputs[0]

    def _outputs(self, network: nn.Module) -> list[Tensor]:
        # autocast as it is, without its memory of converted weights: a graph has to convert them each time
        kind, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
        with torch.autocast("cuda", kind, enabled=enabled, cache_enabled=False):
            scores = network(self.images)
        self.names = list(scores) if isinstance(scores, dict) else []
        return list(scores.values()) if isinstance(scores, dict) else [scores]

    def _gradients(self, outputs: list[Tensor], grad_outputs: list[Tensor]) -> tuple[Tensor | None, ...]:
        with torch.autocast("cuda", enabled=False):  # as a backward pass has it
            return torch.autograd.grad(
                [output for output in outputs if output.requires_grad], self.parameters, grad_outputs, allow_unused=True
            )


class _Repeat(torch.autograd.Function):
    """A recorded pass as autograd sees it: a function of the images and of all parameters that train."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (autograd makes it)
        recorded: RecordedPass,
        images_BCHW: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.recorded = recorded
        recorded.images.copy_(images_BCHW)
        recorded.forward_graph.replay()
        return tuple(output.detach() for output in recorded.outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        *grads: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        recorded: RecordedPass = ctx.recorded
        needed = [grad for grad, needs in zip(grads, recorded.needs_grad, strict=True) if needs]
        for place, grad in zip(recorded.grad_outputs, needed, strict=True):
            place.copy_(grad) if grad is not None else place.zero_()
        recorded.backward_graph.replay()
        return (None, None, *(grad if grad is None else grad.detach() for grad in recorded.grads))


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """Restore what a pass changes: the statistics of batch normalisation, and the random numbers."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    random_state = torch.cuda.get_rng_state()
    try:
        yield
    finally:
        torch.cuda.synchronize()
        for buffer, before in buffers:
            buffer.copy_(before)
        torch.cuda.set_rng_state(random_state)


@contextmanager
def _tried(*, last: bool) -> Iterator[None]:
    """Raise NotRecordedError where the memory ends or, at ``last``, where the processor would wait for the GPU.

    Either would break the recording off, and leave the random numbers unusable.
    """
    torch.cuda.set_sync_debug_mode("error" if last else "default")
    try:
        yield
    except RuntimeError as error:
        raise NotRecordedError(str(error).partition("\n")[0]) from error
    finally:
        torch.cuda.set_sync_debug_mode("default")
