"""Tables II to VII as the paper has them: what each cell rests on, the paper's value beside it, what is missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from htunet.data.zero_shot_prompts import unusual_prompts, usual_prompts
from htunet.evaluation.case_table import EARLIER, adapter_of
from htunet.evaluation.metrics import METRICS
from htunet.evaluation.statistics import few_cases
from htunet.evaluation.study import entries
from htunet.paths import DatasetPaths
from htunet.reporting.tables import paper_figures as paper
from htunet.reporting.tables.kinds import CLASSIFICATION, SEGMENTATION, PrintedEstimate, TableKind, TestCounts
from htunet.reporting.tables.paper_layouts import Line, PaperTable, Part
from htunet.reporting.tables.paper_runs import commands
from htunet.reporting.tables.rows import (
    RANDOM,
    Row,
    adapter_marks,
    averaged_as,
    mean_over_datasets,
    percent,
    table_rows,
    weights_marks,
)

AVERAGE = "Average"
UNLIKE = "no mean: the runs of the data sets were trained with unlike settings"
NOTHING = PrintedEstimate()
SEEDS = tuple(range(1, paper.SEEDS + 1))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value of a table. Fractions in percent, distances in pixels of the network's input."""

    line: Line
    dataset: str
    metric: str
    kind: TableKind
    estimate: PrintedEstimate = NOTHING
    """With the bootstrap 95 % interval over cases; of a mean over data sets there is none."""
    seeds: tuple[int, ...] = ()
    n_cases: int = 0
    """Test cases, each once."""
    n_excluded: int = 0
    """Predictions, over all repetitions, that have no value of this metric because a mask is empty."""
    paper: float | None = None
    marks: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    """What fills the cell, or completes it."""
    trained: Row | None = None
    rank: int = 0
    """1: the best of its rows, 2: the second; 0: any other, or nothing to compare with."""

    @property
    def text(self) -> str:
        """The value as it is printed; of few test cases with its interval."""
        return self.estimate.text(with_interval=self.trained is not None and bool(self.trained.few))

    @property
    def footnote(self) -> str:
        """What to know of the paper's figure."""
        return "" if self.paper is None else self.line.footnote


def fill(
    table: PaperTable,
    contents: Iterable[Mapping[str, Any]],
    means: pd.DataFrame | None = None,
    seeds: Sequence[int] = SEEDS,
    zero_shot: Iterable[Mapping[str, Any]] = (),
) -> list[Cell]:
    """Every cell of a table from contents of summary.json files; the intervals are those of ``means`` of a study.

    ``zero_shot`` are the contents that ``htunet_zero_shot`` writes.

    Where several kinds of runs would fit a cell (another plan, other weights, fewer epochs), the one nearest to the
    paper is chosen, and its marks say what is not as in the paper.
    """
    found = [content for content in contents if "task" in content["htunet"]]
    over_cases = None if means is None else entries(means)
    rows = [row for kind in (SEGMENTATION, CLASSIFICATION) for row in table_rows(found, kind=kind, means=over_cases)]
    rows += map(zero_shot_row, zero_shot)
    cells: list[Cell] = []
    for part in table.parts:
        for line in table.lines:
            own = [_filled(table, line, dataset, part, rows, seeds) for dataset in part.datasets]
            if table.average != "only":
                cells += [cell for row in own for cell in row]
            if (table.average and len(part.datasets) > 1) or table.average == "only":
                cells += [_average(table, part, list(column)) for column in zip(*own, strict=True)]
    return _ranked(cells)


def zero_shot_row(content: Mapping[str, Any]) -> Row:
    """The results of ``htunet_zero_shot`` as a row. Its only seed is that of the adapter's fine-tuning."""
    found, adapter = content["zero_shot"], content.get("adapter")
    short, n_cases = DatasetPaths(content["dataset"]).short_name, found["n_cases"]
    part, theirs = content["part"], paper.classification_figures(short, content["method"], paper.ZERO_SHOT)
    sizes = {"total": n_cases + content.get("images_without_class", 0)}
    other = paper.other_images(short, sizes) if part == "all" else f"{part} images"  # the paper asks about all
    edited = bool(content.get("plan_edited"))
    other_prompts = unusual_prompts(short, content.get("prompts") or usual_prompts(short))
    marks = {
        **weights_marks(content["weights"]),
        other: other not in ("", paper.OTHER),
        paper.footnote(content["method"], paper.ZERO_SHOT): bool(theirs) and not other,
        **(adapter_marks(content["method"], adapter_of({"settings": content})) if adapter else {}),
        f"plan {content['plan']}{', edited' * edited}": content["plan"] != paper.PLAN or edited,
        f"prompts {other_prompts}": other_prompts != "",
        content.get(EARLIER, ""): True,
        f"1 of the paper's {paper.SEEDS} seeds": bool(adapter),
        (few := few_cases(n_cases, {})): True,
    }
    return Row(
        kind=CLASSIFICATION,
        dataset=content["dataset"],
        method=content["method"],
        plan=content["plan"],
        folds=(),
        seeds=((adapter or {}).get("seed") or content["seed"],),  # early versions wrote the seed that was asked for
        n_runs=1,
        tested=TestCounts(n_cases=n_cases),
        policy="",
        trainable_parameters=None,
        values={name: PrintedEstimate.of(found[name], METRICS[name]) for name in ("accuracy", "auc")},
        own={
            "task": paper.ZERO_SHOT,
            "plan": content["plan"],
            "weights": content["weights"],
            "settings": {"adapter": adapter},
        },
        paper={} if other else theirs,
        other_images=other,
        few=few,
        marks=tuple(mark for mark, applies in marks.items() if applies and mark),
    )


def _filled(
    table: PaperTable, line: Line, dataset: str, part: Part, rows: Sequence[Row], seeds: Sequence[int]
) -> list[Cell]:
    """The cells of one row and data set, one for each metric."""
    row = min((row for row in rows if _fits(row, line, dataset, part.kind)), key=_distance, default=None)
    fraction = "" if line.ratio is None else f"{percent(line.ratio)} of the training images"
    cells = []
    for name in part.metrics:
        cell = Cell(line=line, dataset=dataset, metric=name, kind=part.kind, paper=_printed(table, line, dataset, name))
        if row:
            comparable = line.setting == paper.ZERO_SHOT or paper.comparable(name, row.tested.positive)
            cell = replace(
                cell,
                estimate=row.values[name],
                seeds=row.seeds,
                n_cases=len(row.tested.cases) or row.tested.n_cases,
                n_excluded=row.tested.n_excluded if METRICS[name].leaves_out else 0,
                paper=cell.paper if not row.other_images and comparable else None,
                marks=tuple(mark for mark in row.marks if mark not in (fraction, line.footnote)),
                trained=row,
            )
        requested = [seed for seed in seeds if seed not in cell.seeds]
        if line.setting == paper.ZERO_SHOT and row:
            requested = []  # one result says all of one adapter
        cells.append(replace(cell, commands=tuple(commands(line, dataset, part.kind, requested, seeds[0]))))
    return cells


def _fits(row: Row, line: Line, dataset: str, kind: TableKind) -> bool:
    setting = line.setting if line.setting == paper.ZERO_SHOT else "seg" if kind is SEGMENTATION else "cls"
    source = "" if setting == paper.ZERO_SHOT else paper.TRAINED_ON.get(dataset, "")
    here = (row.kind, row.method, row.ratio, row.own["task"], row.trained_on)
    return DatasetPaths(row.dataset).short_name == dataset and here == (kind, line.method, line.ratio, setting, source)


def _distance(row: Row) -> tuple[Any, ...]:
    """From the paper: pre-trained before random weights, then the fewest differences, the most epochs and seeds."""
    return RANDOM in row.marks, len(row.marks), -(row.own.get("num_epochs") or 0), -len(row.seeds)


def _printed(table: PaperTable, line: Line, dataset: str, metric: str) -> float | None:
    requested = {"method": line.name, "dataset": dataset, "setting": line.setting, "ratio": line.group}
    return paper.printed(table.source, **requested).get(metric)


def _average(table: PaperTable, part: Part, cells: Sequence[Cell]) -> Cell:
    """The mean over the data sets; none as long as one of them is missing, or they have unlike runs."""
    first = cells[0]
    complete = all(cell.estimate.mean is not None for cell in cells)
    unlike = complete and len({averaged_as(cell.trained) for cell in cells if cell.trained}) > 1
    complete = complete and not unlike
    known = set(paper.datasets(part.kind.name))
    rows = [cell.trained for cell in cells if cell.trained]
    others = any(row.other_images or not paper.comparable(first.metric, row.tested.positive) for row in rows)
    return replace(
        first,
        dataset=AVERAGE,
        estimate=mean_over_datasets([cell.estimate for cell in cells]) if complete else NOTHING,
        seeds=tuple(sorted(set.intersection(*(set(cell.seeds) for cell in cells)))),
        n_cases=sum(cell.n_cases for cell in cells) if complete else 0,
        n_excluded=sum(cell.n_excluded for cell in cells) if complete else 0,
        paper=_printed(table, first.line, AVERAGE, first.metric)
        if set(part.datasets) == known and not others
        else None,
        marks=(UNLIKE,) * unlike + tuple(dict.fromkeys(mark for cell in cells for mark in cell.marks)) * complete,
        commands=tuple(dict.fromkeys(command for cell in cells for command in cell.commands)),
    )


def _ranked(cells: Sequence[Cell]) -> list[Cell]:
    """The best and the second value of each data set, metric and group of rows, as they are printed."""
    groups: dict[tuple[Any, ...], set[float]] = {}
    for cell in cells:
        values = groups.setdefault(_ranking_group(cell), set())
        values |= set() if cell.estimate.mean is None else {round(cell.estimate.mean, 2)}
    found = []
    for cell in cells:
        values = groups[_ranking_group(cell)]
        best = sorted(values, reverse=METRICS[cell.metric].higher_is_better)[:2] if len(values) > 1 else []
        own = None if cell.estimate.mean is None else round(cell.estimate.mean, 2)
        found.append(replace(cell, rank=best.index(own) + 1 if own in best else 0))
    return found


def _ranking_group(cell: Cell) -> tuple[Any, ...]:
    """Equal for cells that are ranked together: pixels of inputs of different sizes are different units.

    So are values of other test images; those of a mean over data sets are of many.
    """
    size = cell.trained.input_size if cell.trained and METRICS[cell.metric].unit == "px" else ()
    tested = cell.trained.ranking_group if cell.trained and cell.dataset != AVERAGE else ()
    return cell.line.group, cell.dataset, cell.metric, size, tested
