"""A TorchScript archive gives the tensors that the library's own loading gives, and none of its code runs."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from builders.published import their_model
from torch import Tensor, nn

from htunet.errors import HtunetError
from htunet.models.weights.formats import read_state
from htunet.models.weights.torchscript import read_torchscript

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class Everything(nn.Module):
    """Parameters, buffers, a tensor that is neither, shared and strided tensors, lists, modules within modules."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.ones(2)
        self.register_buffer("mean", torch.arange(3))
        self.register_buffer("empty", torch.zeros(0, 4))
        self.weight = nn.Parameter(torch.rand(4, 6)[::2, 1:])
        self.tied = self.weight
        self.number, self.numbers, self.text, self.words, self.known = 3, [1, 2], "text", ["a", "b"], {"a": 1}
        self.layers = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        constant = len(self.words) + self.known["a"] + self.numbers[0]
        return self.layers(x) * self.plain.sum() + constant + self.tied.sum() + self.number + self.mean.sum()


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


def test_a_scripted_module_has_the_state_that_the_library_reads(tmp_path: Path) -> None:
    path = tmp_path / "all.pt"
    for module in (Everything(), Everything().half(), Everything().double()):
        torch.jit.script(module).save(str(path))
        assert_same(read_torchscript(path), torch.jit.load(str(path)).state_dict())


def test_a_scripted_clip_in_half_precision_has_the_state_that_the_library_reads(home: Path) -> None:
    path = home / "clip.pt"
    state = their_model("CLIP", home, tiny=True).half().state_dict()
    module = nn.Module()
    for name, value in state.items():
        module.register_buffer(name.replace(".", "__"), value)
    torch.jit.script(module).save(str(path))
    found = read_torchscript(path)
    assert_same(found, torch.jit.load(str(path)).state_dict())
    assert torch.float16 in {value.dtype for value in found.values()}


class Writer(nn.Module):
    """Its file restores itself by writing another file."""

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2))
        self.victim = victim

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, str, bool]:
        return self.weight, self.victim, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, str, bool]) -> None:
        self.weight = torch.from_file(state[1], True, 16)
        self.victim, self.training = state[1], state[2]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight.sum()


def test_code_of_an_archive_never_runs(tmp_path: Path) -> None:
    path, victim = tmp_path / "evil.pt", tmp_path / "victim.bin"
    torch.jit.script(Writer(str(victim))).save(str(path))
    with pytest.raises(HtunetError, match=r"evil\.pt cannot be read as weights \(.*restores itself by code of its own"):
        read_state(path)
    assert not victim.exists()
    torch.jit.load(str(path))
    assert victim.exists(), "the library runs it: this is what the test is about"


class Runs:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        import os

        return os.system, ("echo run",)


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """A copy of an archive with other records."""
    target = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    return target


@pytest.mark.parametrize(
    ("record", "change", "message"),
    [
        ("data.pkl", lambda _: pickle.dumps(Runs()), "neither a module nor a tensor"),
        ("data.pkl", lambda _: pickle.dumps([1, 2]), "it is not a module"),
        ("data.pkl", lambda content: content[:100], "cannot be read as weights"),
        ("data/0", lambda content: content[:-1], "has not the size of its tensor"),
        ("byteorder", lambda _: b"big", "byte order"),
    ],
)
def test_a_damaged_or_hostile_archive_is_one_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], record: str, change: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "all.pt"
    torch.jit.script(Everything()).save(str(path))
    hit: list[str] = []

    def damage(name: str, content: bytes) -> bytes:
        if not name.endswith(f"/{record}"):
            return content
        hit.append(name)
        return change(content)

    with pytest.raises(HtunetError, match=message):
        read_state(rewritten(path, damage))
    assert hit
    assert "run" not in capfd.readouterr().out


def test_a_tensor_cannot_reach_beyond_its_values(tmp_path: Path) -> None:
    path = tmp_path / "all.pt"
    module = nn.Module()
    module.register_buffer("b", torch.arange(7, dtype=torch.int64))
    torch.jit.script(module).save(str(path))

    def stretched(name: str, content: bytes) -> bytes:
        return content.replace(b"(K\x07", b"(K\x7f") if name.endswith("/data.pkl") else content

    with pytest.raises(HtunetError, match="reaches beyond its values"):
        read_state(rewritten(path, stretched))
