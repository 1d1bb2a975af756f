"""How the runs of the page were trained: their curves, thinned, and the pictures of classifications."""

from htunet.errors import counted
from htunet.files import read_bytes
from htunet.reporting.report.content import ClassPicture, Training
from htunet.reporting.report.study_results import Study


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
