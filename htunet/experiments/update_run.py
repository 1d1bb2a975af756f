"""Bring a finished run's predictions, evaluation and pictures up to date, as far as they are not."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from htunet.errors import UsageError
from htunet.evaluation.class_summary import ClassSummary, class_content, evaluate_classes
from htunet.evaluation.evaluate import evaluate_run
from htunet.evaluation.freshness import is_evaluated
from htunet.evaluation.predicted_run import open_predicted
from htunet.evaluation.summary import Summary, write_own, write_summary
from htunet.files import exclusive, write_json
from htunet.paths import RunPaths
from htunet.planning.arrays import predicted_of
from htunet.reporting.figures.one_classification import draw_classification
from htunet.reporting.overlays.run_pictures import contact_sheet_path, write_pictures


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What was found now; both None: the run was evaluated before."""

    masks: Summary | None = None
    classes: ClassSummary | None = None

    @property
    def before(self) -> bool:
        """Whether nothing had to be done."""
        return self.masks is None and self.classes is None


def bring_up_to_date(run: RunPaths, policy: str, *, force: bool = False, positive: str = "") -> Evaluated:
    """Evaluate a predicted run and draw its pictures, unless that was done with this policy and this version.

    ``positive``: the class that recall, precision and F1 are of; empty: as the data set names it.
    Writes ``test/summary.json`` last: its presence says that all of it is done.
    """
    if not force and is_evaluated(run, policy, positive) and all(path.exists() for path in pictures_of(run)):
        return Evaluated()
    masks = classes = None
    also = {}
    with exclusive(run.test_folder, f"The evaluation of {run.label}"):
        predicted = open_predicted(run)
        if not run.predicted_json.exists():  # predicted by an earlier version, or a kill came before it
            write_json(run.predicted_json, predicted_of(run, predicted.cases))
        if "cls" in run.tasks:
            classes = evaluate_classes(predicted, positive)
            draw_classification(run.classification_png, classes, run.label)
            also = {"classification": class_content(classes)}
        if "seg" in run.tasks:
            masks = evaluate_run(predicted, policy)
            write_pictures(predicted, masks)
            write_summary(masks, run.test_folder, also)
        else:
            write_own(predicted.identity, run.test_folder, also)
    return Evaluated(masks=masks, classes=classes)


def check_positive_applies(runs: Iterable[RunPaths], positive: str) -> None:
    """Raise UsageError for a ``positive`` class where none of the runs learns classes."""
    if positive and not any("cls" in run.tasks for run in runs):
        raise UsageError(f"The positive class {positive!r} applies to runs that learn classes; here masks alone are "
                         "evaluated: omit it.")  # fmt: skip


def pictures_of(run: RunPaths) -> list[Path]:
    """The pictures of a run's results: the contact sheet of its masks, the curves of its classes."""
    return [contact_sheet_path(run)] * ("seg" in run.tasks) + [run.classification_png] * ("cls" in run.tasks)
