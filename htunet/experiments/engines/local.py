"""Worker processes on this machine."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence

from htunet.errors import UsageError
from htunet.experiments.engines.engine import Call, Ended, Engine, EngineOptions, ask_to_stop, start_worker
from htunet.parallel import available_cores

LOOK_SECONDS = 0.05
GPUS = "CUDA_VISIBLE_DEVICES"


class LocalEngine(Engine):
    """A fixed number of workers at a time, assigned to the GPUs in turn; on a CPU they divide its cores."""

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        if options.address:
            raise UsageError(f"--address {options.address}: only --engine ray has one.")
        if options.settings:
            raise UsageError("--slurm belongs to --engine slurm.")
        if options.gpus_per_job not in (None, 1):
            raise UsageError(
                "--engine local gives each job one GPU; where --jobs is larger than their number, jobs share them."
            )
        self.gpus = visible_gpus()
        self.slots = options.jobs or max(1, len(self.gpus))
        self.threads = str(options.cpus_per_job or max(1, available_cores() // self.slots))
        self.running: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}

    def room(self) -> int:
        """Slots that no worker has."""
        return self.slots - len(self.running)

    def start(self, calls: Sequence[Call]) -> None:
        """A process for each call, with a slot's GPU and its part of the cores."""
        for call in calls:
            taken = {slot for slot, _ in self.running.values()}
            slot = next(slot for slot in range(self.slots) if slot not in taken)
            gpu = {GPUS: self.gpus[slot % len(self.gpus)]} if self.gpus else {}
            threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": self.threads}
            self.running[call.name] = slot, start_worker(call, **gpu, **threads)

    def ended(self, seconds: float) -> list[Ended]:
        """The workers that have ended, with their exit codes, waited for at most so many seconds."""
        until = time.monotonic() + seconds
        while True:
            found = [(name, code) for name, (_, p) in self.running.items() if (code := p.poll()) is not None]
            if found or time.monotonic() > until:
                break
            time.sleep(LOOK_SECONDS)
        for name, _ in found:
            del self.running[name]
        return found

    def stop(self) -> list[Ended]:
        """SIGTERM, so that trainings save, and a while later SIGKILL; those that have ended."""
        ask_to_stop([process for _, process in self.running.values()])
        return self.ended(0)

    def close(self) -> None:
        """End what still runs, at once."""
        ask_to_stop([process for _, process in self.running.values()], grace=0)


def visible_gpus() -> list[str]:
    """The GPUs that a worker may use, as CUDA_VISIBLE_DEVICES names them; empty without any."""
    if GPUS in os.environ:
        return [name for name in os.environ[GPUS].split(",") if name not in ("", "-1")]
    if not (asking := shutil.which("nvidia-smi")):
        return []
    asked = [asking, "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.split() if answer.returncode == 0 else []
