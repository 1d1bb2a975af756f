"""Jobs in Slurm's queue, through submitit: one job array for all jobs that can start at the same time.

A minute and a half before its time limit a job saves and is queued again; the driver submits the jobs that need it.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from htunet.errors import HtunetError, UsageError
from htunet.experiments.engines.engine import LOST, Call, Ended, Engine, EngineOptions, start_worker
from htunet.files import read_object, write_json

LOOK_SECONDS = 2.0
TIME = "time"
DEFAULT_MINUTES = 24 * 60
"""A day, which most clusters allow; a job that needs more queues again and continues."""
CLUSTER = "cluster"
CLUSTERS = ("slurm", "local")
"""``local`` is submitit's own stand-in, to try everything without Slurm."""
TIMEOUTS = 1000
"""How often a job may queue again because its time is up."""
OF_NODES = {"gpus": "gpus_per_node", "cpus": "cpus_per_task", "parallel": "array_parallelism"}
"""Short names of our own."""


class SlurmEngine(Engine):
    """Submits the jobs that are ready, and asks Slurm for their state."""

    started_as = "queued"

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        if options.address:
            raise UsageError(f"--address {options.address}: only --engine ray has one.")
        if find_spec("submitit") is None:
            raise HtunetError("--engine slurm needs submitit, which is not installed: pip install 'htunet[slurm]'.")
        settings = dict(options.settings)
        self.cluster = settings.pop(CLUSTER, "slurm")
        if self.cluster not in CLUSTERS:
            raise UsageError(f"--slurm {CLUSTER}= is one of {', '.join(CLUSTERS)}, got {self.cluster!r}.")
        if self.cluster == "slurm" and not shutil.which("srun"):
            raise HtunetError(
                "--engine slurm: this machine has no srun, so it is none of Slurm's. Start the command on a login node."
            )
        self.parameters = self._parameters(settings)
        self.running: dict[str, Any] = {}
        self.executor: Any = None

    def room(self) -> int:
        """No bound of ours: Slurm queues what the partition has no room for."""
        return 1_000_000

    def start(self, calls: Sequence[Call]) -> None:
        """One job array of all calls; their numbers are stored, so that a later driver can cancel them."""
        if self.executor is None:
            self._open()
        with self.executor.batch():
            jobs = {call.name: self.executor.submit(SlurmWork(call)) for call in calls}
        self.running |= jobs
        self._keep_record()

    def ended(self, seconds: float) -> list[Ended]:
        """The jobs that have ended; where there is none, after so many seconds."""
        found = [(name, self._code(job)) for name, job in self.running.items() if job.done()]
        for name, _ in found:
            del self.running[name]
        if found:
            self._keep_record()
        else:
            time.sleep(max(seconds, LOOK_SECONDS if self.cluster == "slurm" else 0))
        return found

    def stop(self) -> list[Ended]:
        """Cancel the jobs: Slurm sends SIGTERM first, and the trainings save."""
        for job in self.running.values():
            job.cancel()
        found = [(name, LOST) for name in self.running]
        self.running.clear()
        self._keep_record()
        return found

    @property
    def _record(self) -> Path:
        return self.options.folder / "slurm_jobs.json"

    def _keep_record(self) -> None:
        write_json(self._record, {name: str(job.job_id) for name, job in self.running.items()})

    def _open(self) -> None:
        """Take jobs that a killed driver left behind out of the queue: what they saved is continued from."""
        import submitit

        left = list(read_object(self._record).values()) if self._record.exists() else []
        if left and self.cluster == "slurm":
            subprocess.run(["scancel", *left], check=False)
        limit = {f"{self.cluster}_max_num_timeout": TIMEOUTS}
        self.executor = submitit.AutoExecutor(self.options.folder / "slurm", cluster=self.cluster, **limit)
        self.executor.update_parameters(**self.parameters)

    def _parameters(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """As submitit names them; what it does not know goes to sbatch as it is."""
        from submitit.slurm.slurm import SlurmExecutor

        slurm_settings = {OF_NODES.get(key, key): value for key, value in settings.items()}
        if self.options.cpus_per_job is not None:
            slurm_settings["cpus_per_task"] = str(self.options.cpus_per_job)
        if self.options.gpus_per_job is not None:
            slurm_settings["gpus_per_node"] = _whole(self.options.gpus_per_job)
        if self.options.jobs is not None:
            slurm_settings["array_parallelism"] = str(self.options.jobs)
        timeout = minutes(slurm_settings.pop(TIME)) if TIME in slurm_settings else DEFAULT_MINUTES
        found: dict[str, Any] = {"timeout_min": timeout, "name": "htunet"}
        others: dict[str, str] = {}
        known = SlurmExecutor._valid_parameters()
        for key, value in slurm_settings.items():
            typed = int(value) if value.isdigit() else value
            if key in known:
                found[f"slurm_{key}"] = typed
            else:
                others[key.replace("_", "-")] = value
        return found | ({"slurm_additional_parameters": others} if others else {})

    def _code(self, job: Any) -> int:  # noqa: ANN401
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return int(job.result())
        except (UncompletedJobError, FailedJobError):  # its machine has gone, or it was cancelled
            return LOST


class SlurmWork:
    """What a Slurm job does: run a call, and save before its time limit."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        self.process = start_worker(self.call)
        return self.process.wait()

    def checkpoint(self) -> Any:  # noqa: ANN401
        """Called by submitit from a signal handler, inside ``wait``: the process saves, and is not reaped here.

        The same call is queued again; its command continues where this one has saved.
        """
        import submitit

        if self.process is not None:
            os.kill(self.process.pid, signal.SIGTERM)
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(SlurmWork(self.call))


def minutes(text: str) -> int:
    """Slurm's forms of a time: minutes, ``HH:MM:SS``, ``MM:SS`` or ``D-HH:MM:SS``; raises UsageError for another.

    >>> minutes("90"), minutes("08:00:00"), minutes("2-00:00:00"), minutes("10:30")
    (90, 480, 2880, 11)
    """
    days, _, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdigit() for part in [*parts, days or "0"]) or len(parts) > 3 or (days and len(parts) != 3):
        raise UsageError(f"--slurm time={text}: write minutes, HH:MM:SS or D-HH:MM:SS.")
    if len(parts) == 1:
        return int(text)
    hours, mins, seconds = (["0"] * (3 - len(parts))) + parts
    return (int(days or 0) * 24 + int(hours)) * 60 + int(mins) + (int(seconds) > 0)


def _whole(gpus: float) -> str:
    if gpus != int(gpus):
        raise UsageError(f"--gpus-per-job {gpus:g}: Slurm assigns whole GPUs; fractions of one are for --engine ray.")
    return str(int(gpus))
