"""htunet_figures from the outside: names, what is left out and why, exit codes."""

from pathlib import Path

import pytest
from builders.figures import build_everything

from htunet.cli.figures import main


def test_the_list_says_what_each_figure_shows_and_draws_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert "figure4: The paper's figure 4" in out
    assert len(out.splitlines()) == 10
    assert not (home / "results").exists()


def test_asked_figures_are_written_and_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_everything()
    assert main(["dice_distribution", "roc", "--datasets", "BUSI", "--methods", "BiomedCLIP_HT"]) == 0
    folder = home / "results" / "figures"
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{name}_BUSI.{end}" for name in ("dice_distribution", "roc") for end in ("png", "pdf")}
    assert str(folder / "roc_BUSI.png") in capsys.readouterr().out


def test_what_there_is_nothing_for_is_said_with_the_command_that_provides_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_everything()
    assert main(["figure4", "noise", "--methods", "UNet"]) == 1
    captured = capsys.readouterr()
    assert "figure4.png" in captured.out
    assert "Skipped noise: no run with a noise estimator" in captured.err
    assert "htunet_train BUSI PhantomCLIP_HT fold0" in captured.err


def test_without_any_result_the_first_command_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "htunet_train BUSI UNet fold0" in capsys.readouterr().err


def test_an_unknown_name_is_a_usage_error_with_the_nearest_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figure_4"]) == 2
    assert "Did you mean 'figure4'" in capsys.readouterr().err
    build_everything()
    assert main(["roc", "--methods", "UNte"]) == 2
    assert main(["roc", "--seed", "77"]) == 2
    assert main(["roc", "--datasets", "BUSY"]) == 2
