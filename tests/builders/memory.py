"""What memory a process takes, measured by the process itself; ``target``s of ``builders.processes``."""

import resource
import sys
from pathlib import Path

import torch
from torch import nn

MEGABYTES, TURNS = 64, 20


def _now() -> dict[str, int]:
    """KiB by name, from Linux's /proc."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}


def load() -> int:
    """Print the peak of memory that loading a weights file takes, as a fraction of the file; FILE SIDE."""
    from htunet.models.weights.formats import read_state
    from htunet.models.weights.load import load_strictly, tensor_hash

    path, side = Path(sys.argv[1]), int(sys.argv[2])
    with torch.device("meta"):
        module = nn.Linear(side, side)
    read_state(path)
    Path("/proc/self/clear_refs").write_text("5")
    before = _now()["VmRSS"]
    load_strictly(module, read_state(path), path)
    tensor_hash(module)
    sys.stdout.write(str((_now()["VmHWM"] - before) * 1024 / path.stat().st_size))
    return 0


def take_again() -> int:
    """Print how many pages the system gives for blocks that are freed and taken again; ``keep`` or nothing."""
    from htunet.training.host_memory import keep_freed_memory

    if "keep" in sys.argv and not keep_freed_memory():
        return 3
    for _ in range(TURNS):  # small things take their places between the blocks
        torch.ones(MEGABYTES * 2**18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(TURNS):
        torch.ones(MEGABYTES * 2**18)
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
    return 0
