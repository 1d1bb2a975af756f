"""The post-processing that ``htunet_run`` chose for a method, unless its networks were trained again since."""

import logging
from collections.abc import Sequence
from typing import Any

from htunet.errors import some
from htunet.files import file_hash, json_hash, read_object
from htunet.paths import RunPaths
from htunet.schemas import CHOICE

log = logging.getLogger(__name__)


def chosen_steps(runs: Sequence[RunPaths]) -> dict[str, Any]:
    """The arguments of ``postprocess`` that ``htunet_run`` chose for the method of these runs; empty: none.

    Empty, with a warning in the log, where one of them was trained again since.
    """
    dataset = runs[0].dataset
    chosen = read_object(dataset.choice_json, CHOICE).get("seg", {}) if dataset.choice_json.exists() else {}
    ours = ("run", chosen.get("method"), "seg", None, chosen.get("adapter", ""))
    if any((run.plan, run.method, run.task, run.ratio, run.adapter) != ours for run in runs):
        return {}
    steps, known = dict(chosen.get("postprocessing", {}).get("steps", {})), chosen.get("runs", {})
    earlier = [run.label for run in runs
               if run.below_results in known and known[run.below_results]["trained"] != training_hash(run)]  # fmt: skip
    if not steps or not earlier:
        return steps
    log.warning("Masks are not post-processed: htunet_run chose the post-processing for an earlier training of %s. To "
                "choose again: htunet_run -d %s", some(earlier, 2), dataset.short_name)  # fmt: skip
    return {}


def training_hash(run: RunPaths) -> str:
    """Of the small files that only a training writes: another one after the run was trained again."""
    return json_hash([file_hash(path) for path in (run.finished_json, run.progress_csv) if path.exists()])
