"""The command htunet_train: its options, its exit codes, and what it says."""

import errno
import re
import signal
from argparse import ArgumentTypeError
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from builders.training import STEPS, run_of

from htunet.cli.arguments import fold_number
from htunet.cli.train import main
from htunet.files import PART, read_json
from htunet.paths import DatasetPaths
from htunet.training import session
from htunet.training.settings import TrainSettings

TINY = ("--plan", "tiny", "--device", "cpu", "--precision", "fp32", "--workers", "0", "--num-epochs", "2")

pytestmark = pytest.mark.usefixtures("log_handlers", "without_pictures")


def test_help_lists_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in fields(TrainSettings):
        assert f"--{field.name.replace('_', '-')} " in text
        assert field.metadata["help"] in text
        assert field.default in (None, False) or f"(default: {field.default})" in text


@pytest.mark.parametrize("fold", ["fold0", "0"])
def test_a_run_is_trained_and_the_next_command_named(
    tiny: DatasetPaths, capsys: pytest.CaptureFixture[str], fold: str
) -> None:
    assert main(["Tiny", "Plain", fold, *TINY]) == 0
    output = capsys.readouterr().out
    figures = read_json(run_of(tiny, "Plain").finished_json)
    best = f"best validation Dice {figures['best_val_dice']:.4f} in epoch {figures['best_epoch']}"
    assert f"Finished: Tiny Plain fold0 seed1 (plan tiny), {best}." in output
    assert str(run_of(tiny, "Plain").folder) in output
    assert output.endswith("Next: htunet_evaluate\n")
    assert "epoch 1/2: loss" in output


def test_all_folds_are_trained_one_after_another(tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["Tiny", "Plain", "all-folds", *TINY]) == 0
    output = capsys.readouterr().out
    folds = len(read_json(tiny.splits_json))
    assert folds > 1
    assert [output.count(f"Finished: Tiny Plain fold{fold} seed1") for fold in range(folds)] == [1] * folds
    assert output.count("epoch 1/2: loss") == folds  # each line once, although the log was opened again
    assert output.endswith("Next: htunet_evaluate\n")


@pytest.mark.parametrize(("task", "figure"), [("cls", "AUC"), ("seg+cls", "mean of Dice and AUC")])
def test_another_task_is_said_first_and_its_figure_last(
    tiny: DatasetPaths, capsys: pytest.CaptureFixture[str], task: str, figure: str
) -> None:
    assert main(["Tiny", "TINY", "fold0", *TINY, "--weights", "random", "--task", task]) == 0
    first, *_ = lines = capsys.readouterr().out.splitlines()
    about = re.escape(f"Training Tiny TINY fold0 seed1 (plan tiny, task {task}) on cpu, fp32, random weights, ")
    assert re.match(rf"{about}\d+ threads?: 14 ", first)
    assert any(f"task {task}), best validation {figure} " in line for line in lines)


def test_a_finished_run_says_so_and_restart_begins_anew(tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]) -> None:
    for options, word in (((), "Finished: "), ((), "Already finished: "), (("--restart",), "Finished: ")):
        assert main(["903", "Plain", "fold0", *TINY, *options]) == 0
        assert any(line.startswith(word) for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("text", ["fold", "foldx", "x", "fold-1", "-1", "1.5", "fold0x", " "])
def test_a_bad_fold_is_a_usage_error_that_shows_a_good_one(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["Tiny", "Plain", *TINY, "--", text])
    assert end.value.code == 2
    assert "fold0" in capsys.readouterr().err.splitlines()[-1]


def test_folds_are_written_both_ways() -> None:
    assert [fold_number(text) for text in ("fold0", "0", "fold12", "3")] == [0, 0, 12, 3]
    with pytest.raises(ArgumentTypeError, match="'fold' is not a fold"):
        fold_number("fold")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("Tinny", "Plain", "0"), "Did you mean 'Tiny'?", id="data set"),
        pytest.param(("Tiny", "UNett", "0"), "Did you mean 'UNet'?", id="method"),
        pytest.param(("Tiny", "Plain", "7"), "fold7 does not exist", id="fold"),
        pytest.param(("Tiny", "Plain", "0", "--plan", "tinny"), "Did you mean 'tiny'?", id="plan"),
        pytest.param(("Tiny", "Plain", "0", "--num-epochs", "0"), "--num-epochs must be at least 1", id="epochs"),
    ],
)
def test_what_cannot_be_meant_exits_with_2_and_one_line(
    tiny: DatasetPaths, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    names, options = arguments[:3], arguments[3:]
    assert main([*names, *TINY, *options]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("htunet_train: error: ")
    assert message in errors[0]


def test_a_device_outside_the_choices_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["Tiny", "Plain", "0", "--device", "tpu"])
    assert end.value.code == 2
    assert "'auto', 'cpu', 'cuda', 'mps'" in capsys.readouterr().err


def test_missing_arrays_exit_with_1_and_the_next_command(
    tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny.plan_folder("tiny") / "preprocessed.json").unlink()
    assert main(["Tiny", "Plain", "0", *TINY]) == 1
    assert "htunet_plan_and_preprocess -d Dataset903_Tiny --plan tiny" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["write_bytes", "replace"])
@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "The disk is full"), (errno.EROFS, "The folder is read-only")]
)
def test_a_disk_that_refuses_leaves_the_old_checkpoints_whole(
    tiny: DatasetPaths,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    method: str,
    number: int,
    advice: str,
) -> None:
    asked = iter([False] * (STEPS + 1))
    with monkeypatch.context() as patch:
        patch.setattr(session.StopSignals, "requested", lambda _: next(asked, True))
        assert main(["Tiny", "Plain", "0", *TINY]) == 128 + signal.SIGTERM
    paths = run_of(tiny, "Plain")
    before = {path: path.read_bytes() for path in (paths.checkpoint_latest, paths.checkpoint_best)}
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(session, "SAVE_SECONDS", 0.0)
        patch.setattr(Path, method, refusing(getattr(Path, method), number))
        assert main(["Tiny", "Plain", "0", *TINY]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert advice in errors[0]
    assert {path: path.read_bytes() for path in before} == before
    assert not list(paths.folder.rglob(f"{PART}*"))
    assert main(["Tiny", "Plain", "0", *TINY]) == 0


def refusing(original: Any, number: int) -> Any:
    """A method of Path that fails for checkpoints, after a half of the file where it writes."""

    def refuse(path: Path, argument: Any) -> Any:
        if "checkpoint" not in path.name:
            return original(path, argument)
        if isinstance(argument, bytes):
            original(path, argument[: len(argument) // 2])
        raise OSError(number, "refused", str(path))

    return refuse
