"""Products with frozen matrices that are multiplied again in each step.

A library of products puts a matrix into an order of its own before it multiplies, each time anew. For a matrix that
never changes once is enough. On a CPU with MKL this takes 4 to 12 % off the time of a product of a training step.

Dimension key: B batch, T tokens, N = B*T rows, K inputs and M outputs of a linear layer.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from htunet.models.autocast import product_type


class PackedMatrix:
    """Multiplies rows with a frozen matrix, and can keep the matrix in MKL's order for one number of rows."""

    def __init__(self) -> None:
        self._kept: tuple[_Identity, Tensor] | None = None

    def __getstate__(self) -> dict[str, None]:
        return {"_kept": None}  # MKL's order can be neither copied nor saved

    def pack(self, matrix_KM: Tensor, rows: int) -> None:
        """Keep a copy of the matrix in the order for products of so many rows, where there is such an order."""
        in_fp32_on_cpu = matrix_KM.device.type == "cpu" and matrix_KM.dtype == torch.float32
        if in_fp32_on_cpu and torch.backends.mkl.is_available():
            packed = torch.ops.mkl._mkl_reorder_linear_weight(matrix_KM.t().contiguous(), rows)
            self._kept = _identity(matrix_KM, rows), packed

    def multiply(self, rows_NK: Tensor, matrix_KM: Tensor) -> Tensor:
        """(N, K) times (K, M): by a plain product for another number of rows, or a matrix that has changed."""
        rows = len(rows_NK)
        if self._kept is not None and not torch.compiler.is_compiling() and rows_NK.dtype == matrix_KM.dtype:
            identity, packed = self._kept
            if identity == _identity(matrix_KM, rows):
                return torch.ops.mkl._mkl_linear(rows_NK, packed, matrix_KM.t(), None, rows)
        return rows_NK @ matrix_KM


_Identity = tuple[int, torch.device, int, int]


def _identity(matrix_KM: Tensor, rows: int) -> _Identity:
    """Equal only for the same values at the same place, and as many rows."""
    return rows, matrix_KM.device, matrix_KM.data_ptr(), matrix_KM._version


class FrozenProducts:
    """The products with the weight of one frozen linear layer, (M, K): forward and back."""

    def __init__(self) -> None:
        self._forward, self._back = PackedMatrix(), PackedMatrix()

    def pack(self, layer: nn.Module, rows: int, *, back: bool) -> None:
        """Prepare for inputs of so many rows, and ``back`` for their gradient; not a layer that trains.

        Do it before the first step: between the tensors of a step the copies would tear holes into the memory. A layer
        with more outputs than inputs is not prepared for the way forward, where that gains least.
        """
        if type(layer) is nn.Linear and not layer.weight.requires_grad:
            if layer.out_features <= layer.in_features:
                self._forward.pack(layer.weight.t(), rows)
            if back:
                self._back.pack(layer.weight, rows)

    def forward(self, inputs_BTK: Tensor, weight_MK: Tensor) -> Tensor:
        """What the layer makes of (B, T, K) without its bias: (B, T, M)."""
        inputs_NK = inputs_BTK.flatten(0, -2)
        return self._forward.multiply(inputs_NK, weight_MK.t()).unflatten(0, inputs_BTK.shape[:-1])

    def back(self, gradient_BTM: Tensor, weight_MK: Tensor) -> Tensor:
        """The gradient of the inputs: (B, T, K)."""
        gradient_NM = gradient_BTM.flatten(0, -2)
        return self._back.multiply(gradient_NM, weight_MK).unflatten(0, gradient_BTM.shape[:-1])


def project(inputs_BTK: Tensor, weight_MK: Tensor, products: FrozenProducts) -> Tensor:
    """A frozen linear layer without its bias: (B, T, K) -> (B, T, M)."""
    if not product_type(inputs_BTK) == inputs_BTK.dtype == weight_MK.dtype:
        return F.linear(inputs_BTK, weight_MK)
    return _Project.apply(inputs_BTK, weight_MK, products)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs_BTK: Tensor, weight_MK: Tensor, products: FrozenProducts) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(weight_MK)
        ctx.products = products
        return products.forward(inputs_BTK, weight_MK)

    @staticmethod
    def backward(ctx: Any, gradient_BTM: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (weight_MK,) = ctx.saved_tensors
        return ctx.products.back(gradient_BTM, weight_MK), None, None
