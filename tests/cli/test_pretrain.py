"""The command htunet_pretrain: its options, what it writes, and what starts from that."""

from dataclasses import fields
from pathlib import Path

import pytest

from htunet.cli.pretrain import main
from htunet.files import read_object
from htunet.pretraining.settings import PretrainSettings

TINY = ("--images", "8", "--passes", "1", "--size", "32", "--batch-size", "4", "--validation", "2", "--pool", "8")
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


def test_wrong_usage_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["VGG", *TINY]) == 2
    assert "'VGG' cannot be pre-trained; known: UNet" in capsys.readouterr().err
    assert main(["UNet", "--hours", "1", "--passes", "3"]) == 2
    assert "choose one" in capsys.readouterr().err
    assert not (home / "weights").exists()
