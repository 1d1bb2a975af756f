"""Settings of a run that follow the machine that it starts on: none of them belongs to the run's identity.

The number of parts of a batch decides which values dropout zeroes, and the number of threads changes the last bits of
a result, so a continued run keeps both.
"""

import logging
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric

from htunet.models.network import Network
from htunet.parallel import available_cores
from htunet.planning import rules
from htunet.planning.hardware import GIB, available_memory_gb
from htunet.planning.plans import Plan
from htunet.training.batch_norm import has_batch_statistics
from htunet.training.settings import RunSettings

SHARED_MEMORY = "/dev/shm"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How a process computes."""

    parts: int
    """Parts that it computes its images of a batch in, one after another."""
    threads: int
    """Of a CPU."""
    workers: int
    """Processes that augment images beside it."""


def choose(fabric: Fabric, network: Network, plan: Plan, settings: RunSettings, before: Mapping[str, Any]) -> Machine:
    """The user's settings; else those in ``before``, the settings.json of a continued run; else what suits the machine.

    A network with statistics over the images of a batch is always computed in one part.
    """
    # runs of earlier versions have the parts in their plan
    parts_before = before.get("parts") or (before.get("plan_content") or {}).get("accumulation")
    parts = settings.parts or parts_before or plan.accumulation
    images = -(-(plan.contrast_size or plan.batch_size) // fabric.world_size)
    fit = rules.parts(images, plan.input_size, free_memory_gb(fabric)) if parts is None else parts
    if has_batch_statistics(network):
        _say_uncut(fit, images, before)
        fit = 1
    threads = settings.threads or before.get("threads") or torch.get_num_threads()
    fit, threads = fabric.broadcast((min(fit, images), int(threads)))
    return Machine(parts=fit, threads=threads, workers=_workers(fabric, plan, settings))


def free_memory_gb(fabric: Fabric) -> float:
    """GiB that this process can take: what its GPU has free, or its part of what the machine has."""
    if fabric.device.type == "cuda":
        return torch.cuda.mem_get_info(fabric.device)[0] / GIB
    return available_memory_gb() / _processes_here(fabric)


def processor(device: torch.device) -> str:
    """What rounds in its own way: the name of the GPU, or the kind of CPU with its vector instructions."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _say_uncut(parts: int, images: int, before: Mapping[str, Any]) -> None:
    if parts == 1:
        return
    log.warning(
        "Computed at once and not in %d parts: BatchNorm takes its statistics over the images of a part, so the result "
        "would differ. If memory runs out, divide the %d images among more --devices or lower the plan's batch_size.%s",
        parts,
        images,
        " Earlier steps were computed in parts; --restart repeats them." if before and "parts" not in before else "",
    )


def _workers(fabric: Fabric, plan: Plan, settings: RunSettings) -> int:
    """The user's number, else the plan's, else by the cores; none on a CPU, whose cores are busy with the training."""
    workers = settings.workers
    if workers is None and fabric.device.type == "cpu":
        return 0
    if workers is None:
        cores = max(1, available_cores() // _processes_here(fabric))
        workers = rules.workers(cores) if plan.workers is None else plan.workers
    if workers and sys.platform == "linux" and not os.access(SHARED_MEMORY, os.W_OK):
        log.warning("There is no %s to share images through: no worker processes are used.", SHARED_MEMORY)
        return 0
    return workers


def _processes_here(fabric: Fabric) -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE") or fabric.world_size)
