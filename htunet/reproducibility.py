"""Randomness as a function of what is being done, never of what was done before.

Every random draw comes from a generator seeded by (seed, purpose, position): the augmentation of one image by
(seed, "augment", epoch, case), the dropout of one step by (seed, "step", step). A run that is continued therefore
needs no stored generator state, and the number of workers changes nothing.
"""

import hashlib
import platform
import random
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import htunet
from htunet.errors import HtunetError
from htunet.files import read_object, write_json
from htunet.paths import AS_PUBLISHED, PHANTOM, RunPaths
from htunet.schemas import SETTINGS


def derived_seed(*key: int | str) -> int:
    """A 32-bit seed from a key; equal keys give equal seeds on every machine.

    >>> derived_seed(1, "augment", 0) == derived_seed(1, "augment", 0) != derived_seed(1, "augment", 1)
    True
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def generator(*key: int | str) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(derived_seed(*key))


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """Seed NumPy's and Python's global generators inside the block, and restore them after it.

    For libraries that draw from both: batchgenerators takes its noise and blur from Python's ``random``.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()
    np.random.seed(derived_seed(*key))
    random.seed(derived_seed(*key))
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def training_command(run: RunPaths, settings: Mapping[str, Any] | None = None) -> str:
    """What trains, or continues, a run as a user types it, with all that is not the default.

    ``settings`` None: what its settings.json says, where that is there.
    """
    if settings is None:
        path = run.source.settings_json
        settings = read_object(path, SETTINGS) if path.exists() else {}
    parts = ["htunet_train", run.source.dataset.unique_name, run.method, f"fold{run.fold}", f"--seed {run.seed}"]
    plan = run.plan.removesuffix(AS_PUBLISHED)
    parts += [f"--plan {plan}"] * (plan != "paper") + ["--as-published-defects"] * (plan != run.plan)
    parts += [f"--task {run.task}"] * (run.task != "seg") + [f"--ratio {run.ratio!r}"] * (run.ratio is not None)
    epochs, planned = settings.get("num_epochs"), (settings.get("plan_content") or {}).get("num_epochs")
    parts += [f"--num-epochs {epochs}"] * (planned not in (None, epochs))
    weights = settings.get("weights_argument") or (PHANTOM if run.adapter == PHANTOM else "pretrained")
    parts += [f"--weights {shlex.quote(weights)}"] * (weights != "pretrained")
    if run.adapter not in ("", PHANTOM):
        of_run = "run" in (settings.get("adapter") or {})
        adapter = settings.get("adapter_argument") or ("CHECKPOINT" if of_run else "finetuned")
        parts += [f"--adapter {shlex.quote(adapter)}"]
    if start := settings.get("start_checkpoint"):
        of_start = f"CHECKPOINT-OF-{start.get('dataset')}-fold{start.get('fold')}"
        parts += [f"--start-from {shlex.quote(settings.get('start_argument') or of_start)}"]
    if precision := settings.get("precision"):  # auto is another one on another machine, and refused
        parts += [f"--precision {precision}"]
    return " ".join(parts)


def record_command(path: Path, command: str) -> None:
    """Add a command as the user typed it to those that ``path`` lists; one that is repeated is the last one."""
    before = [one for one in recorded_commands(path) if one != command]
    write_json(path, {"commands": [*before, command]})


def recorded_commands(path: Path) -> list[str]:
    """What ``record_command`` has written; nothing where the file is missing or damaged."""
    try:
        found = read_object(path).get("commands") if path.exists() else []
    except HtunetError:
        return []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def provenance() -> dict[str, str]:
    """Versions that are needed to make the same result again."""
    packages = ("torch", "open_clip_torch", "numpy", "scipy", "batchgenerators")
    return {
        "htunet": htunet.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """The commit of this checkout, or ``released`` for an installed package."""
    home = Path(__file__).resolve().parents[1]
    if not (home / ".git").exists():
        return "released"
    command = ["git", "-C", str(home), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"
