"""What a reader should know first: the best method of each data set, how sure that is, and where it fails."""

from collections.abc import Iterator

from htunet.evaluation.case_table import TERCILES
from htunet.evaluation.metrics import METRICS
from htunet.evaluation.statistics import interval_text
from htunet.evaluation.study import Entries
from htunet.reporting.report.content import Headline
from htunet.reporting.report.selection import CLASSES, MASKS
from htunet.reporting.report.study_results import MethodConfig, Study
from htunet.reporting.tables.kinds import KINDS, SEGMENTATION, TableKind
from htunet.reporting.tables.rows import SIMULATION, with_explanation

WEIGHTS = {"pretrained": "pre-trained weights", "none": "trained from scratch", "phantom": SIMULATION, "": ""}
"""What a card says of the weights' source."""


def collect_headlines(study: Study) -> Iterator[Headline]:
    """One for each data set and kind of values: of its best method, pre-trained before random weights."""
    for dataset in dict.fromkeys(method.dataset for method in study.methods):
        for kind in KINDS:
            known = [
                method for method in study.of_kind(kind)
                if method.dataset == dataset and method.rows[kind.name].values[kind.main].mean is not None
            ]  # fmt: skip
            if not known:
                continue
            # who learnt from fewer images, or from others, is no rival
            learnt = {one.arm: (one.rows[kind.name].ratio or 1.0, one.rows[kind.name].trained_on) for one in known}
            most = max(learnt.values(), key=lambda about: (about[0], about[1] == ""))
            candidates = [one for one in known if learnt[one.arm] == most]
            best = max(candidates, key=lambda one: (not one.random, one.rows[kind.name].values[kind.main].mean))
            row, metric = best.rows[kind.name], METRICS[kind.main]
            found = row.values[kind.main]
            interval = interval_text(found.low, found.high, decimals=1).strip("[]").replace(", ", " to ")
            interval += f" {metric.unit}" * bool(interval)
            estimate = f"{metric.label} {found.mean:.1f} {metric.unit}"
            if row.few:  # the interval is all that can be said
                estimate, interval = f"{metric.label} {interval or 'not known'}", ""
            source = str((best.own.get("weights") or {}).get("source", ""))
            yield Headline(
                dataset=best.short_dataset,
                task=MASKS if kind is SEGMENTATION else CLASSES,
                method=best.name,
                estimate=estimate,
                interval=interval,
                facts=tuple(filter(None, _facts(best, kind, (len(candidates), len(known)), study.by_size))),
                weights="random weights" if best.random else WEIGHTS.get(source, f"weights: {source}"),
                random=best.random,
            )


def _facts(method: MethodConfig, kind: TableKind, of: tuple[int, int], sizes: Entries) -> Iterator[str]:
    """``of``: how many methods learnt from the same images, and how many there are."""
    n, n_known = of
    row = method.rows[kind.name]
    if row.few:
        yield f"{row.few[0].upper()}{with_explanation(row.few)[1:]}."
    only = "The only method" + " trained on so many of these images" * (n_known > 1)
    yield f"The best of {n} methods" if n > 1 else only
    theirs = row.paper.get(kind.main)
    if theirs is not None:
        yield f"The paper has {theirs:.2f} % for it"
    n_cases, n_missed = row.tested.n_cases, row.tested.n_missed
    predictions, runs = "prediction" + "s" * (n_cases != 1), "run" + "s" * (row.n_runs != 1)
    size = ", at the network's input size" * (kind is SEGMENTATION)
    yield f"{n_cases:,} {predictions} in {row.n_runs:,} {runs}{size}"
    n_used = row.values[kind.main].n_used or n_cases
    if n_used < n_cases:
        yield f"{METRICS[kind.main].label}: mean over {n_used:,} of them; the others have no value"
    if n_missed is not None:
        yield f"Nothing found in {n_missed:,} of them"
    if row.tested.n_false and not row.few:
        yield f"Something found in {row.tested.n_false:,} of them that have no lesion: each counts as Dice 0 %"
    labels = sorted({key[-3] for key in sizes if key[:-3] == method.arm})
    if kind is SEGMENTATION and labels and not row.few:  # of several labels the first one
        known = {name: sizes.get((*method.arm, labels[0], name, kind.main)) for name in TERCILES}
        parts = [f"{name} {100 * entry['mean']:.1f} %" for name, entry in known.items() if entry]
        label = f" of label {labels[0]:g}" if len(labels) > 1 else ""
        yield f"Dice by size of the lesion{label}: {', '.join(parts)}" if parts else ""
