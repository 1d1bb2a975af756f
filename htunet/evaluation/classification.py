"""How well probabilities separate classes: every metric is a function of weighted cases.

So a bootstrap resample is one row of weights, and thousands of them cost one matrix product.

Two classes: the last one is the positive one (``class_summary`` puts it there), and recall, precision, F1 and
specificity are its own. More than two: each of these is the mean over the classes (macro), each class against all
others. A class without cases has no values and is excluded from a mean.
Dimension key: N cases, K classes, R resamples, T different scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from htunet.evaluation.statistics import Weights, ratio

MOST_PROBABLE, VALIDATION_THRESHOLD = "most_probable_class", "validation_threshold"
"""The ways to decide for a class."""
HALF = 0.5

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def decide(probabilities_NK: Floats, threshold: float | None = None) -> Indices:
    """Index of the class that each case is given: the most probable one, of equal ones the first.

    (N,) from (N, K) probabilities. With a ``threshold``, for two classes only (else ValueError): the positive one from
    this probability on.
    """
    if threshold is None:
        return probabilities_NK.argmax(axis=1)
    if probabilities_NK.shape[1] != 2:
        raise ValueError(f"A threshold separates two classes, not {probabilities_NK.shape[1]}.")
    return (probabilities_NK[:, 1] >= threshold).astype(np.intp)


def confusion_matrix(truth_N: Indices, decided_N: Indices, num_classes: int, weights_RN: Weights) -> Floats:
    """(R, K, K) weighted numbers of cases: rows true classes, columns decided ones."""
    cells_NC = np.eye(num_classes**2)[truth_N * num_classes + decided_N]
    return (weights_RN @ cells_NC).reshape(-1, num_classes, num_classes)


def confusion_counts(truth_N: Indices, decided_N: Indices, num_classes: int) -> list[list[int]]:
    """(K, K) numbers of cases: rows true classes, columns decided ones."""
    counts_KK = confusion_matrix(truth_N, decided_N, num_classes, np.ones((1, len(truth_N))))[0]
    return [[round(count) for count in row] for row in counts_KK.tolist()]


@dataclass(frozen=True)
class Confusion:
    """Weighted numbers of cases of each class, (R, K) each."""

    hits_RK: Floats
    """Decided to be of their class."""
    true_RK: Floats
    decided_RK: Floats
    """Decided to be of the class, correctly or not."""

    @classmethod
    def of(cls, counts_RKK: Floats) -> "Confusion":
        """From confusion matrices."""
        return cls(np.diagonal(counts_RKK, axis1=1, axis2=2), counts_RKK.sum(axis=2), counts_RKK.sum(axis=1))

    def over_classes(self, values_RK: Floats) -> Floats:
        """Of two classes the last one's value, of more the mean over those that have cases, (R,); NaN for none."""
        return _over_classes(values_RK, self.true_RK > 0)


def accuracy(confusion: Confusion) -> Floats:
    """(R,), in [0, 1]."""
    return ratio(confusion.hits_RK.sum(axis=1), confusion.true_RK.sum(axis=1))


def recall(confusion: Confusion) -> Floats:
    """(R,), in [0, 1]; NaN where the classes in question have no cases, as of all that follow."""
    return confusion.over_classes(ratio(confusion.hits_RK, confusion.true_RK))


def precision(confusion: Confusion) -> Floats:
    """(R,), in [0, 1]; 0 where nothing is decided to be of the class."""
    return confusion.over_classes(ratio(confusion.hits_RK, confusion.decided_RK, otherwise=0.0))


def f1(confusion: Confusion) -> Floats:
    """(R,), in [0, 1]."""
    sizes_RK = confusion.true_RK + confusion.decided_RK
    return confusion.over_classes(ratio(2 * confusion.hits_RK, sizes_RK, otherwise=0.0))


def specificity(confusion: Confusion) -> Floats:
    """(R,), in [0, 1]."""
    other_RK = confusion.true_RK.sum(axis=1, keepdims=True) - confusion.true_RK
    false_RK = confusion.decided_RK - confusion.hits_RK
    return confusion.over_classes(ratio(other_RK - false_RK, other_RK))


def auc(scores_SNK: Floats, truth_N: Indices, weights_RN: Weights) -> Floats:
    """Mean over S runs of the same cases of the area under the ROC curve, (R,).

    The area is the fraction of (positive, other) pairs in the right order, equal ones as half. More than two classes:
    mean over the classes, each against all others. NaN where only one class has cases. A score that is NaN raises
    ValueError: it would have a place in the order.
    """
    num_classes = scores_SNK.shape[2]
    if np.isnan(scores_SNK).any():
        raise ValueError("An AUC of scores of which some are NaN means nothing.")
    present_RK = weights_RN @ np.eye(num_classes)[truth_N] > 0
    area = _area if len(scores_SNK) == 1 else _mean_area
    areas_KR = [area(scores_SNK[:, :, k], truth_N == k, weights_RN) for k in range(num_classes)]
    return _over_classes(np.stack(areas_KR, axis=1), present_RK)


def choose_threshold(positive_probability_N: Floats, truth_N: Indices) -> tuple[float, float]:
    """The threshold with the largest Youden index (recall + specificity - 1), and that index.

    Candidates are 0.5 and the middles between neighbouring probabilities; of equally good ones the one nearest to 0.5
    is taken, and 0.5 where none is better than chance. Choose it on validation cases only. Raises ValueError unless
    both classes have cases.
    """
    if len(set(truth_N.tolist())) < 2:
        raise ValueError("A threshold is chosen on cases of both classes.")
    distinct = np.unique(positive_probability_N)
    candidates = np.append((distinct[:-1] + distinct[1:]) / 2, HALF)
    above = positive_probability_N[:, None] >= candidates
    index = above[truth_N == 1].mean(axis=0) - above[truth_N == 0].mean(axis=0)
    best = np.flatnonzero(index >= index.max() - 1e-12) if index.max() > 0 else np.array([len(distinct) - 1])
    chosen = best[np.argmin(np.abs(candidates[best] - HALF))]
    return float(candidates[chosen]), float(index[chosen])


def curves(probabilities_NK: Floats, truth_N: Indices, classes: Sequence[str]) -> dict[str, dict[str, dict[str, list]]]:
    """Points of the ROC and the precision-recall curve of the positive class; of each, where there are more than two.

    A class without cases, or without other cases, has no curve.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve  # half a second, which nothing else needs

    found: dict[str, dict[str, dict[str, list]]] = {"roc": {}, "precision_recall": {}}
    for k in _curve_classes(len(classes)):
        positive = truth_N == k
        if positive.all() or not positive.any():
            continue
        false_rate, true_rate, _ = roc_curve(positive, probabilities_NK[:, k])
        precision, recall, _ = precision_recall_curve(positive, probabilities_NK[:, k], drop_intermediate=True)
        found["roc"][classes[k]] = {"false_positive_rate": false_rate.tolist(), "recall": true_rate.tolist()}
        found["precision_recall"][classes[k]] = {"recall": recall.tolist(), "precision": precision.tolist()}
    return found


def average_precision(probabilities_NK: Floats, truth_N: Indices) -> float | None:
    """Area under the precision-recall curve as scikit-learn sums it; mean over the classes where there are more."""
    from sklearn.metrics import average_precision_score

    found = [
        float(average_precision_score(truth_N == k, probabilities_NK[:, k]))
        for k in _curve_classes(probabilities_NK.shape[1])
        if (truth_N == k).any()
    ]
    return float(np.mean(found)) if found else None


def _curve_classes(num_classes: int) -> Sequence[int]:
    return [1] if num_classes == 2 else range(num_classes)


def _over_classes(values_RK: Floats, present_RK: NDArray[np.bool_]) -> Floats:
    """Of two classes the last one's value, of more the mean over those that have cases; NaN where there is none."""
    if values_RK.shape[1] == 2:
        return np.where(present_RK[:, 1], values_RK[:, 1], np.nan)
    known_RK = present_RK & ~np.isnan(values_RK)
    return ratio(np.where(known_RK, values_RK, 0.0).sum(axis=1), known_RK.sum(axis=1))


def _area(scores_1N: Floats, positive_N: NDArray[np.bool_], weights_RN: Weights) -> Floats:
    """By sorting: memory for R x N values."""
    order = np.argsort(scores_1N[0], kind="stable")
    starts_T = np.flatnonzero(np.append(True, np.diff(scores_1N[0, order]) > 0))
    positive_RT = np.add.reduceat((weights_RN * positive_N)[:, order], starts_T, axis=1)
    other_RT = np.add.reduceat((weights_RN * ~positive_N)[:, order], starts_T, axis=1)
    below_RT = np.cumsum(other_RT, axis=1) - other_RT
    in_order_R = (positive_RT * (below_RT + other_RT / 2)).sum(axis=1)
    return ratio(in_order_R, positive_RT.sum(axis=1) * other_RT.sum(axis=1))


def _mean_area(scores_SN: Floats, positive_N: NDArray[np.bool_], weights_RN: Weights) -> Floats:
    """By all pairs of (P positive, O other) cases: one matrix product for all runs."""
    in_order_PO = np.zeros((positive_N.sum(), (~positive_N).sum()))
    for scores_N in scores_SN:  # one after another: the pairs of one run are many already
        in_order_PO += (np.sign(scores_N[positive_N][:, None] - scores_N[~positive_N]) + 1) / 2
    in_order_PO /= len(scores_SN)
    of_positive_RP, of_other_RO = weights_RN[:, positive_N], weights_RN[:, ~positive_N]
    in_order_R = ((of_positive_RP @ in_order_PO) * of_other_RO).sum(axis=1)
    return ratio(in_order_R, of_positive_RP.sum(axis=1) * of_other_RO.sum(axis=1))
