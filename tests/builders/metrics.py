"""The metrics of today alone, for tests of whole tables: one that is added changes none of what they compare."""

import pytest

from htunet.evaluation.metrics import METRICS

OF_MASKS = ("dice", "iou", "hd95", "asd", "hd95_max", "asd_directed")
OF_CASES = ("correct", "probability_of_truth")
OF_CLASSES = ("auc", "average_precision", "accuracy", "recall", "precision", "f1", "specificity", "ece", "brier", "nll")
OF_RETRIEVAL = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")


def without_new_metrics(patch: pytest.MonkeyPatch) -> None:
    """Until ``patch`` is undone the list holds the metrics named above and no others."""
    names = (*OF_MASKS, *OF_CASES, *OF_CLASSES, *OF_RETRIEVAL)
    patch.setattr(METRICS, "_entries", {name: METRICS._entries[name] for name in names})
