"""The precision that the user asks for, and what the device has."""

import pytest
import torch

from htunet.errors import UsageError
from htunet.models import precision
from htunet.models.precision import FABRIC_PRECISION, find_device, fp32_products, has_bf16, resolve_precision


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_what_the_device_has(monkeypatch: pytest.MonkeyPatch, able: bool, expected: str) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: able)
    assert resolve_precision("auto", "cpu") == expected


@pytest.mark.parametrize("requested", ["bf16", "fp32"])
@pytest.mark.parametrize("able", [True, False])
def test_a_wish_is_kept(monkeypatch: pytest.MonkeyPatch, able: bool, requested: str) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: able)
    assert resolve_precision(requested, "cpu") == requested


@pytest.mark.parametrize(
    ("number_format", "able", "warned"),
    [("bf16", False, True), ("bf16", True, False), ("fp32", False, False)],
)
def test_emulated_bf16_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number_format: str, able: bool, warned: bool
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: able)
    precision.warn_if_emulated(number_format, "cpu")
    assert ("This processor has no instructions for bf16" in caplog.text) is warned


@pytest.mark.parametrize("requested", ["fp16", "BF16", ""])
def test_another_word_is_refused_with_the_known_ones(requested: str) -> None:
    with pytest.raises(UsageError, match="auto, bf16, tf32 or fp32"):
        resolve_precision(requested, "cpu")


def test_the_device_is_the_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [find_device(name) for name in ("auto", "cpu", "mps")] == ["cpu", "cpu", "mps"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"--device mps: this torch finds no Apple GPU .* --device cpu"):
        find_device("mps")
    with pytest.raises(UsageError, match="--device takes auto, cpu, cuda, mps, got 'gpu'"):
        find_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [find_device(name) for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


def test_an_unknown_device_has_no_bf16_and_the_cpu_answers() -> None:
    assert has_bf16("mps") is False
    assert has_bf16("cpu") in (True, False)


def test_every_precision_has_a_word_for_the_trainer() -> None:
    assert set(FABRIC_PRECISION) == {resolve_precision(requested, "cuda") for requested in ("bf16", "tf32", "fp32")}


def test_tf32_is_fp32_where_there_is_no_gpu() -> None:
    assert resolve_precision("tf32", "cpu") == "fp32"


@pytest.mark.parametrize(("name", "rounded"), [("bf16", False), ("tf32", True), ("fp32", False)])
def test_a_gpu_rounds_factors_of_all_fp32_products_or_of_none(name: str, rounded: bool) -> None:
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    with fp32_products(name):
        assert [switch.allow_tf32 for switch in switches] == [rounded, rounded]
    assert [switch.allow_tf32 for switch in switches] == before  # the user's own computations go on as they were


def test_a_torch_without_the_private_question_about_bf16_trains_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert has_bf16("cpu") is False
    assert resolve_precision("auto", "cpu") == "fp32"
