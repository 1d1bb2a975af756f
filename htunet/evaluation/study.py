"""The statistics of many runs together: means with intervals, by lesion size and by class, and who is better than whom.

Everything is made from the case table. Runs that differ only in seed and fold are repetitions of one *arm*: their
values are averaged for each case first, so that intervals and tests are over cases, or groups of them, and never over
seeds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from htunet.evaluation.case_table import ARM, PROBABILITY, TERCILES
from htunet.evaluation.classification import Confusion, confusion_matrix
from htunet.evaluation.comparisons import holm, signed_ranks
from htunet.evaluation.metrics import Kind, Level, find_metric, mask_metrics, metrics_of
from htunet.evaluation.statistics import Mean, Weights, bootstrap_figures, bootstrap_means, group_numbers
from htunet.evaluation.summary import INPUT

SIGNIFICANT = 0.05
COMPARISON_RESAMPLES = 2_000
"""Fewer than for the means: of n methods there are n (n - 1) / 2 differences."""
SEPARATOR = " | "
PLACE = ("dataset", "resolution", "label")
FAMILY = ("ratio", "trained_on", "tested_part", "policy")
"""Arms that differ in one of these are not compared with each other."""


@dataclass(frozen=True)
class Statistics:
    """The tables of a study; every row says what it is of, and how many cases it rests on."""

    means: pd.DataFrame
    by_size: pd.DataFrame
    by_class: pd.DataFrame
    comparisons: pd.DataFrame


def study(table: pd.DataFrame) -> Statistics:
    """All statistics of a case table; tables without rows where there is nothing to tell."""
    table = table.assign(arm=arm_names(table))
    shown = (Level.OVERVIEW, Level.TABLE)
    pixels, all_units = ([m.name for m in mask_metrics(shown, millimetres=both)] for both in (False, True))
    of_cases = [metric.name for metric in metrics_of(Kind.CASE, levels=shown)]
    for name in {*all_units, *of_cases} - set(table):
        table[name] = np.nan  # a table of an earlier version
    masks, classes = table[table["label"].notna()], table[table["label"].isna()]
    whole = _over_labels(masks, all_units)
    several = masks[masks.groupby("dataset")["label"].transform("nunique") > 1]
    classes = classes.assign(label="", resolution="")
    return Statistics(
        means=pd.concat(
            [
                _means(pd.concat([whole, several]), all_units),
                _means(classes, of_cases),
                _figures(classes),
            ],
            ignore_index=True,
        ),
        by_size=_in_order(_means(masks[masks["tercile"] != ""], all_units, "tercile")),
        by_class=pd.concat([_means(whole, all_units, "class"), _means(classes, of_cases, "class")], ignore_index=True),
        comparisons=pd.concat([_comparisons(whole, pixels), _comparisons(classes, of_cases)], ignore_index=True),
    )


def arm_names(table: pd.DataFrame) -> pd.Series:
    """The name of each row's arm: the method, and what tells it from the other arms of its method and data set.

    ``CLIP_HT``, or ``CLIP_HT (plan adaptive)`` where there is another plan too.
    """
    arms = table[["dataset", *ARM]].drop_duplicates()
    alike = ["dataset", "method", arms["policy"] == ""]  # masks have a policy, classes have none
    names = pd.Series(arms["method"].to_numpy(), index=arms.index, dtype=object)
    for _, members in arms.groupby(alike, sort=False):
        differing = [name for name in ARM if members[name].nunique(dropna=False) > 1]
        for row, values in members[differing].iterrows():
            about = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in values.items() if not pd.isna(value) and value != ""]  # fmt: skip
            if about:
                names[row] += f" ({', '.join(about)})"
    keys = ["dataset", *ARM]
    return table[keys].merge(arms.assign(arm=names), on=keys, how="left")["arm"].set_axis(table.index)


def _over_labels(masks: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """One row per run, case and resolution: the mean over the labels that have a value; all missed is missed."""
    if masks.empty or masks["label"].nunique() == 1:
        return masks.assign(label="")
    keys = ["dataset", "arm", *ARM, "fold", "seed", "resolution", "case", "group", "class"]
    found = masks.groupby(keys, dropna=False, sort=False)
    return pd.concat([found[metrics].mean(), found["missed"].min()], axis=1).reset_index().assign(label="")


def _means(rows: pd.DataFrame, metrics: list[str], by: str | None = None) -> pd.DataFrame:
    """One row per data set, resolution, label, arm (and stratum ``by``) and metric."""
    found = []
    for dataset, members in rows.groupby("dataset", sort=True):
        cases, groups = _cases(members)
        keys = ["resolution", "label", "arm", *([by] if by else [])]
        strata = members.groupby(keys, sort=False)
        cells = members.assign(_case=cases, _stratum=strata.ngroup())
        values = _cube(cells, metrics, len(groups))
        means = bootstrap_means(values.reshape(len(groups), -1), groups)
        about = cells.drop_duplicates("_stratum").sort_values("_stratum")[[*keys, *ARM]]
        spread = _over_seeds(cells, metrics)
        missed = strata["missed"].sum().to_numpy() if "dice" in metrics else None
        for place, entry in enumerate(about.to_dict("records")):
            for m, name in enumerate(metrics):
                mean = means[place * len(metrics) + m]
                if mean.n_used:
                    counts = {"n_missed": int(missed[place])} if missed is not None else {}
                    found.append({"dataset": dataset, **entry, "metric": name, **_mean_columns(mean),
                                  **spread(place, name), **counts})  # fmt: skip
    return pd.DataFrame(found)


def _cases(members: pd.DataFrame) -> tuple[NDArray[np.intp], list[str]]:
    """Number of each row's case, and the group of each case."""
    numbers, names = pd.factorize(members["case"])
    first = members.drop_duplicates("case").set_index("case")["group"]
    return numbers, [str(first[name] or "") for name in names]


def _cube(cells: pd.DataFrame, metrics: list[str], n_cases: int) -> NDArray[np.float64]:
    """(cases, strata, metrics) means over the repetitions of each case; NaN where there is no value."""
    averaged = cells.groupby(["_case", "_stratum"], sort=False)[metrics].mean()
    cube = np.full((n_cases, int(cells["_stratum"].max()) + 1, len(metrics)), np.nan)
    cube[averaged.index.get_level_values(0), averaged.index.get_level_values(1)] = averaged.to_numpy(float)
    return cube


def _over_seeds(cells: pd.DataFrame, metrics: list[str]):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """(stratum, metric) to ``std``, the sample deviation of the seeds' means (None: one seed), and ``n_seeds``."""
    by_seed = cells.groupby(["_stratum", "seed"], sort=False)[metrics].mean().groupby("_stratum", sort=True)
    deviation, count = by_seed.std(ddof=1), by_seed.size()

    def columns(stratum: int, metric: str) -> dict[str, float | int | None]:
        value = deviation.at[stratum, metric]
        return {"std": None if np.isnan(value) else float(value), "n_seeds": int(count[stratum])}

    return columns


def _mean_columns(mean: Mean) -> dict[str, float | int | None]:
    return {"mean": mean.mean, "low": mean.low, "high": mean.high, "n_cases": mean.n_used}


def _in_order(found: pd.DataFrame) -> pd.DataFrame:
    """Small before medium before large."""
    if found.empty:
        return found
    keys = ["dataset", "resolution", "label", "arm"]
    place = found["tercile"].map({name: place for place, name in enumerate(TERCILES)})
    return found.assign(_place=place).sort_values([*keys, "_place"], kind="stable").drop(columns="_place")


def _figures(classes: pd.DataFrame) -> pd.DataFrame:
    """AUC, recall and the like of each arm: means over its runs, with intervals over cases."""
    found = []
    for dataset, members in classes.groupby("dataset", sort=True):
        cases, groups = _cases(members)
        members = members.assign(_case=cases)
        arms = {str(arm): _runs(part) for arm, part in members.groupby("arm", sort=False)}
        about = members.drop_duplicates("arm").set_index("arm")[list(ARM)].to_dict("index")
        alone = {arm: [(run.seed, _alone(arm, run, len(groups))) for run in runs] for arm, runs in arms.items()}
        for key, figure in bootstrap_figures(_together(arms), len(groups), groups).items():
            arm, name = key.rsplit(SEPARATOR, 1)
            by_seed = pd.DataFrame([(seed, one[key]) for seed, one in alone[arm]]).groupby(0)[1].mean()
            if figure.value is not None:
                entry = {"dataset": dataset, "resolution": "", "label": "", "arm": arm, **about[arm], "metric": name}
                edges = {"mean": figure.value, "low": figure.low, "high": figure.high}
                std = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
                found.append(entry | edges | {"n_cases": len(groups), "std": std, "n_seeds": len(by_seed)})
    return pd.DataFrame(found)


def _runs(members: pd.DataFrame) -> "list[_Run]":
    return [_Run(part) for _, part in members.groupby(["seed", "fold"])]


class _Run:
    """The classes of one run as arrays: places of its cases, truth, decisions and probabilities."""

    def __init__(self, rows: pd.DataFrame) -> None:
        columns = [name for name in rows if str(name).startswith(PROBABILITY) and name != "probability_of_truth"]
        columns = [name for name in columns if rows[name].notna().any()]
        classes = [str(name).removeprefix(PROBABILITY) for name in columns]
        if rows["score"].notna().any() and np.allclose(rows["score"], rows[columns[0]]):
            columns, classes = columns[::-1], classes[::-1]  # the positive class comes last
        self.seed = rows["seed"].iloc[0]
        self.places = rows["_case"].to_numpy()
        self.probabilities_NK = rows[columns].to_numpy(float)
        self.truth_N = np.array([classes.index(name) for name in rows["class"]], dtype=np.intp)
        self.decided_N = np.array([classes.index(name) for name in rows["predicted"]], dtype=np.intp)


def _together(arms: Mapping[str, list[_Run]]) -> Callable[[Weights], dict[str, NDArray[np.float64]]]:
    """The figures of all arms as a function of the weights of all cases, as a bootstrap wants them."""
    return lambda weights_RN: {
        f"{arm}{SEPARATOR}{name}": value
        for arm, runs in arms.items()
        for name, value in _averaged(runs, weights_RN).items()
    }


def _averaged(runs: list[_Run], weights_RN: Weights) -> dict[str, NDArray[np.float64]]:
    """Means over the runs of an arm, (R,) each."""
    same_cases: dict[tuple[int, ...], list[_Run]] = {}
    for run in runs:
        same_cases.setdefault(tuple(run.places), []).append(run)
    values: dict[str, list[NDArray[np.float64]]] = {}
    for members in same_cases.values():
        weights = weights_RN[:, members[0].places]
        scores_SNK = np.stack([run.probabilities_NK for run in members])
        for metric in metrics_of(Kind.RANKING):
            mean_R = metric.of(scores_SNK, members[0].truth_N, weights)
            values.setdefault(metric.name, []).extend([mean_R] * len(members))
        for run in members:
            confusion = Confusion.of(confusion_matrix(run.truth_N, run.decided_N, scores_SNK.shape[2], weights))
            for metric in metrics_of(Kind.DECISION):
                values.setdefault(metric.name, []).append(metric.of(confusion))
    return {name: np.mean(found, axis=0) for name, found in values.items()}


def _alone(arm: str, run: _Run, n: int) -> dict[str, float]:
    """The figures of one run, all cases once."""
    return {name: float(value[0]) for name, value in _together({arm: [run]})(np.ones((1, n))).items()}


def _comparisons(rows: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Each pair of arms of a data set and family, with Holm's correction over the pairs of one metric."""
    found: list[dict[str, object]] = []
    keys = ["dataset", "resolution", *FAMILY]
    for values, members in rows.groupby(keys, sort=True, dropna=False):
        if members["arm"].nunique() < 2:
            continue
        about = dict(zip(keys, values, strict=True))
        for entries in _family(members, metrics, at_input=about["resolution"] == INPUT):
            adjusted = holm(np.array([entry["p"] for entry in entries]))
            found += [about | entry | {"p_holm": p, "favours": _favours(entry, p)} | {"n_tests": len(entries)}
                      for entry, p in zip(entries, adjusted.tolist(), strict=True)]  # fmt: skip
    return pd.DataFrame(found)


def _family(members: pd.DataFrame, metrics: list[str], *, at_input: bool) -> list[list[dict]]:
    """The comparisons of each metric."""
    cases, groups = _cases(members)
    strata = members.groupby("arm", sort=False)
    cells = members.assign(_case=cases, _stratum=strata.ngroup())
    cube = _cube(cells, metrics, len(groups))
    arms = cells.drop_duplicates("_stratum").sort_values("_stratum")
    names, plans = arms["arm"].tolist(), arms["plan"].tolist()
    pairs, columns = [], []
    for m, metric in enumerate(metrics):
        # distances in pixels of different input sizes are different things
        apart = at_input and find_metric(metric).kind == Kind.DISTANCE
        for a, b in combinations(range(len(names)), 2):
            if not apart or plans[a] == plans[b]:
                pairs.append({"metric": metric, "a": names[a], "b": names[b]})
                columns.append(cube[:, a, m] - cube[:, b, m])
    entries = _entries(np.stack(columns, axis=1), groups, pairs) if pairs else []
    return [[entry for entry in entries if entry["metric"] == metric] for metric in metrics]


def _entries(differences: NDArray[np.float64], groups: list[str], pairs: list[dict]) -> list[dict]:
    tests = signed_ranks(by_group(differences, groups))
    means = bootstrap_means(differences, groups, resamples=COMPARISON_RESAMPLES)
    return [
        {
            **pair,
            "mean_difference": means[c].mean,
            "low": means[c].low,
            "high": means[c].high,
            "median_difference": float(tests.median[c]),
            "rank_biserial": float(tests.rank_biserial[c]),
            "p": float(tests.p[c]),
            "n_cases": means[c].n_used,
            "n_pairs": int(tests.n[c]),
            "n_different": int(tests.n_different[c]),
        }
        for c, pair in enumerate(pairs)
    ]


def by_group(differences: NDArray[np.float64], groups: list[str]) -> NDArray[np.float64]:
    """One value for each group, the mean of its cases: the test takes its pairs as independent."""
    members = group_numbers(groups, len(groups))
    known = ~np.isnan(differences)
    sums, counts = np.zeros((2, int(members.max()) + 1, differences.shape[1]))
    np.add.at(sums, members, np.where(known, differences, 0.0))
    np.add.at(counts, members, known)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _favours(entry: Mapping[str, object], p: float) -> str:
    """The better arm where the corrected test says so."""
    effect = float(entry["rank_biserial"])  # type: ignore[arg-type]
    if np.isnan(p) or p >= SIGNIFICANT or effect == 0:
        return ""
    return str(entry["a"] if (effect > 0) == find_metric(str(entry["metric"])).higher_is_better else entry["b"])
