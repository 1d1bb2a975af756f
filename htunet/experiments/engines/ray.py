"""Workers that Ray places on this machine, or on those of a cluster, by their GPUs and cores."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from htunet.errors import HtunetError, UsageError
from htunet.experiments.engines.base import (
    GRACE_SECONDS,
    LOST,
    Call,
    Ended,
    Engine,
    EngineOptions,
    ask_to_stop,
    start_worker,
)
from htunet.experiments.engines.local import visible_gpus
from htunet.parallel import available_cores

OBJECT_STORE_BYTES = 100 * 2**20
"""Of a cluster that this command starts: calls and exit codes are all that is ever stored."""
LOOK_SECONDS = 0.2
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a job without a GPU of its own would not see any
    "RAY_USAGE_STATS_ENABLED": "0",
}


class RayEngine(Engine):
    """Queues every call at once; how many run at a time follows from what each asks for and what there is."""

    begun = "queued"

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        if options.settings:
            raise UsageError("--slurm belongs to --engine slurm.")
        if find_spec("ray") is None:
            raise HtunetError("--engine ray needs Ray, which is not installed: pip install 'htunet[ray]'.")
        if options.address and options.jobs:
            raise UsageError("--jobs is for one machine; in a cluster --gpus-per-job and --cpus-per-job decide.")
        self.running: dict[str, Any] = {}
        self.ray: Any = None

    def room(self) -> int:
        """No bound of ours: Ray queues what the cluster has no room for."""
        return 1_000_000

    def start(self, calls: Sequence[Call]) -> None:
        """A task for each call, where the cluster has its GPUs and cores."""
        work = self._remote()
        for call in calls:
            self.running[call.name] = work.options(name=call.name).remote(call)

    def ended(self, seconds: float) -> list[Ended]:
        """The tasks that have ended, waited for at most so many seconds."""
        if not self.running:
            time.sleep(seconds)
            return []
        refs = list(self.running.values())
        found, _ = self.ray.wait(refs, num_returns=len(refs), timeout=seconds)
        return self._codes([name for name, ref in self.running.items() if ref in found])

    def stop(self) -> list[Ended]:
        """Cancel the tasks, and wait a while for the trainings to save; all count as ended."""
        if not self.running:
            return []
        for ref in self.running.values():
            self.ray.cancel(ref)
        self.ray.wait(list(self.running.values()), num_returns=len(self.running), timeout=GRACE_SECONDS)
        return self._codes(list(self.running))

    def close(self) -> None:
        """Leave the cluster, or end the one that was started here."""
        if self.ray is not None:
            self.ray.shutdown()

    def _codes(self, names: Sequence[str]) -> list[Ended]:
        return [(name, self._code(self.running.pop(name))) for name in names]

    def _code(self, ref: Any) -> int:  # noqa: ANN401
        try:
            return int(self.ray.get(ref, timeout=0))
        except self.ray.exceptions.RayError:  # its worker or its machine has gone, or it was cancelled
            return LOST

    def _remote(self) -> Any:  # noqa: ANN401
        """The function that runs on a worker; Ray is started, or the cluster joined, with the first call."""
        if self.ray is None:
            os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
            import ray

            self.ray = ray
            self._connect()
        gpus = self.options.gpus_per_job
        if gpus is None:
            gpus = 1 if self.ray.cluster_resources().get("GPU") else 0
        self._check_fits(gpus)
        return self.ray.remote(num_cpus=self._cpus, num_gpus=gpus, max_retries=0)(work)

    @property
    def _cpus(self) -> int:
        return self.options.cpus_per_job or 1

    def _connect(self) -> None:
        """Ray puts a handler of its own on SIGTERM, which would end the driver before its workers have saved."""
        before = signal.getsignal(signal.SIGTERM)
        self._join_or_start()
        signal.signal(signal.SIGTERM, before)

    def _join_or_start(self) -> None:
        common = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
        if self.options.address:
            try:
                self.ray.init(address=self.options.address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise HtunetError(
                    f"No Ray cluster answers at {self.options.address} ({error}). Start one: ray start --head."
                ) from None
            return
        jobs = self.options.jobs or max(1, len(visible_gpus()), available_cores() // self._cpus)
        self.ray.init(address="local", num_cpus=jobs * self._cpus, object_store_memory=OBJECT_STORE_BYTES, **common)

    def _check_fits(self, gpus: float) -> None:
        """A job that asks for more than any machine has would wait for ever."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(n.get("GPU", 0) >= gpus and n.get("CPU", 0) >= self._cpus for n in nodes):
            has = "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)
            raise HtunetError(
                f"No machine of the Ray cluster has the {self._cpus} CPUs and {gpus:g} GPUs that each job asks for; "
                f"they have {has}. Change --cpus-per-job or --gpus-per-job."
            )


def work(call: Call) -> int:
    """On a Ray worker, in its main thread: carry out a call and return its exit code; a cancelled one may save."""
    process = start_worker(call)
    try:
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
    except BaseException:  # Ray interrupts a task that is cancelled
        with suppress(KeyboardInterrupt):
            ask_to_stop([process])
    return int(process.returncode)
