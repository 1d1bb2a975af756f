"""One function over many items, in threads or in processes that never outlive the command, and the cores for it."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from htunet.errors import HtunetError, is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")

_kept: list[dict[int, ProcessPoolExecutor]] = []
"""Idle pools by their size, for each ``kept_workers`` that is open."""
IN_PROCESS_BELOW = 200
"""Starting workers takes longer than they save for fewer images than this."""
THREADS_BELOW = 2000
"""Processes take half a second each to start, threads wait for each other a third of the time: what two of them can do,
or what is done in a few seconds, is done by threads, if it may."""
AHEAD = 4
"""Chunks for each worker that are made, or done and not yet taken: memory does not grow with the number of items."""


def available_cores() -> int:
    """Cores that this process may use: its CPU affinity, and the quota of its container; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(affinity, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota ("max")
        return max(1, affinity)


def suitable_workers(items: int, asked: int | None = None) -> int:
    """How many workers to use: what was asked for, else one per core, or one alone for few items."""
    if asked is not None:
        return max(1, asked)
    return 1 if items < IN_PROCESS_BELOW else min(available_cores(), 16)


def parallel_map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    name: Callable[[T], str] = str,
    threads: bool = False,
    number: int | None = None,
) -> Iterator[R]:
    """Yield ``function(item)`` in the order of ``items``; with one worker in this process.

    ``threads`` says that threads may do it: that it spends most of its time in libraries that let other threads run
    meanwhile, and forks no process. ``number`` is how many items there are, where they have no length: they are made
    one by one, a few more than are worked on.
    ``function`` has to be importable (no lambda), its results picklable. The first error ends the map: HtunetError and
    errors of memory as they are, anything else as RuntimeError that starts with ``name(item)``. A worker that the
    system kills raises HtunetError. Workers end with this process, even when it is killed.
    """
    call = partial(_named_call, function)
    number = len(items) if number is None else number  # type: ignore[arg-type]
    pairs = ((item, name(item)) for item in items)
    if workers <= 1 or number <= 1:
        yield from map(call, pairs)
        return
    if threads and (workers == 2 or number < THREADS_BELOW):
        with ThreadPoolExecutor(workers) as pool:
            yield from in_order(pool, call, pairs, AHEAD * workers)
        return
    kept = _kept[-1] if _kept else {}
    processes = kept.pop(workers, None) or _start_pool(workers if _kept else min(workers, number))
    done = False
    try:
        yield from in_order(processes, call, pairs, AHEAD * workers, chunk=max(1, min(8, number // workers)))
        done = True
    except BrokenProcessPool:
        raise HtunetError(
            "A worker process ended before its work was done: most likely memory ran out. Use fewer processes "
            "(--workers 1). In a script of your own, begin the work below: if __name__ == '__main__':"
        ) from None
    finally:
        if done and _kept:
            kept[workers] = processes
        else:
            processes.shutdown(cancel_futures=True)


def in_order(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], ahead: int, *, chunk: int = 1
) -> Iterator[R]:
    """As ``pool.map``, which makes all items and keeps all results at once; here ``ahead`` chunks of them."""
    waiting, rest = deque[Future[list[R]]](), iter(items)
    try:
        while some := list(islice(rest, chunk)):
            waiting.append(pool.submit(_each, function, some))
            if len(waiting) >= ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for one in waiting:
            one.cancel()


def _each(function: Callable[[T], R], items: list[T]) -> list[R]:
    return [function(item) for item in items]


@contextmanager
def kept_workers() -> Iterator[None]:
    """Let the calls of ``parallel_map`` within use the same processes, of which each takes half a second to start."""
    _kept.append({})
    try:
        yield
    finally:
        for pool in _kept.pop().values():
            pool.shutdown(cancel_futures=True)


def _start_pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks in use and threads
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _named_call(function: Callable[[T], R], pair: tuple[T, str]) -> R:
    item, name = pair
    try:
        return function(item)
    except (HtunetError, OSError):  # they already say which file
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise RuntimeError(f"{name}: {type(error).__name__}: {error}") from error


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it: a killed parent sends no message, but its pipe closes."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_after(partial(wait, [parent.sentinel]))


def end_with(starter: int) -> None:
    """End this process, whatever it is doing, when the process ``starter`` that started it ends, however it ends."""

    def wait_for_end() -> None:
        while os.getppid() == starter:
            time.sleep(1)

    end_after(wait_for_end)


def end_after(wait_for_event: Callable[[], object], *, code: int = 1) -> None:
    """End this process with the exit code, whatever it is doing, when ``wait_for_event()``, in a thread, returns."""

    def watch() -> None:
        wait_for_event()
        os._exit(code)

    threading.Thread(target=watch, daemon=True, name="end-after").start()
