"""Which test cases to show of a method: those that it missed, its worst ones, those in the middle, its best ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from htunet.evaluation.summary import ORIGINAL

MASKS, CLASSES = "masks", "classes"
MOST_ITEMS = 1_400
"""Pictures of cases on a page, so that it stays readable by a browser and sendable by mail."""
MOST_PER_GROUP = 6


@dataclass(frozen=True)
class Chosen:
    """Cases of one method by group, each group in the order to be shown, and how many cases there are."""

    groups: dict[str, tuple[str, ...]]
    n_missed: int
    n_ranked: int
    """Cases with a value that were not missed: the others cannot be the best or the worst."""
    n_without: int
    """Cases without a value, which are in no group."""


def per_group(n_arms: int) -> int:
    """How many cases of each group a page with so many methods shows."""
    return max(1, min(MOST_PER_GROUP, MOST_ITEMS // max(1, 4 * n_arms)))


def mask_cases(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a case, from the rows of one run or of one run a fold: means over the labels that have a value.

    Indexed by case: value (Dice), second (HD95), missed (of every label), class, tercile, lesion_share. Of a case that
    several folds test the first fold counts. A case of several labels has the size of its largest lesion.
    """
    rows = rows[rows["label"].notna() & (rows["resolution"] == ORIGINAL)]
    if rows["case"].is_unique:
        names = {"dice": "value", "hd95": "second"}
        return rows.set_index("case")[[*names, "missed", "lesion_share", "class", "tercile", "empty"]].rename(
            columns=names
        )
    rows = rows[rows["fold"] == rows.groupby("case")["fold"].transform("first")]
    found = rows.groupby("case", sort=False).agg(
        value=("dice", "mean"), second=("hd95", "mean"), missed=("missed", "min"), lesion_share=("lesion_share", "max")
    )
    largest = rows.sort_values("lesion_share", ascending=False, na_position="last", kind="stable")
    return found.join(largest.drop_duplicates("case").set_index("case")[["class", "tercile", "empty"]])


def class_cases(rows: pd.DataFrame, sizes: pd.Series) -> pd.DataFrame:
    """The same of classes: value is the probability of the true class, missed a wrong decision; plus the decision.

    ``sizes``: tercile of each case, where its lesion is known.
    """
    rows = rows[rows["label"].isna()].drop_duplicates("case").set_index("case")
    found = rows[["class", "predicted"]].assign(
        value=rows["probability_of_truth"], second=0.0, missed=1 - rows["correct"], lesion_share=np.nan, empty=""
    )
    return found.assign(tercile=sizes.reindex(found.index).fillna(""))


def choose(cases: pd.DataFrame, n: int) -> Chosen:
    """The ``n`` of each group, from a frame as ``mask_cases`` makes it; no case is in two groups.

    Missed cases come with the largest lesion first. The others are put in order by value, then distance, then name:
    the lowest are the worst, the highest the best, and those around the middle of the rest the median ones. Of at
    most 3 ``n`` cases each is in one of the three.
    """
    missed = cases[cases["missed"] == 1]
    missed = missed.sort_values("lesion_share", ascending=False, na_position="last", kind="stable")
    ranked = cases[(cases["missed"] != 1) & cases["value"].notna()]
    ordered = ranked.sort_index().sort_values(["value", "second"], ascending=[True, False], kind="stable")
    worst, median, best = _thirds([str(name) for name in ordered.index], n)
    return Chosen(
        groups={
            "missed": tuple(str(name) for name in missed.index[:n]),
            "worst": tuple(worst),
            "median": tuple(median),
            "best": tuple(reversed(best)),
        },
        n_missed=len(missed),
        n_ranked=len(ranked),
        n_without=len(cases) - len(missed) - len(ranked),
    )


def _thirds(ordered: Sequence[str], n: int) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """The first, the middle and the last, up to ``n`` each; of few the first and last ones get what is over."""
    total = len(ordered)
    low, high = min(n, (total + 2) // 3), min(n, (total + 1) // 3)
    rest = ordered[low : total - high]
    size = min(n, len(rest))
    start = (len(rest) - size) // 2
    return ordered[:low], rest[start : start + size], ordered[total - high :] if high else []
