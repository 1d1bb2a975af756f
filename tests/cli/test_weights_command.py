"""htunet_weights: what is there, what is missing, what is damaged, and files that somebody fetched by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from builders.backbone import register_tiny
from builders.published import TINY_BERT, published_state, their_model, tiny_towers, write_vocabulary
from huggingface_hub import constants
from safetensors.torch import save_file

from htunet.cli.train import main as train
from htunet.cli.weights import main
from htunet.models.catalogue import CATALOGUE
from htunet.models.weights.store import HASHES, find_any
from htunet.paths import DatasetPaths


@pytest.fixture(scope="module", autouse=True)
def _tiny_architecture(tmp_path_factory: pytest.TempPathFactory) -> None:
    register_tiny(tmp_path_factory.mktemp("configs"))


@pytest.fixture(autouse=True)
def _without_network(home: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    """Sockets are closed, and the hub's cache is empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def small() -> Iterator[None]:
    with tiny_towers():
        yield


@pytest.fixture
def unimed(tmp_path: Path) -> Path:
    """A file that holds what UniMed-CLIP's does, and the words beside it."""
    bert = write_vocabulary(tmp_path / "bert", **TINY_BERT).parent
    torch.manual_seed(0)
    torch.save(
        {"state_dict": published_state("UniMedCLIP", their_model("UniMedCLIP", bert, tiny=True))}, tmp_path / "u.pt"
    )
    return tmp_path / "u.pt"


def test_the_list_has_every_model_with_its_licence_and_says_what_is_missing(
    home: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "weights" / "CLIP").mkdir(parents=True)
    (home / "weights" / "CLIP" / "ViT-B-16.pt").write_bytes(b"")
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert f"here: {home / 'weights' / 'CLIP' / 'ViT-B-16.pt'}" in text
    assert "not here (open_clip_pytorch_model.bin, 784 MB)" in text
    for name, entry in CATALOGUE.items():
        assert name in text
        assert entry.licence in text
    assert asked == []


def test_only_download_tries_the_network(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    assert asked == []
    assert main(["download", "ResNet18"]) == 1
    assert asked
    assert "resnet18-f37072fd.pth of ResNet18 cannot be downloaded" in capsys.readouterr().err


def test_training_on_missing_weights_opens_no_socket_and_names_the_command(
    tiny: DatasetPaths, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train([tiny.short_name, "BiomedCLIP_HT", "fold0", "--plan", "tiny", "--device", "cpu"]) == 1
    error = capsys.readouterr().err
    assert "open_clip_pytorch_model.bin (784 MB)" in error
    assert "htunet_weights download BiomedCLIP" in error
    assert "weights/BiomedCLIP/" in error
    assert asked == []


@pytest.mark.usefixtures("small")
def test_a_file_is_known_by_its_tensors_and_then_used(
    unimed: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(unimed)]) == 0
    target = home / "weights" / "UniMedCLIP" / "imported.pt"
    assert target.read_bytes() == unimed.read_bytes()
    out = capsys.readouterr().out
    assert f"UniMedCLIP: {target}" in out
    assert "not for commercial use" in out
    assert main(["import", str(unimed.parent / "bert" / "vocab.txt"), "--as", "UniMedCLIP"]) == 0
    assert main(["verify", "UniMedCLIP"]) == 0
    assert f"{target} is complete and fits" in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_a_file_that_was_damaged_after_its_import_is_named(
    unimed: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["import", str(unimed)])
    target = home / "weights" / "UniMedCLIP" / "imported.pt"
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    assert main(["verify"]) == 1
    assert f"UniMedCLIP: {target} is damaged or another file" in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_a_file_that_fits_two_models_or_another_one_is_refused(
    home: Path, tmp_path: Path, unimed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(published_state("CLIP", their_model("CLIP", tmp_path, tiny=True)), tmp_path / "c.pt")
    assert main(["import", str(tmp_path / "c.pt")]) == 1
    assert "it fits CLIP and MetaCLIP. Say whose weights it holds: --as NAME" in capsys.readouterr().err
    assert main(["import", str(unimed), "--as", "CLIP"]) == 1
    assert "does not fit this model" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "c.pt"), "--as", "MetaCLIP"]) == 0
    folder = home / "weights" / "MetaCLIP"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", HASHES, "imported.pt"]
    other = {name: value.contiguous() + 1 for name, value in torch.load(tmp_path / "c.pt").items()}
    save_file(other, tmp_path / "other.safetensors")
    assert main(["import", str(tmp_path / "other.safetensors"), "--as", "MetaCLIP"]) == 0  # the later one is used
    assert find_any("MetaCLIP") == folder / "imported.safetensors"
    (folder / "imported.safetensors").rename(folder / "b16_400m.pt")  # a published one, which goes first
    assert main(["import", str(tmp_path / "c.pt"), "--as", "MetaCLIP"]) == 1
    assert f"{folder / 'b16_400m.pt'} is used for MetaCLIP" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["download"], "Name what to download"),
        (["download", "CLIPP"], "Did you mean 'CLIP'"),
        (["import"], "takes one file"),
        (["verify", "CLIP", "--as", "CLIP"], "--as is an option of htunet_weights import"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_weights_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.pt").write_text("<html>404</html>")
    assert main(["import", str(tmp_path / "page.pt")]) == 1
    assert "page.pt cannot be read as weights" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "none.pt"), "--as", "CLIP"]) == 1
    assert "none.pt is missing" in capsys.readouterr().err
