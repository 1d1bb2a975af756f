"""One side of a comparison as a process of its own, perhaps in another environment: it does what it is told.

The process is ``python -m benchmarks.side_X SPEC``, with a JSON object for what it works on. It says what it is, then
reads an order a line and answers with the processor time that it took; at the end with its peak memory. This file
imports nothing that another environment may not have.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOME = Path(__file__).parent.parent
VARIABLES = {"MONAI": "HTUNET_BENCH_MONAI", "nnU-Net": "HTUNET_BENCH_NNUNET"}
"""Where the Python interpreter of each alternative's environment is named."""

LINUX_KB = 1024
"""Bytes of what Linux calls a kB of memory."""
ANSWERS = "HTUNET_BENCH_ANSWERS"
"""The number of the open file that a side writes its answers to."""


class AbsentError(Exception):
    """The environment of an alternative is not here, or does not start."""


def interpreter(alternative: str) -> str:
    """The Python of its environment; AbsentError where none is named."""
    if not (found := os.environ.get(VARIABLES[alternative], "")):
        raise AbsentError(f"not measured: no environment with {alternative} is named ({option_of(alternative)} PYTHON)")
    return found


def option_of(alternative: str) -> str:
    """The option that names its interpreter."""
    return f"--{alternative.lower().replace('-', '')}"


def installed_version(python: str, package: str) -> str:
    """Of a package in the environment of an interpreter; AbsentError where it is not there."""
    command = [python, "-c", f"from importlib.metadata import version; print(version({package!r}))"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        raise AbsentError(f"not measured: {python} has no {package}") from None


class Side:
    """A process that waits for orders. AbsentError where it does not start."""

    def __init__(self, python: str, module: str, spec: dict[str, Any]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - until the process ends
        reading, writing = os.pipe()  # what libraries print is no answer
        self.answers = os.fdopen(reading)
        try:
            self.process = subprocess.Popen([python, "-m", module, json.dumps(spec)], stdin=subprocess.PIPE, text=True,
                                            stdout=self.errors, stderr=self.errors, pass_fds=(writing,), cwd=HOME,
                                            env=os.environ | {ANSWERS: str(writing)})  # fmt: skip
        except OSError as error:
            raise AbsentError(f"not measured: {error}") from None
        finally:
            os.close(writing)
        self.about = self._answer()

    def seconds(self, order: str) -> float:
        """Processor time that the process took for an order, s."""
        return float(self._answer(order)["seconds"])

    def end(self) -> float:
        """End it; the most memory that it held, GB."""
        peak = float(self._answer("end")["peak_gb"])
        self.process.wait()
        return peak

    def _answer(self, order: str = "") -> dict[str, Any]:
        assert self.process.stdin is not None
        if order:
            self.process.stdin.write(f"{order}\n")
            self.process.stdin.flush()
        if not (line := self.answers.readline()):
            self.errors.seek(0)
            last_line = self.errors.read().strip().splitlines()[-1:] or ["no word"]
            raise AbsentError(f"not measured: {self.process.args[0]} ended with: {last_line[0]}")
        found: dict[str, Any] = json.loads(line)
        return found


def serve(about: dict[str, Any], actions: dict[str, Callable[[], object]]) -> None:
    """Be a side: ``about`` is said at first, each of ``actions`` done when its name comes."""
    answers = os.fdopen(int(os.environ[ANSWERS]), "w")
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        if (order := line.strip()) == "end":
            break
        started = time.process_time()
        actions[order]()
        print(json.dumps({"seconds": time.process_time() - started}), file=answers, flush=True)
    print(json.dumps({"peak_gb": held_gb()}), file=answers, flush=True)


def held_gb() -> float:
    """The most memory that this process has held, GB (1e9 bytes)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * LINUX_KB / 1e9


def network_text(network: Any, images: Any) -> str:  # noqa: ANN401
    """How large a network is: parameters, and the work of a forward pass of one of ``images``."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images[:1])
    parameters = sum(one.numel() for one in network.parameters())
    return f"{parameters / 1e6:.1f} M parameters, {counter.get_total_flops() / 1e9:.1f} GFLOP forward"
