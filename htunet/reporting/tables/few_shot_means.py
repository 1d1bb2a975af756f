"""Few-shot rows as the paper's Table IV has them: means over data sets."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from htunet.paths import DatasetPaths
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import PrintedEstimate
from htunet.reporting.tables.rows import Row, averaged_as, mean_over_datasets, total


def few_shot_rows(rows: Iterable[Row]) -> list[Row]:
    """The means over data sets, as Table IV has them, of few-shot rows; the paper's beside them.

    Rows that differ in the data alone are averaged where they are tested as the paper tests; ``dataset`` names which
    data sets. The paper's figures are beside a mean of all its data sets. There is no mean where a data set has
    several such rows, of other images or another split.
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        short = DatasetPaths(row.dataset).short_name
        if row.ratio is not None and row.trained_on == paper.TRAINED_ON.get(short, ""):
            groups.setdefault((averaged_as(row), len(row.seeds)), []).append(row)
    averages = [_average(members) for members in groups.values()]
    order = list(dict.fromkeys(row.method for row in averages))
    return sorted(averages, key=lambda row: (row.dataset, row.ratio or 1.0, order.index(row.method)))


def _average(rows: Sequence[Row]) -> Row:
    first = rows[0]
    names = [DatasetPaths(name).short_name for name in sorted({row.dataset for row in rows})]
    assert first.ratio is not None
    sizes = {row.trainable_parameters for row in rows}
    theirs = {
        name: value for name, value in paper.few_shot_figures(first.ratio, first.method).items()
        if all(paper.comparable(name, row.tested.positive) for row in rows)
    }  # fmt: skip
    same = set(names) == set(paper.datasets(first.kind.name)) and not any(row.other_images for row in rows)
    datasets = Counter(row.dataset for row in rows)
    several = [DatasetPaths(name).short_name for name, n_rows in datasets.items() if n_rows > 1]
    unlike = f"no mean: several results of {', '.join(several)}" if several else ""
    return replace(
        first,
        dataset=f"Few-shot, mean of {', '.join(names)}",
        seeds=tuple(sorted({seed for row in rows for seed in row.seeds})),
        folds=tuple(sorted({fold for row in rows for fold in row.folds})),
        n_runs=sum(row.n_runs for row in rows),
        trainable_parameters=first.trainable_parameters if len(sizes) == 1 else None,
        tested=total([row.tested for row in rows]),
        values={
            name: PrintedEstimate() if unlike else mean_over_datasets([row.values[name] for row in rows])
            for name in first.kind.metrics()
        },
        marks=(*filter(None, (unlike,)), *dict.fromkeys(mark for row in rows for mark in row.marks)),
        paper=theirs if same and not unlike else {},
    )
