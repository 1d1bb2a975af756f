"""What a reader should know first: the best method of each data set, how sure that is, and where it fails."""

from collections.abc import Mapping, Sequence
from typing import Any

from htunet.evaluation.case_table import TERCILES
from htunet.evaluation.study import Statistics
from htunet.reporting.report.arms import Arm, of_kind
from htunet.reporting.report.content import Headline
from htunet.reporting.report.selection import CLASSES, MASKS
from htunet.reporting.report.tables import figures
from htunet.reporting.table_kinds import CLASSIFICATION, SEGMENTATION, TableKind

FIRST = {SEGMENTATION.name: ("dice", "Dice", MASKS), CLASSIFICATION.name: ("auc", "AUC", CLASSES)}


def collect_headlines(arms: Sequence[Arm], found: Statistics) -> list[Headline]:
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
    arm: Arm, kind: TableKind, n: int, means: Mapping[tuple[Any, ...], Any], sizes: Mapping[tuple[Any, ...], Any]
) -> Headline:
    metric, name, task = FIRST[kind.name]
    row = arm.rows[kind.name]
    figure = row.figures[metric]
    entry = means.get((arm.dataset, arm.name, arm.task, metric))
    interval = ""
    if entry and entry["low"] is not None and entry["high"] is not None:
        interval = f"{100 * entry['low']:.1f} to {100 * entry['high']:.1f} %"
    theirs = getattr(row.paper, metric, None)
    facts = [
        f"The best of {n} methods" if n > 1 else "The only method",
        *([f"The paper has {theirs:.2f} % for it"] if theirs is not None else []),
        *([f"Nothing found in {row.n_missed} of {row.n_cases} tested images"] if row.n_missed is not None else []),
        *([_size_fact(arm, sizes)] if kind is SEGMENTATION else []),
        f"{len(row.seeds)} {'seed' if len(row.seeds) == 1 else 'seeds'}, {row.n_cases // row.n_runs} test images each",
    ]
    source = (arm.own.get("weights") or {}).get("source", "")
    weights = "random weights" if arm.random else f"{source} weights" if source else ""
    return Headline(
        dataset=arm.short_dataset,
        task=task,
        method=arm.name,
        figure=f"{name} {figure.mean:.1f} %",
        interval=interval,
        facts=tuple(fact for fact in facts if fact),
        weights=weights,
        random=arm.random,
    )


def _size_fact(arm: Arm, sizes: Mapping[tuple[Any, ...], Any]) -> str:
    """``Small lesions 61.2 %, medium 75.0 %, large 83.4 %``; of several labels of the first one."""
    labels = sorted({key[3] for key in sizes if key[:3] == (arm.dataset, arm.name, arm.task)})
    if not labels:
        return ""
    known = {name: sizes.get((arm.dataset, arm.name, arm.task, labels[0], name, "dice")) for name in TERCILES}
    parts = [f"{name} {100 * entry['mean']:.1f} %" for name, entry in known.items() if entry]
    label = f" of label {labels[0]:g}" if len(labels) > 1 else ""
    return f"Dice by size of the lesion{label}: {', '.join(parts)}" if parts else ""
