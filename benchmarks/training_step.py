"""One training step of CLIP_HT segmentation against a literal transcription of the equations.

    python -m benchmarks.training_step [--method CLIP_HT] [--batch 8] [--rounds 5] [--device cpu|cuda] [--compile]

UNet and ResNet18 are compared with the loop that a PyTorch user would write: the same layers in PyTorch's usual memory
layout, nn.Dropout, AdamW as it is by default.

Each version is a process of its own, set up as its training would be: htunet's keeps the memory that it frees. They
take turns, step by step, so that the machine's mood meets all of them; quoted are medians and the ratio to the literal
version in the same round. Peak memory is the most that the process ever held.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.literal import LiteralNetwork
from htunet.models.build import build_network
from htunet.models.precision import convert_frozen_to_bf16, has_bf16
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION, Outputs
from htunet.training.host_memory import keep_freed_memory
from htunet.training.losses.classification import focal
from htunet.training.losses.segmentation import dice_cross_entropy

PLAIN = "plain fp32"
"""For CLIP_HT the literal transcription."""
VARIANTS = (PLAIN, "htunet fp32", "htunet bf16")
COMPILED = ("htunet fp32 compiled", "htunet bf16 compiled")
"""With torch.compile, forward and backward; on a CPU that needs a C++ compiler."""
METHODS = ("CLIP_HT", "UNet", "ResNet18")
SIDE, LABELS = 224, 2
TOLERANCE = 1e-5


class Stepper:
    """One variant: its network, its optimiser, and one step on a fixed batch."""

    def __init__(self, variant: str, batch: int, device: str, *, method: str = METHODS[0]) -> None:
        self.bf16 = "bf16" in variant
        self.device = device
        task = CLASSIFICATION if method == "ResNet18" else SEGMENTATION
        outputs = Outputs(task=task, num_labels=LABELS, num_classes=LABELS)
        network, _ = build_network(method, outputs, seed=1, weights="random")
        parameters: list[nn.Parameter]
        if variant == PLAIN and method != METHODS[0]:
            plain = as_users_write_it(network).to(device).train()
            self.forward: Callable[[Tensor], Tensor] = plain
            parameters = list(plain.parameters())
        elif variant == PLAIN:
            literal = LiteralNetwork.from_network(network).to(device).train()
            literal.clip.eval()
            normalise = network.normalise.to(device)
            self.forward = lambda images: literal(normalise(images))
            parameters = [p for p in literal.parameters() if p.requires_grad]
        else:
            if self.bf16:
                convert_frozen_to_bf16(network)
            network.to(device).train()
            for part in parts_of(network) if variant in COMPILED else ():
                part.compile()
            self.forward = network
            parameters = network.trainable_parameters()
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=None if variant == PLAIN else True)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (batch, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator).to(device)
        shape = (batch, SIDE, SIDE) if task == SEGMENTATION else (batch,)
        self.truth = torch.randint(0, LABELS, shape, generator=generator).to(device)
        self.loss = dice_cross_entropy if task == SEGMENTATION else focal

    def step(self) -> float:
        """Seconds of one step: on a CPU with one thread processor time, which other programs hardly change."""
        clock = time.process_time if self.device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
        started = clock()
        with torch.autocast(self.device, torch.bfloat16) if self.bf16 else nullcontext():
            scores = self.forward(self.images)
        self.loss(scores.float(), self.truth).mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return clock() - started


def parts_of(network: nn.Module) -> list[nn.Module]:
    """What is compiled by itself: blocks and adapters, whose code is shared, where there are some; else the network."""
    encoder = getattr(network, "encoder", None)
    return [network] if encoder is None else [*encoder.backbone.blocks, *encoder.adapters]


def as_users_write_it(network: nn.Module) -> nn.Module:
    """The same layers in PyTorch's usual memory layout, with its own dropout."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return network.to(memory_format=torch.contiguous_format)


def largest_difference() -> float:
    """Between the scores of both versions, fp32, with trained-like random weights, dropout off."""
    network, _ = build_network("CLIP_HT", Outputs(num_labels=LABELS), seed=1, weights="random")
    for parameter in network.trainable_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
    literal = LiteralNetwork.from_network(network).eval()
    images = torch.randint(0, 256, (2, 1, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float((network.eval()(images) - literal(network.normalise(images))).abs().max())


def turns(
    method: str, batch: int, rounds: int, device: str = "cpu", variants: Sequence[str] = VARIANTS
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Of each version, the seconds of its step in each round, and the peak memory in GB."""
    workers = {
        name: _Worker(name, batch, device, method) for name in variants if "bf16" not in name or has_bf16(device)
    }
    first = {name: worker.step() for name, worker in workers.items()}  # which allocates, and compiles
    for name in workers.keys() & set(COMPILED):
        print(f"{name}: {first[name]:.0f} s until the first step was done", flush=True)
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            times[name].append(worker.step())
    return times, {name: worker.end() for name, worker in workers.items()}


def compare(method: str, batch: int, rounds: int, device: str, variants: Sequence[str]) -> None:
    """Print images a second, the ratio to the plain version, and the peak memory."""
    times, memory = turns(method, batch, rounds, device, variants)
    same = f"; largest difference in fp32 {largest_difference():.1e}" if method == METHODS[0] else ""
    print(f"{method}, batch {batch}, {device}, {torch.get_num_threads()} threads, {rounds} rounds in turn{same}")
    print(f"{'version':20} {'images/s':>9} {'ratio':>7} {'(min-max)':>13} {'peak GB':>8} {'ratio':>6}")
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(times[PLAIN], seconds, strict=True)]
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        speed, ratio = batch / statistics.median(seconds), statistics.median(ratios)
        share = memory[name] / memory[PLAIN]
        print(f"{name:20} {speed:9.2f} {ratio:7.2f} {spread:>13} {memory[name]:8.2f} {share:6.2f}")


class _Worker:
    """A process that makes a step when it is told to."""

    def __init__(self, variant: str, batch: int, device: str, method: str) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would begin with this process's memory
        self.orders, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, variant, batch, device, method), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is noticed here

    def step(self) -> float:
        """Seconds of one step."""
        self.orders.send(True)
        return self.orders.recv()

    def end(self) -> float:
        """End it; the most memory that it held, in GB."""
        self.orders.send(False)
        peak = self.orders.recv()
        self.process.join()
        return peak


def _serve(orders: Connection, variant: str, batch: int, device: str, method: str) -> None:
    if device == "cpu" and variant != PLAIN:
        keep_freed_memory()
    stepper = Stepper(variant, batch, device, method=method)
    while orders.recv():
        orders.send(stepper.step())
    orders.send(_peak_gb(device))


def _peak_gb(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e6


def main() -> None:
    """Parse and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default=METHODS[0], choices=METHODS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="htunet's versions by torch.compile, too")
    options = parser.parse_args()
    variants = (*VARIANTS, *COMPILED) if options.compile else VARIANTS
    compare(options.method, options.batch, options.rounds, options.device, variants)


if __name__ == "__main__":
    main()
