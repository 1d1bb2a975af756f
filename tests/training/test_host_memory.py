"""Memory that is freed is kept: the system is asked for the pages of a step once."""

import pytest
from builders.processes import ForkServer

from htunet.training import devices
from htunet.training.host_memory import keep_freed_memory


def faults(fork_server: ForkServer, *arguments: str) -> int:
    code, output, errors = fork_server.start("builders.memory:take_again", *arguments).whole()
    if code == 3:
        pytest.skip("not glibc: nothing to ask")
    assert code == 0, errors
    return int(output)


def test_blocks_that_are_freed_and_taken_again_cost_no_new_pages(fork_server: ForkServer) -> None:
    assert faults(fork_server, "keep") < faults(fork_server) / 4


@pytest.mark.parametrize("library", [AttributeError, OSError, TypeError])
def test_without_glibc_nothing_happens(library: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: object) -> object:
        raise library

    monkeypatch.setattr("ctypes.CDLL", absent)
    assert not keep_freed_memory()


def test_training_on_a_cpu_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: asked.append(True))
    devices.make_fabric(device="cpu", devices=1, precision="fp32")
    assert asked == [True]
