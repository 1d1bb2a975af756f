"""A checkpoint comes back bit by bit, fits only where it was made, and is never half a file."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import htunet
from htunet.errors import HtunetError
from htunet.models import checkpoint
from htunet.models.build import build_network
from htunet.models.network import Network
from htunet.models.tasks import Outputs
from htunet.models.weights.load import WeightsRecord

pytestmark = pytest.mark.usefixtures("tiny")
TENSORS = {
    "model.a": torch.tensor([0.1, -0.0, float("inf"), 1e-45]),
    "model.b": torch.arange(6, dtype=torch.int64).reshape(2, 3).T,
    "optimizer.0.step": torch.tensor(7.0),
    "half": torch.tensor([0.1, 3.0], dtype=torch.bfloat16),
}
PRETRAINED = WeightsRecord(source="pretrained", file="ViT-B-16.pt", sha256="c0ffee" * 10)


def bits(value: Tensor) -> bytes:
    return value.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def built(seed: int = 1) -> tuple[Network, WeightsRecord]:
    return build_network("CLIP_HT", Outputs(), seed=seed, weights="random")


def write(path: Path, network: Network, weights: WeightsRecord, **settings: Any) -> None:
    tensors = {checkpoint.MODEL + key: value for key, value in network.trainable_state().items()}
    checkpoint.save(path, tensors, checkpoint.describe("CLIP_HT", weights, settings))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint_best.safetensors"


def test_tensors_and_description_come_back_bit_by_bit(path: Path) -> None:
    about = {"method": "CLIP_HT", "numbers": [1, 0.1, None], "words": "Größe 10 µm"}
    checkpoint.save(path, TENSORS, about)
    tensors, found = checkpoint.load(path)
    assert found == about | {"format": checkpoint.FORMAT}
    assert tensors.keys() == TENSORS.keys()
    for key, value in TENSORS.items():
        assert (tensors[key].dtype, tensors[key].shape, bits(tensors[key])) == (value.dtype, value.shape, bits(value))


def test_a_parameter_that_needs_a_gradient_is_saved_without_its_graph(path: Path) -> None:
    parameter = nn.Parameter(torch.ones(2))
    checkpoint.save(path, {"w": parameter * 2}, {})
    assert not checkpoint.load(path)[0]["w"].requires_grad


def test_the_file_is_safetensors_and_its_text_strict_json(path: Path) -> None:
    checkpoint.save(path, TENSORS, {"method": "CLIP_HT"})
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert set(header) == {"__metadata__", *TENSORS}

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    about = json.loads(header["__metadata__"][checkpoint.KEY], parse_constant=refuse)
    assert about == {"format": checkpoint.FORMAT, "method": "CLIP_HT"}
    with safe_open(path, framework="pt") as opened:
        assert set(opened.keys()) == set(TENSORS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("here")], ids=str)
def test_a_description_that_is_not_json_leaves_the_old_file(path: Path, value: object) -> None:
    checkpoint.save(path, TENSORS, {"epoch": 1})
    with pytest.raises((ValueError, TypeError)):
        checkpoint.save(path, TENSORS, {"epoch": 2, "loss": value})
    assert checkpoint.load(path)[1]["epoch"] == 1


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_process_that_is_stopped_while_writing_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    checkpoint.save(path, TENSORS, {"epoch": 1})
    before = path.read_bytes()

    def half(part: Path, content: bytes) -> None:
        with part.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(type(error)):
        checkpoint.save(path, TENSORS, {"epoch": 2})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_a_killed_process_left_does_not_stop_the_next(path: Path) -> None:
    left = path.parent / f".part-{path.name}"
    left.write_bytes(b"half of a file")
    os.utime(left, (0, 0))
    checkpoint.save(path, TENSORS, {"epoch": 1})
    assert checkpoint.load(path)[1]["epoch"] == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_missing_checkpoint_is_named(path: Path) -> None:
    with pytest.raises(HtunetError, match=rf"{path.name} is missing: train first"):
        checkpoint.load(path)


@pytest.mark.parametrize("length", [0, 4, 60, -1])
def test_a_truncated_file_gives_one_error_with_its_name(path: Path, length: int) -> None:
    checkpoint.save(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(HtunetError, match=rf"{path.name} cannot be read.*--restart") as raised:
        checkpoint.load(path)
    assert len(str(raised.value).splitlines()) == 1


def test_a_pickle_is_refused(path: Path) -> None:
    torch.save({"model.a": torch.zeros(1)}, path)
    with pytest.raises(HtunetError, match="cannot be read"):
        checkpoint.load(path)


@pytest.mark.parametrize("text", [None, "{not json", "[]", '"text"'])
def test_a_file_of_somebody_else_is_refused(path: Path, text: str | None) -> None:
    save_file({"a": torch.zeros(1)}, path, metadata=None if text is None else {checkpoint.KEY: text})
    with pytest.raises(HtunetError, match=rf"{path.name} .*--restart"):
        checkpoint.load(path)


@pytest.mark.parametrize("number", [None, 0, 2, "1"])
def test_another_format_is_refused_with_both_numbers(path: Path, number: object) -> None:
    text = json.dumps({"format": number} if number is not None else {})
    save_file({"a": torch.zeros(1)}, path, metadata={checkpoint.KEY: text})
    with pytest.raises(HtunetError, match=rf"has format {number}, this version reads {checkpoint.FORMAT}"):
        checkpoint.load(path)


def test_a_network_is_restored_bit_by_bit(path: Path) -> None:
    network, weights = built(seed=1)
    write(path, network, weights, num_epochs=3)
    other, same = built(seed=2)
    about = checkpoint.restore(other, same, path)
    for key, value in network.trainable_state().items():
        assert bits(other.trainable_state()[key]) == bits(value), key
    assert (about["method"], about["settings"], about["weights"]) == ("CLIP_HT", {"num_epochs": 3}, weights.content())
    assert about["made_by"]["htunet"] == htunet.__version__
    assert {"torch", "open_clip_torch", "commit", "python"} <= set(about["made_by"])


def test_no_frozen_weight_is_in_a_checkpoint(path: Path) -> None:
    network, weights = built()
    write(path, network, weights)
    frozen = network.frozen_module()
    assert frozen is not None
    trained = sum(parameter.numel() for parameter in network.trainable_parameters())
    assert path.stat().st_size < 4 * trained + 100_000 < 4 * sum(p.numel() for p in network.parameters())


def test_what_is_not_of_the_model_is_left_to_its_owner(path: Path) -> None:
    network, weights = built()
    tensors = {checkpoint.MODEL + key: value for key, value in network.trainable_state().items()}
    about = checkpoint.describe("CLIP_HT", weights, {})
    checkpoint.save(path, tensors | {"optimizer.0.step": torch.zeros(1)}, about)
    assert checkpoint.restore(network, weights, path)["method"] == "CLIP_HT"


def test_other_frozen_weights_are_refused_and_nothing_is_loaded(path: Path) -> None:
    network, weights = built()
    write(path, network, PRETRAINED)
    other, _ = built(seed=2)
    before = {key: bits(value) for key, value in other.trainable_state().items()}
    with pytest.raises(HtunetError) as raised:
        checkpoint.restore(other, weights, path)
    message = str(raised.value)
    assert all(part in message for part in (path.name, "pretrained", "c0ffeec0ffee", "random", weights.identity[:12]))
    assert {key: bits(value) for key, value in other.trainable_state().items()} == before


def test_the_same_frozen_weights_from_another_file_fit(path: Path) -> None:
    network, weights = built()
    write(path, network, WeightsRecord(source="file", file="copy.pt", sha256=weights.sha256))
    assert checkpoint.restore(network, weights, path)["weights"]["file"] == "copy.pt"


def test_the_text_towers_must_be_equal_where_both_are_known(path: Path) -> None:
    now = WeightsRecord(source="file", sha256="a" * 64, text_sha256="b" * 64)
    for then in (now, replace(now, text_sha256=None)):  # stage 2 loads none
        checkpoint.check_weights(path, {"weights": then.content()}, now)
        checkpoint.check_weights(path, {"weights": now.content()}, then)
    other = {"weights": replace(now, text_sha256="c" * 64).content()}
    with pytest.raises(HtunetError, match=r"file weights of the text encoder \(cccccccccccc\), but file weights \(bbb"):
        checkpoint.check_weights(path, other, now)


@pytest.mark.parametrize("damage", ["missing", "unexpected", "of another shape"])
def test_a_checkpoint_that_does_not_fit_names_the_method_and_the_tensor(path: Path, damage: str) -> None:
    network, weights = built()
    tensors = {checkpoint.MODEL + key: value for key, value in network.trainable_state().items()}
    key = "model.head.classify.bias"
    if damage == "missing":
        del tensors[key]
    else:
        tensors[key if damage == "of another shape" else "model.head.more"] = torch.zeros(9)
    checkpoint.save(path, tensors, checkpoint.describe("CLIP_HT", weights, {}))
    with pytest.raises(HtunetError, match=r"(?s)does not fit the method CLIP_HT.*(classify\.bias|more)"):
        checkpoint.restore(network, weights, path)


@pytest.mark.parametrize("about", [{}, {"weights": None}, {"weights": {"name": "x"}}], ids=str)
def test_a_checkpoint_that_does_not_say_its_weights_is_refused(path: Path, about: dict[str, Any]) -> None:
    network, weights = built()
    checkpoint.save(path, {}, about)
    with pytest.raises(HtunetError, match=rf"{path.name} .*weights"):
        checkpoint.restore(network, weights, path)


def test_where_everything_trains_the_weights_that_it_started_from_do_not_matter(path: Path) -> None:
    network, weights = build_network("UNet", Outputs(), seed=1, weights="random")
    write(path, network, PRETRAINED)
    other, _ = build_network("UNet", Outputs(), seed=2, weights="random")
    checkpoint.restore(other, weights, path)
    state = other.trainable_state()
    assert all(bits(state[key]) == bits(value) for key, value in network.trainable_state().items())
