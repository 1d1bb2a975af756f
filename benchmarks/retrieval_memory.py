"""Memory and time of retrieval, one direction, at 10,000 and at 100,000 pairs of 512 numbers.

    python -m benchmarks.retrieval_memory [--pairs 10000 100000]

Each number of pairs has a process of its own; the memory is what its retrieval adds to the embeddings and the captions.
The whole matrix of similarities is beside it: nobody wants to hold that.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from htunet.evaluation.retrieval import SIMILARITIES, retrieval

WIDTH = 512
CAPTION = "There is an irregular mass, with a shadow behind it, of mixed echogenicity, number {}. " * 3
MB = 2**20


def main() -> None:
    """Print a line for each number of pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one)
        return
    print("| pairs | added by the retrieval | of these similarities | whole matrix | seconds |\n|---|---|---|---|---|")
    for count in options.pairs:
        subprocess.run([sys.executable, "-m", "benchmarks.retrieval_memory", "--one", str(count)], check=True)


def measure(count: int) -> None:
    """Embeddings that are a little like their pair's, and captions of 260 letters, some of them equal."""
    rng = np.random.default_rng(0)
    answers_NE = rng.standard_normal((count, WIDTH), dtype=np.float32)
    answers_NE /= np.linalg.norm(answers_NE, axis=1, keepdims=True)
    queries_NE = answers_NE + rng.standard_normal(answers_NE.shape, dtype=np.float32) * np.float32(0.1)
    queries_NE /= np.linalg.norm(queries_NE, axis=1, keepdims=True)
    captions = [CAPTION.format(*[number % (9 * count // 10)] * 3) for number in range(count)]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak of what came before
    before, started = held("VmRSS"), time.perf_counter()
    found = retrieval(queries_NE, answers_NE, captions)
    seconds = time.perf_counter() - started
    assert found.recall[10] > found.chance[10]
    figures = [
        f"{count:,}",
        *(f"{value / MB:,.0f} MB" for value in (held("VmHWM") - before, 4 * SIMILARITIES, 4 * count**2)),
    ]
    print(f"| {' | '.join(figures)} | {seconds:.0f} |", flush=True)


def held(key: str) -> int:
    """Bytes of memory that the process holds (``VmRSS``) or has held at most (``VmHWM``), as Linux counts them."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(key))


if __name__ == "__main__":
    main()
