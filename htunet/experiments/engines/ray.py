"""Workers that Ray places on this machine, or on those of a cluster, by their GPUs and cores."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from htunet.errors import HtunetError, UsageError
from htunet.experiments.engines.engine import (
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
    """Queues every call at once; how many run at a time follows from the resources of each and of the cluster."""

    started_as = "queued"

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
        self.remote: Any = None

    def room(self) -> int:
        """No bound of ours: Ray queues what the cluster has no room for."""
        return 1_000_000

    def start(self, calls: Sequence[Call]) -> None:
        """A task for each call, where the cluster has its GPUs and cores."""
        if self.remote is None:
            self.remote = self._connect()
        for call in calls:
            self.running[call.name] = self.remote.options(name=call.name).remote(call)

    def ended(self, seconds: float) -> list[Ended]:
        """The tasks that have ended, waited for at most so many seconds."""
        if not self.running:
            time.sleep(seconds)
            return []
        refs = list(self.running.values())
        found, _ = self.ray.wait(refs, num_returns=len(refs), timeout=seconds)
        return [(name, self._exit_code(name)) for name in [n for n, ref in self.running.items() if ref in found]]

    def stop(self) -> list[Ended]:
        """Cancel the tasks, and wait a while for the trainings to save; all count as ended."""
        if not self.running:
            return []
        for ref in self.running.values():
            self.ray.cancel(ref)
        self.ray.wait(list(self.running.values()), num_returns=len(self.running), timeout=GRACE_SECONDS)
        return [(name, self._exit_code(name)) for name in list(self.running)]

    def close(self) -> None:
        """Leave the cluster, or end the one that was started here."""
        if self.ray is not None:
            self.ray.shutdown()

    def _exit_code(self, name: str) -> int:
        try:
            return int(self.ray.get(self.running.pop(name), timeout=0))
        except self.ray.exceptions.RayError:  # its worker or its machine has gone, or it was cancelled
            return LOST

    def _connect(self) -> Any:  # noqa: ANN401
        """Join the cluster or start one here, and return the function that runs on a worker."""
        os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
        import ray

        self.ray, cpus = ray, self.options.cpus_per_job or 1
        before = signal.getsignal(signal.SIGTERM)  # Ray's own handler would end the driver before its workers save
        if self.options.address:
            try:
                ray.init(address=self.options.address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise HtunetError(
                    f"No Ray cluster answers at {self.options.address} ({error}). Start one: ray start --head."
                ) from None
        else:
            jobs = self.options.jobs or max(1, len(visible_gpus()), available_cores() // cpus)
            quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
            ray.init(address="local", num_cpus=jobs * cpus, object_store_memory=OBJECT_STORE_BYTES, **quiet)
        signal.signal(signal.SIGTERM, before)
        gpus = self.options.gpus_per_job
        if gpus is None:
            gpus = 1 if ray.cluster_resources().get("GPU") else 0
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(n.get("GPU", 0) >= gpus and n.get("CPU", 0) >= cpus for n in nodes):  # it would wait for ever
            has = "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)
            raise HtunetError(
                f"No machine of the Ray cluster has the {cpus} CPUs and {gpus:g} GPUs that each job needs; they have "
                f"{has}. Change --cpus-per-job or --gpus-per-job."
            )
        return ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(work)


def work(call: Call) -> int:
    """On a Ray worker, in its main thread: run a call and return its exit code; a cancelled one may save."""
    process = start_worker(call)
    try:
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
    except BaseException:  # Ray interrupts a task that is cancelled
        with suppress(KeyboardInterrupt):
            ask_to_stop([process])
    return int(process.returncode)
