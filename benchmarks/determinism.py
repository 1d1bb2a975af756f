"""What changes the bits of a training: threads, workers, processes, resuming; the largest difference of a weight.

    python -m benchmarks.determinism [--steps 6] [--methods UNet ...] [--precisions bf16] [--folder DIR]

Random weights, images of the phantom at 64 x 64 (DINOv2: 70 x 70), on a CPU. Each column is compared with a run of
one thread in one process. Two processes compute without dropout, which each draws for itself; ``other order``, where
the second starts before the first, is compared with two processes that start as usual. Cells are the largest
differences of the weights after the last step, where there is batch normalisation of its statistics, and of the
validation losses.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from htunet.files import read_csv
from htunet.planning.plans import load_plans, save_plans

RESULTS = "htunet_results"
PLAN, BATCH, IMAGES = "bits", 16, 40
"""Of the images 32 train: two steps an epoch."""
METHODS = {"UNet": "seg", "ResNet18": "cls", "CLIP_HT": "seg", "DINOv2": "seg"}
BASE: dict[str, Any] = {"threads": 1, "workers": 0, "devices": 1}
RUNS: dict[str, dict[str, Any]] = {
    "one": {},
    "two threads": {"threads": 2},
    "two workers": {"workers": 2},
    "resumed": {"stop": True},
    "one, no dropout": {"dropout": False},
    "two processes": {"devices": 2, "dropout": False},
    "other order": {"devices": 2, "dropout": False, "reversed": True},
}
COMPARED = dict.fromkeys(("two threads", "two workers", "resumed"), "one") | {
    "two processes": "one, no dropout",
    "other order": "two processes",
}


def main() -> None:
    """Train everything, and print a line for each method and precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        train_once(json.loads(options.worker))
        return
    from benchmarks.phantom_home import prepare_phantom

    with tempfile.TemporaryDirectory() as temporary:
        home = (options.folder or Path(temporary)).resolve()
        dataset = prepare_phantom(home, PLAN, images=IMAGES, split_by="image", input_size=(64, 64), batch_size=BATCH)
        plans = load_plans(dataset.plans_json)
        larger = {f"{PLAN}_70": replace(plans[PLAN], name=f"{PLAN}_70", input_size=(70, 70))}
        save_plans(dataset.plans_json, plans | larger)
        subprocess.run(
            [sys.executable, "-m", "htunet.cli.plan_and_preprocess", "-d", "Phantom", "--plan", f"{PLAN}_70"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        print(f"| method | precision | {' | '.join(COMPARED)} |\n|{'---|' * (len(COMPARED) + 2)}")
        for precision in options.precisions:
            for method in options.methods:
                print(f"| {method} | {precision} | {' | '.join(differences(home, method, precision, options.steps))} |")
                sys.stdout.flush()


def differences(home: Path, method: str, precision: str, steps: int) -> list[str]:
    """The largest difference of each comparison, as text."""
    found: dict[str, Path] = {}
    for name, changes in RUNS.items():
        results = home / "results" / precision / name.replace(" ", "_").replace(",", "")
        spec = BASE | {"method": method, "precision": precision, "steps": steps, "results": str(results)} | changes
        if not (done := list(results.glob(f"*/*__{method}/*/*/finished.json"))):
            start(spec)
            done = list(results.glob(f"*/*__{method}/*/*/finished.json"))
        found[name] = done[0].parent
    return [largest(found[name], found[other]) for name, other in COMPARED.items()]


def largest(one: Path, two: Path) -> str:
    """The largest difference of a weight, of a statistic, and of an epoch's validation loss; ``0`` is bit for bit."""
    from safetensors.torch import load_file

    first, second = (load_file(folder / "checkpoint_latest.safetensors") for folder in (one, two))
    kinds: dict[str, float] = {"weights": 0.0}
    for key, values in first.items():
        if key.startswith("model."):
            kind = "statistics" if "running_" in key else "weights"
            kinds[kind] = max(kinds.get(kind, 0.0), float((values.double() - second[key].double()).abs().max()))
    losses = (
        [float(row["val_loss"]) for row in read_csv(folder / "progress.csv", ["val_loss"])] for folder in (one, two)
    )
    kinds["loss"] = max(abs(a - b) for a, b in zip(*losses, strict=True))
    return " / ".join(f"{kinds[kind]:.0e}" if kinds[kind] else "0" for kind in kinds)


def start(spec: dict[str, Any]) -> None:
    """Train here, or in two processes."""
    if spec["devices"] == 1:
        train_once(spec)
        if spec.get("stop"):
            train_once(spec | {"stop": False})
        return
    command = [sys.executable, "-m", "benchmarks.determinism", "--worker", json.dumps(spec)]
    if not spec.get("reversed"):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return
    command[-1] = json.dumps(spec | {"devices": 1})
    ranks = []
    for rank in (1, 0):
        about = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517", "GROUP_RANK": "0"}
        about |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
        ranks.append(subprocess.Popen(command, env=os.environ | about, stdout=subprocess.DEVNULL))
        time.sleep(2)
    for process in ranks:
        process.wait()  # whether the run is finished is seen from its folder


def train_once(spec: dict[str, Any]) -> None:
    """One training, or half of one."""
    import torch

    from htunet.training import session
    from htunet.training.run import train
    from htunet.training.settings import TrainSettings

    os.environ[RESULTS] = spec["results"]
    method, asked = spec["method"], iter([False] * (spec["steps"] // 2))
    settings = TrainSettings(
        plan=f"{PLAN}_70" if method == "DINOv2" else PLAN,
        task=METHODS[method],
        weights="random",
        device="cpu",
        precision=spec["precision"],
        num_epochs=spec["steps"] // 2,
        **{name: spec[name] for name in BASE},
    )
    with ExitStack() as patches:
        patches.enter_context(patch.object(session, "remove_latest", lambda _: None))  # it has the last step's weights
        if not spec.get("dropout", True):
            patches.enter_context(patch.object(torch.nn.functional, "dropout", lambda values, *_, **__: values))
        if spec.get("stop"):
            patches.enter_context(patch.object(session.StopSignals, "requested", lambda _: next(asked, True)))
        train("Phantom", method, 0, settings)


if __name__ == "__main__":
    main()
