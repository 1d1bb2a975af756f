"""What figures are made from, and what a figure is: a function from results to drawings, listed under a name."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from htunet.errors import HtunetError
from htunet.evaluation.case_table import EARLIER
from htunet.evaluation.configurations import other_splits, recorded, start_text
from htunet.evaluation.metrics import PENALISE
from htunet.files import read_object
from htunet.paths import PHANTOM, DatasetPaths, RunPaths
from htunet.reporting.figures.style import method_name
from htunet.reporting.tables import paper_figures as paper
from htunet.schemas import SETTINGS

Content = Mapping[str, Any]
"""Of a summary.json."""
RANDOM = "random"
SEED = re.compile(r"-seed\d+")


class NotYetError(HtunetError):
    """There is nothing to draw a figure from. The text says what is missing and which command provides it."""


@dataclass(frozen=True)
class Drawing:
    """One finished picture; its file's name without the ending."""

    name: str
    figure: Figure


@dataclass(frozen=True, kw_only=True)
class Results:
    """The evaluated runs that a user asked for, and their summaries."""

    runs: Sequence[RunPaths]
    """Finished, of a known task."""
    contents: Mapping[RunPaths, Content] = field(default_factory=dict)
    """The summaries of those that are evaluated."""
    methods: Sequence[str] | None = None
    """Those that the user named, in this order; None: a figure chooses."""
    seed: int | None = None
    """Of the run where a figure shows one; None: the smallest there is. Also of random choices (0)."""

    def own(self, task: str, *, few_shot: bool = False) -> list[RunPaths]:
        """The runs of a task on their own test split; those of all training images, or the few-shot ones."""
        found = [run for run in self.runs if task in run.tasks and run.trained_on is None]
        return [run for run in found if (run.ratio is not None) == few_shot]

    def evaluated(self, key: str) -> dict[RunPaths, Content]:
        """The summaries that hold ``key`` (``means`` or ``classification``), tested as the paper tests, all images.

        On their own test split, or on the data set for which the paper trains on another one.
        """
        return {
            run: content
            for run, content in self.contents.items()
            if key in content["htunet"] and run.ratio is None and tested_as_in_the_paper(run)
        }

    @property
    def draw_seed(self) -> int:
        """Of random choices."""
        return self.seed or 0


FigureMaker = Callable[[Results], list[Drawing]]


def evaluated_drawings(
    results: Results, key: str, name: str, draw: Callable[[str, Sequence[RunPaths], Mapping[RunPaths, Content]], Figure]
) -> list[Drawing]:
    """A drawing of each data set with evaluated runs that have ``key``, from its name, its runs and all summaries.

    NotYetError where there is none.
    """
    found = results.evaluated(key)
    if not found:
        learns, task = ("classes", " --task cls") if key == "classification" else ("masks", "")
        raise NotYetError(
            f"no run that learns {learns} is evaluated. Provide one: htunet_train BUSI PhantomCLIP_HT fold0{task}, "
            "then htunet_evaluate."
        )
    return [
        Drawing(f"{name}_{dataset.unique_name}", draw(dataset.unique_name, runs, found))
        for dataset, runs in by_dataset(list(found)).items()
    ]


def tested_as_in_the_paper(run: RunPaths) -> bool:
    """On the own test split; or on LN-EXT with the model of LN-INT."""
    trained_on = None if run.trained_on is None else run.source.dataset.short_name
    return trained_on == paper.TRAINED_ON.get(run.dataset.short_name, None)


def by_dataset(runs: Sequence[RunPaths]) -> dict[DatasetPaths, list[RunPaths]]:
    """The runs of each data set, in the order of their numbers."""
    groups: dict[DatasetPaths, list[RunPaths]] = {}
    for run in sorted(runs, key=lambda run: run.dataset.name):
        groups.setdefault(run.dataset, []).append(run)
    return groups


def by_arm(
    runs: Sequence[RunPaths], contents: Mapping[RunPaths, Content] | None = None, *, by_epochs: bool = True
) -> dict[str, list[RunPaths]]:
    """The runs of each name that ``arm_name`` gives, by seed and fold; the paper's methods first, in its order.

    Where runs of one name and data set have unlike settings, the hash of these and (``by_epochs``) the epochs are part
    of the name; of a run whose split is no longer in use, that of the split; of the results in ``contents``, what they
    are of and their policy, where these are not the usual ones.
    """
    named: dict[str, list[RunPaths]] = {}
    splits = other_splits({run: read_object(run.settings_json) for run in runs if run.settings_json.exists()})
    for run in sorted(runs, key=lambda run: (paper.place_of(run.method), arm_name(run), run.seed, run.fold)):
        own = contents[run]["htunet"] if contents else {}
        policy = own.get("policy") or PENALISE  # classes have none
        split = f"split {splits[run]}" if run in splits else ""
        parts = (arm_name(run), split, own.get(EARLIER), f"policy {policy}" * (policy != PENALISE))
        named.setdefault(", ".join(filter(None, parts)), []).append(run)
    groups: dict[str, list[RunPaths]] = {}
    for name, members in named.items():
        about = {run: ", ".join(recorded(run)[1 : 3 if by_epochs else 2]) for run in members}
        several = len({(run.dataset, text) for run, text in about.items()}) > len({run.dataset for run in members})
        for run, text in about.items():
            groups.setdefault(f"{name} ({text})" if several else name, []).append(run)
    return groups


def arm_name(run: RunPaths) -> str:
    """The method as the paper writes it, and what the run differs in: ``CLIP (HT)``, ``CLIP (HT), plan adaptive``."""
    parts = [method_name(run.method)]
    plan = recorded(run)[0]
    if plan != paper.PLANS.get(run.method, paper.PLAN):
        parts.append(f"plan {plan}")
    if run.task.count("+"):
        parts.append(run.task)
    if run.adapter:
        parts.append(_start(run.adapter))
    settings = read_object(run.source.settings_json) if run.source.settings_json.exists() else {}
    if started := start_text({"settings": settings}, fold=False):
        parts.append(f"started from {started}")
    return ", ".join(parts)


def _start(adapter: str) -> str:
    """What an adapter had learnt; the seed that it learnt with makes no other arm, as in the tables."""
    learnt = SEED.sub("", adapter)
    if learnt == PHANTOM:
        return "pre-trained on simulation"
    return "fine-tuned" if paper.is_its_start(learnt) else f"adapter of {learnt}"


def one_run(runs: Sequence[RunPaths], seed: int | None) -> RunPaths | None:
    """The run of ``seed``, or that of the smallest one, of the smallest fold; None where there is none."""
    fitting = [run for run in runs if seed is None or run.seed == seed]
    return min(fitting, key=lambda run: (run.fold, run.seed), default=None)


def random_weights_note(runs: Sequence[RunPaths]) -> str:
    """A sentence where frozen weights are random ones; else empty."""
    arms = {
        arm: [(read_object(run.settings_json, SETTINGS).get("weights") or {}).get("source") for run in members]
        for arm, members in by_arm(runs).items()
    }
    named = [arm for arm, sources in arms.items() if RANDOM in sources]
    if not named:
        return ""
    who = "all methods" if len(named) == len(arms) > 1 else ", ".join(named) if len(named) <= 4 else "most methods"
    return f"Random weights ({who}): this figure tests the program and says nothing about the methods."
