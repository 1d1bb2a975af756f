"""The memory that a training process on a CPU may use."""

import re
from pathlib import Path

import psutil

GIB = 1024**3
CGROUP, OF_PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_memory_gb(cgroup: Path = CGROUP, of_process: Path = OF_PROCESS) -> float:
    """GiB that can be taken without swapping, within the limits of the container and of a batch system's job.

    These are limits of cgroups, v2 or v1: of the one that the process is in, and of all that contain it.
    """
    available = psutil.virtual_memory().available
    limits = [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")]
    for folder in _folders(cgroup, of_process):
        for limit_name, usage_name in limits:
            limit, usage = _number(folder / limit_name), _number(folder / usage_name)
            if limit is not None and usage is not None:
                # The page cache counts as used, but goes as soon as memory is needed.
                available = min(available, max(0, limit - usage + _inactive_file(folder / "memory.stat")))
    return available / GIB


def _folders(cgroup: Path, of_process: Path) -> list[Path]:
    """The folders of all cgroups that limit the memory of the process; lines are ``number:controllers:/path``."""
    try:
        lines = [line.split(":", 2) for line in of_process.read_text().splitlines()]
    except OSError:
        lines = []
    found = [cgroup, cgroup / "memory"]
    for _, controllers, path in lines:
        if not controllers or "memory" in controllers.split(","):
            root, parts = cgroup / "memory" if controllers else cgroup, Path(path).parts[1:]
            found += [root.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
    return found


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
