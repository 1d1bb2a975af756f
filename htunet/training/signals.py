"""A request to stop is remembered, so that a run can save before it ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignals:
    """Remembers that the process was asked to stop, so that the loop can save first."""

    received: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.received = number

    def requested(self) -> bool:
        """Whether one of the signals came."""
        return self.received is not None


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Inside the block SIGTERM, SIGINT and SIGHUP (a closed terminal) are remembered instead of ending the process.

    In a thread of a program nothing changes: its main thread decides.
    """
    stop = StopSignals()
    if threading.current_thread() is not threading.main_thread():  # signals come to that one alone
        yield stop
        return
    numbers = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
