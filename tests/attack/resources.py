"""Commands without a resource that they need, in a mount namespace of their own: one line of error, no half file."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from builders.busi import build_busi

from attack.converters import spoken_problems
from attack.own_files import COMMANDS, unpack_world
from htunet.files import PART
from htunet.paths import ROOTS

FULL = "mount -t tmpfs -o size={size}k none raw && mount -t tmpfs -o size={size}k none results"
FAULTS = {
    "full disk": (FULL.format(size=16), ("convert", "BUSI", "download", "--workers", "1")),
    "full disk, export": ("mkdir out && mount -t tmpfs -o size=4k none out", (*COMMANDS["export"][:-1], "out/a.zip")),
    "read-only results": ("mount --bind results results && mount -o remount,ro,bind results", COMMANDS["tables"]),
    "no /dev/shm": ("mount -t tmpfs -o ro none /dev/shm", COMMANDS["resume"]),
    "little memory": ("ulimit -v 5000000", COMMANDS["resume"]),
}
"""What is done to the machine first, and the command."""
MAY_SUCCEED = ("read-only results", "no /dev/shm", "little memory")


def works() -> bool:
    """Whether this user may mount in a namespace."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


def attack() -> Iterator[tuple[str, list[str]]]:
    """The name of each fault, and what was wrong under it."""
    for name, (prepare, words) in FAULTS.items():
        with tempfile.TemporaryDirectory(prefix="htunet_attack_") as base:
            unpack_world(Path(base))
            home = Path(base) / "sound"
            build_busi(home / "download")
            shutil.rmtree(home / "raw" / "Dataset503_BUSI", ignore_errors=True)
            places = {variable: str(home / folder) for variable, folder in ROOTS.items()}
            command = " ".join([sys.executable, "-m", "attack.kills", *words])
            with (Path(base) / "left").open("w+") as left:
                find = f"find . -name '{PART}*' >&{left.fileno()}"
                script = f"{prepare} && {command}; code=$?; {find}; exit $code"
                result = subprocess.run(
                    ["unshare", "-rm", "sh", "-c", script],
                    capture_output=True, text=True, check=False, cwd=home, pass_fds=[left.fileno()],
                    env=os.environ | places | {"OMP_NUM_THREADS": "1"},
                )  # fmt: skip
                left.seek(0)
                problems = spoken_problems(result.returncode, "", result.stderr)
                problems += [f"left behind: {line.strip()}" for line in left]
            if result.returncode == 0 and name not in MAY_SUCCEED:
                problems.append("ends well all the same")
            yield name, problems
