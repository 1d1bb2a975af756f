"""The command htunet_pretrain: its options, what it writes, and what starts from that."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from htunet.cli.pretrain import main
from htunet.errors import HtunetError
from htunet.files import read_object
from htunet.models import checkpoint
from htunet.models.build import build_network
from htunet.models.tasks import CLASSIFICATION, Outputs
from htunet.pretraining.settings import PretrainSettings

TINY = ("--images", "8", "--passes", "1", "--size", "32", "--batch-size", "4", "--validation", "2", "--pool", "8")
CLASSES = Outputs(task=CLASSIFICATION, num_classes=2)
ON_CPU = ("--workers", "1", "--device", "cpu", "--precision", "fp32")


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in fields(PretrainSettings):
        assert f"--{field.name.replace('_', '-')} " in text
        assert field.metadata["help"] in text


def test_a_network_is_pretrained_into_the_weights_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["UNet", *TINY, *ON_CPU]) == 0
    folder = home / "weights" / "UNet"
    output = capsys.readouterr().out
    assert f"Finished: UNet in {folder}" in output
    assert f"--weights {folder / 'checkpoint.safetensors'}" in output
    recipe = read_object(folder / "recipe.json")
    assert (recipe["images"], recipe["steps"]) == (8, 2)
    assert main(["UNet", *TINY, *ON_CPU]) == 0
    assert "Already finished" in capsys.readouterr().out


def test_the_message_about_missing_weights_names_the_command_that_makes_them(home: Path) -> None:
    with pytest.raises(HtunetError, match="htunet_pretrain ResNet18") as missing:
        build_network("ResNet18", CLASSES, seed=1, weights="phantom")
    command = str(missing.value).partition("htunet_pretrain ")[2].partition(".")[0].split()
    assert main([*command, *TINY, *ON_CPU]) == 0
    network, record = build_network("ResNet18", CLASSES, seed=1, weights="phantom")
    stored = checkpoint.load(home / "weights" / "ResNet18" / "checkpoint.safetensors")[0]
    assert record.source == "phantom"
    first = next(iter(network.body.parameters()))  # type: ignore[union-attr]
    assert any(value.shape == first.shape and torch.equal(value.float(), first) for value in stored.values())


def test_wrong_usage_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["VGG", *TINY]) == 2
    assert "'VGG' cannot be pre-trained; known: UNet" in capsys.readouterr().err
    assert main(["UNet", "--hours", "1", "--passes", "3"]) == 2
    assert "choose one" in capsys.readouterr().err
    assert not (home / "weights").exists()
