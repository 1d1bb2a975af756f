"""Few-shot rows as the paper's Table IV has them: means over data sets."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from htunet.paths import DatasetPaths
from htunet.reporting.tables.rows import Row, Spread


def few_shot_rows(rows: Iterable[Row]) -> list[Row]:
    """The means over data sets, as Table IV has them, of few-shot rows; the paper's beside them.

    Rows of one method, fraction and plan are averaged where they are of the data sets' own test splits; ``dataset``
    names which. The standard deviation is the mean of theirs.
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row.ratio is not None and not row.trained_on:
            groups.setdefault((row.method, row.ratio, row.plan, row.trainable_parameters, row.marks), []).append(row)
    averages = [_average(members) for members in groups.values()]
    order = list(dict.fromkeys(row.method for row in averages))
    return sorted(averages, key=lambda row: (row.dataset, row.ratio or 1.0, order.index(row.method)))


def _average(rows: Sequence[Row]) -> Row:
    first = rows[0]
    names = sorted({row.dataset for row in rows})
    assert first.ratio is not None
    missed = [row.n_missed for row in rows if row.n_missed is not None]
    return replace(
        first,
        dataset=f"Few-shot, mean of {', '.join(DatasetPaths(name).short_name for name in names)}",
        seeds=tuple(sorted({seed for row in rows for seed in row.seeds})),
        folds=tuple(sorted({fold for row in rows for fold in row.folds})),
        n_runs=sum(row.n_runs for row in rows),
        n_cases=sum(row.n_cases for row in rows),
        n_missed=sum(missed) if missed else None,
        values={name: _mean_spread([row.values[name] for row in rows]) for name in first.kind.metrics},
        paper=first.kind.paper_few_shot(first.ratio, first.method),
    )


def _mean_spread(spreads: Sequence[Spread]) -> Spread:
    means = [spread.mean for spread in spreads if spread.mean is not None]
    stds = [spread.std for spread in spreads if spread.std is not None]
    return Spread(
        statistics.fmean(means) if len(means) == len(spreads) else None,
        statistics.fmean(stds) if len(stds) == len(spreads) else None,
    )
