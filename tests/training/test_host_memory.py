"""Memory that is freed is kept: the system is asked for the pages of a step once."""

import subprocess
import sys

import pytest

from htunet.training import devices
from htunet.training.host_memory import keep_freed_memory

MEGABYTES, TURNS = 64, 20
SCRIPT = f"""
import resource, sys, torch
from htunet.training.host_memory import keep_freed_memory
if "keep" in sys.argv and not keep_freed_memory():
    sys.exit(3)
take = lambda: torch.ones({MEGABYTES} * 2**18)
for _ in range({TURNS}):  # small things take their places between the blocks
    take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({TURNS}):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> int:
    result = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False)
    if result.returncode == 3:
        pytest.skip("not glibc: nothing to ask")
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


def test_blocks_that_are_freed_and_taken_again_cost_no_new_pages() -> None:
    assert faults("keep") < faults() / 4


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
