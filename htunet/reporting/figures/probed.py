"""Figures that need a look into trained networks: which runs are looked into, and what to do where there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from htunet.data.measurements import Measurement, read_measurement
from htunet.paths import RunPaths
from htunet.reporting.figures.base import Drawing, NotYetError, Results, by_dataset, one_run
from htunet.reporting.tables import paper_figures as paper

USUAL = ("BiomedCLIP_HT",)
"""The method that the paper takes apart; where it is not there the first one that fits."""


@dataclass(frozen=True)
class Probe:
    """Which methods a figure is of."""

    adapters: tuple[str, ...] | None
    """Only methods with one of these; None: with any."""
    what: str

    @property
    def missing(self) -> str:
        """What to do where no run fits: with an encoder whose weights come with htunet."""
        example = f"PhantomCLIP_{self.adapters[0] if self.adapters else 'HT'}"
        return f"no run with {self.what} is finished. Provide one: htunet_train BUSI {example} fold0."

    def fits(self, method: str) -> bool:
        """Whether a method has what the figure is of."""
        _, _, adapter = method.partition("_")
        return bool(adapter) and (self.adapters is None or adapter in self.adapters)


PROBED = {
    "features": Probe(None, "an adapter"),
    "filter": Probe(("HT", "HTFF", "HTSpectral"), "a frequency filter (HT, HTFF, HTSpectral)"),
    "noise": Probe(("HT", "HTNE", "HTSpectral"), "a noise estimator (HT, HTNE, HTSpectral)"),
}
"""By the figure's name."""


def probed_runs(results: Results, figure: str) -> list[RunPaths]:
    """One run for each data set and method that a figure looks into.

    Without named methods: the paper's (BiomedCLIP_HT), else the first that fits; of the filter also the one that
    depends on the frequency, because the other one cannot.
    """
    probe = PROBED[figure]
    chosen = []
    usable = [run for run in results.runs if run.ratio is None and run.trained_on is None and probe.fits(run.method)]
    for runs in by_dataset([run for run in usable if run.checkpoint_best.exists()]).values():
        drawn = _methods(results, [run.method for run in runs], figure)
        for method in drawn:
            members = [run for run in runs if run.method == method]
            usual = [run for run in members if run.task == "seg" and run.plan == paper.PLANS.get(method, paper.PLAN)]
            run = one_run(usual, results.seed) or one_run(members, results.seed)
            chosen += [run] if run else []
    return chosen


def probed_drawings(results: Results, what: str, draw: Callable[[RunPaths, Measurement], Figure]) -> list[Drawing]:
    """A drawing of each run that ``what`` was measured of; NotYetError where there is none."""
    drawings = [
        Drawing(f"{what}_{run.dataset.unique_name}_{run.method}", draw(run, read_measurement(run.measurement(what))))
        for run in probed_runs(results, what)
        if run.measurement(what).exists()
    ]
    if not drawings:
        raise NotYetError(PROBED[what].missing)
    return drawings


def _methods(results: Results, known: Sequence[str], figure: str) -> list[str]:
    ordered = sorted(set(known), key=paper.place_of)
    if results.methods is not None:
        return [method for method in results.methods if method in ordered]
    first = [method for method in USUAL if method in ordered] or ordered[:1]
    spectral = [method for method in ordered if method.endswith("_HTSpectral")][:1] if figure == "filter" else []
    return list(dict.fromkeys([*first, *spectral]))
