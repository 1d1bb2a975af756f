"""Where a run computes: one device, several of this machine, or what torchrun or srun give it on many machines."""

import logging
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from htunet.errors import UsageError, counted
from htunet.models.precision import FABRIC_PRECISION, find_device, resolve_precision
from htunet.parallel import end_with
from htunet.training.host_memory import keep_freed_memory

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it gives up; saving and the longest step take far less."""
LAUNCHERS = {
    "torchrun": ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    "srun": ("SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
}
"""Environment variables of each launcher: its mark, the number of all processes, and of those on this machine."""


@dataclass(frozen=True)
class Places:
    """How many processes a run has."""

    per_machine: int
    machines: int
    launcher: str = ""
    """The launcher that started them, ``torchrun`` or ``srun``; empty where the first process starts the others."""


def places(devices: int) -> Places:
    """The processes of a run with ``--devices``: all that a launcher has started, else as many as devices.

    Raises UsageError when the launcher and ``--devices`` contradict each other.
    """
    for name, (mark, all_of_them, of_a_machine) in LAUNCHERS.items():
        total = int(os.environ.get(all_of_them, "1"))
        if mark not in os.environ or total == 1:
            continue
        if of_a_machine not in os.environ:
            raise UsageError(f"{name} has not set {of_a_machine}: start it with --ntasks-per-node.")
        per_machine = int(os.environ[of_a_machine])
        if total % per_machine:
            raise UsageError(
                f"{name} started {counted(total, 'process')}, {per_machine} on this machine: every machine "
                "needs equally many."
            )
        if devices not in (1, per_machine):
            raise UsageError(
                f"--devices {devices}: {name} started {counted(per_machine, 'process')} on this machine. Omit "
                "--devices."
            )
        return Places(per_machine, total // per_machine, name)
    return Places(devices, 1)


def make_fabric(*, device: str, devices: int, precision: str) -> Fabric:
    """Start the other processes, where there are several, and connect to them.

    ``device`` is one of ``DEVICES``; ``precision`` auto, bf16, tf32 or fp32. Raises UsageError for a device that is
    absent.
    A process ends itself when the one that started it has died; a process that does not answer ends the run.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its import sets it lower
    kind = find_device(device)
    place = places(devices)
    if kind == "cuda" and place.per_machine > torch.cuda.device_count():
        raise UsageError(f"--devices {place.per_machine}: this machine has {torch.cuda.device_count()}.")
    if kind == "mps" and place != Places(1, 1):
        raise UsageError("--device mps: one process computes on an Apple GPU. Omit --devices.")
    numbers = FABRIC_PRECISION[resolve_precision(precision, kind)]
    if place == Places(1, 1):
        fabric = Fabric(accelerator=kind, devices=1, precision=numbers)  # type: ignore[arg-type]
    else:
        if place.launcher or os.environ.get("LOCAL_RANK", "0") != "0":
            end_with(os.getppid())  # it would wait for it for ever
        # the adapters of the blocks that a task does not need get no gradient
        strategy = DDPStrategy(find_unused_parameters=True, timeout=TIMEOUT)
        fabric = Fabric(
            accelerator=kind,
            devices=place.per_machine,
            num_nodes=place.machines,
            strategy=strategy,
            precision=numbers,  # type: ignore[arg-type]
        )
    fabric.launch()
    if kind == "cpu":
        keep_freed_memory()
    return fabric
