"""Everything that a page is made from: the methods of a study with their runs, the case table and its statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from htunet.data.raw import RawDataset, read_raw
from htunet.errors import HtunetError
from htunet.evaluation.case_table import arm_key, case_table, run_columns
from htunet.evaluation.study import Entries, arm_names, entries, study
from htunet.files import read_numbers
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.report.content import ChartCurve
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import KINDS, TableKind
from htunet.reporting.tables.rows import RANDOM, Row, table_rows

Content = Mapping[str, Any]
"""Of a summary.json."""
COLUMNS = {"train_loss": "training loss", "val_loss": "validation loss", "val_metric": "validation metric"}
MOST_POINTS = 100
"""Of a curve: more are not seen in a picture so small."""


@dataclass(frozen=True)
class Terms:
    """What the publishers of a backbone's weights ask for."""

    licence: str
    citation: str


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Repetitions of one method on one data set: runs that differ in seed and fold alone."""

    dataset: str
    """Full name."""
    name: str
    """As the statistics name it: ``CLIP_HT``, or ``CLIP_HT (plan adaptive)`` where there are several."""
    runs: Mapping[RunPaths, Content]
    """In the order of seeds and folds."""
    rows: Mapping[str, Row]
    """The row of the plain tables, by the name of the kind."""

    @cached_property
    def short_dataset(self) -> str:
        """The name without its number, ``BUSI``, unless two data sets share it."""
        return DatasetPaths(self.dataset).unique_name

    @property
    def own(self) -> Mapping[str, Any]:
        """What the first run's summary says of itself."""
        found: Mapping[str, Any] = next(iter(self.runs.values()))["htunet"]
        return found

    @property
    def arm(self) -> tuple[Any, ...]:
        """By which the statistics know it, as ``Row.arm``."""
        return next(iter(self.rows.values())).arm

    @property
    def random(self) -> bool:
        """Whether the frozen weights are random ones."""
        return any(RANDOM in row.marks for row in self.rows.values())

    @property
    def shown(self) -> dict[RunPaths, Content]:
        """The runs of the smallest seed, a fold each: those that pictures are of."""
        first = next(iter(self.runs)).seed
        return {run: content for run, content in self.runs.items() if run.seed == first}


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a page is made from."""

    methods: tuple[MethodConfig, ...]
    """Data sets by number, methods in the paper's order, then ours by name."""
    cases: pd.DataFrame
    """The case table."""
    by_size: Entries
    """Of the statistics, by arm, label, tercile and metric."""
    by_class: Entries
    """By arm, class and metric."""
    comparisons: pd.DataFrame
    """Of the statistics."""
    raw: Mapping[str, RawDataset] = field(default_factory=dict)
    """The raw folders by the data sets' full names."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why the others cannot be read."""
    progress: Mapping[RunPaths, tuple[ChartCurve, ...]] = field(default_factory=dict)
    """The training curves of each run, thinned."""
    notes: tuple[str, ...] = ()
    """What could not be read, and why."""
    zero_shot: Sequence[Content] = ()
    """The summaries of zero-shot classifications."""
    terms: Mapping[str, Terms] = field(default_factory=dict)
    """Of the backbones' weights."""
    command: str = "htunet_report"
    """What writes the page."""
    per_group: int | None = None
    """How many cases of each method and group to show; None: as many as the page can bear."""

    @property
    def runs(self) -> dict[RunPaths, Content]:
        """What the summary of each run says of itself, method by method."""
        return {run: content["htunet"] for method in self.methods for run, content in method.runs.items()}

    @property
    def settings(self) -> dict[RunPaths, Mapping[str, Any]]:
        """The settings that each run was trained with, as far as its summary says."""
        return {run: own.get("settings") or {} for run, own in self.runs.items()}

    def of_kind(self, kind: TableKind) -> list[MethodConfig]:
        """The methods that have values of the kind."""
        return [method for method in self.methods if kind.name in method.rows]


def study_of(contents: Mapping[RunPaths, Content], **about: Any) -> Study:  # noqa: ANN401 (fields of Study)
    """The study of these summaries; ``about``: the other fields of ``Study``."""
    cases = case_table(contents.values())
    runs = sorted(contents, key=lambda run: (run.dataset.name, run.seed, run.fold))
    statistics = study(cases)
    means = entries(statistics.means)
    rows = {
        kind.name: {arm_key(row.own): row for row in table_rows(contents.values(), kind=kind, means=means)}
        for kind in KINDS
    }
    members: dict[tuple[Any, ...], dict[RunPaths, Content]] = {}
    for run in runs:
        members.setdefault(arm_key(contents[run]["htunet"]), {})[run] = contents[run]
    columns = pd.DataFrame([run_columns(next(iter(found.values()))["htunet"]) for found in members.values()])
    names = arm_names(columns) if runs else ()
    methods = []
    for (key, found), name in zip(members.items(), names, strict=True):
        own_rows = {kind: of_kind[key] for kind, of_kind in rows.items() if key in of_kind}
        methods.append(MethodConfig(dataset=key[0], name=name, runs=found, rows=own_rows))
    methods.sort(key=lambda one: (one.dataset, paper.place_of(one.own["method"]), one.name, one.own["task"]))
    raw, unreadable, progress, notes = {}, {}, {}, []
    for run in dict.fromkeys(run.source for run in runs):
        try:
            numbers = read_numbers(run.progress_csv, [*COLUMNS])
            progress[run] = tuple(ChartCurve(name=name, points=_points(numbers[column]))
                                  for column, name in COLUMNS.items())  # fmt: skip
        except HtunetError as error:
            notes.append(f"No training curve: {error}")
    for dataset in dict.fromkeys(dataset for run in runs for dataset in (run.dataset, run.source.dataset)):
        try:
            raw[dataset.name] = read_raw(dataset)
        except HtunetError as error:
            unreadable[dataset.name] = str(error)
            notes.append(f"{dataset.name} is not described: {error}")
    return Study(
        methods=tuple(methods),
        cases=cases,
        by_size=entries(statistics.by_size, "label", "tercile"),
        by_class=entries(statistics.by_class, "class"),
        comparisons=statistics.comparisons,
        raw=raw,
        unreadable=unreadable,
        progress=progress,
        notes=tuple(notes),
        **about,
    )


def _points(values: Mapping[int, float]) -> tuple[tuple[float, float], ...]:
    """(epoch from 1, value) of at most ``MOST_POINTS`` epochs, the first and the last among them."""
    points = [(epoch + 1, value) for epoch, value in values.items()]
    step = max(1.0, (len(points) - 1) / (MOST_POINTS - 1))
    return tuple(points[round(place * step)] for place in range(min(len(points), MOST_POINTS)))
