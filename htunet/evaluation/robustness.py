"""How figures fall when artefacts grow: curves with intervals, the area under them, and tests between methods.

Everything is made from one table a run, a row for each artefact, strength and test case. The unchanged images are the
artefact ``none`` of strength 0, and belong to every curve. Dimension key: N cases, S strengths, R resamples, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from htunet.evaluation.case_table import PROBABILITY
from htunet.evaluation.classification import auc
from htunet.evaluation.comparisons import corrected, paired_tests
from htunet.evaluation.metrics import METRICS, Kind, Level, mask_metrics, metrics_of
from htunet.evaluation.statistics import Estimate, Weights, bootstrap_estimates

NONE = "none"
"""The artefact of the unchanged images."""
COLUMNS = ("artefact", "strength", "value", "unit", "case", "group", "class")
CLASS_COLUMNS = ("score", "probability_of_truth")
DICE, AUC = "dice", "auc"

Floats = NDArray[np.float64]
Values = Callable[[Weights], Floats]
"""From weights (R, N) to (R, S)."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One figure at one strength."""

    strength: float
    value: float
    """The physical one."""
    figure: Estimate
    drop: Estimate
    """By how much the figure is lower than without the artefact, of the same cases."""


@dataclass(frozen=True, kw_only=True)
class RobustnessCurve:
    """One figure against the strength of one artefact; the first point is that of the unchanged images."""

    artefact: str
    figure: str
    unit: str
    points: tuple[Point, ...]
    area: Estimate
    """Mean of figure / figure without artefact over the strengths, by trapezoids: 1 where nothing changes."""
    n_cases: int


def figures_in(table: pd.DataFrame) -> list[str]:
    """The figures that curves are drawn of, as far as the table has what they rest on."""
    auc_known = any(name.startswith(PROBABILITY) for name in table) and table["class"].nunique() > 1
    names = [metric.name for metric in mask_metrics((Level.OVERVIEW,), millimetres=False)]
    return [name for name in names if name in table] + [AUC] * auc_known


def artefacts_in(table: pd.DataFrame) -> list[str]:
    """The artefacts that were measured, in their order."""
    return [name for name in table["artefact"].unique() if name != NONE]


def curve(table: pd.DataFrame, artefact: str, figure: str) -> RobustnessCurve:
    """One curve with bootstrap intervals over the cases, or their groups; ``table`` is of one run."""
    part = _part(table, artefact)
    strengths = np.array(part["strength"].drop_duplicates())
    cases = part[part["strength"] == 0]
    values = _class_values(part, strengths) if figure == AUC else _mean_values(_cube(part, figure, strengths))
    found = bootstrap_estimates(
        lambda weights: _named(values(weights), strengths, figure), len(cases), cases["group"].tolist()
    )
    physical = part.drop_duplicates("strength")["value"].tolist()
    points = (
        Point(
            strength=float(strength), value=float(value), figure=found[f"figure {index}"], drop=found[f"drop {index}"]
        )
        for index, (strength, value) in enumerate(zip(strengths, physical, strict=True))
    )
    unit = str(part[part["artefact"] == artefact]["unit"].iloc[0])
    area = found.get("area", Estimate(None, None, None))
    return RobustnessCurve(
        artefact=artefact, figure=figure, unit=unit, points=tuple(points), area=area, n_cases=len(cases)
    )  # fmt: skip


def _part(table: pd.DataFrame, artefact: str) -> pd.DataFrame:
    """The rows of one artefact and of the unchanged images, by strength and case."""
    chosen = table[table["artefact"].isin([NONE, artefact])]
    return chosen.sort_values(["strength", "case"], kind="stable")


def _cube(part: pd.DataFrame, column: str, strengths: Sequence[float] | Floats) -> Floats:
    """(N, S) values of one column."""
    wide = part.pivot(index="case", columns="strength", values=column)
    return wide[list(strengths)].to_numpy(dtype=float)


def _mean_values(values_NS: Floats) -> Values:
    return lambda weights_RN: weights_RN @ values_NS / weights_RN.sum(axis=1, keepdims=True)


def _class_values(part: pd.DataFrame, strengths: Floats) -> Values:
    names = [name for name in part if name.startswith(PROBABILITY) and name not in CLASS_COLUMNS]
    order = [name.removeprefix(PROBABILITY) for name in names]
    truth_N = part[part["strength"] == 0]["class"].map(order.index).to_numpy(dtype=np.intp)
    scores_SNK = [part[part["strength"] == strength][names].to_numpy(dtype=float) for strength in strengths]
    return lambda weights_RN: np.stack([auc(scores_NK[None], truth_N, weights_RN) for scores_NK in scores_SNK], axis=1)


def _named(values_RS: Floats, strengths: Floats, figure: str) -> Mapping[str, Floats]:
    columns = range(len(strengths))
    found = {f"figure {index}": values_RS[:, index] for index in columns}
    found |= {f"drop {index}": values_RS[:, 0] - values_RS[:, index] for index in columns}
    # a distance has no best value that a fraction could be taken of
    if METRICS[figure].kind == Kind.DISTANCE or len(strengths) < 2:
        return found
    clean_R1 = values_RS[:, :1]
    share_RS = np.divide(values_RS, clean_R1, out=np.full(values_RS.shape, np.nan), where=clean_R1 > 0)
    return found | {"area": trapezoid(share_RS, strengths, axis=1) / (strengths[-1] - strengths[0])}


COMPARISON_COLUMNS = (
    *("artefact", "figure", "a", "b", "mean_drop_a", "mean_drop_b", "mean_difference", "low", "high"),
    *("rank_biserial", "p", "p_holm", "n_cases", "n_pairs", "more_robust"),
)


def compare_drops(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Each pair of methods on the same cases, for each artefact: who loses less by it.

    Of each case it is the drop from the unchanged image, averaged over the strengths; Wilcoxon's signed-rank test on
    the methods' difference (group means where cases belong together), Holm's correction over all rows of a figure.
    ``more_robust`` names the method that loses less where the corrected p is below 0.05. Raises ValueError for tables
    of other cases or strengths.
    """
    rows: list[dict[str, Any]] = []
    for metric in metrics_of(Kind.OVERLAP, Kind.DISTANCE, Kind.CASE, levels=(Level.OVERVIEW,)):
        having = {name: table for name, table in tables.items() if metric.name in table}
        if not having or not metric.higher_is_better:
            continue
        lists = [artefacts_in(table) for table in having.values()]
        shared = [artefact for artefact in lists[0] if all(artefact in known for known in lists)]
        found = [row for artefact in shared for row in _pairs(having, artefact, metric.name)]
        for row, p_holm, better in corrected(found, higher_is_better=False):  # the smaller drop is the better one
            rows.append({**row, "p_holm": p_holm, "more_robust": better})
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS)


def _pairs(tables: Mapping[str, pd.DataFrame], artefact: str, metric: str) -> list[dict[str, Any]]:
    drops = {name: _mean_drop(table, artefact, metric) for name, table in tables.items()}
    cases = next(iter(drops.values())).index
    if any(not drop.index.equals(cases) for drop in drops.values()):
        raise ValueError(f"The methods {', '.join(tables)} were not measured on the same cases.")
    pairs = list(combinations(drops, 2))
    if not pairs:
        return []
    first = next(iter(tables.values()))
    groups = first[first["artefact"] == NONE].set_index("case")["group"].reindex(cases).tolist()
    tests = paired_tests(np.stack([(drops[a] - drops[b]).to_numpy() for a, b in pairs], axis=1), groups)
    return [
        {"artefact": artefact, "figure": metric, "a": a, "b": b, **test, "n_cases": len(cases)}
        | {"mean_drop_a": float(drops[a].mean()), "mean_drop_b": float(drops[b].mean())}
        for (a, b), test in zip(pairs, tests, strict=True)
    ]


def _mean_drop(table: pd.DataFrame, artefact: str, figure: str) -> pd.Series:
    """Of each case, the unchanged image's value less the mean of those of all strengths above 0."""
    clean = table[table["artefact"] == NONE].set_index("case")[figure]
    altered = table[table["artefact"] == artefact].groupby("case")[figure].mean()
    return (clean - altered).sort_index()
