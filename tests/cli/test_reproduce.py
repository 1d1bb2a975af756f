"""htunet_reproduce: from a raw folder to the table, whatever is killed on the way; and what it refuses."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from builders.processes import ForkServer, Process, start_command
from builders.raw import build_raw
from builders.training import build_training

from htunet.cli.reproduce import main
from htunet.experiments.cost import CACHE
from htunet.files import read_csv
from htunet.paths import ROOTS, DatasetPaths, reproduced, root

LIMIT = 600.0
"""Seconds; a minute is enough where nothing else computes."""
STARTED: list[Process] = []
TABLE = ("table2", "--datasets", "Tiny", "--methods", "UNet", "--plan", "tiny", "--weights", "random")
LONG = (*TABLE, "--seeds", "1", "2", "--num-epochs", "8", "--jobs", "2")


@pytest.fixture
def dataset(home: Path) -> DatasetPaths:
    return build_training()


@pytest.fixture(autouse=True)
def drivers(tmp_path: Path) -> Iterator[list[Process]]:  # whose folder is removed after this
    """Those that a test has started; none outlives it."""
    STARTED.clear()
    yield STARTED
    for driver in STARTED:
        driver.kill()
        driver.whole()


def start(fork_server: ForkServer, *arguments: str) -> Process:
    STARTED.append(fork_server.start("htunet.cli.reproduce:main", *arguments))
    return STARTED[-1]


def workers(driver: Process) -> list[psutil.Process]:
    """The processes that a driver has at work."""
    return psutil.Process(driver.pid).children(recursive=True)


def wait_until_training(driver: Process, epoch: int) -> None:
    """Until some run of the driver has come to an epoch."""
    until = time.monotonic() + LIMIT
    logs = reproduced("table2") / "logs"
    before = {log: log.stat().st_size for log in logs.glob("train-*.log")}
    while time.monotonic() < until:
        assert driver.poll() is None, driver.whole()
        for log in logs.glob("train-*.log"):
            if f"epoch {epoch}" in log.read_text()[before.get(log, 0) :]:
                return
        time.sleep(0.05)
    raise AssertionError("no training has come so far")


def is_gone(process: psutil.Process) -> bool:
    """Nobody may have asked yet how it ended."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def finish(driver: Process) -> str:
    code, output, errors = driver.whole()
    assert code == 0, output + errors
    return output


def table() -> bytes:
    return (reproduced("table2") / "table2.csv").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> tuple[Path, str, bytes]:
    """A home where ``LONG`` has run to its end, what it printed, and the table."""
    home = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        for variable, name in ROOTS.items():
            patch.setenv(variable, str(home / name))
        build_training()
        return home, finish(start(fork_server, *LONG)), table()


def begin_anew(home: Path, monkeypatch: pytest.MonkeyPatch, results: str) -> None:
    """The same data sets and no results, but for the step that was measured."""
    for variable, name in ROOTS.items():
        monkeypatch.setenv(variable, str(home / name))
    monkeypatch.setenv("htunet_results", str(home / results))
    measured = home / "results" / "reproduce" / CACHE
    (home / results / "reproduce").mkdir(parents=True)
    shutil.copy(measured, home / results / "reproduce" / CACHE)


@pytest.mark.slow
def test_drivers_and_workers_may_be_killed_and_the_table_is_the_same(
    undisturbed: tuple[Path, str, bytes],
    fork_server: ForkServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home, printed, expected = undisturbed
    assert b"UNet,Tiny,dice" in expected
    assert "4 to do" in printed
    begin_anew(home, monkeypatch, "disturbed")
    for _ in range(2):
        driver = start(fork_server, *LONG)
        wait_until_training(driver, 2)
        orphans = workers(driver)
        assert len(orphans) == 2
        os.kill(driver.pid, signal.SIGKILL)
        assert driver.whole()[0] == -signal.SIGKILL
        assert all(map(is_gone, orphans))
    driver = start(fork_server, *LONG)
    wait_until_training(driver, 3)
    workers(driver)[0].kill()
    output = finish(driver)
    assert "ended by signal 9; it starts again" in output
    assert table() == expected
    assert main(LONG) == 0
    again = capsys.readouterr().out
    assert "0 to do" in again
    assert "started" not in again


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (htunet[ray])")
def test_ray_makes_the_same_table(
    undisturbed: tuple[Path, str, bytes], fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _, expected = undisturbed
    begin_anew(home, monkeypatch, "by_ray")
    finish(start(fork_server, *LONG, "--engine", "ray"))
    assert table() == expected


def test_a_driver_that_is_asked_to_stop_lets_its_workers_save(dataset: DatasetPaths, tmp_path: Path) -> None:
    """The command itself and its workers, each in a fresh interpreter."""
    words = (*TABLE, "--seeds", "1", "--num-epochs", "5000")
    driver = start_command(tmp_path / "process", "-m", "htunet.cli.reproduce", *words)
    STARTED.append(driver)
    wait_until_training(driver, 2)
    os.kill(driver.pid, signal.SIGINT)
    code, output, errors = driver.whole()
    assert code == 130, errors
    assert "The same command continues" in output
    assert list(root("htunet_results").rglob("checkpoint_latest.safetensors"))
    assert not list(root("htunet_results").rglob("finished.json"))


def test_a_dry_run_measures_and_tells_and_does_nothing(
    dataset: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TABLE, "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert output.count("htunet_train Dataset903_Tiny UNet fold0 --seed") == 3
    assert "measured here" in output
    assert "6 to do, about" in output
    assert not list(root("htunet_results").rglob("settings.json"))


def test_a_job_that_fails_is_named_with_its_log_and_the_others_go_on(
    dataset: DatasetPaths, fork_server: ForkServer
) -> None:
    (dataset.plan_folder("tiny") / "images.npy").write_bytes(b"broken")
    code, _, errors = start(fork_server, *TABLE, "--seeds", "1", "--num-epochs", "1").whole()
    assert code == 1
    log = reproduced("table2") / "logs" / "train-Tiny-UNet-seg-tiny-seed1.log"
    assert "1 of 3 jobs failed. Not started, because they need them: 1 job." in errors
    assert str(log) in errors
    assert log.exists()
    rows = read_csv(reproduced("table2") / "table2.csv", ["method", "value"])
    assert {row["value"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("table9",), "The tables are table2"),
        (("table2", "--methods", "CLIP_HTT"), "No method is called 'CLIP_HTT'"),
        (("table2", "--datasets", "TN3K"), "htunet_convert TN3K SOURCE"),
        (("table2", "--datasets", "Tin"), "Did you mean 'Tiny'?"),
        ((*TABLE, "--engine", "cloud"), "No engine is called 'cloud'"),
        ((*TABLE, "--address", "10.0.0.1:6379"), "only --engine ray has one"),
        ((*TABLE, "--slurm", "partition"), "KEY=VALUE"),
        ((*TABLE, "--num-epochs", "0"), "--num-epochs must be at least 1"),
        ((*TABLE, "--jobs", "0"), "--jobs must be at least 1"),
        ((*TABLE, "--seeds", "-1"), "--seeds are 0 or larger"),
        ((*TABLE[:6], "mine", "--weights", "random"), "has no plan 'mine'"),
        (("table5", "--datasets", "Tiny", "--methods", "CLIP_HT", "--weights", "random"), "--captions none"),
        (("table6", "--datasets", "Tiny", "--methods", "UNet", "--weights", "random"), "UNet does seg"),
        (("table2", "--datasets", "Tiny", "--methods", "CLIP"), "pre-trained weights"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    dataset: DatasetPaths, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str
) -> None:
    assert main(arguments) in (1, 2)
    errors = capsys.readouterr().err
    assert errors.count("error:") == 1
    assert text in errors
    assert not (root("htunet_results")).exists()


def test_a_run_that_was_begun_otherwise_is_not_taken_for_the_wanted_one(
    dataset: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    from builders.training import tiny_settings

    from htunet.training.run import train

    train("Tiny", "UNet", 0, tiny_settings(num_epochs=1))
    assert main([*TABLE, "--seeds", "1", "--num-epochs", "3"]) == 1
    assert "started with 1 epoch, not 3" in capsys.readouterr().err


def test_a_data_set_without_masks_has_no_place_in_a_table_of_masks(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_raw(12, classes=())
    assert main(["table6", "--datasets", "Tiny", "--methods", "ResNet18", "--weights", "random"]) == 1
    assert "have no classes, which this table is about" in capsys.readouterr().err


def test_from_nothing_a_dry_run_answers_with_the_commands(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table2", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("66 of the 66 rows of Table II are skipped, because something is missing:")
    for name in ("LN-INT", "LN-EXT", "BUSI", "DDTI", "TN3K", "Prostate", "PMC-OA", "CURD", "MedPix"):
        assert f"htunet_convert {name} SOURCE" in out
    for name in ("CLIPSeg", "DINOv2", "CLIP", "MetaCLIP", "UniMedCLIP", "BiomedCLIP"):
        assert f"htunet_weights download {name}" in out
    assert "htunet_convert NextGen-UIA SOURCE" in out
    assert "165 trainings of the paper's sizes" in out  # 11 methods x 5 data sets x 3 seeds; LN-EXT is only tested on
    assert " and 4 fine-tunings on captions" in out  # of four methods with HT, whose three seeds start from one
    assert main(["table2", "--dry-run", "--plan", "public"]) == 0
    assert " and 12 fine-tunings on captions" in capsys.readouterr().out
    assert not root("htunet_results").exists()


def test_what_can_be_run_is_run_and_the_rest_is_named(dataset: DatasetPaths, fork_server: ForkServer) -> None:
    words = ("table2", "--methods", "UNet", "CLIP", "--datasets", "Tiny", "BUSI", "--plan", "tiny")
    output = finish(start(fork_server, *words, "--seeds", "1", "--num-epochs", "1"))
    assert "3 of the 4 rows of Table II are skipped, because something is missing:" in output
    assert "Skipped, 3 of 4 rows: CLIP on Tiny; CLIP on BUSI; UNet on BUSI." in output
    rows = read_csv(reproduced("table2") / "table2.csv", ["method", "dataset", "metric", "value"])
    filled = {(row["method"], row["dataset"]) for row in rows if row["value"]}
    assert filled == {("UNet", "Tiny")}
