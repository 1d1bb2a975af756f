"""What a cell of a paper's table rests on: trainings, tests on other data, zero-shot classifications."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from htunet.data.split_files import paper_fold
from htunet.paths import DatasetPaths, all_datasets
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import SEGMENTATION, TableKind
from htunet.reporting.tables.paper_layouts import Line


@dataclass(frozen=True, kw_only=True)
class SupervisedRun:
    """One run, and the data set that it is tested on."""

    dataset: str
    """Short name of the data set that is learnt from."""
    tested_on: str
    """The same, or another one that the paper only tests on."""
    method: str
    task: str
    seed: int
    ratio: float | None = None

    @property
    def plan(self) -> str:
        """The one that the paper trains the method with."""
        return paper.PLANS.get(self.method, paper.PLAN)

    @property
    def command(self) -> str:
        """What a user types."""
        options = "" if self.task == "seg" else f" --task {self.task}"
        options += "" if self.plan == paper.PLAN else f" --plan {self.plan}"
        options += "" if self.ratio is None else f" --ratio {self.ratio!r}"
        options += " --adapter finetuned" if paper.is_fine_tuned(self.method) else ""
        named = [DatasetPaths(full) for full in all_datasets() if full.split("_", 1)[1] == self.dataset]
        fold = paper_fold(named[0], self.task) if len(named) == 1 else 0
        return f"htunet_train {self.dataset} {self.method} fold{fold} --seed {self.seed}{options}"


@dataclass(frozen=True, kw_only=True)
class ZeroShotRun:
    """One zero-shot classification of all images of a data set; ``seed`` is that of the adapter's fine-tuning."""

    dataset: str
    method: str
    seed: int

    @property
    def command(self) -> str:
        """What a user types."""
        return f"htunet_zero_shot {self.dataset} {self.method} --seed {self.seed}"


def trainings(line: Line, dataset: str, kind: TableKind, seeds: Sequence[int]) -> list[SupervisedRun]:
    """The runs of a row for a data set (short name), one for each seed; none in a row of zero-shot figures."""
    if line.setting == paper.ZERO_SHOT:
        return []
    source = paper.TRAINED_ON.get(dataset, dataset)
    task = "seg" if kind is SEGMENTATION else "cls"
    return [
        SupervisedRun(dataset=source, tested_on=dataset, method=line.method, task=task, seed=seed, ratio=line.ratio)
        for seed in seeds
    ]


def zero_shot_runs(line: Line, dataset: str, seeds: Sequence[int]) -> list[ZeroShotRun]:
    """The one classification that a zero-shot row rests on: its results are the same for every seed of a training."""
    if line.setting != paper.ZERO_SHOT:
        return []
    return [ZeroShotRun(dataset=dataset, method=line.method, seed=seed) for seed in seeds[:1]]


def commands(line: Line, dataset: str, kind: TableKind, missing: Sequence[int], first: int) -> Iterator[str]:
    """What a user types for the runs of the ``missing`` seeds, and for testing them where the paper tests elsewhere.

    All runs of a method start from one fine-tuning, which has the ``first`` of the seeds.
    """
    asked, runs = zero_shot_runs(line, dataset, missing), trainings(line, dataset, kind, missing)
    if (asked or runs) and paper.is_fine_tuned(line.method):
        yield f"htunet_finetune {line.method} -d {' '.join(paper.CAPTIONS)} --seed {first}"
    yield from (one.command for one in asked)
    yield from (run.command for run in runs)
    if runs and runs[0].dataset != dataset:
        yield f"htunet_evaluate {dataset} {line.method} --trained-on {runs[0].dataset}"
