"""What all evaluations have found so far: the summaries that tables and statistics are made of."""

from collections.abc import Callable, Collection
from typing import Any

from htunet.errors import HtunetError, counted, some
from htunet.evaluation.case_table import EARLIER
from htunet.evaluation.configurations import mark_splits
from htunet.evaluation.freshness import are_of_earlier_files, earlier_zero_shot, is_of_earlier_training
from htunet.evaluation.summary import READ_FORMATS, upgraded
from htunet.files import read_object
from htunet.paths import TASK_OF_TRAINER, DatasetPaths, RunPaths, find_runs, root
from htunet.schemas import SUMMARY, ZERO_SHOT

Content = dict[str, Any]


def evaluated_contents(tell: Callable[[str], None], datasets: Collection[DatasetPaths] = ()) -> dict[RunPaths, Content]:
    """The summaries of all finished runs, or those of ``datasets``, that this version can read.

    ``tell`` gets messages about those that are damaged, are missing, or are of files that have changed since.
    """
    contents, waiting = {}, []
    for run in (run for run in find_runs() if not datasets or run.dataset in datasets):
        if not (run.finished_json.exists() and run.summary_json.exists()):
            if run.finished_json.exists() and run.trainer in TASK_OF_TRAINER:
                waiting.append(run.label)
            continue
        try:
            content = read_object(run.summary_json, SUMMARY)
            if (found := content["htunet"].get("format")) not in READ_FORMATS:
                raise HtunetError(
                    f"its summary has the format {found}, which this version does not read. Evaluate it again: "
                    f"htunet_evaluate {run.dataset.unique_name} {run.method} --force"
                )
            contents[run] = upgraded(content)
        except HtunetError as error:
            tell(f"Not in the tables: {run.label}: {error}")
    mark_splits(contents)
    if waiting:
        tell(f"Trained but not evaluated, and so not in the tables: {some(waiting)}. Evaluate with htunet_evaluate.")
    if earlier := [run for run, content in contents.items() if are_of_earlier_files(run, content["htunet"])]:
        names = sorted({run.dataset.short_name for run in earlier})
        tell(f"Images, masks or classes have changed since {counted(len(earlier), 'run')} of {', '.join(names)} "
             f"{'was' if len(earlier) == 1 else 'were'} evaluated: {some([run.label for run in earlier])}. Results "
             "are of the earlier ones. Evaluate again with htunet_evaluate.")  # fmt: skip
    again = [run for run in contents if is_of_earlier_training(run)]
    for run in again:
        tell(f"Trained again since it was tested: {run.label}. Test it again: htunet_evaluate "
             f"{run.dataset.unique_name} {run.method} --trained-on {run.source.dataset.unique_name}")  # fmt: skip
    for runs, text in ((earlier, "of earlier images or masks"), (again, "of an earlier training")):
        for run in runs:
            contents[run]["htunet"][EARLIER] = text
    return contents


def zero_shot_contents(tell: Callable[[str], None]) -> list[Content]:
    """The summaries of all zero-shot classifications."""
    found = []
    for path in sorted(root("htunet_results").glob("Dataset*/zero_shot/*/*/summary.json")):
        try:
            content = read_object(path, ZERO_SHOT)
        except HtunetError as error:
            tell(f"Not in the tables: {error}")
            continue
        if "zero_shot" not in content:
            continue
        if earlier := earlier_zero_shot(content, path):
            content[EARLIER] = earlier
            tell(f"Zero-shot results {earlier}: {path.parent}. Classify again with htunet_zero_shot.")
        found.append(content)
    return found
