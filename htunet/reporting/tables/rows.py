"""One row per method and data set from the summaries of its runs, with the paper's figures beside it."""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from htunet.errors import counted
from htunet.evaluation.case_table import ARM, adapter_of, arm_key, positive_of, run_columns
from htunet.evaluation.configurations import edited_text, of_any_dataset, start_text, unlike_configurations
from htunet.evaluation.metrics import METRICS, PENALISE, Level, Metric
from htunet.evaluation.statistics import interval_text
from htunet.evaluation.study import Entries
from htunet.paths import DATASET_NAME, IMPORTED_WEIGHTS, DatasetPaths
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import PRINTED, SEGMENTATION, PrintedEstimate, TableKind, TestCounts
from htunet.reporting.tables.write import (
    DASH,
    Column,
    Table,
    TableCell,
    as_csv,
    as_latex,
    as_markdown,
    data_table,
    metric_column,
    number_cell,
    number_columns,
    word_columns,
    words,
    write_files,
)

RANDOM, SIMULATION = "random weights", "pre-trained on simulation"
BASELINE = "trivial baseline"
EXPLANATIONS = {
    RANDOM: "the results test the program and say nothing about the method",
    BASELINE: "never looks at the image",
    "few test cases": "chance has a large effect on these results; look at the interval",
}
"""What marks that begin with these texts mean."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one data set. Fractions in percent; distances in pixels of the network's input."""

    kind: TableKind
    dataset: str
    method: str
    plan: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    n_runs: int
    tested: TestCounts
    """The test cases of all runs."""
    policy: str
    """For empty masks; empty of classes."""
    trainable_parameters: int | None
    values: Mapping[str, PrintedEstimate]
    """One for each of the kind's metrics."""
    paper: paper.Figures
    """The paper's, where it has the method and the images are its own."""
    ratio: float | None = None
    """Fraction of the training images that the runs have learnt from; None: all."""
    trained_on: str = ""
    """Short name of the data set that the runs were trained on, where it is another one."""
    other_images: str = ""
    """How the images differ from the paper's."""
    few: str = ""
    """A warning where the test cases are few."""
    configuration: str = ""
    """Of all that changes results, eight characters; empty where the runs have not recorded it."""
    arm: tuple[Any, ...] = ()
    """Data set and the columns ``ARM``, by which the statistics know it; nothing for what is in none."""
    own: Mapping[str, Any]
    """What the first run's summary says of itself."""
    marks: tuple[str, ...]
    """What a reader must know before comparing: random weights, another plan, fewer epochs, fewer seeds."""

    @property
    def input_size(self) -> tuple[int, ...]:
        """Height and width of the plan's input, on which distances in pixels depend; empty where it is not recorded."""
        plan = (self.own.get("settings") or {}).get("plan_content") or {}
        return tuple(plan.get("input_size") or ())

    @property
    def ranking_group(self) -> tuple[Any, ...]:
        """Equal for rows whose values may be ranked: of the same test images, scored alike."""
        return self.policy, self.tested.positive, frozenset(self.tested.cases) or self.tested.n_cases

    @property
    def counted(self) -> str:
        """Missed cases of all, or all cases."""
        n_cases, n_missed = self.tested.n_cases, self.tested.n_missed
        return str(n_cases) if n_missed is None else f"{n_missed}/{n_cases}"


def table_rows(
    contents: Iterable[Mapping[str, Any]],
    baselines: Iterable[Mapping[str, Any]] = (),
    kind: TableKind = SEGMENTATION,
    means: Entries | None = None,
) -> list[Row]:
    """Rows from those contents of summary.json files that have figures of the kind.

    Runs that differ only in seed and fold share a row. ``baselines`` are contents of trivial baselines; they follow the
    methods of their data set. ``means`` are the statistics of the same contents: the intervals of several runs.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for content in (*contents, *baselines):
        if kind.key in content["htunet"]:
            groups.setdefault(arm_key(content["htunet"]), []).append(content)
    rows = []
    firsts = [found[0]["htunet"] for found in groups.values()]
    unlike = list(zip(_policy_marks(firsts, kind), unlike_configurations(firsts), _positive_marks(firsts), strict=True))
    for found, mark in zip(groups.values(), unlike, strict=True):
        members = [content["htunet"] for content in found]
        first, columns = members[0], run_columns(members[0])
        short = DatasetPaths(first["dataset"]).short_name
        ratio, trained_on = first.get("ratio"), _trained_on(first)
        tested = [kind.tested(content) for content in found]
        sizes = [own.get("split_sizes") or {"test": one.n_cases} for own, one in zip(members, tested, strict=True)]
        other = next(filter(None, (paper.other_images(short, of) for of in sizes)), "")
        comparable = ratio is None and not other and trained_on == paper.TRAINED_ON.get(short, "")
        theirs = kind.paper(short, first["method"]) if comparable else {}
        theirs = {name: value for name, value in theirs.items() if paper.comparable(name, positive_of(first))}
        of_all = total(tested)
        arm = (first["dataset"], *(columns[name] for name in ARM))
        estimates = {name: [kind.estimate(own, name) for own in members] for name in kind.metrics()}
        values = {name: _over_runs(members, each, name) for name, each in estimates.items()}
        for name, own in values.items():
            if means and own.mean is not None and (entry := means.get((*arm, name))):
                over_cases = PrintedEstimate.of(entry, METRICS[name])
                values[name] = replace(own, low=over_cases.low, high=over_cases.high)
        warnings = [*mark, of_all.few, *_partial(estimates, kind), *_of_fewer(values, of_all.n_cases, kind)]
        warnings.append(paper.footnote(first["method"]) if theirs else "")
        row = Row(
            kind=kind,
            dataset=first["dataset"],
            method=first["method"],
            plan=columns["plan"],
            configuration=columns["configuration"],
            folds=tuple(sorted({own["fold"] for own in members})),
            seeds=tuple(sorted({own["seed"] for own in members if "seed" in own})),
            n_runs=len(members),
            tested=of_all,
            policy=first.get("policy", "") if kind is SEGMENTATION else "",
            trainable_parameters=first.get("trainable_parameters"),
            values=values,
            paper=theirs,
            ratio=ratio,
            trained_on=trained_on,
            other_images=other,
            few=of_all.few,
            arm=arm,
            own=first,
            marks=tuple(_marks(members, other, warnings)),
        )
        rows.append(row)
    return sorted(rows, key=_order)


def averaged_as(row: Row) -> tuple[Any, ...]:
    """A key that is equal for rows of several data sets if only the data differ, so that their mean may be taken."""
    columns, settings = run_columns(row.own), of_any_dataset(row.own.get("settings") or {})
    about = ("method", "task", "plan", "ratio", "adapter", "weights", "num_epochs")
    part = (row.own.get("trained_on") or {}).get("part") == "test"
    return (
        row.method,
        *(columns[name] for name in about),
        row.policy,
        part,
        len(row.folds),
        json.dumps(settings, sort_keys=True),
    )


def _order(row: Row) -> tuple[Any, ...]:
    """Data sets by number, methods in the paper's order, then ours by name, trivial baselines last."""
    fraction = 1.0 if row.ratio is None else row.ratio
    place = paper.place_of(row.method)
    return row.dataset, BASELINE in row.marks, place, row.trained_on, fraction, row.plan, row.marks


def total(parts: Sequence[TestCounts]) -> TestCounts:
    """The test cases of several summaries together."""
    missed = [one.n_missed for one in parts if one.n_missed is not None]
    false = [one.n_false for one in parts if one.n_false is not None]
    return TestCounts(
        n_cases=sum(one.n_cases for one in parts),
        n_missed=sum(missed) if missed else None,
        n_false=sum(false) if false else None,
        n_excluded=sum(one.n_excluded for one in parts),
        cases={case: name for one in parts for case, name in one.cases.items()},
        classes=tuple(dict.fromkeys(name for one in parts for name in one.classes)),
        positive=", ".join(dict.fromkeys(one.positive for one in parts if one.positive)),
    )


def _trained_on(own: Mapping[str, Any]) -> str:
    """Short name of the other data set that a run was trained on; empty where there is none."""
    about = own.get("trained_on")
    return DatasetPaths(about["dataset"]).short_name if about else ""


def _positive_marks(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """The positive class of each arm, given by one of its runs, if other arms of its data set have another one."""
    found = [(own["dataset"], positive_of(own)) for own in arms]
    chosen = Counter(dataset for dataset, positive in set(found) if positive)
    return [f"positive class {positive}" * (bool(positive) and chosen[dataset] > 1) for dataset, positive in found]


def _policy_marks(arms: Sequence[Mapping[str, Any]], kind: TableKind) -> list[str]:
    """The policy of each arm where it is not the usual one: of masks, and of classes that nothing else tells apart."""
    found = [(own.get("policy", PENALISE), arm_key({**own, "policy": ""})) for own in arms]
    alike = Counter(key for _, key in found)
    return [f"policy {policy}" * (policy != PENALISE and (kind is SEGMENTATION or alike[key] > 1))
            for policy, key in found]  # fmt: skip


def _over_runs(
    members: Sequence[Mapping[str, Any]], estimates: Sequence[PrintedEstimate], name: str
) -> PrintedEstimate:
    """The mean over all predictions; of a metric that is no mean over cases, such as the AUC, over the runs.

    It has no interval if there are several runs.
    """
    by_seed: dict[Any, list[PrintedEstimate]] = {}
    for own, one in zip(members, estimates, strict=True):
        if one.mean is not None:
            by_seed.setdefault(own.get("seed"), []).append(one)
    if name in METRICS and METRICS[name].leaves_out and any(one.mean is None for one in estimates):
        by_seed = {}  # no mean of some runs alone, as if the others had none to leave out
    if not by_seed:
        return PrintedEstimate()
    means = {seed: _weighted_mean(folds) for seed, folds in by_seed.items()}
    return replace(
        estimates[0] if len(estimates) == 1 else PrintedEstimate(),
        mean=_weighted_mean([one for folds in by_seed.values() for one in folds]),
        n_used=None if any(one.n_used is None for one in estimates) else sum(one.n_used or 0 for one in estimates),
        std=statistics.stdev(means.values()) if len(means) > 1 else None,
        by_seed=means,
    )


def _weighted_mean(known: Sequence[PrintedEstimate]) -> float:
    sizes = [one.n_used or 1 for one in known]
    return statistics.fmean([one.mean or 0.0 for one in known], sizes if len(set(sizes)) > 1 else None)


def _partial(estimates: Mapping[str, Sequence[PrintedEstimate]], kind: TableKind) -> Iterator[str]:
    """A mark for each printed metric of which only some runs have a value."""
    for metric in kind.columns(PRINTED):
        known = sum(one.mean is not None for one in estimates[metric.name])
        if 0 < known < (total := len(estimates[metric.name])):
            yield f"{metric.short_label} of {known} of {total} runs"


def _of_fewer(values: Mapping[str, PrintedEstimate], n_cases: int, kind: TableKind) -> Iterator[str]:
    """A mark for printed means over fewer predictions than there are: without a value, or excluded by the policy."""
    fewer: dict[int, list[str]] = {}
    for metric in kind.columns(PRINTED):
        n_used = values[metric.name].n_used
        if n_used is not None and 0 < n_used < n_cases:
            fewer.setdefault(n_used, []).append(metric.short_label)
    for n_used, labels in fewer.items():
        yield f"{', '.join(labels)}: mean over {n_used} of {n_cases} predictions, the others have no value"


def mean_over_datasets(values: Sequence[PrintedEstimate]) -> PrintedEstimate:
    """The mean of the values, None if one is missing; the deviation is over the seeds that all data sets have."""
    means = [one.mean for one in values if one.mean is not None]
    if len(means) < len(values):
        return PrintedEstimate()
    shared = set.intersection(*(set(one.by_seed) for one in values))
    by_seed = [statistics.fmean(one.by_seed[seed] for one in values) for seed in sorted(shared)]
    return PrintedEstimate(statistics.fmean(means), statistics.stdev(by_seed) if len(by_seed) > 1 else None)


def _marks(members: Sequence[Mapping[str, Any]], other_images: str, warnings: Sequence[str]) -> list[str]:
    """What to know before comparing; data that are not the paper's are not judged by its epochs and seeds."""
    first, ending = members[0], [text for text in warnings if text]
    plan = run_columns(first)["plan"]
    folds = sorted({own["fold"] for own in members})
    of_folds = {f"folds {', '.join(map(str, folds))}": folds != [0]}
    if "weights" not in first:
        usual = {f"plan {plan}": plan != paper.PLAN, **of_folds}
        return [BASELINE, *(mark for mark, applies in usual.items() if applies), *ending]
    epochs = {own.get("epochs") or own["num_epochs"] for own in members}
    seeds, own_data = {own["seed"] for own in members}, other_images == paper.OTHER
    tested = {(own["seed"], own["fold"]) for own in members}
    unlike_folds = len({frozenset(own["fold"] for own in members if own["seed"] == seed) for seed in seeds}) > 1
    candidates = {
        f"{percent(first.get('ratio') or 1)} of the training images": first.get("ratio") is not None,
        **_across_marks(first),
        f"task {first.get('task')}": "+" in str(first.get("task")),
        other_images: bool(other_images) and not own_data,
        **weights_marks(first["weights"] or {}),
        f"started from {(start := start_text(first))}": bool(start),
        **adapter_marks(first["method"], adapter_of(first), own_data=own_data),
        f"plan {plan}{edited_text(first)}": plan != paper.PLANS.get(first["method"], paper.PLAN),
        **of_folds,
        "the mean is over several adapters of one fold and seed": len(members) > len(tested),
        "the seeds have unlike folds, so that their deviation is between images, too": unlike_folds,
    }
    if own_data:
        candidates[f"{_span(epochs)} epoch{'s' * (epochs != {1})}"] = epochs != {paper.EPOCHS}
    else:
        candidates |= {
            f"{_span(epochs)} of the paper's {paper.EPOCHS} epochs": min(epochs) < paper.EPOCHS,
            f"more than the paper's {paper.EPOCHS}: {_span(epochs)} epochs": max(epochs) > paper.EPOCHS,
            f"{len(seeds)} of the paper's {paper.SEEDS} seeds": len(seeds) < paper.SEEDS,
        }
    return [mark for mark, applies in candidates.items() if applies] + ending


def weights_marks(weights: Mapping[str, Any]) -> dict[str, bool]:
    """Where frozen weights, as a summary records them, are not the published ones."""
    source, file = weights.get("source"), str(weights.get("file"))
    simulated = bool(weights.get("simulated"))
    own = source == "file" or (source == "pretrained" and PurePath(file).stem == IMPORTED_WEIGHTS)
    return {RANDOM: source == "random", SIMULATION: source == "phantom" or simulated, f"weights of {file}": own}


def adapter_marks(method: str, learnt: str, *, own_data: bool = False) -> dict[str, bool]:
    """What a method's adapter had ``learnt`` before, where that is not what the paper fine-tunes it on."""
    if not learnt:
        return {"adapter not fine-tuned on captions": paper.is_fine_tuned(method) and not own_data}
    return {f"adapter from {learnt}": not paper.is_its_start(learnt)}


def _across_marks(own: Mapping[str, Any]) -> dict[str, bool]:
    """Where the test images are another data set's: what it was trained on, unless the paper does the same."""
    about = own.get("trained_on")
    if not about:
        return {}
    name, shared = _trained_on(own), len(about.get("shared_images") or ())
    compared = about.get("shared_images", ()) is not None
    return {
        f"trained on {name}": name != paper.TRAINED_ON.get(DatasetPaths(own["dataset"]).short_name),
        "its test split": about["part"] == "test",
        f"{counted(shared, 'test image')} also in the training data": shared > 0,
        "not compared with the training data": not compared,
        "not compared with all training data": compared and bool(about.get("not_compared")),
    }


def percent(ratio: float) -> str:
    """A fraction in percent, without trailing zeros.

    >>> percent(0.01), percent(0.35), percent(0.125)
    ('1 %', '35 %', '12.5 %')
    """
    return f"{100 * ratio:.6g} %"


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


def parameters_text(row: Row) -> str:
    """Trainable parameters as the paper prints them: ``4.1 M``, ``7.7 K``; ``-`` where there are none."""
    number = row.trainable_parameters
    if number is None:
        return "-"
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.1f} K"


def row_data(rows: Sequence[Row], kind: TableKind = SEGMENTATION) -> Table:
    """For CSV: one line a row, every value in full precision with its standard deviation, and the paper's."""
    counts = ("n_missed", "n_excluded", "policy") if kind is SEGMENTATION else ("positive",)
    theirs = {name: METRICS[name].paper if METRICS[name].leaves_out else name
              for name in METRICS if any(name in row.paper for row in rows)}  # fmt: skip
    names = [
        *("dataset", "method", "plan", "ratio", "trained_on", "folds", "seeds", "n_runs", "n_cases", *counts),
        *("trainable_parameters", *(f"{name}{end}" for name in kind.metrics() for end in ("", "_std"))),
        *(f"paper_{column}" for column in theirs.values()),
        "configuration",
        "marks",
    ]
    records = []
    for row in rows:
        record = {**vars(row), **vars(row.tested)}
        record |= {"folds": " ".join(map(str, row.folds)), "seeds": " ".join(map(str, row.seeds))}
        for name, found in row.values.items():
            record |= {name: found.mean, f"{name}_std": found.std}
        record |= {f"paper_{column}": row.paper.get(name) for name, column in theirs.items()}
        records.append(record | {"marks": "; ".join(row.marks)})
    return data_table(names, records)


def printed_metrics(rows: Sequence[Row], kind: TableKind) -> list[tuple[Metric, bool]]:
    """The metrics that have a column, and whether the paper's figures follow in another one.

    A table with the paper's figures also has the metrics as its public code computes them; its figures are beside
    these.
    """
    theirs = {name for row in rows for name in row.paper}
    return [(one, one.name in theirs) for one in kind.columns((*PRINTED, Level.PAPER) if theirs else PRINTED)]


def row_tables(rows: Sequence[Row], kind: TableKind = SEGMENTATION, *, narrow: bool = False) -> list[Table]:
    """For print: a table for each data set, in the order of ``rows``; the paper's value follows ours.

    ``narrow``: marks are numbers that a note explains; the gravest keep their words.
    """
    names = {mark: mark for row in rows for mark in row.marks}
    legend = []
    if narrow and (others := [mark for mark in names if with_explanation(mark) == mark]):
        names |= {mark: str(number) for number, mark in enumerate(others, start=1)}
        legend = ["Notes  " + " · ".join(f"{names[mark]}: {mark}" for mark in others)]
    tables = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        members = [row for row in rows if row.dataset == dataset]
        metrics = printed_metrics(members, kind)
        excluded = any(metric.leaves_out for metric, _ in metrics)
        counts = word_columns("Seeds", count_heading(kind), *["Excluded"] * excluded, "Notes")
        body = []
        for row in members:
            seeds = ", ".join(map(str, row.seeds)) or "-"
            texts = [seeds, row.counted, *[f"{row.tested.n_excluded}/{row.tested.n_cases}"] * excluded]
            texts.append((", " if narrow else "; ").join(names[mark] for mark in row.marks))
            cells = [words(name_of(row)), words(parameters_text(row)), *value_cells(row, metrics), *map(words, texts)]
            body.append(tuple(cells))
        tables.append(
            Table(
                title=dataset,
                caption=f"{kind.name.capitalize()}, {dataset}.",
                columns=(*word_columns("Method"), *number_columns("Trained"), *value_columns(metrics), *counts),
                rows=tuple(body),
                notes=(*legend, *row_notes(members, kind)),
            )
        )
    return tables


def count_heading(kind: TableKind) -> str:
    """Heading of the column of ``Row.counted``."""
    return "Missed" if kind is SEGMENTATION else "Cases"


def value_columns(metrics: Sequence[tuple[Metric, bool]]) -> list[Column]:
    """The columns of ``printed_metrics``, and of the paper's figures."""
    return [column for one, beside in metrics for column in (metric_column(one), *number_columns(*["paper"] * beside))]


def value_cells(
    row: Row, metrics: Sequence[tuple[Metric, bool]], *, missing: str = "-", below: bool = False
) -> list[TableCell]:
    """The cells of ``value_columns``; ``below``: with the interval in small letters, else only of few cases."""
    cells = []
    for metric, beside in metrics:
        found, theirs = row.values[metric.name], row.paper.get(metric.name)
        text = missing if found.mean is None else found.text(with_interval=bool(row.few) and not below)
        interval = interval_text(found.low, found.high) if below else ""
        cells.append(TableCell(text=text, value=found.mean, below=interval))
        cells += [TableCell(text=missing if theirs is None else f"{theirs:.2f}", value=theirs)] * beside
    return cells


def page_table(named: Sequence[tuple[str, str, Row]], kind: TableKind) -> Table:
    """For the page: one table of all data sets. ``named``: the short name of its data set and its method's, and a row.

    Below each value is its interval.
    """
    members = [row for _, _, row in named]
    printed = printed_metrics(members, kind)
    excluded = any(metric.leaves_out for metric, _ in printed)
    counts = number_columns(count_heading(kind), *["Excluded"] * excluded, "Seeds", "Trained")
    columns = (*word_columns("Data set", "Method"), *value_columns(printed), *counts, *word_columns("Notes"))
    rows = []
    for dataset, method, row in named:
        n_cases, n_missed, n_excluded = row.tested.n_cases, row.tested.n_missed, row.tested.n_excluded
        rows.append(
            (
                words(dataset),
                words(method, strong=True),
                *value_cells(row, printed, missing=DASH, below=True),
                number_cell(n_cases if n_missed is None else n_missed / n_cases, row.counted.replace("/", " / ")),
                *[number_cell(n_excluded / n_cases, f"{n_excluded} / {n_cases}")] * excluded,
                TableCell(text=", ".join(map(str, row.seeds)) or DASH, value=len(row.seeds)),
                number_cell(row.trainable_parameters, parameters_text(row)),
                words("; ".join(row.marks)),
            )
        )
    return Table(
        id=kind.name,
        title=f"{kind.name.capitalize()}: all test cases",
        columns=columns,
        rows=tuple(_with_best(columns, rows, members)),
        notes=(
            "Bold: the best of the methods that are tested on the same images"
            f"{', of distances in pixels for each input size' * (kind is SEGMENTATION)}. "
            "Below each value: its 95 % interval over test cases (bootstrap; over patients where they are known). "
            "Trained: number of parameters that were trained.",
            *row_notes(members, kind),
        ),
    )


def _with_best(
    columns: tuple[Column, ...], rows: list[tuple[TableCell, ...]], members: Sequence[Row]
) -> list[tuple[TableCell, ...]]:
    """The rows with the best value, as printed, of each data set and metric strong, where there are several methods.

    Pixels of inputs of different sizes are different units: of each size there is a best one.
    """
    keys = [[(row[0].text, place, member.ranking_group, member.input_size if column.unit == "px" else ())
             for place, column in enumerate(columns)] for row, member in zip(rows, members, strict=True)]  # fmt: skip
    values: dict[tuple[Any, ...], list[Any]] = {}
    for row, own in zip(rows, keys, strict=True):
        for column, cell, key in zip(columns, row, own, strict=True):
            if column.better and isinstance(cell.value, float):
                values.setdefault(key, []).append(round(cell.value, 2))
    best = {
        key: (max if columns[key[1]].better == "higher" else min)(found)
        for key, found in values.items()
        if len(found) > 1
    }
    return [
        tuple(
            replace(cell, strong=True)
            if key in best and isinstance(cell.value, float) and round(cell.value, 2) == best[key]
            else cell
            for cell, key in zip(row, own, strict=True)
        )
        for row, own in zip(rows, keys, strict=True)
    ]


def name_of(row: Row) -> str:
    """The method, and the fraction of the training images where it is not all of them."""
    return row.method if row.ratio is None else f"{row.method}, {percent(row.ratio)}"


def row_notes(rows: Sequence[Row], kind: TableKind = SEGMENTATION) -> list[str]:
    """What is below a table of these rows: how to read it, each column's definition, and the marks that need more."""
    marks = dict.fromkeys(mark for row in rows for mark in row.marks)
    source = f" Paper: {paper.PAPER}{', supervised' * (kind is not SEGMENTATION)}."
    return [
        kind.note + source * any(row.paper for row in rows),
        *metric_notes(rows, [metric for metric, _ in printed_metrics(rows, kind)]),
        *(f"{text}." for mark in marks if (text := with_explanation(mark)) != mark),
    ]


def metric_notes(rows: Sequence[Row], metrics: Sequence[Metric]) -> list[str]:
    """The definition of each metric, and the class of which recall, precision and F1 are."""
    definitions = [f"{metric.short_label}: {metric.definition}" for metric in metrics]
    if any(metric.leaves_out for metric in metrics):
        definitions.append("Excluded: test cases of all runs without these distances.")
    of_class = [one.short_label for one in metrics if one.of_class]
    positives: dict[str, list[str]] = {}
    for row in rows if of_class else ():
        named = DATASET_NAME.fullmatch(row.dataset)  # a mean over data sets has words instead
        of_dataset = positives.setdefault(DatasetPaths(row.dataset).unique_name if named else row.dataset, [])
        of_dataset += {row.tested.positive or "the mean over the classes"}.difference(of_dataset)
    texts = [f"{' or '.join(classes)} ({dataset})" for dataset, classes in positives.items()]
    return [" ".join(definitions), *([f"{', '.join(of_class)}: of {', '.join(texts)}."] if texts else [])]


def with_explanation(mark: str) -> str:
    """A mark, and what it means where that needs more words."""
    return next((f"{mark}: {text}" for start, text in EXPLANATIONS.items() if mark.startswith(start)), mark)


def write_tables(
    folder: Path, rows: Sequence[Row], kind: TableKind = SEGMENTATION, *, name: str | None = None
) -> list[Path]:
    """Write NAME.csv, NAME.md and NAME.tex into ``folder``; return their paths. NAME: the kind's, ``segmentation``."""
    contents = {
        "csv": as_csv(row_data(rows, kind)),
        "md": as_markdown(*row_tables(rows, kind)),
        "tex": as_latex(*row_tables(rows, kind, narrow=True)),
    }
    return write_files(folder, name or kind.name, contents)
