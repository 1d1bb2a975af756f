"""A row of the table of what users wait for, and how both sides of one are timed.

Both take turns within each round, so that the machine's load meets both; the ratio is taken within a round.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmarks.side import LINUX_KB, held_gb


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    unit: str
    ours: float
    """In ``unit``."""
    alternative: str = ""
    """What ``other`` is of; without ``other`` why there is none."""
    other: float | None = None
    """Of the alternative, in ``unit``."""
    ratios: tuple[float, float, float] | None = None
    """How much faster htunet is: median, smallest and largest over the rounds."""
    memory_gb: float | None = None
    """Peak of htunet's process."""
    other_memory_gb: float | None = None
    """Peak of the alternative's."""
    ceiling: float | None = None
    """What htunet would reach, in ``unit``, if nothing but its convolutions and matrix products took time."""
    shares: tuple[float, float, float] | None = None
    """Of the ceiling that htunet reaches: median, smallest and largest over the rounds."""


def clock() -> float:
    """Processor time of this process where it computes with one thread: other programs hardly change it."""
    import torch

    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def compared(
    what: str,
    unit: str,
    amount: float | tuple[float, float],
    rounds: int,
    ours: Callable[[], object],
    alternative: str,
    other: Callable[[], object],
    *,
    ceiling: Callable[[], float] | None = None,
) -> Row:
    """Time both in turn; ``amount`` of what ``unit`` counts is done by one call of either.

    Two amounts are those of ``ours`` and of ``other``; then the caller has called ``ours`` for some before, as it is
    slow the first time. ``ceiling`` gives the seconds of the products of ``ours`` alone.
    """

    def seconds(action: Callable[[], object]) -> float:
        started = clock()
        action()
        return clock() - started

    amounts = amount if isinstance(amount, tuple) else (amount, amount)
    if amounts is not amount:  # what is slow the first time only
        ours()
    other()
    found = [(seconds(ours), seconds(other), ceiling() if ceiling else 0.0) for _ in range(rounds)]
    own, theirs, products = (list(each) for each in zip(*found, strict=True))
    row = row_of(what, unit, amounts[0], own, alternative, theirs, other_amount=amounts[1])
    return with_ceiling(row, own, products) if ceiling else row


def row_of(
    what: str,
    unit: str,
    amount: float,
    ours: list[float],
    alternative: str,
    other: list[float],
    *,
    other_amount: float | None = None,
    memory: tuple[float | None, float | None] = (None, None),
) -> Row:
    """From the seconds of each round; ``other_amount``: what the alternative did in them, where that is not equal.

    ``memory``: peaks of both, GB.
    """
    share = (other_amount or amount) / amount
    return Row(what=what, unit=unit, ours=amount / statistics.median(ours), alternative=alternative,
               other=(other_amount or amount) / statistics.median(other),
               ratios=_range(theirs / own / share for own, theirs in zip(ours, other, strict=True)),
               memory_gb=memory[0], other_memory_gb=memory[1])  # fmt: skip


def with_ceiling(row: Row, ours: list[float], products: list[float]) -> Row:
    """The row with its ceiling, from the seconds of each round: htunet's, and those of its products alone."""
    fastest = row.ours * statistics.median(ours) / statistics.median(products)
    return replace(row, ceiling=fastest, shares=_range(least / own for own, least in zip(ours, products, strict=True)))


def _range(values: Iterable[float]) -> tuple[float, float, float]:
    """The median, the smallest and the largest."""
    found = sorted(values)
    return statistics.median(found), found[0], found[-1]


def peak_gb(action: Callable[[], object]) -> float | None:
    """The most memory that a process holds, GB, which does ``action`` and before it what this one has done.

    None where several threads compute: they do not survive the fork by which that process is made.
    """
    import torch

    if torch.get_num_threads() > 1:
        return None
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):  # the parent's own work must not go on in the child
            action()
            os.write(sending, str(held_gb()).encode())
            code = 0
        os._exit(code)
    os.close(sending)
    with os.fdopen(receiving) as answer:
        peak = answer.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("The process whose memory is measured failed")
    return float(peak)


def run_command(
    arguments: list[str], variables: dict[str, str], *, module: str = "htunet.cli.", python: str = sys.executable
) -> tuple[float, float]:
    """Run a command to its end; processor time of it and its workers, s, and its largest process, GB (1e9 bytes).

    ``module`` is put before the first of the arguments; empty: they are those of Python itself.
    """
    call = ["-m", module + arguments[0], *arguments[1:]] if module else arguments
    script = (
        "import resource,subprocess,sys; code=subprocess.call(sys.argv[1:],stdout=subprocess.DEVNULL,"
        "stderr=subprocess.DEVNULL); used=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(code,used.ru_utime+used.ru_stime,used.ru_maxrss)"
    )
    environment = {**os.environ, **variables}
    command = [sys.executable, "-c", script, python, *call]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    code, seconds, kilobytes = result.stdout.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(call)} ended with {code}")
    return float(seconds), int(kilobytes) * LINUX_KB / 1e9
