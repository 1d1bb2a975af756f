"""The tables of the page: results beside the paper's, by lesion size, by class, and who is better than whom."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from htunet.evaluation.case_table import TERCILES
from htunet.evaluation.comparisons import opposes_mean, p_text
from htunet.evaluation.metrics import METRICS, Kind, Level, Metric, mask_metrics, metrics_of
from htunet.evaluation.statistics import interval_text, rounded
from htunet.evaluation.summary import INPUT
from htunet.paths import DatasetPaths
from htunet.reporting.report.study_results import Study
from htunet.reporting.tables.kinds import CLASSIFICATION, KINDS, PrintedEstimate
from htunet.reporting.tables.paper_tables import zero_shot_row
from htunet.reporting.tables.prompt_table import CHOSEN_HERE
from htunet.reporting.tables.rows import page_table, value_cells
from htunet.reporting.tables.write import (
    DASH,
    Column,
    Table,
    TableCell,
    number_cell,
    number_columns,
    word_columns,
    words,
)

Entry = Mapping[str, Any]
DICE = METRICS["dice"]
MOST_COMPARISONS = 300
"""Rows of the table of comparisons; a browser sorts them at once."""


def page_tables(study: Study) -> tuple[Table, ...]:
    """All tables that have rows."""
    results = [
        page_table([(one.short_dataset, one.name, one.rows[kind.name]) for one in study.of_kind(kind)], kind)
        for kind in KINDS
    ]
    tables = [*results, _by_size(study), _by_class(study), _comparisons(study)]
    return tuple(table for table in (*tables, _zero_shot(study)) if table.rows)


def _overview() -> list[Metric]:
    return mask_metrics((Level.OVERVIEW,), millimetres=False)


def _estimate(entry: Entry | None, metric: Metric) -> TableCell:
    found = PrintedEstimate.of(entry or {}, metric)
    text = DASH if found.mean is None else found.text()
    return TableCell(text=text, value=found.mean, below=interval_text(found.low, found.high))


def _by_size(study: Study) -> Table:
    known = study.by_size
    rows = []
    for method in study.methods:
        labels = sorted({key[-3] for key in known if key[0] == method.dataset})
        for label in labels:
            entries = [known.get((*method.arm, label, tercile, DICE.name)) for tercile in TERCILES]
            if not any(entries):
                continue
            name = method.name if len(labels) == 1 else f"{method.name}, label {label:g}"
            means = [entry["mean"] for entry in entries if entry and entry["mean"] is not None]
            gap = DICE.scale * (max(means) - min(means)) if len(means) > 1 else math.nan
            cells = [cell for entry in entries for cell in (_estimate(entry, DICE), _missed(entry))]
            dataset = words(method.short_dataset)
            rows.append((dataset, words(name, strong=True), *cells, number_cell(gap, rounded(gap, 1))))
    sizes = [text for tercile in TERCILES for text in (f"{tercile.capitalize()}: {DICE.heading}", "missed")]
    return Table(
        id="by_size",
        title="By size of the lesion",
        columns=(*word_columns("Data set", "Method"), *number_columns(*sizes, "Largest gap")),
        rows=tuple(rows),
        notes=(
            "Thirds of each data set's test cases by the lesion's fraction of the image, at the network's input size. "
            "Missed: empty predictions / predictions, of all runs. Largest gap: the best third less the worst one.",
        ),
    )


def _missed(entry: Entry | None) -> TableCell:
    if not entry or entry.get("n_missed") is None:
        return number_cell(None)
    missed, total = int(entry["n_missed"]), int(entry["n_predictions"])
    return TableCell(text=f"{missed} / {total}", value=missed / total)


def _by_class(study: Study) -> Table:
    known = study.by_class
    overview = [*_overview(), *metrics_of(Kind.CASE, levels=(Level.OVERVIEW,))]
    shown = [metric for metric in overview if any(key[-1] == metric.name for key in known)]
    strata = [(method, name) for method in study.methods
              for name in sorted({key[-2] for key in known if key[:-2] == method.arm and key[-2]})]  # fmt: skip
    rows = []
    for method, name in strata:
        entries = [known.get((*method.arm, name, metric.name)) for metric in shown]
        dice = known.get((*method.arm, name, DICE.name))
        rows.append(
            (
                words(method.short_dataset),
                words(method.name, strong=True),
                words(name),
                *(_estimate(entry, metric) for entry, metric in zip(entries, shown, strict=True)),
                _missed(dice),
                number_cell(next((entry["n_cases"] for entry in entries if entry), None)),
            )
        )
    values = (Column(label=metric.label, unit=metric.unit, better=metric.better, numeric=True) for metric in shown)
    return Table(
        id="by_class",
        title="By class of the image",
        columns=(*word_columns("Data set", "Method", "Class"), *values, *number_columns("Missed", "Cases")),
        rows=tuple(rows),
        notes=(
            "At the network's input size. Missed: empty predictions / predictions with a value, of all runs. Cases: "
            "those with a value; where both masks are empty there is none, so that the Dice of a class without lesions "
            "is that of the false alarms alone: 0 %.",
        ),
    )


def _comparisons(study: Study) -> Table:
    frame, rows, more = study.comparisons, [], ""
    if not frame.empty:
        compared = [*(metric.name for metric in _overview()), CLASSIFICATION.by_case]
        shown = frame[frame["resolution"].isin([INPUT, ""]) & frame["metric"].isin(compared)]
        shown = shown[shown["mean_difference"].notna()]  # else no case is tested by both
        if len(shown) > MOST_COMPARISONS:
            more = f" {len(shown) - MOST_COMPARISONS:,} pairs with larger p are in tables/comparisons.csv."
        # the clearest differences of each data set first, so that each data set is shown
        places = shown.groupby(["dataset", "metric"])["p_holm"].rank(method="first")
        shown = shown.assign(_place=places).nsmallest(MOST_COMPARISONS, "_place").sort_index()
        for entry in shown.to_dict("records"):
            metric, p = METRICS[entry["metric"]], entry["p_holm"]
            interval = interval_text(entry["low"], entry["high"], metric.scale)
            difference, better = metric.scale * entry["mean_difference"], str(entry["favours"])
            opposed = opposes_mean(entry, better, higher_is_better=metric.higher_is_better)
            rows.append(
                (
                    words(DatasetPaths(str(entry["dataset"])).unique_name),
                    words(f"{metric.label} {metric.unit}"),
                    words(str(entry["a"]), strong=entry["favours"] == entry["a"]),
                    words(str(entry["b"]), strong=entry["favours"] == entry["b"]),
                    replace(number_cell(difference, rounded(difference)), below=interval),
                    number_cell(entry["rank_biserial"], rounded(entry["rank_biserial"], most=1.0)),
                    number_cell(p, p_text(p)),
                    number_cell(entry["n_pairs"]),
                    words(f"{better}{', not by the mean' * opposed}" or DASH),
                )
            )
    return Table(
        id="comparisons",
        title="Is one method better than another?",
        columns=(
            *word_columns("Data set", "Metric", "Method A", "Method B"),
            *number_columns("A - B", "Effect", "p", "Pairs"),
            *word_columns("Better"),
        ),
        rows=tuple(rows),
        notes=(
            "Wilcoxon's signed-rank test on the same test cases (patients, where they are known), seeds averaged "
            "first; p after Holm's correction over all pairs of one data set and metric. Effect: rank-biserial, from "
            "-1 to 1; above 0 A has the larger values, as in A - B. Better: the better method where p < 0.05; not by "
            "the mean: in most images, but A - B says the opposite. Pairs: images (patients) that both are tested on. "
            "Where nothing is to be found, a method that marks nothing has the best value beside one that marks "
            "something; where neither does, there is no pair." + more,
        ),
    )


def _zero_shot(study: Study) -> Table:
    """The results of zero-shot classification, with the best prompt of each: a row for each result."""
    metrics = [METRICS["accuracy"], METRICS["auc"]]
    found_rows = [zero_shot_row(content) for content in study.zero_shot]
    beside = any(row.paper for row in found_rows)
    rows = []
    for content, row in zip(study.zero_shot, found_rows, strict=True):
        found = content["zero_shot"]
        cells = [words(DatasetPaths(row.dataset).unique_name), words(row.method, strong=True)]
        cells += value_cells(row, [(metric, beside) for metric in metrics], missing=DASH, below=True)
        best = max(found["prompts"], key=lambda prompt: prompt["auc"] or 0.0)
        area = math.nan if best["auc"] is None else 100 * best["auc"]
        cells += [
            number_cell(found["n_cases"]),
            words(f"{best['text']} ({best['class']})"),
            number_cell(area, rounded(area, 1)),
            words("; ".join(row.marks)),
        ]
        rows.append(tuple(cells))
    values = [text for metric in metrics for text in (f"{metric.label} {metric.unit}", *["paper"] * beside)]
    return Table(
        id="zero_shot",
        title="Zero-shot classification, without training",
        columns=(
            *word_columns("Data set", "Method"),
            *number_columns(*values, "Images"),
            *word_columns("Best prompt"),
            *number_columns("its AUC %"),
            *word_columns("Notes"),
        ),
        rows=tuple(rows),
        notes=(
            "An image gets the class whose prompts are, on average, most similar to it. Below each value: its 95 % "
            "interval over images. AUC of a prompt: how well it ranks images of its own class before the others. "
            + CHOSEN_HERE,
        ),
    )
