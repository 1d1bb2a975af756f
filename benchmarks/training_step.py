"""One training step of a method against the version that a PyTorch user would write.

    python -m benchmarks.training_step [--method CLIP_HT] [--batch 8] [--rounds 5] [--device cpu|cuda] [--compile]

For CLIP, CLIP_HT and stage 1 that is a literal transcription of the equations on open_clip's towers; for the others a
plain loop: the same layers (ResNet18: torchvision's own) in PyTorch's usual memory layout, nn.Dropout, AdamW as it is
by default.

Each version is a process of its own, set up as its training would be: htunet's keeps the memory that it frees. They
take turns, step by step, so that the machine's mood meets all of them; quoted are medians and the ratio to the plain
version in the same round, and on a CPU the share that it reaches of its ceiling (``benchmarks.ceiling``). Peak memory
is the most that the process ever held.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks.ceiling import Ceiling
from benchmarks.literal import LiteralNetwork, LiteralStage1
from benchmarks.side import held_gb
from htunet.models.build import build_network
from htunet.models.dual_encoder import DualEncoder, build_dual_encoder
from htunet.models.network import Network
from htunet.models.precision import convert_frozen_to_bf16, has_bf16
from htunet.models.tasks import CLASSIFICATION, SEGMENTATION, Outputs
from htunet.training.contrastive import info_nce
from htunet.training.host_memory import keep_freed_memory
from htunet.training.losses.classification import focal
from htunet.training.losses.segmentation import dice_cross_entropy

PLAIN = "plain fp32"
"""What a user would write."""
VARIANTS = (PLAIN, "htunet fp32", "htunet bf16")
COMPILED = ("htunet fp32 compiled", "htunet bf16 compiled")
"""With torch.compile, forward and backward; on a CPU that needs a C++ compiler."""
STAGE1 = "stage1"
"""Of CLIP_HT."""
METHODS = ("CLIP_HT", "CLIP", STAGE1, "UNet", "ResNet18", "DINOv2")
SIDES = {"DINOv2": 518}
"""Of the input where it is not ``SIDE``."""
SIDE, LABELS = 224, 2
WRITTEN: dict[str, Callable[[Network], nn.Module]] = {
    "CLIP_HT": LiteralNetwork.from_network,
    "CLIP": LiteralNetwork.from_network,
    STAGE1: LiteralStage1.from_network,
    "ResNet18": lambda _: resnet18(num_classes=LABELS),
}
"""What a user would write on normalised images, where that is not htunet's layers in PyTorch's usual layout."""


class Stepper:
    """One variant: its network, its optimiser, and one step on a fixed batch."""

    def __init__(self, variant: str, batch: int, device: str, *, method: str = METHODS[0]) -> None:
        self.bf16 = "bf16" in variant
        self.device = device
        generator = torch.Generator().manual_seed(0)
        side = SIDES.get(method, SIDE)
        self.images = torch.randint(0, 256, (batch, 1, side, side), dtype=torch.uint8, generator=generator).to(device)
        self.loss: Callable[[Tensor, Tensor], Tensor] = info_nce
        if method != STAGE1:
            self.loss = focal if method == "ResNet18" else dice_cross_entropy
        network = _network(method)
        self.truth = _truth(network, method, (batch, side, side), generator).to(device)
        module: nn.Module = network
        if variant == PLAIN:
            module = as_users_write_it(network)
            if method in WRITTEN:
                module = nn.Sequential(network.normalise, WRITTEN[method](network))
            if method == STAGE1:
                self.loss = lambda similar, _: LiteralStage1.loss(similar)
        elif self.bf16:
            convert_frozen_to_bf16(network)
        module.to(device).train()
        for part in parts_of(network) if variant in COMPILED else ():
            part.compile()
        self.forward = (lambda images: module(images)[0]) if module is network and method == STAGE1 else module
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=None if variant == PLAIN else True)

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


def _truth(network: Network, method: str, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Masks of a shape (B, H, W), or for so many images classes or embeddings of captions."""
    if isinstance(network, DualEncoder):
        embeddings = torch.randn(shape[0], network.encoder.backbone.vit.proj.shape[1], generator=generator)
        return nn.functional.normalize(embeddings, dim=1)
    return torch.randint(0, LABELS, shape[:1] if method == "ResNet18" else shape, generator=generator)


def _network(method: str) -> Network:
    """htunet's, with random weights."""
    if method == STAGE1:
        return build_dual_encoder("CLIP_HT", seed=1, weights="random")[0]
    task = CLASSIFICATION if method == "ResNet18" else SEGMENTATION
    return build_network(method, Outputs(task=task, num_labels=LABELS, num_classes=LABELS), seed=1, weights="random")[0]


def parts_of(network: nn.Module) -> list[nn.Module]:
    """What is compiled by itself: blocks and adapters, whose code is shared, where there are some; else the network."""
    encoder = getattr(network, "encoder", None)
    return [network] if encoder is None else [*encoder.backbone.blocks, *(encoder.adapters or [])]


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


@dataclass(frozen=True)
class Turns:
    """What the versions took, by their names."""

    seconds: dict[str, list[float]]
    """Of a step, in each round."""
    ceilings: dict[str, list[float]]
    """Of its products as single calls, in each round; of htunet's versions on a CPU."""
    memory: dict[str, float]
    """Peak, GB."""


def turns(method: str, batch: int, rounds: int, device: str = "cpu", variants: Sequence[str] = VARIANTS) -> Turns:
    """Start the versions, and time a step of each in turn."""
    workers = {
        name: _Worker(name, batch, device, method) for name in variants if "bf16" not in name or has_bf16(device)
    }
    first = {name: worker.seconds("step") for name, worker in workers.items()}  # which allocates, and compiles
    for name in workers.keys() & set(COMPILED):
        print(f"{name}: {first[name]:.0f} s until the first step was done", flush=True)
    with_ceiling = [name for name in workers if device == "cpu" and name != PLAIN and name not in COMPILED]
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    ceilings: dict[str, list[float]] = {name: [] for name in with_ceiling}
    for _ in range(rounds):
        for name, worker in workers.items():
            seconds[name].append(worker.seconds("step"))
            if name in ceilings:
                ceilings[name].append(worker.seconds("ceiling"))
    return Turns(seconds, ceilings, {name: worker.end() for name, worker in workers.items()})


def compare(method: str, batch: int, rounds: int, device: str, variants: Sequence[str]) -> None:
    """Print images a second, the ratio to the plain version, the share of the ceiling, and the peak memory."""
    found = turns(method, batch, rounds, device, variants)
    same = f"; largest difference in fp32 {largest_difference():.1e}" if method == METHODS[0] else ""
    print(f"{method}, batch {batch}, {device}, {torch.get_num_threads()} threads, {rounds} rounds in turn{same}")
    print(
        f"{'version':20} {'images/s':>9} {'ratio':>7} {'(min-max)':>13} {'of ceiling':>10} {'peak GB':>8} {'ratio':>6}"
    )
    for name, seconds in found.seconds.items():
        ratios = [a / b for a, b in zip(found.seconds[PLAIN], seconds, strict=True)]
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        speed, ratio = batch / statistics.median(seconds), statistics.median(ratios)
        shares = [a / b for a, b in zip(found.ceilings.get(name, []), seconds, strict=False)]
        reached = f"{statistics.median(shares):.0%}" if shares else ""
        peak, share = found.memory[name], found.memory[name] / found.memory[PLAIN]
        print(f"{name:20} {speed:9.2f} {ratio:7.2f} {spread:>13} {reached:>10} {peak:8.2f} {share:6.2f}")


class _Worker:
    """A process that makes a step, or its products as single calls, when it is told to."""

    def __init__(self, variant: str, batch: int, device: str, method: str) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would begin with this process's memory
        self.orders, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, variant, batch, device, method), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is noticed here

    def seconds(self, order: str) -> float:
        """Of a ``step``, or of its ``ceiling``."""
        self.orders.send(order)
        return self.orders.recv()

    def end(self) -> float:
        """End it; the most memory that it held, in GB."""
        self.orders.send("end")
        peak = self.orders.recv()
        self.process.join()
        return peak


def _serve(orders: Connection, variant: str, batch: int, device: str, method: str) -> None:
    if device == "cpu" and variant != PLAIN:
        keep_freed_memory()
    stepper = Stepper(variant, batch, device, method=method)
    ceiling: Ceiling | None = None
    while (order := orders.recv()) != "end":
        if order == "ceiling":
            ceiling = ceiling or Ceiling(stepper.step)
        orders.send(ceiling.seconds() if order == "ceiling" and ceiling else stepper.step())
    orders.send(_peak_gb(device))


def _peak_gb(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return held_gb()


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
