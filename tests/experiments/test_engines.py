"""The engines carry out real commands; what Slurm is asked for, without Slurm; wrong options."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from builders.jobs import job
from builders.processes import LIMIT

from htunet.errors import HtunetError, UsageError
from htunet.experiments.engines import ENGINES
from htunet.experiments.engines import ray as ray_engine
from htunet.experiments.engines import slurm as slurm_engine
from htunet.experiments.engines.engine import Call, Engine, EngineOptions, start_worker
from htunet.experiments.jobs import Result, run_jobs

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (htunet[ray])")
needs_submitit = pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed (htunet[slurm])")
LOCAL = {"cluster": "local"}
COMMAND = '''
import os, signal, sys, time
from pathlib import Path
def main(arguments):
    """Say where and be slow, be killed, fail, or wait for a request to stop; make the product named by the last one."""
    what, product = arguments
    product = Path(product)
    print(what, os.getpid(), flush=True)
    attempts = product.with_name(product.name + ".attempts")
    with attempts.open("a") as stream:
        stream.write("x")
    if what == "fail":
        print("htunet_pretend: error: it cannot be done.", flush=True)
        return 1
    if what == "die once" and len(attempts.read_text()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
        product.with_name(product.name + ".ready").touch()
        while not asked:
            time.sleep(0.02)
        product.with_name(product.name + ".saved").touch()
        return 0
    product.touch()
    return 0
'''


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A command ``htunet_pretend`` that every worker process knows; returns the folder of the products."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "pretend.py").write_text(COMMAND)
    hook = "import sys, importlib.util\nsys.modules['htunet.cli.pretend'] = __import__('pretend')\n"
    (site / "sitecustomize.py").write_text(hook)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def work_through(engine: Engine, folder: Path) -> dict[str, Result]:
    """A job that succeeds, one that is killed once, one that fails and one that needs it."""
    jobs = [
        job(folder, "good", arguments=("pretend", "good", str(folder / "good"))),
        job(folder, "killed", "good", arguments=("pretend", "die once", str(folder / "killed"))),
        job(folder, "bad", arguments=("pretend", "fail", str(folder / "bad"))),
        job(folder, "never", "bad", arguments=("pretend", "good", str(folder / "never"))),
    ]
    try:
        return run_jobs(jobs, engine, folder / "table" / "logs", tell=lambda *_: None)
    finally:
        engine.close()


def check(results: dict[str, Result]) -> None:
    found = {name: (result.status, result.attempts) for name, result in results.items()}
    assert found == {"good": ("done", 1), "killed": ("done", 2), "bad": ("failed", 1), "never": ("not started", 0)}
    assert results["bad"].reason == "htunet_pretend: error: it cannot be done."
    assert results["bad"].log is not None
    assert "htunet_pretend fail" in results["bad"].log.read_text()


def test_local_workers_succeed_fail_and_come_back(pretend: Path) -> None:
    check(work_through(ENGINES["local"](EngineOptions(folder=pretend, jobs=2)), pretend))


@needs_ray
def test_workers_of_ray_succeed_fail_and_come_back(pretend: Path) -> None:
    check(work_through(ENGINES["ray"](EngineOptions(folder=pretend, jobs=2, gpus_per_job=0)), pretend))


@needs_submitit
def test_jobs_of_submitit_succeed_fail_and_come_back(pretend: Path) -> None:
    options = EngineOptions(folder=pretend, settings=LOCAL)
    check(work_through(ENGINES["slurm"](options), pretend))


def wait_until(condition: object, seconds: float = LIMIT) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["local", pytest.param("ray", marks=needs_ray)])
def test_a_worker_that_is_asked_to_stop_may_save(pretend: Path, name: str) -> None:
    engine = ENGINES[name](EngineOptions(folder=pretend, jobs=1))
    product = pretend / "long"
    long = job(pretend, "long", arguments=("pretend", "wait", str(product)))
    try:
        results = run_jobs(
            [long],
            engine,
            pretend / "table" / "logs",
            tell=lambda *_: None,
            stop_requested=(pretend / "long.ready").exists,
        )
    finally:
        engine.close()
    assert results["long"].status == "stopped"
    assert (pretend / "long.saved").exists()


def call(folder: Path, what: str) -> Call:
    product = folder / "long"
    return Call(
        name="long",
        arguments=("pretend", what, str(product)),
        log=str(folder / "long.log"),
        lock=str(folder / "lock"),
        environment={},
    )


def test_a_worker_ends_with_its_driver_even_when_that_is_killed(pretend: Path) -> None:
    script = (
        "import sys, time\nsys.path.insert(0, sys.argv[1])\nfrom pathlib import Path\n"
        "from experiments_call import call\n"
        "from htunet.experiments.engines.engine import start_worker\n"
        "print(start_worker(call(Path(sys.argv[2]), 'wait')).pid, flush=True)\ntime.sleep(100)\n"
    )
    source = Path(__file__).read_text(encoding="utf-8")
    helper = source[source.index("def call(") : source.index("def test_a_worker_ends")]
    (pretend / "experiments_call.py").write_text(
        "from pathlib import Path\nfrom htunet.experiments.engines.engine import Call\n" + helper
    )
    command = [sys.executable, "-c", script, str(pretend), str(pretend)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = psutil.Process(int(driver.stdout.readline()))
    wait_until((pretend / "long.ready").exists)
    driver.kill()
    driver.wait()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert not (pretend / "long.saved").exists()


def test_two_workers_never_work_on_one_job(pretend: Path) -> None:
    first = start_worker(call(pretend, "wait"))
    wait_until((pretend / "long.ready").exists)
    second = start_worker(call(pretend, "good"))
    time.sleep(0.5)
    assert second.poll() is None
    assert not (pretend / "long").exists()
    first.send_signal(signal.SIGTERM)
    assert first.wait(LIMIT) == 0
    assert second.wait(LIMIT) == 0
    assert (pretend / "long").exists()


@needs_submitit
def test_a_slurm_job_saves_and_queues_again_when_its_time_is_up(pretend: Path) -> None:
    task = slurm_engine.SlurmWork(call(pretend, "wait"))
    task.process = start_worker(task.call)
    wait_until((pretend / "long.ready").exists)
    again = task.checkpoint()
    assert (pretend / "long.saved").exists()
    assert task.process.wait(LIMIT) == 0
    assert again.function.call == task.call


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that looks like one of Slurm's: scancel writes down what it is asked for."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("srun", "sbatch", "scancel"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/asked\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tmp_path


@needs_submitit
def test_slurm_is_asked_for_what_the_user_said(slurm: Path) -> None:
    settings = {"partition": "gpu", "time": "08:00:00", "gpus": "2", "mem": "32G", "reservation": "night"}
    options = EngineOptions(folder=slurm, jobs=7, cpus_per_job=8, settings=settings)
    engine = slurm_engine.SlurmEngine(options)
    engine._open()
    text = engine.executor._executor._make_submission_file_text("command", "id")
    asked = {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")}
    expected = {"partition=gpu", "time=480", "gpus-per-node=2", "mem=32G", "cpus-per-task=8", "reservation=night"}
    assert expected <= asked
    assert any(line.startswith("signal=USR2@") for line in asked)
    assert engine.executor._executor.parameters["array_parallelism"] == 7
    assert engine.executor._executor.max_num_timeout == slurm_engine.TIMEOUTS


@needs_submitit
def test_jobs_that_a_killed_driver_left_in_the_queue_are_taken_out(slurm: Path) -> None:
    (slurm / "slurm_jobs.json").write_text('{"train-a": "17_0", "train-b": "17_1"}')
    slurm_engine.SlurmEngine(EngineOptions(folder=slurm))._open()
    assert (slurm / "asked").read_text() == "scancel 17_0 17_1\n"


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("local", {"address": "a:1"}, "only --engine ray has one"),
        ("local", {"settings": {"partition": "gpu"}}, "--slurm belongs to --engine slurm"),
        ("local", {"gpus_per_job": 0.5}, "gives each job one GPU"),
        pytest.param("ray", {"settings": {"partition": "gpu"}}, "--slurm belongs to --engine slurm", marks=needs_ray),
        pytest.param("ray", {"address": "a:1", "jobs": 2}, "--jobs is for one machine", marks=needs_ray),
        pytest.param("slurm", {"address": "a:1"}, "only --engine ray has one", marks=needs_submitit),
        pytest.param("slurm", {"settings": {"cluster": "pbs"}}, "slurm, local", marks=needs_submitit),
        pytest.param("slurm", {}, "no srun", marks=needs_submitit),
        pytest.param("slurm", {"settings": LOCAL | {"time": "soon"}}, "HH:MM:SS", marks=needs_submitit),
        pytest.param("slurm", {"settings": LOCAL, "gpus_per_job": 0.5}, "whole GPUs", marks=needs_submitit),
    ],
)  # fmt: skip
def test_options_without_a_meaning_are_refused(tmp_path: Path, name: str, options: dict, text: str) -> None:
    with pytest.raises(HtunetError, match=text):
        ENGINES[name](EngineOptions(folder=tmp_path, **options))


@pytest.mark.parametrize(("name", "module"), [("ray", ray_engine), ("slurm", slurm_engine)])
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: object
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(HtunetError, match=rf"htunet\[{name}\]"):
        ENGINES[name](EngineOptions(folder=tmp_path))


def test_an_engine_that_does_not_exist_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="local, ray, slurm"):
        ENGINES["rya"]
