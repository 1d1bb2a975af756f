"""The methods of a study: runs that differ in seed and fold alone, under the name that the statistics give them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from htunet.evaluation.case_table import ARM, run_columns
from htunet.evaluation.study import arm_names
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import KINDS, TableKind
from htunet.reporting.tables.rows import RANDOM, Row, table_rows

Content = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Repetitions of one method on one data set."""

    dataset: str
    """Full name."""
    name: str
    """``CLIP_HT``, or more where it needs telling apart: ``CLIP_HT (plan adaptive)``."""
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
    def task(self) -> str:
        """``seg``, ``cls`` or ``seg+cls``, as the first run's summary says."""
        return str(self.own["task"])

    @property
    def random(self) -> bool:
        """Whether the frozen weights are random ones."""
        return any(RANDOM in row.marks for row in self.rows.values())

    @property
    def shown(self) -> dict[RunPaths, Content]:
        """The runs of the smallest seed, a fold each: those that pictures are of."""
        first = next(iter(self.runs)).seed
        return {run: content for run, content in self.runs.items() if run.seed == first}


def find_arms(contents: Mapping[RunPaths, Content]) -> list[MethodConfig]:
    """All arms: data sets by number, methods in the paper's order, then ours by name."""
    runs = sorted(contents, key=lambda run: (run.dataset.name, run.seed, run.fold))
    if not runs:
        return []
    about = pd.DataFrame([run_columns(contents[run]["htunet"]) for run in runs])
    names = arm_names(about)
    members: dict[tuple[str, ...], dict[RunPaths, Content]] = {}
    for run, name, key in zip(runs, names, about[list(ARM)].astype(str).itertuples(index=False), strict=True):
        members.setdefault((run.dataset.name, name, *key), {})[run] = contents[run]
    arms = [MethodConfig(dataset=key[0], name=key[1], runs=found, rows=_rows(found)) for key, found in members.items()]
    return sorted(arms, key=_order)


def _rows(runs: Mapping[RunPaths, Content]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for kind in KINDS:
        for row in table_rows(runs.values(), kind=kind):
            found[kind.name] = row
    return found


def of_kind(arms: list[MethodConfig], kind: TableKind) -> list[MethodConfig]:
    """Those that have figures of the kind."""
    return [arm for arm in arms if kind.name in arm.rows]


def _order(arm: MethodConfig) -> tuple[Any, ...]:
    known = list(dict.fromkeys([*paper.METHODS, *paper.CLASSIFICATION_METHODS, *paper.ADAPTERS]))
    method = str(arm.own["method"])
    return arm.dataset, known.index(method) if method in known else len(known), arm.name, arm.task
