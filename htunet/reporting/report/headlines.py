"""What a reader should know first: the best method of each data set, how sure that is, and where it fails."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from htunet.evaluation.case_table import TERCILES
from htunet.evaluation.study import Statistics
from htunet.reporting.report.arms import MethodConfig, of_kind
from htunet.reporting.report.content import Headline
from htunet.reporting.report.selection import CLASSES, MASKS
from htunet.reporting.report.tables import figures
from htunet.reporting.tables.kinds import CLASSIFICATION, SEGMENTATION, TableKind

WEIGHTS = {"pretrained": "pre-trained weights", "none": "trained from scratch", "": ""}
"""What a card says of the weights' source."""
FIRST = {SEGMENTATION.name: ("dice", "Dice", MASKS), CLASSIFICATION.name: ("auc", "AUC", CLASSES)}


def collect_headlines(arms: Sequence[MethodConfig], found: Statistics) -> list[Headline]:
    """One for each data set and kind of figures: of its best method, pre-trained before random weights."""
    means = figures(found.means)
    sizes = figures(found.by_size, ["label", "tercile"])
    headlines = []
    for dataset in dict.fromkeys(arm.dataset for arm in arms):
        for kind in (SEGMENTATION, CLASSIFICATION):
            metric = FIRST[kind.name][0]
            own = [arm for arm in of_kind(list(arms), kind)
                   if arm.dataset == dataset and arm.rows[kind.name].figures[metric].mean is not None]  # fmt: skip
            if own:
                best = max(own, key=lambda arm: (not arm.random, arm.rows[kind.name].figures[metric].mean or 0.0))
                headlines.append(_headline(best, kind, len(own), means, sizes))
    return headlines


def _headline(
    arm: MethodConfig,
    kind: TableKind,
    n: int,
    means: Mapping[tuple[Any, ...], Any],
    sizes: Mapping[tuple[Any, ...], Any],
) -> Headline:
    metric, name, task = FIRST[kind.name]
    figure = arm.rows[kind.name].figures[metric].mean or 0.0
    interval = ""
    if entry := means.get((arm.dataset, arm.name, arm.task, metric)):
        figure = 100 * entry["mean"]
        if entry["low"] is not None and entry["high"] is not None:
            interval = f"{100 * entry['low']:.1f} to {100 * entry['high']:.1f} %"
    source = str((arm.own.get("weights") or {}).get("source", ""))
    return Headline(
        dataset=arm.short_dataset,
        task=task,
        method=arm.name,
        figure=f"{name} {figure:.1f} %",
        interval=interval,
        facts=tuple(fact for fact in _facts(arm, kind, n, sizes) if fact),
        weights="random weights" if arm.random else WEIGHTS.get(source, f"weights: {source}"),
        random=arm.random,
    )


def _facts(arm: MethodConfig, kind: TableKind, n: int, sizes: Mapping[tuple[Any, ...], Any]) -> Iterator[str]:
    row = arm.rows[kind.name]
    yield f"The best of {n} methods" if n > 1 else "The only method"
    theirs = getattr(row.paper, FIRST[kind.name][0], None)
    if theirs is not None:
        yield f"The paper has {theirs:.2f} % for it"
    yield f"{_counted(row.n_cases, 'prediction')} in {_counted(row.n_runs, 'run')}"
    if row.n_missed is not None:
        yield f"Nothing found in {row.n_missed:,} of them"
    if kind is SEGMENTATION:
        yield _size_fact(arm, sizes)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else what + 's'}"


def _size_fact(arm: MethodConfig, sizes: Mapping[tuple[Any, ...], Any]) -> str:
    """``Small lesions 61.2 %, medium 75.0 %, large 83.4 %``; of several labels of the first one."""
    labels = sorted({key[3] for key in sizes if key[:3] == (arm.dataset, arm.name, arm.task)})
    if not labels:
        return ""
    known = {name: sizes.get((arm.dataset, arm.name, arm.task, labels[0], name, "dice")) for name in TERCILES}
    parts = [f"{name} {100 * entry['mean']:.1f} %" for name, entry in known.items() if entry]
    label = f" of label {labels[0]:g}" if len(labels) > 1 else ""
    return f"Dice by size of the lesion{label}: {', '.join(parts)}" if parts else ""
