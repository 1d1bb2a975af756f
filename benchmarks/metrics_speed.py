"""How fast HD95 and ASD are against medpy, on the same masks, taken in turns: python -m benchmarks.metrics_speed.

medpy computes one metric per call; ours computes HD95, ASD and both variants of the paper's public code at once.
``pair`` compares all of ours with medpy's hd95 + assd, ``hd95`` with medpy's hd95 alone.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from medpy.metric.binary import assd, hd95
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from htunet.evaluation.distances import surface_distances
from htunet.evaluation.metrics import METRICS
from htunet.reproducibility import generator

SIZE = 224
REPEATS = 15
Mask = NDArray[np.bool_]


def lesion(row: float, column: float, height: float, width: float) -> Mask:
    """One ellipse with a wavy outline, as lesions are."""
    y, x = np.mgrid[:SIZE, :SIZE]
    angle = np.arctan2(y - row, x - column)
    radius = np.hypot((y - row) / height, (x - column) / width)
    return np.asarray(radius < 1 + 0.08 * np.sin(7 * angle))


def texture(seed: int, sigma: float, share: float) -> Mask:
    """Gaussian noise, smoothed and cut so that ``share`` of the pixels are in the mask."""
    values = generator(seed, "texture").standard_normal((SIZE, SIZE))
    values = gaussian_filter(values, sigma) if sigma else values
    return np.asarray(values > np.quantile(values, 1 - share))


def pairs() -> dict[str, tuple[Mask, Mask]]:
    """Mask pairs by kind."""
    return {
        "small lesion": (lesion(100, 100, 18, 24), lesion(104, 98, 16, 25)),
        "large lesion": (lesion(110, 112, 60, 80), lesion(104, 118, 66, 74)),
        "lesion, far blob": (lesion(60, 60, 20, 28) | lesion(190, 190, 9, 9), lesion(62, 60, 22, 26)),
        "several blobs": (texture(1, 20, 0.15), texture(2, 20, 0.15)),
        "speckle": (texture(1, 2, 0.3), texture(2, 2, 0.3)),
        "sparse noise": (texture(1, 0, 0.02), texture(2, 0, 0.02)),
        "dense noise": (texture(1, 0, 0.5), texture(2, 0, 0.5)),
        "noise on lesion": (texture(1, 0, 0.5), lesion(110, 112, 60, 80)),
    }


def all_of_ours(prediction: Mask, reference: Mask) -> tuple[float, ...]:
    """HD95, ASD and the two variants of one mask pair."""
    found = surface_distances(prediction, reference)
    return tuple(float(METRICS[name].of(found)) for name in ("hd95", "asd", "hd95_max", "asd_directed"))


def milliseconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def measure(prediction: Mask, reference: Mask) -> tuple[float, float, float]:
    """Medians in milliseconds: ours, medpy's hd95, medpy's hd95 + assd; one of each per turn."""
    turns = [
        (
            milliseconds(lambda: all_of_ours(prediction, reference)),
            milliseconds(lambda: hd95(prediction, reference)),
            milliseconds(lambda: assd(prediction, reference)),
        )
        for _ in range(REPEATS)
    ]
    ours, theirs_hd95, theirs_assd = (statistics.median(column) for column in zip(*turns, strict=True))
    return ours, theirs_hd95, theirs_hd95 + theirs_assd


def main() -> int:
    """Print one line per kind of masks; the exit code is 1 when a value differs from medpy's by more than 1e-9."""
    print(f"{SIZE} x {SIZE}, median of {REPEATS} turns, milliseconds")
    print(f"{'masks':18} {'ours':>8} {'medpy hd95':>11} {'medpy pair':>11} {'x hd95':>7} {'x pair':>7}")
    good = True
    for name, (prediction, reference) in pairs().items():
        expected = hd95(prediction, reference), assd(prediction, reference)
        equal = bool(np.allclose(all_of_ours(prediction, reference)[:2], expected, rtol=0, atol=1e-9))
        good = good and equal
        ours, one, pair = measure(prediction, reference)
        line = f"{name:18} {ours:8.2f} {one:11.2f} {pair:11.2f} {one / ours:7.1f} {pair / ours:7.1f}"
        print(line if equal else f"{line}   VALUES DIFFER")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
