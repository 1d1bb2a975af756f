"""Products with frozen matrices that are multiplied again in each step.

A library of products puts a matrix into an order of its own before it multiplies, each time anew. For a matrix that
never changes once is enough: on a CPU with MKL this takes 4 to 12 % off the time of a product in fp32, and a copy whose
rows lie one after the other takes 3 % (1,576 rows) to 25 % (404 rows) off those of a way forward in bf16.

Dimension key: B batch, T tokens, N = B*T rows, K inputs and M outputs of a linear layer.
"""

from typing import Any

import torch
from torch import Tensor, nn

from htunet.models.kernels.autocast import product_type


class PackedMatrix:
    """Multiplies rows with a frozen matrix, and can keep it in the order in which that is fastest on a CPU."""

    def __init__(self) -> None:
        self._for_mkl: tuple[_Identity, Tensor] | None = None
        """For fp32 and one number of rows."""
        self._copy: tuple[_Identity, Tensor] | None = None
        """For bf16: rows one after the other."""

    def __getstate__(self) -> dict[str, None]:
        return {"_for_mkl": None, "_copy": None}  # of no use to a copy, whose matrix lies elsewhere

    def pack(self, matrix_KM: Tensor, rows: int) -> None:
        """Keep a copy of the matrix for products of so many rows, where another order than its own is better."""
        if matrix_KM.device.type != "cpu":
            return
        if matrix_KM.dtype == torch.float32 and torch.backends.mkl.is_available():
            packed = torch.ops.mkl._mkl_reorder_linear_weight(matrix_KM.t().contiguous(), rows)
            self._for_mkl = _identity(matrix_KM, rows), packed
        if matrix_KM.dtype == torch.bfloat16 and not matrix_KM.is_contiguous():
            self._copy = _identity(matrix_KM), matrix_KM.contiguous()

    def multiply(self, rows_NK: Tensor, matrix_KM: Tensor) -> Tensor:
        """(N, K) times (K, M): by a plain product for another number of rows, or a matrix that has changed."""
        rows = len(rows_NK)
        if rows_NK.dtype == matrix_KM.dtype:
            packed = _kept(self._for_mkl, matrix_KM, rows)
            if packed is not None:
                return torch.ops.mkl._mkl_linear(rows_NK, packed, matrix_KM.t(), None, rows)
        return rows_NK @ self.ordered(matrix_KM)

    def ordered(self, matrix_KM: Tensor) -> Tensor:
        """The matrix, in the better order for plain products where it was packed."""
        copy = _kept(self._copy, matrix_KM)
        return matrix_KM if copy is None else copy


_Identity = tuple[int, torch.device, int, int]


def _identity(matrix_KM: Tensor, rows: int = 0) -> _Identity:
    """Equal only for the same values at the same place, and as many rows; 0: any number."""
    return rows, matrix_KM.device, matrix_KM.data_ptr(), matrix_KM._version


def _kept(kept: tuple[_Identity, Tensor] | None, matrix_KM: Tensor, rows: int = 0) -> Tensor | None:
    """What was kept of this very matrix."""
    if kept is None or torch.compiler.is_compiling() or kept[0] != _identity(matrix_KM, rows):
        return None
    return kept[1]


class FrozenProducts:
    """The products with the weight of one frozen linear layer, (M, K): forward and back."""

    def __init__(self) -> None:
        self._forward, self._back = PackedMatrix(), PackedMatrix()

    def pack(self, layer: nn.Module, rows: int, *, back: bool) -> None:
        """Prepare for inputs of so many rows, and ``back`` for their gradient; not a layer that trains.

        Do it before the first step: between the tensors of a step the copies would tear holes into the memory. In fp32
        a layer with more outputs than inputs is not prepared for the way forward, where that gains least.
        """
        if type(layer) is nn.Linear and not layer.weight.requires_grad:
            if layer.out_features <= layer.in_features or layer.weight.dtype == torch.bfloat16:
                self._forward.pack(layer.weight.t(), rows)
            if back:
                self._back.pack(layer.weight, rows)

    def forward(self, inputs_BTK: Tensor, weight_MK: Tensor) -> Tensor:
        """What the layer makes of (B, T, K) without its bias: (B, T, M)."""
        inputs_NK = inputs_BTK.flatten(0, -2)
        return self._forward.multiply(inputs_NK, weight_MK.t()).unflatten(0, inputs_BTK.shape[:-1])

    def ordered(self, weight_MK: Tensor) -> Tensor:
        """The matrix of the way forward, (K, M), for plain products that do more than ``forward``."""
        return self._forward.ordered(weight_MK.t())

    def back(self, gradient_BTM: Tensor, weight_MK: Tensor) -> Tensor:
        """The gradient of the inputs: (B, T, K)."""
        gradient_NM = gradient_BTM.flatten(0, -2)
        return self._back.multiply(gradient_NM, weight_MK).unflatten(0, gradient_BTM.shape[:-1])


def project(inputs_BTK: Tensor, layer: nn.Linear, products: FrozenProducts) -> Tensor:
    """A frozen linear layer: (B, T, K) -> (B, T, M)."""
    if not product_type(inputs_BTK) == inputs_BTK.dtype == layer.weight.dtype:
        return layer(inputs_BTK)
    return _Project.apply(inputs_BTK, layer.weight, layer.bias, products)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs_BTK: Tensor, weight_MK: Tensor, bias_M: Tensor, products: FrozenProducts) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(weight_MK)
        ctx.products = products
        return products.forward(inputs_BTK, weight_MK).add_(bias_M)

    @staticmethod
    def backward(ctx: Any, gradient_BTM: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        (weight_MK,) = ctx.saved_tensors
        return ctx.products.back(gradient_BTM, weight_MK), None, None, None
