"""What htunet does on a GPU: steps, memory, waiting for data, profiles. The most valuable figures come first.

    python -m benchmarks.gpu [--minutes 8] [--out FOLDER] [--sections step profile ...] [--methods UNet CLIP_HT ...]
                             [--pack FILE.zip]

FOLDER/gpu.json is written after every measurement, so that a run which is cut short keeps what it has. Weights are
random and images are made up: neither changes a time. Each measurement starts only while there is time for it; what was
not measured, and why, is in the file too. With --pack (see benchmarks.gpu_pack) real trainings follow: UNet, of each
data set in each plan, ResNet18, CLIP_HT from random weights, and UNet again with as many seeds as there is time for.
On a CPU (--device cpu) the same code runs, which shows that it works.
"""

import argparse
import gc
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

STARTED = time.monotonic()

import torch  # noqa: E402 (its import belongs to the time)
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmarks.gpu_pack import restore  # noqa: E402
from htunet.experiments.cost import plan_content  # noqa: E402
from htunet.experiments.jobs import Workload  # noqa: E402
from htunet.experiments.step_time import MadeUpImages, Trial, measure  # noqa: E402
from htunet.files import write_json  # noqa: E402
from htunet.models.dual_encoder import build_dual_encoder  # noqa: E402
from htunet.models.precision import fp32_products  # noqa: E402
from htunet.parallel import available_cores  # noqa: E402
from htunet.planning import rules  # noqa: E402
from htunet.planning.finetuning_plan import finetuning_plan  # noqa: E402
from htunet.planning.plans import Plan, plan_from  # noqa: E402
from htunet.training.contrastive import ContrastiveTrainer, PairBatch  # noqa: E402
from htunet.training.cuda_graphs import SWITCH  # noqa: E402
from htunet.training.devices import make_fabric  # noqa: E402
from htunet.training.loader import BatchOrder, RemainingBatches, Shard, training_batches  # noqa: E402
from htunet.training.loop import Data, Events, Loop, fit, train_step  # noqa: E402
from htunet.training.ready import make_ready  # noqa: E402
from htunet.training.state import Progress  # noqa: E402

METHODS = ("UNet", "CLIP_HT", "ResNet18", "CLIP", "DINOv2")
TASKS, SIDES = {"ResNet18": "cls"}, {"DINOv2": 518}
SECTIONS = ("step", "profile", "epoch", "loader", "memory", "stage1", "train", "compiled")
BF16_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense products a second, as NVIDIA's data sheets have them; by a part of the device's name."""
WARM_UP, FEWEST, MOST = 3, 5, 40
GIB = 1024**3
GUESS = {"step": 5.0, "profile": 6.0, "epoch": 12.0, "loader": 8.0, "memory": 10.0, "stage1": 12.0, "compiled": 60.0}
GUESS["train"] = 75.0
"""Seconds that a measurement of a section may take; one that might end too late is not begun."""


class Kit:
    """The options, what has been measured, and the time that is left."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.cuda = options.device == "cuda"
        self.deadline = STARTED + 60 * options.minutes if self.cuda else time.monotonic() + 60 * options.minutes
        self.path = Path(options.out) / "gpu.json"
        self.found: dict[str, Any] = {"machine": self.machine(), "rows": [], "not_measured": []}
        self.flops: dict[str, float] = {}
        """Of a step, by method."""

    def machine(self) -> dict[str, Any]:
        """What the figures are of."""
        name = torch.cuda.get_device_name() if self.cuda else platform.processor() or "CPU"
        memory = torch.cuda.get_device_properties(0).total_memory / GIB if self.cuda else None
        versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()}
        return {"device": name, "memory_gb": memory, "cores": available_cores(), "batch": self.options.batch} | versions

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def run(self, section: str, name: str, action: Callable[[], dict[str, Any]]) -> None:
        """One measurement, if its section is asked for and there is time; its error stands where its figures would."""
        if section not in self.options.sections:
            return
        if self.left < GUESS[section] * (1 if self.cuda else 0.1):
            self.found["not_measured"].append({"section": section, "name": name, "reason": "no time left"})
        else:
            started = time.monotonic()
            try:
                row = action()
            except Exception as error:  # the other measurements do not depend on this one
                row = {"error": f"{type(error).__name__}: {error}"[:400]}
            row = {"section": section, "name": name, "seconds": time.monotonic() - started} | row
            self.found["rows"].append(row)
            shown = {key: value for key, value in row.items() if key != "kernels"}
            print(json.dumps(shown, default=float), flush=True)
            gc.collect()
            if self.cuda:
                torch.cuda.empty_cache()
        write_json(self.path, self.found)

    def plan(self, method: str, plan: str = "paper") -> Plan:
        """Plan ``paper`` at the method's input size, with the batch that is asked for."""
        side = self.options.side or SIDES.get(method, rules.BASE_SIDE)
        content = json.loads(json.dumps(plan_content(Workload(plan=plan, side=side))))
        return replace(plan_from(content, "made up"), batch_size=self.options.batch)

    def trial(self, method: str, precision: str, *, compiled: bool = False, graphs: bool = True) -> Trial:
        """The method as it trains here, or without CUDA graphs."""
        task = TASKS.get(method, "seg")
        device = self.options.device
        with _environment({SWITCH: "1" if graphs else "0"}):
            return Trial(method, task, self.plan(method), precision=precision, device=device, compiled=compiled)

    def time(self, action: Callable[[int], object]) -> dict[str, float]:
        """Seconds of one call, of many, after some that are not counted; peak memory."""
        for number in range(WARM_UP):
            action(number)
        self.synchronise()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        seconds: list[float] = []
        while len(seconds) < FEWEST or (len(seconds) < MOST and sum(seconds) < self.options.seconds):
            started = time.perf_counter()
            action(WARM_UP + len(seconds))
            self.synchronise()
            seconds.append(time.perf_counter() - started)
        memory = {"peak_gb": torch.cuda.max_memory_allocated() / GIB} if self.cuda else {}
        return {"step_s": statistics.median(seconds), "fastest_s": min(seconds), "slowest_s": max(seconds)} | memory

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def share(self, flops: float, seconds: float) -> dict[str, float]:
        """Of the device's bf16 peak."""
        name = self.found["machine"]["device"]
        peak = next((value for part, value in BF16_PEAK.items() if part in name), None)
        reached = {"tflop_per_s": flops / seconds / 1e12}
        return reached | ({"share_of_bf16_peak": flops / seconds / peak} if peak else {})


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _autotuned(on: bool) -> Iterator[None]:
    """Let cuDNN try its algorithms for each shape, and take the fastest."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def step(kit: Kit, method: str, precision: str, variant: str = "") -> dict[str, Any]:
    """A training step. ``variant``: none with CUDA graphs; the others without them, as a run trains by default.

    eager; contiguous (not channels-last); autotuned (cuDNN's search); compiled.
    """
    trial, size = kit.trial(method, precision, compiled=variant == "compiled", graphs=not variant), kit.options.batch
    if variant == "contiguous":
        trial.network.to(memory_format=torch.contiguous_format)
    if method not in kit.flops and variant != "compiled":  # counted before a pass is recorded
        with FlopCounterMode(display=False) as counter:
            trial.step(size, 0)
        kit.flops[method] = float(counter.get_total_flops())
    with _autotuned(variant == "autotuned"):
        row: dict[str, Any] = kit.time(lambda number: trial.step(size, number))
        with torch.no_grad():
            predicted = kit.time(lambda _: trial.predict(size))["step_s"]
    about = {"method": method, "precision": precision, "variant": variant or "graphs"}
    speed = {"images_per_s": size / row["step_s"], "predicted_images_per_s": size / predicted}
    flops = kit.share(kit.flops[method], row["step_s"]) if method in kit.flops else {}
    return about | speed | row | flops


def profile(kit: Kit, method: str, precision: str) -> dict[str, Any]:
    """The kernels that take most of a step's time on the device, ms a step, and for how much of it the device works."""
    trial, size, steps = kit.trial(method, precision), kit.options.batch, 3
    seconds = kit.time(lambda number: trial.step(size, number))["step_s"]
    kinds = [torch.profiler.ProfilerActivity.CUDA if kit.cuda else torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds) as recorded:
        for number in range(steps):
            trial.step(size, number)
        kit.synchronise()
    key = "self_device_time_total" if kit.cuda else "self_cpu_time_total"
    used = {event.key: getattr(event, key) / steps / 1e3 for event in recorded.key_averages()}
    first = sorted(used.items(), key=lambda item: -item[1])[:25]
    kernels = {name[:120]: round(ms, 3) for name, ms in first}
    about = {"method": method, "precision": precision, "step_ms": 1e3 * seconds, "busy_ms": sum(used.values())}
    return about | {"kernels": kernels}


def loader(kit: Kit, plan_name: str, workers: int) -> dict[str, Any]:
    """Augmented images a second, when nothing else is done."""
    plan = kit.plan("UNet")
    if plan_name == "public":
        plan = replace(plan, augmentation=dict.fromkeys(("mirror", "spatial", "intensity"), 0.0),
                       more_augmentation={"strong_weak": {}})  # fmt: skip
    order = BatchOrder(range(1024), plan.batch_size, 1)
    remaining = RemainingBatches(order, 0, 10**6, Shard())
    batches = training_batches(MadeUpImages(plan), remaining, workers, pin_memory=kit.cuda)
    for _ in range(1 + 4 * workers):  # until all workers are there, and what they had made ahead is used
        next(batches)
    started, images = time.perf_counter(), 0
    while images == 0 or time.perf_counter() - started < kit.options.seconds:
        images += len(next(batches).images)
    return {"augmentation": plan_name, "workers": workers, "images_per_s": images / (time.perf_counter() - started)}


def epoch(kit: Kit, method: str) -> dict[str, Any]:
    """A training through its own loop: waiting for data, and an epoch's time beside htunet_reproduce's estimate."""
    workers = rules.workers(available_cores()) if kit.cuda else 0
    images, val_images = 17 * kit.options.batch, 2 * kit.options.batch
    plan = kit.plan(method)
    times = measure(method, TASKS.get(method, "seg"), plan) if kit.cuda else {"step": 0.0, "image": 0.0}
    trial, ends = kit.trial(method, "auto"), [time.perf_counter()]
    until = ends[0] + 4 * kit.options.seconds
    events = Events(
        after_step=lambda *_: None,
        after_epoch=lambda *_: ends.append(time.perf_counter()),
        stop_requested=lambda: len(ends) > 2 and time.perf_counter() > until,
    )
    loop = trial.loop(images, val_size=val_images, num_epochs=100 if kit.cuda else 2, workers=workers)
    waiting = fit(loop, Progress(), events)
    seconds = statistics.median(after - before for before, after in itertools.pairwise(ends[1:]))
    estimate = -(-images // plan.batch_size) * times["step"] + val_images * times["image"]
    return {
        "method": method,
        "epoch_s": seconds,
        "estimate_s": estimate,
        "estimate_by_truth": estimate / seconds,
        "waiting_for_data": waiting.fraction,
        "workers": workers,
        "images_per_s": (images + val_images) / seconds,
    }


def memory(kit: Kit, method: str, precision: str) -> dict[str, Any]:
    """The largest batch in the memory that plans are made for, beside the planner's rule.

    The peak at two batches gives what is fixed and what each image takes; then the batch doubles until there is no
    memory left, and two steps between the last two sizes follow.
    """
    trial = kit.trial(method, precision)
    rule = rules.images_that_fit(trial.plan.input_size, rules.MEMORY_GB)
    small = kit.options.batch // 2
    peaks = {size: _peak_gb(kit, trial, size) for size in (small, 2 * small)}
    each = (peaks[2 * small] - peaks[small]) / small
    row: dict[str, Any] = {"method": method, "precision": precision, "rule_images": rule, "gb_per_image": each}
    row["rule_gb_per_image"] = rules.memory_per_image_gb(trial.plan.input_size)
    row["fixed_gb"] = peaks[small] - small * each
    if not kit.cuda:
        return row
    total = torch.cuda.get_device_properties(0).total_memory / GIB
    torch.cuda.set_per_process_memory_fraction(min(1.0, rules.MEMORY_GB / total))
    try:
        fits, fails = 2 * small, 0
        while not fails and kit.left > GUESS["memory"] / 2:
            fits, fails = (2 * fits, 0) if _fits(kit, trial, 2 * fits) else (fits, 2 * fits)
        for _ in range(2 if fails else 0):
            middle = (fits + fails) // 2
            fits, fails = (middle, fails) if _fits(kit, trial, middle) else (fits, middle)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return row | {"memory_gb": rules.MEMORY_GB, "largest_that_fits": fits, "smallest_that_fails": fails or None}


def _peak_gb(kit: Kit, trial: Trial, size: int) -> float:
    trial.plan = replace(trial.plan, batch_size=size)
    trial.step(size, 0)
    if not kit.cuda:
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    trial.step(size, 1)
    return torch.cuda.max_memory_allocated() / GIB


def _fits(kit: Kit, trial: Trial, size: int) -> bool:
    try:
        _peak_gb(kit, trial, size)
    except torch.OutOfMemoryError:
        trial.optimizer.zero_grad(set_to_none=True)
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return True


def stage1(kit: Kit, method: str, pairs: int, parts: int) -> dict[str, Any]:
    """A step of stage 1 with gradient caching: ``pairs`` contrasted with each other, computed in ``parts``."""
    side = kit.options.side or rules.BASE_SIDE
    plan = finetuning_plan("made up", batch_size=pairs, learning_rate=1e-4, input_size=(side, side), public=False,
                           backbone=method.split("_")[0])  # fmt: skip
    fabric = make_fabric(device=kit.options.device, devices=1, precision="auto")
    network, _ = build_dual_encoder(method, seed=1, weights="random", adapter_settings=plan.adapter_settings)
    width = network.encode_text(["a"]).shape[1]  # before the weights are bf16
    forward, optimizer = make_ready(network, plan, fabric, "auto")
    pixels = torch.randint(0, 256, (pairs, 3, side, side), dtype=torch.uint8)
    texts = torch.nn.functional.normalize(torch.randn(pairs, width), dim=1)
    batch = PairBatch(pixels, texts, torch.arange(pairs))
    data = Data(train_rows=list(range(pairs)), val_rows=[], images=MadeUpImages(plan))
    loop = Loop(fabric=fabric, trainer=ContrastiveTrainer(pairs), network=network, forward=forward, optimizer=optimizer,
                plan=plan, data=data, seed=1, num_epochs=100, workers=0, parts=parts)  # fmt: skip
    row: dict[str, Any] = kit.time(lambda number: train_step(loop, batch, number))
    return {"method": method, "pairs": pairs, "parts": parts, "pairs_per_s": pairs / row["step_s"]} | row


def trained(kit: Kit, dataset: str, method: str, plan: str, seed: int) -> dict[str, Any]:
    """A whole training on real images; its small files stay in the kit's folder."""
    from htunet.training.run import train
    from htunet.training.settings import TrainSettings

    task = TASKS.get(method, "seg")
    epochs = kit.options.epochs or (20 if method == "CLIP_HT" else 200)
    settings = TrainSettings(plan=plan, task=task, seed=seed, num_epochs=epochs, weights="random",
                             precision="tf32", device=kit.options.device)  # fmt: skip
    started = time.perf_counter()
    outcome = train(dataset, method, 0, settings)
    seconds = time.perf_counter() - started
    about = {"dataset": dataset, "method": method, "plan": plan, "seed": seed, "epochs": epochs}
    return about | {"train_s": seconds, "epoch_s": seconds / epochs, outcome.metric: outcome.best_metric}


def trainings(kit: Kit) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """The trainings on what ``--pack`` holds, in the order of their value."""
    names = restore(Path(kit.options.pack), Path(kit.options.out) / "preprocessed")
    folders = {f"htunet_{name}": str(Path(kit.options.out, name).resolve()) for name in ("preprocessed", "results")}
    os.environ.update(folders)
    unets = [(name, "UNet", plan) for plan in ("public", "paper") for name in names]
    classified = [(name, "ResNet18", "public") for name in names[:1]]
    prompted = [(name, "CLIP_HT", "paper") for name in names]
    rounds = [(*one, 1) for one in (*unets, *classified, *prompted)]
    rounds += [(*one, seed) for seed in range(2, 2 + kit.options.more_seeds) for one in unets]
    for name, method, plan, seed in rounds:
        yield "train", f"{name} {method} {plan} seed {seed}", partial(trained, kit, name, method, plan, seed)


def ceiling(kit: Kit, precision: str) -> dict[str, Any]:
    """Products of large square matrices: what this device reaches at most."""
    side = 8192 if kit.cuda else 256
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=kit.options.device, dtype=kind) for _ in range(2))
    with fp32_products(precision):
        row = kit.time(lambda _: left @ right)
    return {"precision": precision} | kit.share(2 * side**3, row["step_s"])


def measurements(kit: Kit) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Section, name and action of each, in the order of their value."""
    methods, precisions = kit.options.methods, ("bf16", "tf32", "fp32") if kit.cuda else ("bf16", "fp32")
    first, others = methods[:2], methods[2:]

    def steps(of: list[str], *variants: str) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
        for method, variant, precision in itertools.product(of, variants, precisions):
            name = " ".join(filter(None, (method, precision, variant)))
            section = "compiled" if variant == "compiled" else "step"
            yield section, name, partial(step, kit, method, precision, variant)

    def profiles(precision: str) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
        for method in first:
            yield "profile", f"{method} {precision}", partial(profile, kit, method, precision)

    yield from steps(first, "", "eager")
    yield from profiles(precisions[-1])
    yield from steps(first[:1], "contiguous", "autotuned")
    yield from profiles("bf16")
    yield "epoch", first[0], partial(epoch, kit, first[0])
    yield from steps(others, "")
    for precision in precisions:
        yield "step", f"product of matrices {precision}", partial(ceiling, kit, precision)
    for plan, workers in itertools.product(("paper", "public"), (rules.workers(available_cores()), 0)):
        yield "loader", f"plan {plan}, {workers} workers", partial(loader, kit, plan, workers)
    for method, precision in itertools.product(first[::-1], ("fp32", "bf16")):
        yield "memory", f"{method} {precision}", partial(memory, kit, method, precision)
    pairs, method = 8 * kit.options.batch, kit.options.stage1
    for parts in (1, 4, 8):
        yield "stage1", f"{pairs} pairs in {parts} parts", partial(stage1, kit, method, pairs, parts)
    if kit.options.pack:
        yield from trainings(kit)
    if kit.cuda:
        yield from steps(methods, "compiled")


def main(arguments: list[str] | None = None) -> None:
    """Parse, measure until the time is over, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="for everything, the start of Python included")
    parser.add_argument("--out", default=".", help="folder for gpu.json")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--stage1", default="CLIP_HT", help="the method of stage 1")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--side", type=int, help="of the images; default: the method's own")
    parser.add_argument("--pack", help="file of benchmarks.gpu_pack: real images for trainings")
    parser.add_argument("--epochs", type=int, help="of each training; default: 200, of CLIP_HT 20")
    parser.add_argument("--more-seeds", type=int, default=5, help="of UNet, while there is time")
    parser.add_argument("--seconds", type=float, default=1.0, help="for the calls that one figure is the median of")
    kit = Kit(parser.parse_args(arguments))
    os.makedirs(kit.options.out, exist_ok=True)
    print(json.dumps(kit.found["machine"]), flush=True)
    for section, name, action in measurements(kit):
        kit.run(section, name, action)
    print(f"{len(kit.found['rows'])} measured, {len(kit.found['not_measured'])} not, in {kit.path}")


if __name__ == "__main__":
    main()
