"""What a shell sees of a command that a signal, a full disk, a closed pipe or the memory stops."""

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from htunet.cli.command import make_parser, run_command
from htunet.cli.convert import main as convert
from htunet.cli.predict import main as predict
from htunet.errors import HtunetError, StoppedBySignalError
from htunet.files import scratch_folder, whole_file, whole_folder
from htunet.reproducibility import record_command, recorded_commands
from htunet.training import machine, session
from htunet.training.run import train
from htunet.training.session import memory_ran_out


def run(action: Callable[[argparse.Namespace], None]) -> int:
    return run_command(make_parser("htunet_test", "A test."), action, [], announce=False)


def raising(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def action(_: argparse.Namespace) -> None:
        raise error

    return action


@pytest.mark.parametrize(("number", "code"), [(15, 143), (1, 129)])
def test_a_signal_is_an_exit_code_as_in_a_shell_and_no_error(
    number: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(StoppedBySignalError(number))) == code
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_path_is_refused_and_is_not_the_folder_in_which_one_is(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        predict(["-i", text, "-o", "out", "-d", "Tiny", "-m", "UNet"])
    assert stopped.value.code == 2
    assert "the path is empty" in capsys.readouterr().err


OutOfMemory = type("OutOfMemoryError", (RuntimeError,), {})


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8 GiB for an array"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OutOfMemory("CUDA out of memory. Tried to allocate 2.00 GiB"),
        ImportError("libtorch_cuda.so: failed to map segment from shared object"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=repr,
)
def test_memory_that_ran_out_is_no_bug(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(error)) == 1
    shown = capsys.readouterr().err
    assert "The memory ran out." in shown
    assert "bug" not in shown


WRITER = """
import logging, sys
from htunet.cli.command import make_parser, run_command
def action(options):
    logger = logging.getLogger("htunet")
    logger.addHandler(logging.StreamHandler(sys.stdout))
    logger.setLevel("INFO")
    for number in range(20000):
        logger.info("line %d", number)
    if sys.argv[1] == "print":
        for number in range(20000):
            print("line", number)
sys.exit(run_command(make_parser("htunet_test", "A test."), lambda options: action(options), [], announce=False))
"""


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """As in ``htunet_tables table2 | head -1``. A log that nobody reads does not stop a training."""
    script = tmp_path / "write.py"
    script.write_text(WRITER)
    for what, code in (("print", 141), ("log", 0)):
        process = subprocess.Popen(
            [sys.executable, str(script), what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        errors = process.stderr.read()
        assert (process.wait(), errors) == (code, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_that_is_full_is_one_line_and_a_failure(tmp_path: Path) -> None:
    script = tmp_path / "write.py"
    script.write_text(WRITER)
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, str(script), "print"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    assert result.stderr.startswith("htunet_test: error: No space left on device")
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


@pytest.mark.parametrize("writer", [whole_file, whole_folder])
def test_a_full_disk_names_what_could_not_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], writer: Callable[[Path], object]
) -> None:
    """``shutil.copyfile`` would name its source."""

    def action(_: argparse.Namespace) -> None:
        with writer(tmp_path / "results.csv"):  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/source.png")

    assert run(action) == 1
    assert f"({tmp_path / 'results.csv'})" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_folder_where_a_copy_into_scratch_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export copies a checkpoint there; the disk of the checkpoint has room."""

    def action(_: argparse.Namespace) -> None:
        with scratch_folder(tmp_path) as scratch:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run/best.safetensors", None, str(scratch / "copy"))

    assert run(action) == 1
    message = capsys.readouterr().err
    assert f"No space left on device ({tmp_path}). The disk is full. Free space, or write to another one" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_without_shared_memory_no_workers_are_used_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from builders.training import tiny_settings

    if sys.platform != "linux":
        pytest.skip("elsewhere workers need no such folder")
    monkeypatch.setattr(machine, "SHARED_MEMORY", str(tmp_path / "shm"))
    outcome = train("Tiny", "Plain", 0, tiny_settings(num_epochs=1, workers=2))
    assert outcome.status == "finished"
    assert "no worker processes are used" in caplog.text


@pytest.mark.usefixtures("tiny")
def test_a_gpu_without_memory_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """24 GB, of which 3 are free, 9 this process's and 12 another's."""
    from builders.training import tiny_plan, tiny_settings

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3e9, 24e9))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 9e9)
    text = memory_ran_out(tiny_plan(), 2, torch.device("cuda"))
    assert "a step of 4 images of 32 x 32" in text
    assert "Of its 24.0 GB this process took 9.0, others have 12.0" in text
    assert "--parts 4" in text

    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(session, "fit", out_of_memory)
    with pytest.raises(HtunetError, match="The memory of the GPU ran out"):
        train("Tiny", "Plain", 0, tiny_settings(num_epochs=1))


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_path_given_by_its_position_is_refused_too(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        convert(["BUSI", text])
    assert stopped.value.code == 2
    assert "argument SOURCE: the path is empty" in capsys.readouterr().err


def test_a_command_with_bytes_that_are_no_text_can_be_recorded(tmp_path: Path) -> None:
    typed = []
    run_command(make_parser_of_one_word(), lambda options: typed.append(options.typed), ["a\udcff"], announce=False)
    record_command(tmp_path / "commands.json", *typed)
    assert recorded_commands(tmp_path / "commands.json") == [r"test 'a\udcff'"]


def make_parser_of_one_word() -> argparse.ArgumentParser:
    parser = make_parser("test", None)
    parser.add_positional("word")
    return parser
