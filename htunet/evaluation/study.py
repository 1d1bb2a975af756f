"""The statistics of many runs together: means with intervals, by lesion size and by class, and who is better than whom.

All statistics are computed from the case table. Runs that differ only in seed and fold are repetitions of one *arm*.
The mean of an arm is taken over the predictions of its runs; a metric of all cases together, such as the AUC, is
averaged over the runs. Bootstrap intervals resample cases, or groups of cases, never seeds: all predictions of a case
are drawn together. Tests compare the averages of each case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from htunet.evaluation.case_table import ARM, CONFIGURATION, POSITIVE, PROBABILITY, TERCILES
from htunet.evaluation.classification import Confusion, confusion_matrix
from htunet.evaluation.comparisons import corrected, paired_tests
from htunet.evaluation.metrics import (
    BOTH_EMPTY,
    EMPTY_PREDICTION,
    EMPTY_REFERENCE,
    PENALISE,
    Kind,
    Level,
    find_metric,
    mask_metrics,
    metrics_of,
)
from htunet.evaluation.statistics import Weights, bootstrap_estimates, bootstrap_means
from htunet.evaluation.summary import INPUT

COMPARISON_RESAMPLES = 2_000
"""Fewer than for the means: of n methods there are n (n - 1) / 2 differences."""
FAMILY = ("ratio", "trained_on", "tested_part", "policy")
"""Arms that differ in one of these are not compared with each other."""
Entries = Mapping[tuple[Any, ...], Mapping[str, Any]]
"""Rows of a table of the statistics by data set, the columns ``ARM``, further ones, and metric."""


@dataclass(frozen=True)
class Statistics:
    """The tables of a study; every row says what it is of, and how many cases it rests on."""

    means: pd.DataFrame
    by_size: pd.DataFrame
    by_class: pd.DataFrame
    comparisons: pd.DataFrame


def study(table: pd.DataFrame) -> Statistics:
    """All statistics of a case table; tables without rows where there is nothing to say."""
    table = table.assign(arm=arm_names(table))
    shown = (Level.OVERVIEW, Level.TABLE)
    pixels, all_units = ([m.name for m in mask_metrics(shown, millimetres=both)] for both in (False, True))
    of_cases = [metric.name for metric in metrics_of(Kind.CASE, levels=shown)]
    everything = [*all_units, *(metric.name for metric in mask_metrics((Level.PAPER,), millimetres=False))]
    for name in {*everything, *of_cases} - set(table):
        table[name] = np.nan  # a table of an earlier version
    masks, classes = table[table["label"].notna()], table[table["label"].isna()]
    whole = over_labels(masks, everything)
    several = masks[masks.groupby("dataset")["label"].transform("nunique") > 1]
    classes = classes.assign(label="", resolution="")
    means = [_means(pd.concat([whole, several]), everything), _means(classes, of_cases), _class_estimates(classes)]
    by_size = _means(masks[masks["tercile"] != ""], all_units, "tercile")
    if not by_size.empty:
        place = by_size["tercile"].map(TERCILES.index)
        order = ["dataset", "resolution", "label", "arm", "_place"]
        by_size = by_size.assign(_place=place).sort_values(order, kind="stable").drop(columns="_place")
    by_class = [_means(whole, all_units, "class"), _means(classes, of_cases, "class")]
    of_classes = classes.assign(policy="")  # which is for masks, also of a run that learns both
    comparisons = [_comparisons(whole, pixels), _comparisons(of_classes, of_cases)]
    return Statistics(
        means=pd.concat(means, ignore_index=True),
        by_size=by_size,
        by_class=pd.concat(by_class, ignore_index=True),
        comparisons=pd.concat(comparisons, ignore_index=True),
    )


def entries(table: pd.DataFrame, *strata: str) -> Entries:
    """Rows of a table by arm, ``strata`` and metric, None where there is no value: those at the network's input size.

    They are of all labels together, unless ``label`` is among the strata.
    """
    if table.empty:
        return {}
    shown = table[table["resolution"].isin([INPUT, ""])]
    if "label" not in strata:
        shown = shown[shown["label"] == ""]
    plain = shown.astype(object).where(shown.notna(), None).to_dict("records")
    return {tuple(entry[name] for name in ("dataset", *ARM, *strata, "metric")): entry for entry in plain}


def arm_names(table: pd.DataFrame) -> pd.Series:
    """The name of each row's arm: the method, and what distinguishes it from the other arms of its method and data set.

    ``CLIP_HT``, or ``CLIP_HT (plan adaptive)`` where there is another plan too.
    """
    arms = table[["dataset", *ARM]].drop_duplicates()
    joint = arms["task"].astype(str).str.contains("+", regex=False)
    joint = joint.groupby([arms["dataset"], arms["method"]]).transform("any")  # has masks and classes: rival of either
    alike = ["dataset", "method", (arms["policy"] == "") & ~joint]  # masks have a policy, classes have none
    names = pd.Series(arms["method"].to_numpy(), index=arms.index, dtype=object)
    for _, members in arms.groupby(alike, sort=False):
        of_one_kind = members[["policy", POSITIVE]]  # empty where an arm has no masks, or no classes
        filled = members.assign(**of_one_kind.where(of_one_kind != "").ffill().bfill())
        differing = [name for name in ARM if filled[name].nunique(dropna=False) > 1]
        words = [name for name in differing if name != CONFIGURATION]
        if words and not members[words].duplicated().any():  # which says more than a hash does
            differing = words
        for row, values in members[differing].iterrows():
            about = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in values.items() if not pd.isna(value) and value != ""]  # fmt: skip
            if about:
                names[row] += f" ({', '.join(about)})"
    keys = ["dataset", *ARM]
    return table[keys].merge(arms.assign(arm=names), on=keys, how="left")["arm"].set_axis(table.index)


def over_labels(masks: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """One row per run, case and resolution of the rows of masks of a case table, without those of single labels.

    A value is the mean over the labels that have one, without the labels that no reference of the run has, unless it
    has none at all. ``missed``: no label is predicted, and the reference has one.
    """
    if masks.empty or masks["label"].nunique() == 1:
        return masks.assign(label="")
    run = [name for name in ("dataset", "arm", *ARM, "fold", "seed", "resolution") if name in masks]
    in_reference = ~masks["empty"].isin((EMPTY_REFERENCE, BOTH_EMPTY))
    of_label, of_run = (
        in_reference.groupby([masks[name] for name in names], dropna=False).transform("any")
        for names in ([*run, "label"], run)
    )
    cases = masks.assign(nothing=masks["empty"].isin((EMPTY_PREDICTION, BOTH_EMPTY)))
    cases = cases.groupby([*run, "case"], dropna=False)[["nothing", "missed"]]
    missed = cases.transform("min")["nothing"] * cases.transform("max")["missed"]
    kept = masks.assign(missed=missed)[of_label | ~of_run]
    found = kept.groupby([*run, "case", "group", "class"], dropna=False, sort=False)
    return pd.concat([found[[*metrics]].mean(), found["missed"].max()], axis=1).reset_index().assign(label="")


def _means(rows: pd.DataFrame, metrics: list[str], by: str | None = None) -> pd.DataFrame:
    """One row per data set, resolution, label, arm (and stratum ``by``) and metric that has a value.

    ``mean`` is over the predictions of all runs: a case that several of them test counts as often. ``std`` is the
    sample deviation of the seeds' means; none for one seed. Of masks, ``n_missed`` of ``n_predictions`` with a value.
    """
    found = []
    for dataset, members in rows.groupby("dataset", sort=True):
        cases, groups = _cases(members)
        keys = ["resolution", "label", "arm", *([by] if by else [])]
        strata = members.groupby(keys, sort=False)
        cells = members.assign(_case=cases, _stratum=strata.ngroup())
        repeat = cells.groupby(["_case", "_stratum"]).cumcount()
        n_repeats = int(repeat.max()) + 1
        cube = np.full((n_repeats, len(groups), strata.ngroups, len(metrics)), np.nan)
        cube[repeat, cases, cells["_stratum"]] = cells[metrics].to_numpy(float)
        means = bootstrap_means(cube.reshape(n_repeats * len(groups), -1), groups * n_repeats)
        n_cases = (~np.isnan(cube)).any(axis=0).sum(axis=0)
        by_seed = cells.groupby(["_stratum", "seed"], sort=False)[metrics].mean().groupby("_stratum", sort=True)
        deviation, n_seeds = by_seed.std(ddof=1), by_seed.size()
        missed = strata["missed"].sum().to_numpy() if "dice" in metrics else None
        about = cells.drop_duplicates("_stratum").sort_values("_stratum")[[*keys, *ARM]]
        for place, entry in enumerate(about.to_dict("records")):
            for m, name in enumerate(metrics):
                mean, std = means[place * len(metrics) + m], deviation.at[place, name]
                if mean.n_used:
                    row = {"dataset": dataset, **entry, "metric": name, "mean": mean.mean, "low": mean.low}
                    row |= {"high": mean.high, "n_cases": int(n_cases[place, m])}
                    row |= {"std": None if np.isnan(std) else float(std), "n_seeds": int(n_seeds[place])}
                    if missed is not None:
                        row |= {"n_missed": int(missed[place]), "n_predictions": mean.n_used}
                    found.append(row)
    return pd.DataFrame(found)


def _cases(members: pd.DataFrame) -> tuple[NDArray[np.intp], list[str]]:
    """Number of each row's case, and the name of each case's group; a case without a group is one of its own."""
    numbers, names = pd.factorize(members["case"])
    first = members.drop_duplicates("case").set_index("case")["group"]
    return numbers, [str(first[name] or "") or f"\0{name}" for name in names]


def _cube(cells: pd.DataFrame, metrics: list[str], n_cases: int) -> NDArray[np.float64]:
    """(cases, strata, metrics) means over the repetitions of each case; NaN where there is no value."""
    averaged = cells.groupby(["_case", "_stratum"], sort=False)[metrics].mean()
    cube = np.full((n_cases, int(cells["_stratum"].max()) + 1, len(metrics)), np.nan)
    cube[averaged.index.get_level_values(0), averaged.index.get_level_values(1)] = averaged.to_numpy(float)
    return cube


def _class_estimates(classes: pd.DataFrame) -> pd.DataFrame:
    """Metrics of all cases together, such as the AUC, of each arm: means over its runs, with intervals over cases."""
    found = []
    tested = classes.groupby(["dataset", "arm"])["case"].transform(lambda cases: repr(sorted(set(cases))))
    for (dataset, _), members in classes.groupby(["dataset", tested]):  # arms with the same cases
        cases, groups = _cases(members)
        by_arm = members.assign(_case=cases).groupby("arm", sort=False)
        arms = {str(arm): [_Run(rows) for _, rows in part.groupby(["seed", "fold"])] for arm, part in by_arm}
        about = members.drop_duplicates("arm").set_index("arm")[list(ARM)].to_dict("index")
        once = np.ones((1, len(groups)))
        alone = {arm: [(run.seed, _averaged([run], once)) for run in runs] for arm, runs in arms.items()}
        estimates = bootstrap_estimates(partial(_of_arms, arms), len(groups), groups)
        for (arm, name), estimate in estimates.items():
            by_seed = pd.DataFrame([(seed, float(one[name][0])) for seed, one in alone[arm]]).groupby(0)[1].mean()
            if estimate.value is not None:
                entry = {"dataset": dataset, "resolution": "", "label": "", "arm": arm, **about[arm], "metric": name}
                entry |= {"mean": estimate.value, "low": estimate.low, "high": estimate.high, "n_cases": len(groups)}
                std = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
                found.append(entry | {"std": std, "n_seeds": len(by_seed)})
    return pd.DataFrame(found)


class _Run:
    """The classes of one run as arrays: places of its cases, truth, decisions and probabilities."""

    def __init__(self, rows: pd.DataFrame) -> None:
        columns = [name for name in rows if str(name).startswith(PROBABILITY) and name != "probability_of_truth"]
        columns = [name for name in columns if rows[name].notna().any()]
        classes = [str(name).removeprefix(PROBABILITY) for name in columns]
        positive = rows[POSITIVE].iloc[0]
        if positive and positive != classes[-1]:
            columns, classes = columns[::-1], classes[::-1]  # the positive class comes last
        self.seed = rows["seed"].iloc[0]
        self.places = rows["_case"].to_numpy()
        self.probabilities_NK = rows[columns].to_numpy(float)
        self.truth_N = np.array([classes.index(name) for name in rows["class"]], dtype=np.intp)
        self.decided_N = np.array([classes.index(name) for name in rows["predicted"]], dtype=np.intp)


def _of_arms(arms: Mapping[str, list[_Run]], weights_RN: Weights) -> dict[tuple[str, str], NDArray[np.float64]]:
    """The values of all arms by arm and metric, (R,) each, from the weights of all cases."""
    return {(arm, name): value for arm, runs in arms.items() for name, value in _averaged(runs, weights_RN).items()}


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


def _comparisons(rows: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Each pair of arms of a data set and family, with Holm's correction over the pairs of one metric.

    Under the policy ``penalise`` who rightly finds nothing has the best value beside one who finds something there.
    """
    found: list[dict[str, object]] = []
    keys = ["dataset", "resolution", *FAMILY]
    for values, members in rows.groupby(keys, sort=True, dropna=False):
        about = dict(zip(keys, values, strict=True))
        cases, groups = _cases(members)
        cells = members.assign(_case=cases, _stratum=members.groupby("arm", sort=False).ngroup())
        arms = cells.drop_duplicates("_stratum").sort_values("_stratum")
        cube, names, plans = _cube(cells, metrics, len(groups)), arms["arm"].tolist(), arms["plan"].tolist()
        if about["policy"] == PENALISE:
            best = {metric: cells[metric].mask(cells["dice"].isna(), float(find_metric(metric).higher_is_better))
                    for metric in metrics}  # fmt: skip
            known, cube = ~np.isnan(cube), _cube(cells.assign(**best), metrics, len(groups))
        else:
            known = np.ones(cube.shape, dtype=bool)
        # distances in pixels of different input sizes are different things
        apart = [about["resolution"] == INPUT and find_metric(metric).kind == Kind.DISTANCE for metric in metrics]
        pairs = [(m, a, b) for m in range(len(metrics)) for a, b in combinations(range(len(names)), 2)
                 if not apart[m] or plans[a] == plans[b]]  # fmt: skip
        if not pairs:
            continue
        differences = np.stack([np.where(known[:, a, m] | known[:, b, m], cube[:, a, m] - cube[:, b, m], np.nan)
                                for m, a, b in pairs], axis=1)  # fmt: skip
        tests = paired_tests(differences, groups, resamples=COMPARISON_RESAMPLES)
        for m, metric in enumerate(metrics):
            entries = [{"metric": metric, "a": names[a], "b": names[b]} | test
                       for (of, a, b), test in zip(pairs, tests, strict=True) if of == m]  # fmt: skip
            higher, n_tests = find_metric(metric).higher_is_better, sum(bool(entry["n_pairs"]) for entry in entries)
            for entry, p_holm, better in corrected(entries, higher_is_better=higher):
                found.append({**about, **entry, "p_holm": p_holm, "favours": better, "n_tests": n_tests})
    return pd.DataFrame(found)
