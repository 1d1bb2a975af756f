"""How the runs of the page were trained: their curves, thinned, and the pictures of classifications."""

from collections.abc import Iterator, Sequence

from htunet.errors import HtunetError
from htunet.files import read_csv
from htunet.paths import RunPaths
from htunet.reporting.report.content import ChartCurve, ClassPicture, Training
from htunet.reporting.report.study_results import Study

COLUMNS = {"train_loss": "training loss", "val_loss": "validation loss", "val_metric": "validation metric"}
MOST_POINTS = 100
"""Of a curve: more are not seen in a picture so small."""


def collect_training(study: Study) -> tuple[list[Training], list[str]]:
    """The curves of each method, one of each kind and run; and what could not be read."""
    found, problems = [], []
    for method in study.methods:
        curves: list[ChartCurve] = []
        seeds = []
        for run in dict.fromkeys(run.source for run in method.runs):
            try:
                curves += _curves(run)
                seeds.append(run.seed)
            except HtunetError as error:
                problems.append(f"No training curve: {error}")
        if curves:
            note = f"1 run, seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} runs, a line each"
            found.append(Training(title=f"{method.short_dataset} · {method.name}", curves=tuple(curves), note=note))
    return found, problems


def collect_class_pictures(study: Study) -> list[ClassPicture]:
    """The picture of the first run of each method that learns classes, where it is there."""
    return [
        ClassPicture(title=run.label, png=run.classification_png.read_bytes())
        for method in study.methods
        for run in list(method.shown)[:1]
        if run.classification_png.exists()
    ]


def _curves(run: RunPaths) -> Iterator[ChartCurve]:
    rows = read_csv(run.progress_csv, ("epoch", *COLUMNS))
    for column, name in COLUMNS.items():
        try:
            points = [(int(row["epoch"]) + 1, float(row[column])) for row in rows if row[column]]
        except ValueError as error:
            raise HtunetError(
                f"{run.progress_csv} holds text where numbers belong ({error}). Train the run again with --restart."
            ) from None
        yield ChartCurve(name=name, points=tuple(_thinned([point for point in points if point[1] == point[1]])))


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``MOST_POINTS``, the first and the last among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(place * step)] for place in range(MOST_POINTS)]
