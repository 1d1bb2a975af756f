"""Everything that the page of a study says. Nothing here knows of HTML."""

from collections import Counter
from collections.abc import Iterator

from htunet.errors import counted
from htunet.evaluation.case_table import STARTED, TERCILES, weights_source
from htunet.evaluation.configurations import start_text
from htunet.evaluation.metrics import METRICS, PENALISE
from htunet.evaluation.statistics import interval_words, percent_text, rounded
from htunet.evaluation.study import Entries
from htunet.files import read_bytes
from htunet.reporting.report.content import ClassPicture, Headline, ReportContent, Training
from htunet.reporting.report.gallery import collect_gallery
from htunet.reporting.report.origin import collect_origin
from htunet.reporting.report.page_tables import page_tables
from htunet.reporting.report.selection import CLASSES, MASKS
from htunet.reporting.report.study_results import MethodConfig, Study
from htunet.reporting.tables.kinds import KINDS, SEGMENTATION, TableKind
from htunet.reporting.tables.rows import SIMULATION, with_explanation

RANDOM_WARNING = (
    "Random weights: {which} made with random instead of pre-trained ones. The results test the program and say "
    "nothing about any method."
)

WEIGHTS = {"pretrained": "pre-trained weights", "none": "trained from scratch", "phantom": SIMULATION, "": ""}
"""What a card says of the weights' source."""


def collect(study: Study) -> ReportContent:
    """The page of a study."""
    names = list(dict.fromkeys(method.short_dataset for method in study.methods))
    methods, runs = len({own["method"] for own in study.runs.values()}), len(study.runs)
    random = [f"{method.short_dataset} {method.name}" for method in study.methods if method.random]
    few = dict.fromkeys(f"{method.short_dataset}: {with_explanation(row.few)}."
                        for method in study.methods for row in method.rows.values() if row.few)  # fmt: skip
    which = f"{', '.join(random)} {'was' if len(random) == 1 else 'were'}"
    if len(random) == len(study.methods):
        which = "all results on this page were"
    origin = collect_origin(study)
    warned = (f"Planning gave {found.title}: see the plans below." for found in origin["planning_warnings"])
    return ReportContent(
        title=f"{names[0]}: results" if len(names) == 1 else f"Results on {len(names)} data sets",
        subtitle=f"{', '.join(names)} · {counted(methods, 'method')} · {counted(runs, 'run')}",
        warnings=(*([RANDOM_WARNING.format(which=which)] if random else []), *few),
        headlines=tuple(collect_headlines(study)),
        gallery=collect_gallery(study),
        tables=page_tables(study),
        training=tuple(collect_training(study)),
        class_pictures=tuple(collect_class_pictures(study)),
        notes=(*study.notes, *warned),
        **origin,
    )


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
            # nor is who is tested on others: the most methods, then the most images, say which
            rows = {one.arm: one.rows[kind.name] for one in candidates}
            groups = Counter(row.ranking_group for row in rows.values())
            ranks = {arm: (groups[row.ranking_group], len(row.tested.cases), row.values[kind.main].mean)
                     for arm, row in rows.items()}  # fmt: skip
            best = max(candidates, key=lambda one: (not one.random, ranks[one.arm]))
            row, metric = best.rows[kind.name], METRICS[kind.main]
            found = row.values[kind.main]
            interval = interval_words(found.low, found.high)
            interval += f" {metric.unit}" * bool(interval)
            estimate = f"{metric.label} {rounded(found.mean or 0.0, 1)} {metric.unit}"
            if row.few:  # the interval is all that can be said
                estimate, interval = f"{metric.label} {interval or 'not known'}", ""
            source = str(weights_source(best.own) or "")
            started = f"started from {start_text(best.own)}" if source == STARTED else f"weights: {source}"
            yield Headline(
                dataset=best.short_dataset,
                task=MASKS if kind is SEGMENTATION else CLASSES,
                method=best.name,
                estimate=estimate,
                interval=interval,
                facts=tuple(filter(None, _facts(best, kind, (groups[row.ranking_group], len(known)), study.by_size))),
                weights="random weights" if best.random else WEIGHTS.get(source, started),
                random=best.random,
            )


def _facts(method: MethodConfig, kind: TableKind, of: tuple[int, int], sizes: Entries) -> Iterator[str]:
    """``of``: how many methods learnt from and are tested on the same images, and how many there are."""
    n, n_known = of
    row = method.rows[kind.name]
    if row.few:
        yield f"{row.few[0].upper()}{with_explanation(row.few)[1:]}."
    only = "The only method" + " that is trained on so many images and tested on these" * (n_known > 1)
    chosen_here = "the choice rests on this very result, so expect a little less on new images"
    yield f"The best of {n} methods; {chosen_here}" if n > 1 else only
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
        counts = "each counts as Dice 0 %" if row.policy == PENALISE else "they are in no mean"
        yield f"Something found in {row.tested.n_false:,} of them that have no lesion: {counts}"
    labels = sorted({key[-3] for key in sizes if key[:-3] == method.arm})
    if kind is SEGMENTATION and labels and not row.few:  # of several labels the first one
        known = {name: sizes.get((*method.arm, labels[0], name, kind.main)) for name in TERCILES}
        parts = [f"{name} {percent_text(entry['mean'])}" for name, entry in known.items() if entry]
        label = f" of label {labels[0]:g}" if len(labels) > 1 else ""
        yield f"Dice by size of the lesion{label}: {', '.join(parts)}" if parts else ""


def collect_training(study: Study) -> list[Training]:
    """The curves of each method, one of each kind and run."""
    found = []
    for method in study.methods:
        runs = [run for run in dict.fromkeys(run.source for run in method.runs) if run in study.progress]
        if runs:
            note = f"1 run, seed {runs[0].seed}" if len(runs) == 1 else f"{counted(len(runs), 'run')}, one line each"
            curves = tuple(curve for run in runs for curve in study.progress[run])
            found.append(Training(title=f"{method.short_dataset} · {method.name}", curves=curves, note=note))
    return found


def collect_class_pictures(study: Study) -> list[ClassPicture]:
    """The picture of the first run of each method that learns classes, where it is there; says if it is one of many."""
    return [
        ClassPicture(
            title=run.label + f", the first of {len(method.shown)} runs alone" * (len(method.shown) > 1),
            png=read_bytes(run.classification_png),
        )
        for method in study.methods
        for run in list(method.shown)[:1]
        if run.classification_png.exists()
    ]
