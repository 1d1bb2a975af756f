"""One training step of CLIP_HT with each operation of ``htunet.models.kernels``, and with its reference in its place.

    python -m benchmarks.kernels [--batch 8] [--rounds 9] [--device cpu|cuda]

The variants take turns in a random order within each round. On a CPU the figures are processor time, of all threads
together: with OMP_NUM_THREADS=1 they hardly depend on what else the machine does. On a GPU they are wall-clock time.
"""

import argparse
import random
import statistics
import time
from unittest.mock import patch

from benchmarks.training_step import Stepper
from htunet.models.backbones import clip
from htunet.models.kernels import attention
from htunet.models.precision import has_bf16
from htunet.training.host_memory import keep_freed_memory

ATTENTION = patch.object(clip, "attend", attention.reference)
VARIANTS = {"htunet": (), "attention plain": (ATTENTION,)}


def seconds(stepper: Stepper, variant: str) -> float:
    """Of one step, with the references of a variant in place."""
    for change in VARIANTS[variant]:
        change.start()
    started = time.process_time()
    passed = stepper.step()
    used = time.process_time() - started
    for change in VARIANTS[variant]:
        change.stop()
    return used if stepper.device == "cpu" else passed


def main() -> None:
    """Print seconds, and the ratio to htunet's own version in the same round, of each variant in each precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    if options.device == "cpu":
        keep_freed_memory()
    for precision in ("fp32", "bf16") if has_bf16(options.device) else ("fp32",):
        stepper = Stepper(f"htunet {precision}", options.batch, options.device)
        times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for number in range(options.rounds + 1):
            for variant in random.Random(number).sample(list(VARIANTS), len(VARIANTS)):
                used = seconds(stepper, variant)
                if number:  # the first round allocates
                    times[variant].append(used)
        for variant, found in times.items():
            ratios = [one / other for one, other in zip(found, times["htunet"], strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"{precision} {variant:16} {statistics.median(found):7.3f} s, ratio {spread}", flush=True)


if __name__ == "__main__":
    main()
