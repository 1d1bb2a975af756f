"""Everything that a page is made from: the methods of a study with their runs, the case table and its statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from htunet.evaluation.case_table import ARM, case_table, run_columns
from htunet.evaluation.study import Statistics, arm_names, study
from htunet.evaluation.summary import INPUT
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import KINDS, TableKind
from htunet.reporting.tables.rows import RANDOM, Row, table_rows

Content = Mapping[str, Any]
"""Of a summary.json."""
Estimates = Mapping[tuple[Any, ...], Mapping[str, Any]]
"""Rows of a table of the statistics by data set, method, task, further columns, and metric."""


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

    @property
    def short_dataset(self) -> str:
        """The name without its number: ``BUSI``."""
        return DatasetPaths(self.dataset).short_name

    @property
    def own(self) -> Mapping[str, Any]:
        """What the first run's summary says of itself."""
        found: Mapping[str, Any] = next(iter(self.runs.values()))["htunet"]
        return found

    @property
    def key(self) -> tuple[str, str, str]:
        """Data set, name and task, as the statistics have them."""
        return self.dataset, self.name, str(self.own["task"])

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
    statistics: Statistics
    zero_shot: Sequence[Content] = ()
    """The classifications by sentences."""
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

    def estimates(self, table: str, *strata: str) -> Estimates:
        """A table of the statistics (``means``, ``by_size``, ``by_class``) at the network's input size.

        Of all labels together, unless ``label`` is among the further columns ``strata``.
        """
        frame: pd.DataFrame = getattr(self.statistics, table)
        if frame.empty:
            return {}
        shown = frame[frame["resolution"].isin([INPUT, ""])]
        if "label" not in strata:
            shown = shown[shown["label"] == ""]
        names = ("dataset", "arm", "task", *strata, "metric")
        plain = shown.astype(object).where(shown.notna(), None).to_dict("records")
        return {tuple(entry[name] for name in names): entry for entry in plain}


def study_of(contents: Mapping[RunPaths, Content], **about: Any) -> Study:  # noqa: ANN401 (fields of Study)
    """The study of these summaries; ``about``: the other fields of ``Study``."""
    cases = case_table(contents.values())
    runs = sorted(contents, key=lambda run: (run.dataset.name, run.seed, run.fold))
    members: dict[tuple[str, ...], dict[RunPaths, Content]] = {}
    if runs:
        columns = pd.DataFrame([run_columns(contents[run]["htunet"]) for run in runs])
        keys = columns[list(ARM)].astype(str).itertuples(index=False)
        for run, name, key in zip(runs, arm_names(columns), keys, strict=True):
            members.setdefault((run.dataset.name, name, *key), {})[run] = contents[run]
    methods = [
        MethodConfig(
            dataset=dataset,
            name=name,
            runs=found,
            rows={kind.name: row for kind in KINDS for row in table_rows(found.values(), kind=kind)},
        )
        for (dataset, name, *_), found in members.items()
    ]
    known = list(dict.fromkeys([*paper.METHODS, *paper.CLASSIFICATION_METHODS, *paper.ADAPTERS]))
    place = {name: number for number, name in enumerate(known)}
    methods.sort(key=lambda one: (one.dataset, place.get(one.own["method"], len(known)), one.name, one.own["task"]))
    return Study(methods=tuple(methods), cases=cases, statistics=study(cases), **about)
