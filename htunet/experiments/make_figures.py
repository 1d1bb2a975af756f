"""Make figures from all results: measure what a figure needs, draw it, write it, and say what cannot be drawn yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.paths import TASK_OF_TRAINER, DatasetPaths, figures_folder, find_runs
from htunet.reporting.figures import FIGURES
from htunet.reporting.figures.base import NotYetError, Results
from htunet.reporting.figures.probed import probed_runs
from htunet.reporting.figures.style import save_figure
from htunet.reporting.summaries import evaluated_contents

Tell = Callable[[str], None]


@dataclass
class Made:
    """The outcome of each figure, by its name."""

    written: dict[str, list[Path]] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    """There is nothing to draw it from: what is missing, and the command that provides it."""
    failed: dict[str, str] = field(default_factory=dict)


def make_figures(names: Sequence[str], results: Results, tell: Tell) -> Made:
    """Write each figure as PNG and PDF into the figures' folder; one that cannot be made stops no other.

    Raises UsageError for an unknown name, before anything is drawn.
    """
    for name in names:
        FIGURES.check(name)
    made = Made()
    for name in names:
        try:
            make = FIGURES[name]
            _measure(name, results, tell)
            drawings = make(results)
            made.written[name] = [
                path for drawing in drawings for path in save_figure(drawing.figure, figures_folder(), drawing.name)
            ]
        except NotYetError as error:
            made.excluded[name] = str(error)
        except HtunetError as error:
            made.failed[name] = str(error)
    return made


def find_results(
    datasets: Sequence[DatasetPaths] | None, methods: Sequence[str] | None, seed: int | None, tell: Tell
) -> Results:
    """The finished runs and the evaluations of these data sets, methods and this seed; None: of all.

    Raises UsageError for a method or a seed that no finished run has.
    """
    finished = [run for run in find_runs() if run.trainer in TASK_OF_TRAINER and run.finished_json.exists()]
    runs = [run for run in finished if datasets is None or run.dataset in datasets]
    known = sorted({run.method for run in runs})
    for method in methods or ():
        if method not in known:
            raise UsageError(
                f"No finished run has the method {method!r}; there are {', '.join(known) or 'none'}."
                + did_you_mean(method, known)
            )
    runs = [run for run in runs if methods is None or run.method in methods]
    seeds = sorted({run.seed for run in runs})
    if seed is not None and seed not in seeds:
        raise UsageError(f"No finished run has the seed {seed}; there are {', '.join(map(str, seeds)) or 'none'}.")
    contents = {run: content for run, content in evaluated_contents(tell).items() if run in runs}
    return Results(runs=runs, contents=contents, methods=methods, seed=seed)


def _measure(name: str, results: Results, tell: Tell) -> None:
    """Run the networks that a figure looks into, unless their measurements exist."""
    if name not in ("features", "filter", "noise"):
        return
    from htunet.experiments import measure_adapters  # import torch, which other figures do not need
    from htunet.experiments.measure_features import measure_features

    measures = {"filter": measure_adapters.measure_filter, "noise": measure_adapters.measure_noise}
    for run in probed_runs(results, name):
        tell(f"{name}: {run.label}")
        measures.get(name, measure_features)(run)
