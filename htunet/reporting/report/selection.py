"""Which test cases to show of a method: those that it missed, false alarms, its worst, middle and best ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from htunet.evaluation.metrics import BOTH_EMPTY, EMPTY_PREDICTION, EMPTY_REFERENCE
from htunet.evaluation.study import over_labels
from htunet.evaluation.summary import ORIGINAL
from htunet.reporting.report.content import ALARM, ERRORS, MISSED, WRONG

MASKS, CLASSES = "masks", "classes"
MOST_ITEMS = 1_400
"""Pictures of cases on a page, so that it stays readable by a browser and sendable by mail."""
MOST_PER_GROUP = 6
EMPTY_ERRORS = {EMPTY_PREDICTION: MISSED, EMPTY_REFERENCE: ALARM}
"""By which mask is empty."""


@dataclass(frozen=True)
class Chosen:
    """Cases of one method by group, each group in the order in which it is shown."""

    groups: dict[str, tuple[str, ...]]
    n_without: int
    """Cases without a value, which are in no group."""


def per_group(n_arms: int) -> int:
    """How many cases of each group a page with so many methods shows."""
    return max(1, min(MOST_PER_GROUP, MOST_ITEMS // max(1, 5 * n_arms)))


def mask_cases(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a case, from the rows of one run or of one run a fold: the values are those of ``over_labels``.

    Indexed by case: value (Dice), second (HD95), error (one of ``ERRORS``, of every label, or nothing), empty (which
    mask has no pixel of any label, or nothing), class, tercile, lesion_share. Of a case that several folds test the
    first fold counts. A case of several labels has the size of its largest lesion.
    """
    rows = rows[rows["label"].notna() & (rows["resolution"] == ORIGINAL)]
    rows = rows[rows["fold"] == rows.groupby("case")["fold"].transform("first")]
    values = over_labels(rows, ["dice", "hd95"]).set_index("case")
    found = rows.groupby("case", sort=False).agg(
        empty=("empty", _empty_of_all),
        lesion_share=("lesion_share", "max"),
        lesion_px=("lesion_px", "max"),
    )
    error = found["empty"].map(EMPTY_ERRORS).fillna("")
    found = found.assign(error=error, value=values["dice"], second=values["hd95"])
    largest = rows.sort_values("lesion_share", ascending=False, na_position="last", kind="stable")
    return found.join(largest.drop_duplicates("case").set_index("case")[["class", "tercile"]])


def _empty_of_all(labels: pd.Series) -> str:
    """Which mask is empty of all labels; a label that both masks lack says nothing where others say something."""
    kinds = set(labels) - {BOTH_EMPTY} or {BOTH_EMPTY}
    return kinds.pop() if len(kinds) == 1 else ""


def class_cases(rows: pd.DataFrame, sizes: pd.Series, positive: str | None) -> pd.DataFrame:
    """The same of classes: value is the probability of the true class, error a wrong class; plus the predicted class.

    ``sizes``: tercile of each case, where its lesion is known. A case of the ``positive`` class is missed, another one
    that is predicted to be of it a false alarm.
    """
    rows = rows[rows["label"].isna()].drop_duplicates("case").set_index("case")
    kinds = [rows["class"] == positive, rows["predicted"] == positive]
    error = np.where(rows["correct"] == 1, "", np.select(kinds, [MISSED, ALARM], WRONG))
    found = rows[["class", "predicted"]].assign(
        value=rows["probability_of_truth"], second=0.0, error=error, lesion_share=np.nan, empty=""
    )
    return found.assign(tercile=sizes.reindex(found.index).fillna(""))


def choose(cases: pd.DataFrame, n: int) -> Chosen:
    """The ``n`` of each group, from a frame as ``mask_cases`` makes it; no case is in two groups.

    Errors come with the largest lesion first. The others are put in order by value, then distance, then name:
    the lowest are the worst, the highest the best, and those around the middle of the rest the median ones. Of at
    most 3 ``n`` cases each is in one of the three.
    """
    errors = cases[cases["error"] != ""]
    errors = errors.sort_values("lesion_share", ascending=False, na_position="last", kind="stable")
    ranked = cases[(cases["error"] == "") & cases["value"].notna()]
    ordered = ranked.sort_index().sort_values(["value", "second"], ascending=[True, False], kind="stable")
    names = [str(name) for name in ordered.index]
    # the first, the middle and the last; of few the first and last ones get what is over
    low, high = min(n, (len(names) + 2) // 3), min(n, (len(names) + 1) // 3)
    rest = names[low : len(names) - high]
    size = min(n, len(rest))
    start = (len(rest) - size) // 2
    return Chosen(
        groups={
            **{kind: tuple(str(name) for name in errors.index[errors["error"] == kind][:n]) for kind in ERRORS},
            "worst": tuple(names[:low]),
            "median": tuple(rest[start : start + size]),
            "best": tuple(reversed(names[len(names) - high :])),
        },
        n_without=len(cases) - len(errors) - len(ranked),
    )
