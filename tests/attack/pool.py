"""Inputs one after another in forked processes: one that dies, hangs or swells takes nothing else with it.

Nothing is started for an input: the libraries are loaded before the fork, and a process takes many inputs. It watches
itself by Python's audit events: what is opened to write, renamed, removed or started outside the folders that it may
use, and what is read from the folder that nobody may look into.
"""

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SECONDS, MEGABYTES = 20, 2048
"""Of computing, and of memory, for one input."""
ADDRESS_SPACE = 6 * 2**30
INPUTS = 400
"""Of one process."""
PATIENCE = 15
"""So much longer than ``SECONDS`` an input may take by the clock: others use the machine, too."""
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pty.spawn")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Found:
    """What became of one input."""

    number: int
    file: str
    command: str
    done: str
    code: int = 0
    seconds: float = 0.0
    megabytes: int = 0
    problems: list[str] = field(default_factory=list)
    count: int = 1
    """How often it counts."""

    def __str__(self) -> str:
        return f"{self.number} {self.command} {self.file} ({self.done}): {'; '.join(self.problems)}"


class Hang(BaseException):
    """An input that does not end; no handler of errors may take it for one of its own."""


class Watch:
    """What this process does outside ``allowed``, and what it reads in ``secret``."""

    def __init__(self, allowed: list[Path], secret: Path) -> None:
        self.allowed = tuple(f"{place}{os.sep}" for place in (*allowed, "/dev/null", "/dev/tty", "/proc"))
        self.secret = f"{secret}{os.sep}"
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and self._is_outside(path, writes=bool(flags & WRITES)):
                self.seen.append(f"opens {os.fsdecode(path)[:200]}")
        elif event in CHANGES and not (event == "os.mkdir" and os.path.isdir(arguments[0])):
            places = arguments[1:2] if event in ("os.symlink", "os.link") else arguments
            for path in places:
                if isinstance(path, str | bytes) and os.path.isabs(path) and self._is_outside(path, writes=True):
                    self.seen.append(f"{event} {os.fsdecode(path)[:200]}")
        elif event in STARTS:
            self.seen.append(f"{event} {str(arguments)[:200]}")

    def _is_outside(self, path: Any, *, writes: bool) -> bool:
        place = os.path.abspath(os.fsdecode(path)) + os.sep
        real = os.path.realpath(os.path.dirname(place.rstrip(os.sep))) + os.sep + os.path.basename(place.rstrip(os.sep))
        if place.startswith(self.secret) or real.startswith(self.secret):
            return True
        return writes and not f"{real}{os.sep}".startswith(self.allowed)


def forked(
    attack: Callable[[int], Found],
    first: int,
    *,
    allowed: list[Path],
    secret: Path,
    most: int | None = None,
    seconds: float | None = None,
    again: Callable[[int], Found] | None = None,
) -> Iterator[Found]:
    """What became of the inputs from ``first`` on: ``most`` of them, or so many as go into ``seconds``.

    An input that ends its process is taken by ``again``, where there is one.
    """
    ending: set[int] = set()

    def take(number: int) -> Found:
        return again(number) if again and number in ending else attack(number)

    end = time.monotonic() + seconds if seconds is not None else None
    number, last = first, first + most if most is not None else None
    while (last is None or number < last) and (end is None or time.monotonic() < end):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _take(take, number, last, end, Watch(allowed, secret), writing)
        os.close(writing)
        reported, state = number, b""
        while True:
            ready, _, _ = select.select([reading], [], [], SECONDS * PATIENCE)
            more = os.read(reading, 65536) if ready else b""
            if not more:
                break
            *lines, state = (state + more).split(b"\n")
            for line in lines:
                yield Found(**json.loads(line))
                number += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(reading)
        died = not os.WIFEXITED(status) or os.WEXITSTATUS(status)
        if died and again and number not in ending:
            ending.add(number)
        elif died:
            code = os.waitstatus_to_exitcode(status)
            yield Found(number, "", "", "", code, problems=[f"the process ended with {code}, or did not end"])
            number += 1
        elif number == reported and end is None:
            raise RuntimeError("a process ended without an input")


def _take(
    attack: Callable[[int], Found], first: int, last: int | None, end: float | None, watch: Watch, writing: int
) -> None:
    """Take inputs and report each on the pipe; never returns."""
    code = 1
    try:
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE + now * 2**20, resource.RLIM_INFINITY))
        signal.signal(signal.SIGPROF, _stop)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries in C say of broken files
        for number in range(first, min(first + INPUTS, last if last is not None else first + INPUTS)):
            watch.seen.clear()
            used, started = time.process_time(), time.monotonic()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                found = attack(number)
            except (Exception, Hang) as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                found = Found(
                    number, "", "", "", problems=[f"raised {error!r} at {place.filename}:{place.lineno}"[:500]]
                )
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            found.seconds = time.monotonic() - started
            found.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            found.problems += watch.seen
            if time.process_time() - used > SECONDS:
                found.problems.append(f"took {time.process_time() - used:.0f} seconds")
            if found.megabytes > MEGABYTES:
                found.problems.append(f"took {found.megabytes} MB")
            os.write(writing, json.dumps(asdict(found)).encode() + b"\n")
            if found.megabytes > MEGABYTES or (end is not None and time.monotonic() > end):
                break  # another process measures its memory anew
        code = 0
    finally:
        os._exit(code)


def _stop(*_: object) -> None:
    raise Hang(f"no end after {SECONDS} seconds of computing")
