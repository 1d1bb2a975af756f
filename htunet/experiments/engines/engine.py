"""The interface of an engine, which runs commands in worker processes, here or on other machines."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOST = -9
"""The exit code of a worker of which nothing is known but that it is gone."""
GRACE_SECONDS = 120.0
"""How long a worker may take to save after a request to stop; the longest step and a checkpoint take far less."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt at a job, as plain values that can travel to another machine."""

    name: str
    arguments: tuple[str, ...]
    """A command without ``htunet_``, and its arguments."""
    log: str
    """The file that its output is added to."""
    lock: str
    """A folder that the worker locks while it runs, so that no job runs twice at the same time."""
    environment: Mapping[str, str]
    """What it needs beside the environment of the place where it runs."""


Ended = tuple[str, int]
"""The name of a call, and its exit code; negative: the signal that killed its worker."""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Where to compute, as the user requests it."""

    folder: Path
    """For the files of an engine."""
    jobs: int | None = None
    """Workers at a time; None: as the engine sees fit."""
    gpus_per_job: float | None = None
    cpus_per_job: int | None = None
    address: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the engine alone: ``partition``, ``time``."""


class Engine:
    """To add an engine, implement these methods and register the class; ``run_jobs`` decides what is tried again."""

    started_as = "started"
    """The state that is shown after a call was passed to ``start``: started, or queued."""

    def __init__(self, options: EngineOptions) -> None:
        """Check the options, and start nothing.

        Raises UsageError for options that mean nothing here, HtunetError where the engine cannot be used.
        """
        self.options = options

    def room(self) -> int:
        """How many more calls it takes now."""
        raise NotImplementedError

    def start(self, calls: Sequence[Call]) -> None:
        """Begin the calls, or queue them."""
        raise NotImplementedError

    def ended(self, seconds: float) -> list[Ended]:
        """The calls that have ended since the last call; waits up to ``seconds`` for one."""
        raise NotImplementedError

    def stop(self) -> list[Ended]:
        """Ask all workers to save and to end (SIGTERM), wait for them, and say how they ended."""
        raise NotImplementedError

    def close(self) -> None:
        """Release its resources."""


def start_worker(call: Call, **more: str) -> subprocess.Popen[bytes]:
    """Start the process of a call; it ends with the thread that calls this, which must be the process's main one.

    It has a session of its own, so that Ctrl-C in a terminal reaches only the driver, which then stops it.
    """
    log = Path(call.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "htunet.cli.worker", str(os.getpid()), call.lock, *call.arguments]
    with log.open("ab") as stream:
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        stream.write(f"\n{when} $ htunet_{' '.join(call.arguments)}\n".encode())
        stream.flush()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(call.environment) | more,
            start_new_session=True,
        )


def ask_to_stop(processes: Sequence[subprocess.Popen[bytes]], grace: float = GRACE_SECONDS) -> None:
    """SIGTERM, upon which a training saves and ends; SIGKILL for those that are still there after ``grace`` seconds."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + grace
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
    for process in processes:
        process.kill()
        process.wait()
