"""How often 95 % intervals hold the true mean, by kind of interval: ``python -m benchmarks.coverage``.

Drawn from populations whose mean is known. ``ours`` is ``bootstrap_means``; ``percentile`` is the plain percentile
bootstrap on the same resamples; ``normal`` is the mean with 1.96 (Student's t) standard errors of the groups.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from htunet.evaluation.statistics import bootstrap_means
from htunet.reproducibility import generator

STUDIES = 400
RESAMPLES = 2000
MISSED = 0.05
DIAGONAL = 317.0
Floats = NDArray[np.float64]


def populations() -> dict[str, tuple[float, float]]:
    """Share of missed lesions by name, and what one of them counts as."""
    return {"Dice, none missed": (0.0, 0.0), "Dice, 5 % missed": (MISSED, 0.0), "HD95, none missed": (0.0, DIAGONAL),
            "HD95, 5 % missed": (MISSED, DIAGONAL)}  # fmt: skip


def values_of(name: str, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, float]:
    """Values of some cases (rows) in many studies (columns), and their true mean."""
    share, cost = populations()[name]
    if name.startswith("Dice"):
        found, mean = rng.beta(9, 1.6, shape), 9 / 10.6
    else:
        found, mean = rng.lognormal(2.6, 0.6, shape), float(np.exp(2.6 + 0.6**2 / 2))
    return np.where(rng.random(shape) < share, cost, found), (1 - share) * mean + share * cost


def group_sizes(rng: np.random.Generator, n: int, kind: str) -> list[int]:
    """``alone``; ``some doubles``: a tenth of the groups has 2 or 3 images; ``patients``: 1 to 4 images each."""
    sizes: list[int] = []
    while sum(sizes) < n:
        size = {"alone": 1, "some doubles": int(rng.choice([1, 2, 3], p=[0.9, 0.07, 0.03]))}.get(kind)
        sizes.append(min(int(rng.integers(1, 5)) if size is None else size, n - sum(sizes)))
    return sizes


def study(name: str, n: int, kind: str, repeats: int) -> dict[str, float]:
    """Share of the intervals that hold the true mean, by kind of interval."""
    rng = generator("coverage", name, n, kind)
    hits: dict[str, list[float]] = {"ours": [], "percentile": [], "normal": []}
    for repeat in range(repeats):
        sizes = group_sizes(rng, n, kind)
        members = np.repeat(np.arange(len(sizes)), sizes)
        shared, truth = values_of(name, rng, (len(sizes), STUDIES))
        own, _ = values_of(name, rng, (n, STUDIES))
        values = np.where(rng.random(own.shape) < 0.6, shared[members], own)  # correlation 0.36 within a group
        ours = bootstrap_means(values, [str(group) for group in members], seed=repeat, resamples=RESAMPLES)
        hits["ours"].append(_held([(one.low, one.high) for one in ours], truth))
        sums = np.zeros((len(sizes), STUDIES))
        np.add.at(sums, members, values)
        hits["percentile"].append(_held(_percentile(rng, sums, np.array(sizes, float)), truth))
        hits["normal"].append(_held(_normal(sums, np.array(sizes, float)), truth))
    return {interval: float(np.mean(shares)) for interval, shares in hits.items()}


def _percentile(rng: np.random.Generator, sums: Floats, sizes: Floats) -> Floats:
    n = len(sizes)
    weights = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)
    return np.quantile((weights @ sums) / (weights @ sizes)[:, None], [0.025, 0.975], axis=0).T


def _normal(sums: Floats, sizes: Floats) -> Floats:
    n = len(sizes)
    means = sums.sum(axis=0) / sizes.sum()
    errors = np.sqrt(((sums - means * sizes[:, None]) ** 2).sum(axis=0) * n / (n - 1)) / sizes.sum()
    half = student.ppf(0.975, n - 1) * errors
    return np.stack([means - half, means + half], axis=1)


def _held(edges: object, truth: float) -> float:
    low, high = np.array(edges, dtype=float).T
    return float(np.mean((low <= truth) & (truth <= high)))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10, help=f"times {STUDIES} simulated studies (default: 10)")
    repeats = parser.parse_args().repeats
    print("| population | cases | groups | ours | percentile | normal |\n|---|---|---|---|---|---|")
    for name in populations():
        for n in (64, 300):
            for kind in ("alone", "some doubles", "patients"):
                found = " | ".join(f"{100 * share:.1f} %" for share in study(name, n, kind, repeats).values())
                print(f"| {name} | {n} | {kind} | {found} |", flush=True)


if __name__ == "__main__":
    main()
