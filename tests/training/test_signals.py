"""Requests to stop: remembered in the main thread, and left alone in any other one."""

import os
import signal
import threading

from htunet.training.signals import stop_signals


def test_a_signal_is_remembered_and_the_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        assert not stop.requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.requested(), stop.received) == (True, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_in_a_thread_leaves_the_signals_to_the_main_thread() -> None:
    found, before = list[tuple[bool, bool]](), signal.getsignal(signal.SIGINT)

    def run() -> None:
        with stop_signals() as stop:
            found.append((stop.requested(), signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(False, True)]
