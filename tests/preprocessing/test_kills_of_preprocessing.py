"""The whole planning command, killed at random moments: what it leaves is either not there or whole.

HTUNET_KILLS sets how often it is killed; 20 is a thorough test.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders.raw import build_raw

from htunet.files import PART

KILLS = int(os.environ.get("HTUNET_KILLS", "3"))
CALL = "from htunet.cli.plan_and_preprocess import main; raise SystemExit(main())"
COMMAND = [sys.executable, "-c", CALL, "-d", "Tiny", "--workers", "2", "--memory-gb", "8"]


def start(home: Path, preprocessed: str) -> subprocess.Popen[str]:
    environment = os.environ | {"htunet_preprocessed": str(home / preprocessed)}
    return subprocess.Popen(
        COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its place, but the locks, which are empty."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.name
    }


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_preprocessing_that_is_killed_again_and_again_ends_in_the_same_bytes(home: Path) -> None:
    dataset = build_raw(240, sizes=[(150, 180), (160, 140)])
    started = time.monotonic()
    undisturbed = start(home, "undisturbed")
    assert undisturbed.wait() == 0, undisturbed.communicate()
    seconds = time.monotonic() - started
    rng = np.random.default_rng(0)
    killed = 0
    for _ in range(KILLS):
        process = start(home, "killed")
        time.sleep(rng.uniform(0.2, 0.9 * seconds))
        os.killpg(process.pid, signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
        else:  # done before it was killed: begin anew
            shutil.rmtree(home / "killed")
    assert killed
    last = start(home, "killed")
    output, errors = last.communicate()
    assert last.returncode == 0, output + errors
    folders = [home / name / dataset.name for name in ("killed", "undisturbed")]
    found, expected = (contents(folder) for folder in folders)
    assert sorted(found) == sorted(expected)
    assert {name for name in found if found[name] != expected[name]} == set()
    assert not list((home / "killed").rglob(f"{PART}*"))
