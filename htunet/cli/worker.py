"""The process that an engine starts for one job: it runs a command, and ends when the process that started it ends.

A lock keeps two processes from doing the same job.

Not for people: ``python -m htunet.cli.worker STARTER LOCK COMMAND ARGUMENT...``.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from htunet.data.names import printable
from htunet.errors import HtunetError
from htunet.files import exclusive
from htunet.parallel import end_with

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


if __name__ == "__main__":
    sys.exit(main())
