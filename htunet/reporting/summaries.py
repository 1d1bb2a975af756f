"""What all evaluations have found so far: the summaries that tables and statistics are made of."""

from collections.abc import Callable
from typing import Any

from htunet.errors import HtunetError, counted, some
from htunet.evaluation.configurations import mark_splits
from htunet.evaluation.freshness import are_of_earlier_files
from htunet.evaluation.summary import READ_FORMATS, upgraded
from htunet.files import read_object
from htunet.paths import RunPaths, find_runs, root
from htunet.schemas import SUMMARY, ZERO_SHOT

Content = dict[str, Any]


def evaluated_contents(tell: Callable[[str], None]) -> dict[RunPaths, Content]:
    """The summaries of all finished runs that this version can read; ``tell`` gets a message about each damaged one."""
    contents = {}
    for run in find_runs():
        if not (run.finished_json.exists() and run.summary_json.exists()):
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
    if earlier := [run for run, content in contents.items() if are_of_earlier_files(run, content["htunet"])]:
        names = sorted({run.dataset.short_name for run in earlier})
        tell(f"Images, masks or classes have changed since {counted(len(earlier), 'run')} of {', '.join(names)} "
             f"{'was' if len(earlier) == 1 else 'were'} evaluated: {some([run.label for run in earlier])}. Results "
             "are of the earlier ones. Evaluate again with htunet_evaluate.")  # fmt: skip
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
        if "zero_shot" in content:
            found.append(content)
    return found
