"""What a method has to beat: predictions that never look at the image, scored on the same test split."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.data.class_probabilities import ClassProbabilities, class_order
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import positive_class, read_raw
from htunet.evaluation.class_summary import class_content, summarise
from htunet.evaluation.metrics import PENALISE, check_policy, score_mask
from htunet.evaluation.predicted_run import split_cases
from htunet.evaluation.summary import INPUT, CaseScore, Summary
from htunet.paths import DatasetPaths

MOST_COMMON_CLASS = "most common class"
ALL_BACKGROUND, MEAN_MASK = "all background", "mean training mask"
THRESHOLDS = np.arange(1, 20) / 20
CHUNK = 64
Masks = NDArray[np.uint8]


def trivial_baselines(dataset: DatasetPaths, plan: str, fold: int, policy: str = PENALISE) -> dict[str, Summary]:
    """Two summaries at the network's input size: nothing predicted, and the same mean mask for every image.

    The mean mask is where at least a fraction of the training masks has the label; the fraction is the one of 0.05,
    0.10 .. 0.95 with the best mean Dice on the training masks. Test masks are not used.
    """
    check_policy(policy)
    labels = sorted(set(read_raw(dataset).info.labels.values()) - {0})
    arrays = PreprocessedDataset(dataset.plan_folder(plan))
    train, test = (split_cases(dataset, fold, split) for split in ("train", "test"))
    masks = {label: mean_mask(arrays.masks, arrays.rows(train), label) for label in labels}
    predictions = {ALL_BACKGROUND: {k: np.zeros_like(mask) for k, mask in masks.items()}, MEAN_MASK: masks}
    about = {"dataset": dataset.name, "plan": plan, "fold": fold}
    return {
        name: Summary(
            identity=about | {"method": name}, policy=policy, scores=tuple(_scores(arrays, test, predictions[name]))
        )
        for name in predictions
    }


def class_baseline(dataset: DatasetPaths, plan: str, fold: int, positive: str = "") -> dict[str, Any]:
    """The content of a summary.json where each test case has the training classes' fractions as probabilities.

    So each is decided to be of the most common class, and the AUC is one half.
    """
    raw = read_raw(dataset)
    classes = class_order(raw.info.classes)
    train, test = ([raw.by_id[case] for case in split_cases(dataset, fold, split)] for split in ("train", "test"))
    counts = Counter(case.class_name for case in train if case.class_name)
    fractions = np.array([counts[name] for name in classes]) / counts.total()
    found = ClassProbabilities(
        classes=classes,
        cases=tuple(case.id for case in test),
        truth=tuple(case.class_name for case in test),
        values_NK=np.tile(fractions, (len(test), 1)),
    )
    summary = summarise(
        found, [case.group for case in test], positive=positive if positive in classes else positive_class(raw.info)
    )
    about = {"dataset": dataset.name, "plan": plan, "fold": fold, "method": MOST_COMMON_CLASS}
    return {"htunet": about | {"classification": class_content(summary)}}


def mean_mask(masks: Masks, rows: list[int], label: int) -> NDArray[np.bool_]:
    """(H, W) pixels with ``label`` in the fraction of the training masks that gives the best training Dice."""
    fraction = sum(np.count_nonzero(chunk == label, axis=0) for chunk in _chunks(masks, rows)) / len(rows)
    candidates = np.stack([(fraction >= threshold).ravel() for threshold in THRESHOLDS]).astype(np.float32)
    sizes = candidates.sum(axis=1)
    total, known = np.zeros((2, len(THRESHOLDS)))
    for chunk in _chunks(masks, rows):
        found = (chunk == label).reshape(len(chunk), -1).astype(np.float32)
        both = found.sum(axis=1)[:, None] + sizes
        overlap = found @ candidates.T
        total += (2 * overlap / np.maximum(both, 1)).sum(axis=0)
        known += (both > 0).sum(axis=0)
    best = candidates[int(np.argmax(total / np.maximum(known, 1)))]
    return best.reshape(masks.shape[1:]).astype(bool)


def _chunks(masks: Masks, rows: list[int]) -> Iterator[Masks]:
    for start in range(0, len(rows), CHUNK):
        yield masks[rows[start : start + CHUNK]]


def _scores(
    arrays: PreprocessedDataset, ids: list[str], prediction: dict[int, NDArray[np.bool_]]
) -> Iterator[CaseScore]:
    for case, row in zip(ids, arrays.rows(ids), strict=True):
        about = arrays.cases[row]
        for label, mask in prediction.items():
            yield CaseScore(
                case=case,
                label=label,
                resolution=INPUT,
                score=score_mask(mask, arrays.masks[row] == label),
                class_name=about.class_name,
                group=about.group,
            )
