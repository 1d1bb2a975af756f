"""The memory that a training process on a CPU may use."""

import re
from pathlib import Path

import psutil

GIB = 1024**3
CGROUP = Path("/sys/fs/cgroup")


def available_memory_gb(cgroup: Path = CGROUP) -> float:
    """GiB that can be taken without swapping, within the limit of the container (cgroup v2 or v1)."""
    available = psutil.virtual_memory().available
    limits = [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")]
    for limit_name, usage_name in limits:
        limit, usage = _number(cgroup / limit_name), _number(cgroup / usage_name)
        if limit is not None and usage is not None:
            # The page cache counts as used, but goes as soon as memory is needed.
            cache = _inactive_file((cgroup / usage_name).with_name("memory.stat"))
            available = min(available, max(0, limit - usage + cache))
    return available / GIB


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _inactive_file(path: Path) -> int:
    try:
        found = re.search(r"^(?:total_)?inactive_file (\d+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
