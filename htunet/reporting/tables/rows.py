"""One row per method and data set from the summaries of its runs, with the paper's figures beside it."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from htunet.evaluation.case_table import adapter_of
from htunet.evaluation.metrics import PENALISE
from htunet.paths import DatasetPaths
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import SEGMENTATION, TableKind
from htunet.reporting.tables.paper_figures import PaperClassification, PaperFigures
from htunet.reporting.tables.write import (
    Table,
    TableCell,
    as_csv,
    as_latex,
    as_markdown,
    data_table,
    metric_column,
    number_columns,
    word_columns,
    words,
    write_files,
)

RANDOM = "random weights"
BASELINE = "trivial baseline"
EXPLANATIONS = {
    RANDOM: "the figures test the program and say nothing about the method",
    BASELINE: "never looks at the image",
}


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and the sample standard deviation over them (None: one seed)."""

    mean: float | None
    std: float | None

    def text(self, decimals: int = 2, plus_minus: str = "±") -> str:
        """``81.19 ± 0.42``; ``-`` where there is no value."""
        if self.mean is None:
            return "-"
        spread = "" if self.std is None else f" {plus_minus} {self.std:.{decimals}f}"
        return f"{self.mean:.{decimals}f}{spread}"


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
    n_cases: int
    """Test cases, over all runs."""
    n_missed: int | None
    """Of them with an empty prediction where the reference has pixels; None where the kind knows no such thing."""
    policy: str
    """For empty masks; empty where there are none."""
    trainable_parameters: int | None
    values: Mapping[str, Spread]
    """One for each of the kind's metrics."""
    paper: PaperFigures | PaperClassification | None
    ratio: float | None = None
    """Fraction of the training images that the runs have learnt from; None: all."""
    trained_on: str = ""
    """Short name of the data set that the runs were trained on, where it is another one."""
    marks: tuple[str, ...]
    """What a reader must know before comparing: random weights, another plan, fewer epochs, fewer seeds."""


def table_rows(
    contents: Iterable[Mapping[str, Any]],
    baselines: Iterable[Mapping[str, Any]] = (),
    kind: TableKind = SEGMENTATION,
) -> list[Row]:
    """Rows from those contents of summary.json files that have figures of the kind.

    Runs that differ only in seed and fold share a row. ``baselines`` are contents of trivial baselines; they follow the
    methods of their data set.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for content in (*contents, *baselines):
        if kind.key in content["htunet"]:
            groups.setdefault(_group_key(content["htunet"]), []).append(content["htunet"])
    rows = [_row(members, kind) for members in groups.values()]
    return sorted(rows, key=_order)


def _group_key(own: Mapping[str, Any]) -> tuple[Any, ...]:
    weights = own.get("weights") or {}
    return (
        *(own["dataset"], own.get("trainer"), own["method"], own["plan"], own.get("policy"), own.get("ratio")),
        *((own.get("trained_on") or {}).get(name) for name in ("dataset", "part")),
        *(own.get("num_epochs"), weights.get("source"), own.get("trainable_parameters"), adapter_of(own)),
    )


def _order(row: Row) -> tuple[Any, ...]:
    """Data sets by number, methods in the paper's order, then ours by name, trivial baselines last."""
    known = list(dict.fromkeys([*paper.METHODS, *paper.CLASSIFICATION_METHODS, *paper.ADAPTERS]))
    place = known.index(row.method) if row.method in known else len(known)
    fraction = 1.0 if row.ratio is None else row.ratio
    return row.dataset, BASELINE in row.marks, place, row.method, row.trained_on, fraction, row.plan, row.marks


def _row(members: Sequence[Mapping[str, Any]], kind: TableKind) -> Row:
    first, n_missed = members[0], kind.n_missed
    seeds = tuple(sorted({own["seed"] for own in members if "seed" in own}))
    short = DatasetPaths(first["dataset"]).short_name
    ratio, trained_on = first.get("ratio"), _trained_on(first)
    comparable = ratio is None and trained_on == paper.TRAINED_ON.get(short, "")
    return Row(
        kind=kind,
        dataset=first["dataset"],
        method=first["method"],
        plan=first["plan"],
        folds=tuple(sorted({own["fold"] for own in members})),
        seeds=seeds,
        n_runs=len(members),
        n_cases=sum(kind.n_cases(own) for own in members),
        n_missed=None if n_missed is None else sum(n_missed(own) for own in members),
        policy=first.get("policy", ""),
        trainable_parameters=first.get("trainable_parameters"),
        values={name: _spread(members, name, kind) for name in kind.metrics},
        paper=kind.paper(short, first["method"]) if comparable else None,
        ratio=ratio,
        trained_on=trained_on,
        marks=tuple(_marks(members, len(seeds))),
    )


def _trained_on(own: Mapping[str, Any]) -> str:
    """Short name of the other data set that a run was trained on; empty where there is none."""
    about = own.get("trained_on")
    return DatasetPaths(about["dataset"]).short_name if about else ""


def _spread(members: Sequence[Mapping[str, Any]], name: str, kind: TableKind) -> Spread:
    """Folds are averaged within each seed first, so that the deviation is the one over seeds."""
    by_seed: dict[Any, list[float]] = {}
    for own in members:
        value = kind.value(own, name)
        if value is not None:
            by_seed.setdefault(own.get("seed"), []).append(value)
    means = [statistics.fmean(values) for values in by_seed.values()]
    if not means:
        return Spread(None, None)
    return Spread(statistics.fmean(means), statistics.stdev(means) if len(means) > 1 else None)


def _marks(members: Sequence[Mapping[str, Any]], n_seeds: int) -> list[str]:
    first = members[0]
    wanted = first.get("policy", PENALISE)
    policy = [f"policy {wanted}"] * (wanted != PENALISE)
    if "weights" not in first:
        return [BASELINE, *policy]
    epochs = {own.get("epochs") or own["num_epochs"] for own in members}
    fewer = f"{_span(epochs)} of the paper's {paper.EPOCHS} epochs"
    folds = sorted({own["fold"] for own in members})
    candidates = {
        **_few_shot_marks(first),
        **_across_marks(first),
        RANDOM: first["weights"]["source"] == "random",
        **adapter_marks(first["method"], adapter_of(first)),
        f"plan {first['plan']}": first["plan"] != paper.PLANS.get(first["method"], paper.PLAN),
        fewer: min(epochs) < paper.EPOCHS,
        f"more than the paper's {paper.EPOCHS}: {_span(epochs)} epochs": max(epochs) > paper.EPOCHS,
        f"{n_seeds} of the paper's {paper.SEEDS} seeds": n_seeds < paper.SEEDS,
        f"folds {', '.join(map(str, folds))}": folds != [0],
    }
    return [mark for mark, applies in candidates.items() if applies] + policy


def adapter_marks(method: str, learnt: str) -> dict[str, bool]:
    """What a method's adapter had ``learnt`` before, where that is not what the paper fine-tunes it on."""
    if not learnt:
        return {"adapter not fine-tuned on captions": paper.is_fine_tuned(method)}
    return {f"adapter from {learnt}": not paper.is_its_start(learnt)}


def _few_shot_marks(own: Mapping[str, Any]) -> dict[str, bool]:
    ratio = own.get("ratio")
    return {} if ratio is None else {f"{percent(ratio)} of the training images": True}


def _across_marks(own: Mapping[str, Any]) -> dict[str, bool]:
    """Where the test images are another data set's: what it was trained on, unless the paper does the same."""
    about = own.get("trained_on")
    if not about:
        return {}
    name, shared = _trained_on(own), len(about.get("shared_images") or ())
    return {
        f"trained on {name}": name != paper.TRAINED_ON.get(DatasetPaths(own["dataset"]).short_name),
        "its test split": about["part"] == "test",
        f"{shared} test images also in the training data": shared > 0,
    }


def percent(ratio: float) -> str:
    """A fraction as people write it.

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
    missed = ("n_missed", "policy") if kind.n_missed else ()
    fields = ("dataset", "method", "plan", "ratio", "trained_on", "folds", "seeds", "n_runs", "n_cases", *missed)
    printed = [metric.name for metric in kind.printed]
    records = []
    for row in rows:
        record: dict[str, object] = {name: getattr(row, name) for name in (*fields, "trainable_parameters")}
        record |= {"folds": " ".join(map(str, row.folds)), "seeds": " ".join(map(str, row.seeds))}
        for name, found in row.values.items():
            record |= {name: found.mean, f"{name}_std": found.std}
        record |= {f"paper_{name}": getattr(row.paper, name, None) for name in printed}
        records.append(record | {"marks": "; ".join(row.marks)})
    values = [f"{name}{end}" for name in kind.metrics for end in ("", "_std")]
    names = [*fields, "trainable_parameters", *values, *(f"paper_{name}" for name in printed), "marks"]
    return data_table(names, records)


def row_tables(rows: Sequence[Row], kind: TableKind = SEGMENTATION, *, narrow: bool = False) -> list[Table]:
    """For print: a table for each data set, in the order of ``rows``; the paper's value follows ours.

    ``narrow``: marks are numbers that a note explains; the gravest keep their words.
    """
    metrics = [column for metric in kind.printed for column in (metric_column(metric), *number_columns("paper"))]
    counted = "Missed" if kind.n_missed else "Cases"
    columns = (*word_columns("Method"), *number_columns("Trained"), *metrics, *word_columns("Seeds", counted, "Notes"))
    names = {mark: mark for row in rows for mark in row.marks}
    notes = row_notes(rows, kind)
    if narrow and (others := [mark for mark in names if mark not in EXPLANATIONS]):
        names |= {mark: str(number) for number, mark in enumerate(others, start=1)}
        notes = ["Notes  " + " · ".join(f"{names[mark]}: {mark}" for mark in others), *notes]
    groups: dict[str, list[tuple[TableCell, ...]]] = {}
    for row in rows:
        cells = [words(name_of(row)), words(parameters_text(row))]
        for metric in kind.printed:
            theirs = getattr(row.paper, metric.name, None)
            cells += [words(row.values[metric.name].text()), words("-" if theirs is None else f"{theirs:.2f}")]
        count = str(row.n_cases) if row.n_missed is None else f"{row.n_missed}/{row.n_cases}"
        marks = (", " if narrow else "; ").join(names[mark] for mark in row.marks)
        cells += [words(", ".join(map(str, row.seeds)) or "-"), words(count), words(marks)]
        groups.setdefault(row.dataset, []).append(tuple(cells))
    return [
        Table(
            title=dataset,
            caption=f"{kind.name.capitalize()}, {dataset}.",
            columns=columns,
            rows=tuple(members),
            notes=tuple(notes),
        )
        for dataset, members in groups.items()
    ]


def name_of(row: Row) -> str:
    """The method, and the fraction of the training images where it is not all of them."""
    return row.method if row.ratio is None else f"{row.method}, {percent(row.ratio)}"


def row_notes(rows: Sequence[Row], kind: TableKind = SEGMENTATION) -> list[str]:
    """What is below a table of these rows: how to read it, and the marks that need more than a word."""
    marks = {mark for row in rows for mark in row.marks}
    return [kind.note, *(f"{mark}: {text}." for mark, text in EXPLANATIONS.items() if mark in marks)]


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
