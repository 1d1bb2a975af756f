"""Whether a probability means what it says, and the one temperature that mends most of it.

Source of the error and of the temperature: Guo et al. 2017, On Calibration of Modern Neural Networks.
Dimension key: N cases, K classes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from htunet.evaluation.classification import Floats, Indices

BINS = 15
COLDEST, HOTTEST = 0.02, 50.0
"""A temperature outside has no meaning: the cases that it is fitted on have no best one."""
SMALLEST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Bin:
    """The cases whose highest probability is in (low, high]."""

    low: float
    high: float
    n: int
    confidence: float | None
    """Mean highest probability; None where there is no case."""
    accuracy: float | None
    """Fraction of the cases whose most probable class is the true one."""


def expected_calibration_error(probabilities_NK: Floats, truth_N: Indices) -> float:
    """Mean over the cases of |accuracy - confidence| of their bins, in [0, 1]."""
    bins = reliability(probabilities_NK, truth_N)
    gaps = [abs(b.accuracy - b.confidence) * b.n for b in bins if b.accuracy is not None and b.confidence is not None]
    return sum(gaps) / len(truth_N)


def reliability(probabilities_NK: Floats, truth_N: Indices) -> list[Bin]:
    """Confidence and accuracy in each of BINS bins of equal width: the reliability diagram."""
    confidence_N = probabilities_NK.max(axis=1)
    right_N = probabilities_NK.argmax(axis=1) == truth_N
    edges = np.linspace(0, 1, BINS + 1)
    place_N = np.digitize(confidence_N, edges[1:-1], right=True)
    found = []
    for b in range(BINS):
        inside_N = place_N == b
        n = int(inside_N.sum())
        means = (float(confidence_N[inside_N].mean()), float(right_N[inside_N].mean())) if n else (None, None)
        found.append(Bin(float(edges[b]), float(edges[b + 1]), n, *means))
    return found


def brier(probabilities_NK: Floats, truth_N: Indices) -> float:
    """Mean squared error of the probabilities: 0 to 1 for two classes, 0 to 2 (summed over the classes) for more."""
    num_classes = probabilities_NK.shape[1]
    squares_N = ((probabilities_NK - np.eye(num_classes)[truth_N]) ** 2).sum(axis=1)
    return float(squares_N.mean() / (2 if num_classes == 2 else 1))


def negative_log_likelihood(probabilities_NK: Floats, truth_N: Indices) -> float:
    """Mean over the cases, natural logarithm; a probability of 0 counts as the smallest positive number."""
    of_truth_N = probabilities_NK[np.arange(len(truth_N)), truth_N]
    return float(-np.log(np.maximum(of_truth_N, SMALLEST)).mean())


def tempered(probabilities_NK: Floats, temperature: float) -> Floats:
    """Probabilities as if the scores before the softmax had been divided by ``temperature``; the order stays."""
    return np.asarray(softmax(np.log(np.maximum(probabilities_NK, SMALLEST)) / temperature, axis=1))


def fit_temperature(probabilities_NK: Floats, truth_N: Indices) -> float | None:
    """The temperature that makes the likelihood of these (validation) cases largest.

    None where there is no best one: cases that are all classified correctly need a temperature of 0, and cases that
    the probabilities say nothing about an infinite one. The likelihood is concave in 1 / temperature, so its slopes
    at both ends decide.
    """
    from scipy.optimize import minimize_scalar

    logarithms_NK = np.log(np.maximum(probabilities_NK, SMALLEST))
    of_truth_N = logarithms_NK[np.arange(len(truth_N)), truth_N]
    always_right = (of_truth_N == logarithms_NK.max(axis=1)).all()
    if always_right or of_truth_N.mean() <= logarithms_NK.mean():
        return None
    low, high = np.log(COLDEST), np.log(HOTTEST)
    found = minimize_scalar(
        lambda t: negative_log_likelihood(tempered(probabilities_NK, np.exp(t)), truth_N),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    at_a_bound = min(found.x - low, high - found.x) < 0.01
    return None if at_a_bound else float(np.exp(found.x))
