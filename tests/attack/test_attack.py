"""A small fixed part of the attacks; ``make attack`` goes on with other numbers for as long as it is let."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_damaged_files_and_kills_do_no_harm(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))}
    numbers = ("--formats", "120", "--readers", "60", "--own", "3", "--converters", "150", "--kills", "2")
    command = [sys.executable, "-m", "attack", "--folder", str(tmp_path), *numbers]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    counts = json.loads((tmp_path / "counts.json").read_text(encoding="utf-8"))
    assert sum(counts["formats"].values()) == 120
    assert sum(counts["readers"].values()) == 60
    assert sum(counts["own files"].values()) == 3
    assert sum(counts["converters"].values()) == 150
    assert 0.1 < counts["refused"]["converters"] / 150 < 0.7  # damage that is harmless or deadly would say little
    assert counts["next"]["kills"] == 2
