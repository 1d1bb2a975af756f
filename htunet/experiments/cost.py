"""How long the jobs of a table take on this machine: from measured steps, or from the epochs of earlier runs."""

import dataclasses
import heapq
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from htunet.data.raw import DatasetInfo
from htunet.experiments.jobs import Job, Workload, in_order
from htunet.experiments.products import Trained
from htunet.files import as_read, json_hash, read_object, read_text, scratch_folder, write_json
from htunet.paths import DatasetPaths, root
from htunet.planning.planner import paper_plan
from htunet.planning.plans import load_plans
from htunet.planning.rules import BASE_SIDE, MEMORY_GB

START_SECONDS = 8.0
"""Until a worker has loaded its libraries and its network; an assumption, not a measurement."""
SCORE_SECONDS = 0.1
"""Of the distances and pictures of one test image, on the same machine."""
PREPARE_SECONDS = 0.05
"""Of reading, checking, resizing one image."""
EPOCH_TIME = re.compile(r" epoch \d+/\d+: .* \((\d+(?:\.\d+)?) s\)(?:, [\d.]+ \w+ left)?$", re.MULTILINE)
CACHE = "step_times.json"
TIMES = {"step", "image", "device", "batch", "side"}
"""What is stored of a measurement."""
SIDES = {"paper_518": 518, "public_518": 518}
"""Input sizes of the planner's own plans that differ from the usual one."""


Spec = dict[str, Any]
"""What is measured: method, task and plan, as plain values."""


@dataclass(frozen=True)
class Cost:
    """Seconds that a job takes, and what the estimate is based on."""

    seconds: float | None
    """None: unknown."""
    because: str


def costs_of(jobs: Iterable[Job], *, measure: bool = True) -> dict[str, Cost]:
    """The cost of each job that is not done, by its name.

    A training costs what its sister runs (other seeds) took for an epoch where there are any; else a step of it is
    measured here, once for each method, task and plan, and stored in the results folder. ``measure`` False: not
    measured.
    """
    open_jobs = [job for job in jobs if not job.product.done()]
    needed = {
        job.name: {
            "method": job.workload.method,
            "task": job.workload.task,
            "plan": as_read(plan_content(job.workload)),
        }
        for job in open_jobs
        if job.workload.method
    }
    times = _step_times(list(needed.values()), measure=measure)
    found = {name: times.get(_key(spec)) or _of_another_plan(spec, times.values()) for name, spec in needed.items()}
    return {job.name: _cost(job, found.get(job.name)) for job in open_jobs}


def _of_another_plan(spec: Spec, known: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """What was measured for the method at this input size with the plan of other data; None where nothing was."""
    about = {"method": spec["method"], "task": spec["task"], "side": max(spec["plan"]["input_size"])}
    return next((times for times in known if about.items() <= times.items()), None)


def wall_time(jobs: Sequence[Job], costs: Mapping[str, Cost], workers: int) -> float:
    """Seconds until all is done with so many workers, each ready job being taken as soon as one is free."""
    ends: dict[str, float] = {}
    free = [0.0] * workers
    for job in in_order(jobs):
        cost = costs.get(job.name)
        before = max((ends[need] for need in job.needs), default=0.0)
        if cost is None:
            ends[job.name] = before
            continue
        start = max(before, heapq.heappop(free))
        ends[job.name] = start + (cost.seconds or 0.0)
        heapq.heappush(free, ends[job.name])
    return max(ends.values(), default=0.0)


def _cost(job: Job, times: Mapping[str, Any] | None) -> Cost:
    workload, is_training = job.workload, job.kind in ("train", "finetune")
    if job.kind == "prepare":
        return Cost(START_SECONDS + PREPARE_SECONDS * workload.other_images, "a usual time for each image")
    if is_training and isinstance(job.product, Trained):
        logs = sorted(job.product.run.folder.parent.glob("seed_*/training.log"))  # differ in the seed alone
        if epochs := [seconds for log in logs for seconds in epoch_seconds(log)]:
            epoch = statistics.median(epochs)
            return Cost(START_SECONDS + workload.epochs * epoch, f"{epoch:.1f} s per epoch in an earlier run")
    if times is None or "error" in times:
        return Cost(None, times["error"] if times else "not measured")
    forward_only = workload.other_images * times["image"]
    side = workload.side or times["side"]
    place = f"{side} x {side}, measured here ({times['device']})"
    if is_training:
        steps = -(-workload.train_images // times["batch"])
        because = f"{times['step']:.2f} s per step of {times['batch']} images, {place}"
        return Cost(START_SECONDS + workload.epochs * (steps * times["step"] + forward_only), because)
    score = SCORE_SECONDS * workload.other_images if workload.task == "seg" else 0.0
    return Cost(START_SECONDS + forward_only + score, f"{times['image']:.3f} s per image, {place}")


def epoch_seconds(log: Path) -> list[float]:
    """What each epoch took, by a run's training.log; nothing where there is none."""
    return [float(text) for text in EPOCH_TIME.findall(read_text(log))] if log.exists() else []


def plan_content(workload: Workload) -> dict[str, Any]:
    """The plan as far as a step's time depends on it; of one that is not made yet, what the planner always decides."""
    path = DatasetPaths(workload.dataset).plans_json if workload.dataset else None
    found = load_plans(path).get(workload.plan) if path is not None and path.exists() else None
    if found is not None:
        return dataclasses.asdict(found) | {"because": {}}
    side = workload.side or SIDES.get(workload.plan, BASE_SIDE)
    of_any: Any = SimpleNamespace(dataset="Dataset999_Any")
    plan = paper_plan(of_any, DatasetInfo(classes={"a": 0, "b": 1}), MEMORY_GB)
    changes: dict[str, Any] = {"input_size": (side, side), "num_epochs": 1, "prompts": {}, "because": {}}
    return dataclasses.asdict(replace(plan, name=workload.plan, **changes))


def _key(spec: Spec) -> str:
    """Of a measurement: what was measured, where, and with how many threads."""
    plan, facts = spec["plan"], ("input_size", "batch_size", "channels", "adapter", "augmentation")
    about = [spec["method"], spec["task"], *(plan[name] for name in facts), len(plan["labels"])]
    about += [len(plan["classes"])] * ("cls" in spec["task"])
    about += [platform.node(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OMP_NUM_THREADS")]
    return json_hash(about, sort_keys=True)[:24]


def _step_times(specs: Sequence[Spec], *, measure: bool) -> dict[str, dict[str, Any]]:
    path = root("htunet_results") / "reproduce" / CACHE
    stored = read_object(path) if path.exists() else {}
    known: dict[str, dict[str, Any]] = {key: times for key, times in stored.items() if times.keys() >= TIMES}
    missing = {_key(spec): spec for spec in specs if _key(spec) not in known}
    if missing and measure:
        found = _measured(list(missing.values()))
        for (key, spec), times in zip(missing.items(), found, strict=True):
            about = {"method": spec["method"], "task": spec["task"], "batch": spec["plan"]["batch_size"]}
            about["side"] = max(spec["plan"]["input_size"])
            known[key] = times | about | {"machine": platform.node()}
        write_json(path, {key: times for key, times in known.items() if "error" not in times})
    return known


def _measured(specs: Sequence[Spec]) -> list[dict[str, Any]]:
    with scratch_folder(Path(tempfile.gettempdir())) as folder:
        request, found = folder / "request.json", folder / "found.json"
        write_json(request, {"requests": list(specs)})
        command = [sys.executable, "-m", "htunet.experiments.step_time", str(request), str(found)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.exists():
            return list(read_object(found)["found"])
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        return [{"error": f"could not be measured: {lines[-1]}"}] * len(specs)
