"""Which of several methods to use, by a cross-validation, and how good the chosen one is: both from the same folds.

The best of several methods looks better than it is, because luck is part of why it is the best. The reported estimate
is that of the procedure: all folds but one choose a method, and the remaining fold gives the values of that method. The
cases of a group are never on both sides where the split keeps groups together. Where several folds test the same cases,
or there is one fold only, the validation images choose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from htunet.errors import HtunetError
from htunet.evaluation.statistics import Mean, bootstrap_means, group_sums

VALUE, LOSS = "value", "loss"


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The chosen method and what is to be expected of it."""

    method: str
    reason: str
    expected: Mean
    """Of ``value``, over the cases: each was judged by the method that the other folds chose."""
    own: dict[str, Mean]
    """Of each method over all folds. That of the chosen one is too good by its luck; see ``expected``."""
    chosen_without: dict[int, str]
    """For each fold, what the others choose."""


def choose_model(scores: pd.DataFrame, simplest_first: Sequence[str]) -> ModelChoice:
    """Choose by the one-standard-error rule: the simplest method that is not clearly worse than the best one.

    Args:
        scores: A row for each case and method: ``case``, ``group`` (empty: the case alone), ``fold`` (that tested it),
            ``method``, ``value`` (what is reported, such as the Dice) and ``loss`` (what is compared, less is better).
            Cases that not every method has a loss for are left out.
        simplest_first: The methods.

    Raises:
        HtunetError: No case that has a loss of every method has a value.
    """
    methods, cases = list(simplest_first), ["case", "group", "fold"]
    losses, values = (scores.pivot(index=cases, columns="method", values=name).reindex(columns=methods)
                      for name in (LOSS, VALUE))  # fmt: skip
    compared = losses.notna().all(axis=1)
    if not values[compared].notna().any(axis=None):
        raise HtunetError(
            f"No image has a value for each of the methods {', '.join(methods)}, so that none of them can be chosen: "
            "the tested images show nothing to find, and nothing is found in them."
        )
    losses, values = losses[compared], values[compared]
    groups, folds = losses.index.get_level_values("group"), losses.index.get_level_values("fold")
    method, reason = _one_standard_error(losses, list(groups), methods)
    without: dict[int, str] = {}
    judged = pd.Series(np.nan, index=losses.index)
    for fold in sorted(set(folds)):
        others = folds != fold
        if others.any():
            without[int(fold)] = _one_standard_error(losses[others], list(groups[others]), methods)[0]
            judged[~others] = values.loc[~others, without[int(fold)]]
    if len(methods) == 1 or not without:
        judged = values[method]
    columns = np.column_stack([judged, *(values[name] for name in methods)])
    expected, *own = bootstrap_means(columns, list(groups))
    return ModelChoice(
        method=method,
        reason=reason,
        expected=expected,
        own=dict(zip(methods, own, strict=True)),
        chosen_without=without,
    )


def choose_on_validation(validation: pd.DataFrame, scores: pd.DataFrame, simplest_first: Sequence[str]) -> ModelChoice:
    """As ``choose_model`` where tested cases have no other fold to judge them: they have no part in the choice.

    ``validation`` has the columns of ``scores`` and a row for each fold and method. A case that several folds test
    counts once, with its mean.
    """
    chosen, methods = choose_model(validation, simplest_first), list(simplest_first)
    values = scores.groupby(["case", "group", "method"])[VALUE].mean().unstack("method")
    means = bootstrap_means(values.reindex(columns=methods).to_numpy(), list(values.index.get_level_values("group")))
    own = dict(zip(methods, means, strict=True))
    return ModelChoice(
        method=chosen.method,
        reason=f"on the validation images, {chosen.reason}" if len(methods) > 1 else chosen.reason,
        expected=own[chosen.method],
        own=own,
        chosen_without={},
    )


def paired_difference(differences_N: NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float]:
    """The mean over the cases that have a value, and its standard error between groups of cases; 0 and 0 of none."""
    sums, counts = group_sums(differences_N[:, None], groups)
    if not counts.any():
        return 0.0, 0.0
    mean, n_groups = float(sums.sum() / counts.sum()), len(sums)
    spread = sums[:, 0] - counts[:, 0] * mean
    return mean, float(np.sqrt((spread**2).sum() * n_groups / max(1, n_groups - 1)) / counts.sum())


def _one_standard_error(losses: pd.DataFrame, groups: list[str], simplest_first: Sequence[str]) -> tuple[str, str]:
    """The method, and why; the error is that of the paired differences between groups of cases."""
    best = str(losses.mean().idxmin())
    for name in simplest_first:
        mean, error = paired_difference((losses[name] - losses[best]).to_numpy(), groups)
        if name == best:
            alone = len(simplest_first) == 1
            return name, "the only method" if alone else "no simpler one comes within a standard error"
        if mean <= error:
            return name, f"simpler than {best}, which is better by less than one standard error of their difference"
    raise AssertionError("the best is one of them")
