"""Products with matrices in MKL's order: the same values, and the plain product wherever the order does not fit."""

import copy
import pickle

import pytest
import torch
from builders.backbone import draw, pictures, tiny_in_place_of_clip
from torch import Tensor, nn

from htunet.models.build import build_network
from htunet.models.kernels.frozen_linear import FrozenProducts, PackedMatrix, project
from htunet.models.network import EncoderNetwork
from htunet.models.tasks import Outputs

ROWS, INPUTS, OUTPUTS = 6, 16, 8
SIDE = 64

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="PyTorch was built without MKL")


class Multiplied:
    """Counts the products with packed matrices."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packed = 0
        real = torch.ops.mkl._mkl_linear

        def counted(*arguments: object) -> Tensor:
            self.packed += 1
            return real(*arguments)

        monkeypatch.setattr(torch.ops.mkl, "_mkl_linear", counted)


@pytest.fixture
def multiplied(monkeypatch: pytest.MonkeyPatch) -> Multiplied:
    return Multiplied(monkeypatch)


def frozen(inputs: int = INPUTS, outputs: int = OUTPUTS) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(inputs, outputs).requires_grad_(False)


def packed(layer: nn.Linear, *, back: bool = True) -> FrozenProducts:
    products = FrozenProducts()
    products.pack(layer, ROWS, back=back)
    return products


@needs_mkl
def test_a_packed_product_and_its_gradient_are_the_plain_ones(multiplied: Multiplied) -> None:
    layer = frozen()
    inputs = pictures(2, ROWS // 2, INPUTS).requires_grad_()
    result = project(inputs, layer, packed(layer))
    torch.testing.assert_close(result, layer(inputs))
    weights = pictures(*result.shape, seed=2)
    (result * weights).sum().backward()
    torch.testing.assert_close(inputs.grad, weights @ layer.weight)
    assert multiplied.packed == 2


def test_nothing_is_packed_unasked(multiplied: Multiplied) -> None:
    layer = frozen()
    inputs = pictures(2, ROWS // 2, INPUTS).requires_grad_()
    project(inputs, layer, FrozenProducts()).sum().backward()
    assert multiplied.packed == 0


def test_another_number_of_rows_is_multiplied_plainly(multiplied: Multiplied) -> None:
    layer = frozen()
    inputs = pictures(1, ROWS + 1, INPUTS)
    torch.testing.assert_close(project(inputs, layer, packed(layer)), layer(inputs))
    assert multiplied.packed == 0


def test_a_matrix_that_has_changed_since_gives_its_new_product(multiplied: Multiplied) -> None:
    layer = frozen()
    products = packed(layer)
    inputs = pictures(1, ROWS, INPUTS)
    layer.weight.mul_(2)
    torch.testing.assert_close(project(inputs, layer, products), layer(inputs))
    other = frozen()
    torch.testing.assert_close(project(inputs, other, products), other(inputs))
    assert multiplied.packed == 0


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_other_types_are_multiplied_plainly(kind: torch.dtype, multiplied: Multiplied) -> None:
    layer = frozen().to(kind)
    inputs = pictures(1, ROWS, INPUTS).to(kind)
    torch.testing.assert_close(project(inputs, layer, packed(layer)), inputs @ layer.weight.t() + layer.bias)
    assert multiplied.packed == 0


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_under_autocast_the_product_and_its_gradient_are_autocasts(kind: torch.dtype, multiplied: Multiplied) -> None:
    layer = frozen()
    inputs = pictures(1, ROWS, INPUTS).to(kind).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        result = project(inputs, layer, packed(layer))
    result.sum().backward()
    assert result.dtype == torch.bfloat16
    assert inputs.grad is not None
    assert inputs.grad.dtype == kind
    assert multiplied.packed == 0


@pytest.mark.parametrize(("inputs", "outputs"), [(INPUTS, OUTPUTS), (OUTPUTS, INPUTS)])
def test_in_bf16_the_way_forward_reads_rows_that_lie_one_after_the_other(inputs: int, outputs: int) -> None:
    layer = frozen(inputs, outputs).to(torch.bfloat16)
    plain, products = FrozenProducts(), packed(layer)
    assert not plain.ordered(layer.weight).is_contiguous()
    assert products.ordered(layer.weight).is_contiguous()
    assert torch.equal(products.ordered(layer.weight), layer.weight.t())
    rows = pictures(1, ROWS + 1, inputs).to(torch.bfloat16)
    torch.testing.assert_close(products.forward(rows, layer.weight), rows @ layer.weight.t())
    layer.weight.mul_(2)
    assert torch.equal(products.ordered(layer.weight), layer.weight.t())


def test_a_layer_that_trains_is_not_packed(multiplied: Multiplied) -> None:
    layer = frozen().requires_grad_()
    packed(layer).forward(pictures(1, ROWS, INPUTS), layer.weight)
    assert multiplied.packed == 0


@needs_mkl
def test_a_layer_with_more_outputs_than_inputs_is_packed_for_the_way_back_alone(multiplied: Multiplied) -> None:
    layer = frozen(OUTPUTS, INPUTS)
    products = packed(layer)
    products.forward(pictures(1, ROWS, OUTPUTS), layer.weight)
    assert multiplied.packed == 0
    products.back(pictures(1, ROWS, INPUTS), layer.weight)
    assert multiplied.packed == 1


def test_a_way_back_that_nobody_goes_is_not_packed(multiplied: Multiplied) -> None:
    layer = frozen()
    packed(layer, back=False).back(pictures(1, ROWS, OUTPUTS), layer.weight)
    assert multiplied.packed == 0


def test_a_copy_has_nothing_packed(multiplied: Multiplied) -> None:
    matrix = pictures(INPUTS, OUTPUTS)
    one = PackedMatrix()
    one.pack(matrix, ROWS)
    rows = pictures(ROWS, INPUTS)
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        torch.testing.assert_close(twin.multiply(rows, matrix), rows @ matrix)
        assert vars(twin) == vars(PackedMatrix())
    assert multiplied.packed == 0


def network_of(method: str) -> EncoderNetwork:
    with tiny_in_place_of_clip():
        network, _ = build_network(method, Outputs(), seed=1, weights="random", adapter_settings={"dropout": 0.0})
    assert isinstance(network, EncoderNetwork)
    for number, (_, module) in enumerate(network.trainable_modules()):
        draw(module, seed=number)
    return network.train()


def step(network: EncoderNetwork, images: int) -> list[Tensor]:
    """Scores and gradients of one step."""
    generator = torch.Generator().manual_seed(0)
    scores = network(torch.randint(0, 256, (images, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8))
    assert isinstance(scores, Tensor)
    (scores * pictures(*scores.shape)).sum().backward()
    gradients = [torch.zeros(1) if p.grad is None else p.grad for p in network.trainable_parameters()]
    return [scores.detach(), *gradients]


# in each of 10 blocks two of four layers have no more outputs than inputs. HT: the way back ends before the first
# block. LoRA: it goes through all, and the attention's layers train
@needs_mkl
@pytest.mark.parametrize(("method", "products"), [("CLIP_HT", 10 * 2 + 9 * 4), ("CLIP_LoRA", 10 + 10 * 2)])
def test_a_step_of_a_prepared_network_is_that_of_another(method: str, products: int, multiplied: Multiplied) -> None:
    expected = step(network_of(method), images=2)
    assert multiplied.packed == 0
    prepared = network_of(method)
    prepared.prepare_steps(2, (SIDE, SIDE))
    for ours, plain in zip(step(prepared, images=2), expected, strict=True):
        torch.testing.assert_close(ours, plain)
    assert multiplied.packed == products
    step(prepared, images=1)
    assert multiplied.packed == products
