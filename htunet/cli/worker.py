"""The process that an engine starts for one job: it runs a command, and ends when the process that started it ends.

A lock keeps two processes from doing the same job.

Not for people: ``python -m htunet.cli.worker STARTER LOCK COMMAND ARGUMENT...``.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from htunet.data.names import printable
from htunet.errors import HtunetError
from htunet.files import exclusive

PR_SET_PDEATHSIG = 1
"""Source: prctl(2). The kernel sends the signal when the thread that started this process ends, however it ends."""
WATCH_SECONDS = 1.0
PREDECESSOR_SECONDS = 180.0
"""A worker whose driver was killed on another machine, or that is saving, needs a moment until it is gone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command as its own console script would; returns its exit code."""
    starter, lock, name, *arguments = sys.argv[1:] if argv is None else argv
    end_with(int(starter))
    try:
        with exclusive(Path(lock), f"The job {Path(lock).name}", wait=PREDECESSOR_SECONDS):
            code: int = import_module(f"htunet.cli.{name}").main(arguments)
            return code
    except HtunetError as error:
        print(f"htunet_reproduce: error: {printable(str(error))}", file=sys.stderr)
        return error.exit_code


def end_with(starter: int) -> None:
    """Be killed when the process that started this one ends: what it saved last is what the next one continues from."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(starter,), daemon=True, name="end-with-starter").start()
    if os.getppid() != starter:  # it ended before this process could ask
        os._exit(1)


def _watch(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
