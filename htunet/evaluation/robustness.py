"""How metrics fall when artefacts grow: curves with intervals, the area under them, and tests between methods.

Everything is made from one table a run, a row for each artefact, strength and test case. The unchanged images are the
artefact ``none`` of strength 0, and belong to every curve. Dimension key: N cases, S strengths, R resamples, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from htunet.evaluation.case_table import PROBABILITY
from htunet.evaluation.comparisons import corrected, paired_tests
from htunet.evaluation.metrics import METRICS, Kind, Level, mask_metrics, metrics_of
from htunet.evaluation.statistics import Estimate, Weights, bootstrap_estimates, ratio

NONE = "none"
"""The artefact of the unchanged images."""
COLUMNS = ("artefact", "strength", "value", "unit", "case", "group", "class")
CLASS_COLUMNS = ("score", "probability_of_truth")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One metric at one strength."""

    strength: float
    value: float
    """The physical one."""
    estimate: Estimate
    drop: Estimate
    """By how much the metric is lower than without the artefact, of the same cases."""
    n_cases: int
    """Those that have a value."""


@dataclass(frozen=True, kw_only=True)
class RobustnessCurve:
    """One metric against the strength of one artefact; the first point is that of the unchanged images."""

    artefact: str
    metric: str
    unit: str
    points: tuple[Point, ...]
    area: Estimate
    """Mean of the metric by that without artefact over the strengths, by trapezoids: 1 where nothing changes."""
    n_cases: int


def metrics_in(table: pd.DataFrame) -> list[str]:
    """The metrics that curves are drawn of, as far as the table has what they need."""
    classes = set(table["class"]) - {""}
    has_classes = any(name.startswith(PROBABILITY) for name in table) and len(classes) > 1
    rankings = metrics_of(Kind.RANKING, levels=(Level.OVERVIEW,)) if has_classes else []
    of_masks = mask_metrics((Level.OVERVIEW,), millimetres=False)
    return [metric.name for metric in of_masks if metric.name in table] + [metric.name for metric in rankings]


def artefacts_in(table: pd.DataFrame) -> list[str]:
    """The artefacts that were measured, in their order."""
    return [name for name in table["artefact"].unique() if name != NONE]


def curve(table: pd.DataFrame, artefact: str, metric: str) -> RobustnessCurve:
    """One curve with bootstrap intervals over the cases, or their groups; ``table`` is of one run.

    A ranking is of the cases that have a class.
    """
    kind, of = METRICS[metric].kind, METRICS[metric].of
    rows = table[table["artefact"].isin([NONE, artefact]) & ((table["class"] != "") | (kind != Kind.RANKING))]
    rows = rows.sort_values(["strength", "case"], kind="stable")
    known = rows[rows["class"] != ""] if kind == Kind.RANKING else rows[rows[metric].notna()]
    n_known = known["strength"].value_counts()
    strengths = np.array(rows["strength"].drop_duplicates())
    clean = rows[rows["strength"] == 0]
    if kind == Kind.RANKING:
        names = [name for name in rows if name.startswith(PROBABILITY) and name not in CLASS_COLUMNS]
        classes = [name.removeprefix(PROBABILITY) for name in names]
        truth_N = clean["class"].map(classes.index).to_numpy(dtype=np.intp)
        scores_SNK = [rows[rows["strength"] == strength][names].to_numpy(dtype=float) for strength in strengths]
    else:
        wide = rows.pivot(index="case", columns="strength", values=metric)
        values_NS = wide[list(strengths)].to_numpy(dtype=float)
        drops_NS = values_NS[:, :1] - values_NS

    def estimates(weights_RN: Weights) -> dict[str, Floats]:
        if kind == Kind.RANKING:
            areas_SR = [of(scores_NK[None], truth_N, weights_RN) for scores_NK in scores_SNK]
            values_RS = np.stack(areas_SR, axis=1)
        else:
            values_RS = weighted_means(weights_RN, values_NS)
        found = {f"value {s}": values_RS[:, s] for s in range(len(strengths))}
        drops_RS = values_RS[:, :1] - values_RS if kind == Kind.RANKING else weighted_means(weights_RN, drops_NS)
        found |= {f"drop {s}": drops_RS[:, s] for s in range(len(strengths))}
        # a distance has no best value that a fraction could be taken of
        if kind != Kind.DISTANCE and len(strengths) > 1:
            fraction_RS = ratio(values_RS, np.broadcast_to(values_RS[:, :1], values_RS.shape))
            found["area"] = trapezoid(fraction_RS, strengths, axis=1) / (strengths[-1] - strengths[0])
        return found

    found = bootstrap_estimates(estimates, len(clean), clean["group"].tolist())
    physical = rows.drop_duplicates("strength")["value"].tolist()
    return RobustnessCurve(
        artefact=artefact,
        metric=metric,
        unit=str(rows[rows["artefact"] == artefact]["unit"].iloc[0]),
        points=tuple(
            Point(
                strength=float(strength),
                value=float(value),
                estimate=found[f"value {s}"],
                drop=found[f"drop {s}"],
                n_cases=int(n_known.get(strength, 0)),
            )
            for s, (strength, value) in enumerate(zip(strengths, physical, strict=True))
        ),
        area=found.get("area", Estimate(None, None, None)),
        n_cases=len(clean),
    )


def weighted_means(weights_RN: Weights, values_NS: Floats) -> Floats:
    """(R, S) means over the cases that have a value; NaN where none has one."""
    known = ~np.isnan(values_NS)
    return ratio(weights_RN @ np.where(known, values_NS, 0.0), weights_RN @ known.astype(np.float64))


COMPARISON_COLUMNS = (
    *("artefact", "figure", "a", "b", "mean_drop_a", "mean_drop_b", "mean_difference", "low", "high"),
    *("rank_biserial", "p", "p_holm", "n_cases", "n_pairs", "more_robust"),
)


def compare_drops(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Each pair of methods on the same cases, for each artefact: who loses less by it.

    Of each case it is the drop from the unchanged image, averaged over the strengths; Wilcoxon's signed-rank test on
    the methods' difference (group means where cases belong together), Holm's correction over all rows of a metric.
    Who rightly finds nothing has the best value, unless neither method finds anything in any of the case's images.
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
    known = {name: _rows_of(table, artefact).groupby("case")[metric].count() > 0 for name, table in tables.items()}
    sides = [[drops[name].where(known[a] | known[b]) for name in (a, b)] for a, b in pairs]
    tests = paired_tests(np.stack([(of_a - of_b).to_numpy() for of_a, of_b in sides], axis=1), groups)
    return [
        {"artefact": artefact, "figure": metric, "a": a, "b": b, **test, "n_cases": len(cases)}
        | {"mean_drop_a": float(of_a.mean()), "mean_drop_b": float(of_b.mean())}
        for (a, b), (of_a, of_b), test in zip(pairs, sides, tests, strict=True)
    ]


def _rows_of(table: pd.DataFrame, artefact: str) -> pd.DataFrame:
    return table[table["artefact"].isin([NONE, artefact])]


def _mean_drop(table: pd.DataFrame, artefact: str, metric: str) -> pd.Series:
    """Of each case, the unchanged image's value less the mean of those of all strengths above 0."""
    rows = _rows_of(table, artefact)
    if METRICS[metric].kind == Kind.OVERLAP:  # no value: nothing to find, and nothing found
        rows = rows.assign(**{metric: rows[metric].fillna(1.0)})
    clean = rows[rows["artefact"] == NONE].set_index("case")[metric]
    altered = rows[rows["artefact"] == artefact].groupby("case")[metric].mean()
    return (clean - altered).sort_index()
