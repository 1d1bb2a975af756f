"""How far down the list the right answer is when images look for their texts and texts for their images.

A text that several pairs have is right for each of their images, and each of their images for it: the best place of
any of them counts. Chance finds them more easily too, so its recall is given beside. Dimension key: N pairs, E
embedding, Q queries of a chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from htunet.evaluation.metrics import DEPTHS, Kind, metrics_of

SIMILARITIES = 2**23
"""Similarities that are in memory at a time: 32 MB, however many pairs there are."""


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """One direction."""

    values: dict[str, float]
    """The metrics of retrieval by name."""
    chance: dict[int, float]
    """The recall of answers in random order, by depth."""

    @property
    def recall(self) -> dict[int, float]:
        """Fraction of queries with a right answer among the first k, by k."""
        return {depth: self.values[f"recall_at_{depth}"] for depth in DEPTHS}

    def content(self) -> dict[str, Any]:
        """For a JSON file: recall and chance by depth, the other metrics by name."""
        others = {name: value for name, value in self.values.items() if not name.startswith("recall_at_")}
        return {"recall": self.recall, **others, "chance": self.chance}


def ranks(queries_NE: NDArray[np.float32], answers_NE: NDArray[np.float32], captions: Sequence[str]) -> NDArray:
    """(N,) place of the best right answer of each query, from 1; a wrong answer that is equally similar comes first.

    Of the (N, N) similarities only as many rows exist at a time as ``SIMILARITIES`` allows. ValueError for NaN, which
    would come first.
    """
    if np.isnan(queries_NE).any() or np.isnan(answers_NE).any():
        raise ValueError("Ranks of embeddings of which some are NaN mean nothing.")
    number_N = _numbers(captions)
    order_N = np.argsort(number_N, kind="stable")
    starts_N = np.flatnonzero(np.diff(number_N[order_N], prepend=-1))
    found = np.empty(len(queries_NE), dtype=np.int64)
    rows = max(1, SIMILARITIES // max(1, len(answers_NE)))
    room_QN = np.empty((min(rows, len(queries_NE)), len(answers_NE)), dtype=np.float32)
    for start in range(0, len(queries_NE), rows):
        part = slice(start, start + rows)
        scores_QN = np.matmul(queries_NE[part], answers_NE.T, out=room_QN[: len(queries_NE[part])])
        for row, number in enumerate(number_N[part]):
            end = starts_N[number + 1] if number + 1 < len(starts_N) else len(order_N)
            own = scores_QN[row, order_N[starts_N[number] : end]]
            before = int((scores_QN[row] >= own.max()).sum()) - int((own >= own.max()).sum())
            found[start + row] = before + 1
    return found


def retrieval(queries_NE: NDArray[np.float32], answers_NE: NDArray[np.float32], captions: Sequence[str]) -> Retrieval:
    """The metrics of one direction. Row i of queries and of answers are a pair, of unit length."""
    rank_N = ranks(queries_NE, answers_NE, captions)
    number_N = _numbers(captions)
    right_N = np.bincount(number_N)[number_N]
    return Retrieval(
        values={metric.name: float(metric.of(rank_N)) for metric in metrics_of(Kind.RETRIEVAL)},
        chance={depth: _chance(right_N, len(rank_N), depth) for depth in DEPTHS},
    )


def _numbers(captions: Sequence[str]) -> NDArray[np.intp]:
    """(N,) equal captions have equal numbers. An array of texts would give each of them the room of the longest."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(caption, len(number)) for caption in captions], dtype=np.intp)


def _chance(right_N: NDArray[np.intp], count: int, depth: int) -> float:
    """Mean probability of at least one of the right answers among the first ``depth`` of a random order."""
    missed_N = np.ones(len(right_N))
    for place in range(min(depth, count)):
        missed_N *= np.clip(count - place - right_N, 0, None) / (count - place)
    return float(1 - missed_N.mean())
