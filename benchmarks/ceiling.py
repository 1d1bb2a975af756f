"""The ceiling of this machine: what the convolutions and matrix products of an action take, each as a single call.

What lies between them (normalisations, activations, copies, the loss, the optimiser, Python) takes no time there, and
the operands of a call are where it was just before. Attention in one call counts as a product.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measure import clock

ATEN = torch.ops.aten
PRODUCTS = {
    ATEN.mm, ATEN.addmm, ATEN.bmm, ATEN.baddbmm, ATEN.convolution, ATEN.convolution_backward,
    ATEN._scaled_dot_product_flash_attention_for_cpu, ATEN._scaled_dot_product_flash_attention_for_cpu_backward,
}  # fmt: skip


class Ceiling(TorchDispatchMode):
    """The products of an action, which is done once to see them."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self.calls: Counter[tuple[Any, ...]] = Counter()
        """How often each operation is called with arguments of the same form."""
        # in inference mode operations would arrive before they are taken apart, and without the types of autocast
        with patch("torch._C._InferenceMode", lambda _: torch.no_grad()), self:
            action()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Count a product."""
        kwargs = kwargs or {}
        if func._overloadpacket in PRODUCTS:
            named = tuple(sorted((name, _form(value)) for name, value in kwargs.items()))
            self.calls[func, tuple(map(_form, args)), named] += 1
        return func(*args, **kwargs)

    @torch.no_grad()
    def seconds(self) -> float:
        """Of all products: the processor time of one call of each form, times their number."""
        return sum(number * _seconds(*call) for call, number in self.calls.items())


def _form(value: Any) -> Any:  # noqa: ANN401
    """What can be compared, and made again: of a tensor its form, of a list a tuple."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.stride(), value.dtype)
    return tuple(value) if isinstance(value, list) else value


def _made(form: Any) -> Any:  # noqa: ANN401
    """A tensor of noise for a form; anything else as it is."""
    if not (isinstance(form, tuple) and form and isinstance(form[-1], torch.dtype)):
        return form
    shape, strides, dtype = form
    room = 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    return torch.randn(room).to(dtype).as_strided(shape, strides)


def _seconds(func: Any, forms: tuple[Any, ...], named: tuple[tuple[str, Any], ...]) -> float:  # noqa: ANN401
    args, kwargs = [_made(form) for form in forms], {name: _made(form) for name, form in named}
    func(*args, **kwargs)  # what is slow the first time only
    started = clock()
    func(*args, **kwargs)
    return clock() - started
