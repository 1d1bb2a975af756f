"""How many images are converted in a second, and whether the memory grows with their number.

    python -m benchmarks.conversion [--images 1000] [--more 5000] [--rounds 2] [--workers 2]

BUSI's layout with images of 500 x 500. The alternative waits for the disk after each file, where htunet waits once for
the finished folder; both take turns. Memory is that of a process for each number of images, and of its largest worker.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from dataset_conversion.busi import BUSI, collect
from dataset_conversion.common import ImageWithMasks, Written, convert_images, write_image_with_masks
from htunet.data.raw import IMAGE_FOLDERS, LABEL_FOLDERS, Excluded
from htunet.reproducibility import generator

SIDE = 500


def write_images(folder: Path, count: int, side: int = SIDE) -> Path:
    """``count`` images in BUSI's layout, each another piece of a speckled picture on tissue of its own, and masks.

    Half of them count as malignant. The speckle is as coarse as makes files of BUSI's size: about one byte a pixel.
    """
    with Pool(2) as pool:
        pool.starmap(_write_share, [(folder, count, side, first) for first in range(2)])
    return folder


def _write_share(folder: Path, count: int, side: int, first: int) -> None:
    rng = generator(0, "conversion speed")
    real, imaginary = (gaussian_filter(rng.standard_normal((3 * side, 3 * side)), 1.5) for _ in range(2))
    envelope = np.hypot(real, imaginary)
    large = (100 + 20 * np.log(envelope / envelope.mean() + 1e-3)).clip(0, 255).astype(np.uint8)
    rows, columns = np.mgrid[:side, :side] * (SIDE / side)
    lesion = (((rows - 250) / 90) ** 2 + ((columns - 240) / 130) ** 2 < 1) * np.uint8(255)
    name = ("benign", "malignant")[first]
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(first, count, 2):
        top, left = generator(0, "piece", number).integers(0, 2 * side, 2)
        tissue = Image.fromarray(generator(0, "tissue", number).integers(0, 256, (5, 5), np.uint8)).resize((side, side))
        piece = Image.blend(Image.fromarray(large[top : top + side, left : left + side]), tissue, 0.3).convert("RGB")
        stem = f"{folder}/{name}/{name} ({number + 1})"
        piece.save(f"{stem}.png")
        Image.fromarray(lesion).save(f"{stem}_mask.png")


def write_and_sync(job: ImageWithMasks, folder: Path) -> Sequence[Written | Excluded]:
    """The alternative: wait for the disk after each file."""
    outcomes = write_image_with_masks(job, folder)
    for folders in (IMAGE_FOLDERS, LABEL_FOLDERS):
        for path in (folder / folders[job.case.split]).glob(f"{job.case.id}*.png"):
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    return outcomes


def seconds(source: Path, workers: int, *, sync_each: bool = False) -> float:
    """Wall time of one conversion, worker processes included."""
    started = time.perf_counter()
    write = write_and_sync if sync_each else write_image_with_masks
    convert_images(source, BUSI, collect(source), write, workers=workers)
    return time.perf_counter() - started


def peak_mb(source: Path, workers: int) -> tuple[int, int]:
    """Of a process that converts ``source``, and of its largest worker."""
    command = [sys.executable, "-m", "benchmarks.conversion", "--peak", str(source), "--workers", str(workers)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    own, worker = result.stdout.split()
    return int(own), int(worker)


def _print_peak(source: Path, workers: int) -> None:
    seconds(source, workers)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) // 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)


def compare(images: int, more: int, rounds: int, workers: int) -> None:
    """Print images a second of both, the ratio, and the memory at both numbers of images."""
    with tempfile.TemporaryDirectory() as base:
        os.environ["htunet_raw"] = f"{base}/raw"  # noqa: SIM112 - nnU-Net's way of writing such names
        source = write_images(Path(base) / "few", images)
        turns = [(seconds(source, workers, sync_each=True), seconds(source, workers)) for _ in range(rounds)]
        print(f"{images} images of {SIDE} x {SIDE}, {workers} processes, {rounds} rounds in turn")
        theirs, ours = (statistics.median(column) for column in zip(*turns, strict=True))
        ratio = statistics.median(one / other for one, other in turns)
        print(f"waiting after each file {images / theirs:6.1f} images/s")
        print(f"waiting once, at the end{images / ours:6.1f} images/s, ratio {ratio:.2f}")
        own, worker = peak_mb(source, workers)
        print(f"{images} images: {own} MB, the largest worker {worker} MB")
        own, worker = peak_mb(write_images(Path(base) / "many", more), workers)
        print(f"{more} images: {own} MB, the largest worker {worker} MB")


def main() -> None:
    """Parse and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--more", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        _print_peak(options.peak, options.workers)
    else:
        compare(options.images, options.more, options.rounds, options.workers)


if __name__ == "__main__":
    main()
