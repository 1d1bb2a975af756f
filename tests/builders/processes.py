"""Real processes that need not import torch again: they are forked from one process that has loaded it.

A forked process has its own process id, session, environment, output and exit code, and is killed like any other; only
the interpreter's start and the imports are saved. ``start_command`` starts a fresh interpreter, for what is claimed of
that.
"""

import array
import atexit
import contextlib
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

LIMIT = 120.0
"""Seconds after which a process that should have ended fails its test."""
TESTS = Path(__file__).parents[1]
LOADED = (
    "htunet.cli.train",
    "htunet.cli.finetune",
    "htunet.cli.reproduce",
    "htunet.cli.worker",
    "htunet.inference.predictor",
    "htunet.training.run",
    "htunet.training.finetuning",
    "builders.training",
    "builders.contrastive",
)
"""What the first process has imported; nothing of it may start a thread or compute with several."""


FORKED = ("htunet.cli.worker", "htunet.experiments.step_time", "builders.processes")
"""Modules that are forked also where a forked process starts them: workers, and a run's other processes."""


class Process:
    """A process that writes its output to files, which may be read while it runs."""

    def __init__(self, pid: int, folder: Path, poll: Callable[[], int | None]) -> None:
        self.pid, self._folder, self._poll = pid, folder, poll

    @property
    def output(self) -> str:
        return (self._folder / "output").read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        return (self._folder / "errors").read_text(encoding="utf-8")

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._poll()

    def wait_for(self, text: str) -> None:
        """Until its output holds ``text``."""
        self.wait_until(lambda: text in self.output, f"{text!r} in its output")

    def wait_until(self, condition: Callable[[], object], what: str = "what was waited for") -> None:
        until = time.monotonic() + LIMIT
        while not condition():
            ended = self.poll()
            if condition():
                return
            assert ended is None, f"ended with {ended} before {what}: {self.output}{self.errors}"
            assert time.monotonic() < until, f"waited in vain for {what}: {self.output}{self.errors}"
            time.sleep(0.01)

    def whole(self) -> tuple[int, str, str]:
        """Exit code, output and errors, once it has ended."""
        until = time.monotonic() + LIMIT
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"it does not end: {self.output}{self.errors}")
            time.sleep(0.002)
        return code, self.output, self.errors

    def signal_all(self, number: int) -> None:
        """Send a signal to the process and to those that it has started."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it and those that it has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            self.signal_all(signal.SIGKILL)


def start_command(folder: Path, *command: object, **changed: str) -> Process:
    """Start a fresh interpreter in a session of its own, with its output in ``folder``, which is made.

    ``changed`` are environment variables.
    """
    folder.mkdir()
    words = [sys.executable, *map(str, command)]
    with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
        started = subprocess.Popen(
            words, stdout=output, stderr=errors, env=_environment(changed), start_new_session=True
        )
    return Process(started.pid, folder, started.poll)


def _environment(changed: Mapping[str, str]) -> dict[str, str]:
    """This process's own, with the tests' folder on the path."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **changed}


class ForkServer:
    """The process that has loaded everything, and forks when asked; it ends with this one."""

    def __init__(self, folder: Path, more: Sequence[str] = ()) -> None:
        self._socket, theirs = socket.socketpair()
        environment = _environment({"OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"})
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "builders.processes", str(theirs.fileno()), *more],
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._folder, self._count = folder, 0

    def start(self, target: str, *arguments: object, **changed: str) -> Process:
        """A forked process that calls ``module:function`` as a script does: it finds its arguments in ``sys.argv``."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        for name in ("output", "errors"):
            (folder / name).touch()
        request = {
            "target": target,
            "arguments": [str(value) for value in arguments],
            "environment": _environment(changed),
            "folder": str(folder),
            "cwd": str(Path.cwd()),
        }
        ended, theirs = os.pipe()
        message = json.dumps(request).encode()
        self._socket.sendall(len(message).to_bytes(8, "big"))
        self._socket.sendmsg([message[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs]))])
        self._socket.sendall(message[1:])
        os.close(theirs)
        pid = int.from_bytes(_receive(self._socket, 8), "big")
        code: list[int] = []

        def poll() -> int | None:
            if not code and select.select([ended], [], [], 0)[0]:
                code.append(int(os.read(ended, 20) or -signal.SIGKILL))
                os.close(ended)
            return code[0] if code else None

        return Process(pid, folder, poll)

    def close(self) -> None:
        """End it, and what it has started."""
        self._socket.close()
        self._process.wait(LIMIT)


def _receive(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


def serve(connection: socket.socket, more: Sequence[str] = ()) -> None:
    """Import ``LOADED`` and ``more``, then fork for each request until the other side has gone."""
    for module in (*LOADED, *more):
        importlib.import_module(module)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads must not be forked"
    at_work: dict[int, int] = {}
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([connection, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            _report(at_work)
        if connection in ready:
            try:
                size = int.from_bytes(_receive(connection, 8), "big")
            except EOFError:
                break
            first, rights, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4))
            request = json.loads(first + _receive(connection, size - 1))
            ended = array.array("i", rights[0][2][:4])[0]
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number in (connection.fileno(), wake_read, wake_write, ended, *at_work.values()):
                    os.close(number)
                _run_forked(request)
            at_work[pid] = ended
            connection.sendall(pid.to_bytes(8, "big"))
    for pid in at_work:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)


def _report(at_work: dict[int, int]) -> None:
    for pid in list(at_work):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended = at_work.pop(pid)
            with contextlib.suppress(BrokenPipeError):
                os.write(ended, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(ended)


def _run_forked(request: dict[str, Any]) -> None:
    """In the forked process: be what a fresh interpreter would be, and end as it would."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, name in ((1, "output"), (2, "errors")):
        file = os.open(Path(request["folder"]) / name, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.argv = [request["target"], *request["arguments"]]
    subprocess.Popen = ForkingPopen  # type: ignore[misc]
    end_as_a_script(lambda: _function(request["target"])())


def _function(target: str) -> Callable[[], int | None]:
    """What ``module:function`` names."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


def end_as_a_script(function: Callable[[], int | None]) -> None:
    """Call the function, and end this process with what it returns or raises; never returns."""
    try:
        code = function()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined] # as the interpreter does at its end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


class Forked:
    """Stands for ``subprocess.Popen`` where our code, or a library, starts this program again or a command's module."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self.args, self.returncode = command, None
        asked = [name for name in ("stdout", "stderr") if options.get(name) == subprocess.PIPE]
        self._read = {name: tempfile.TemporaryFile("w+") for name in asked}  # noqa: SIM115
        options |= self._read
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._be_the_command(**options)

    def _be_the_command(
        self,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: int | None = None,
        stdout: Any = None,
        stderr: Any = None,
        start_new_session: bool = False,
        text: bool = True,
    ) -> None:
        if start_new_session:
            os.setsid()
        if cwd:
            os.chdir(cwd)
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        logging.getLogger("htunet").handlers.clear()
        if stdin == subprocess.DEVNULL:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if stdout is not None:
            os.dup2(stdout.fileno(), 1)
        if stderr == subprocess.STDOUT:
            os.dup2(1, 2)
        elif stderr is not None:
            os.dup2(stderr.fileno(), 2)
        os.closerange(3, 4096)  # the locks of the process that starts this one, among others
        _, _, module, *arguments = self.args
        if module == __spec__.name:  # the whole program once more
            end_as_a_script(lambda: _function(sys.argv[0])())
        sys.argv = [module, *arguments]
        end_as_a_script(lambda: runpy.run_module(module, run_name="__main__") and None)

    def poll(self) -> int | None:
        """The exit code once it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = LIMIT) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return code

    def communicate(self, *_: Any, timeout: float | None = None) -> tuple[str | None, str | None]:
        """What it has written where a pipe was asked for, once it has ended."""
        self.wait(timeout or LIMIT)
        for file in self._read.values():
            file.seek(0)
        return tuple(self._read[name].read() if name in self._read else None for name in ("stdout", "stderr"))

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkingPopen(subprocess.Popen):
    """Forks for a command that is a module of ours, and starts anything else."""

    def __new__(cls, command: Any, *_: Any, **options: Any) -> Any:
        if isinstance(command, list) and command[:2] == [sys.executable, "-m"] and command[2] in FORKED:
            return Forked(command, **options)
        return super().__new__(cls)


def hold_a_folder() -> int:
    """Lock the folder that is named and say so, until killed; a ``target``."""
    from htunet.files import exclusive

    with exclusive(Path(sys.argv[1]), "The run"):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(LIMIT)
    return 1


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
