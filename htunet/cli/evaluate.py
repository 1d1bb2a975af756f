"""Score test predictions: every finished run, one data set's, one method's; or one folder of masks against another.

Writes test/summary.json, test/per_case.csv, test/overlays/ and test/gallery.html into each run, and the tables with
the paper's figures beside yours into htunet_results/tables/. Runs that were not predicted yet are predicted first.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from htunet.cli.command import make_parser, run_command
from htunet.errors import HtunetError, UsageError, did_you_mean
from htunet.paths import DatasetPaths, RunPaths, find_dataset, find_runs, root

if TYPE_CHECKING:
    from htunet.evaluation.summary import Summary

SEGMENTATION = "seg"


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``htunet_evaluate``; returns the exit code."""
    parser = make_parser("htunet_evaluate", __doc__)
    parser.add_argument("dataset", nargs="?", help="such as BUSI, 503 or Dataset503_BUSI; default: all")
    parser.add_argument("method", nargs="?", help="such as CLIP_HT; default: all")
    parser.add_argument("--plan", help="only runs of this plan; default: all")
    parser.add_argument(
        "--policy",
        default="penalise",
        choices=("penalise", "exclude"),
        help="what an empty mask costs: the image diagonal (default), or left out as the paper's public code does",
    )
    parser.add_argument("--force", action="store_true", help="predict and evaluate again what is already done")
    parser.add_argument("--prediction_folder", type=Path, help="score this folder of masks instead of runs")
    parser.add_argument("--reference_folder", type=Path, help="the true masks, matched by file name without ending")
    parser.add_argument("--output", type=Path, help="where the summary of two folders goes; default: the predictions'")
    return run_command(parser, _evaluate, argv)


def _evaluate(options: argparse.Namespace) -> None:
    if options.prediction_folder or options.reference_folder:
        _evaluate_folders(options)
        return
    if options.output:
        raise UsageError("--output belongs to --prediction_folder and --reference_folder; runs keep their own results.")
    runs = _leave_out_stale(_finished_runs(options))
    for run in runs:
        _bring_up_to_date(run, options.policy, options.force)
    _report(runs, options.policy)


def _evaluate_folders(options: argparse.Namespace) -> None:
    from htunet.evaluation.evaluate import evaluate_folders
    from htunet.evaluation.summary import write_summary

    if not (options.prediction_folder and options.reference_folder):
        raise UsageError("--prediction_folder and --reference_folder are needed together.")
    if options.dataset:
        raise UsageError(
            f"Two folders are scored on their own: leave out {options.dataset!r}, or leave out the folders."
        )
    summary = evaluate_folders(options.prediction_folder, options.reference_folder, options.policy)
    output = options.output or options.prediction_folder
    write_summary(summary, output)
    for note in summary.notes:
        print(f"Note: {note}")
    _print_means(summary)
    print(f"Written: {output / 'summary.json'}, {output / 'per_case.csv'}")


def _finished_runs(options: argparse.Namespace) -> list[RunPaths]:
    """The chosen segmentation runs that are finished; raises HtunetError with the next command when there are none."""
    dataset = find_dataset(options.dataset) if options.dataset else None
    runs = list(find_runs(dataset))
    for name in ("method", "plan"):
        wanted, known = getattr(options, name), sorted({getattr(run, name) for run in runs})
        if wanted and known and wanted not in known:
            raise UsageError(
                f"No run has the {name} {wanted!r}; there are {', '.join(known)}." + did_you_mean(wanted, known)
            )
        runs = [run for run in runs if not wanted or getattr(run, name) == wanted]
    finished = [run for run in runs if run.finished_json.exists()]
    unfinished = [run for run in runs if not run.finished_json.exists()]
    chosen = [run for run in finished if _task(run) == SEGMENTATION]
    if not chosen:
        raise HtunetError(_no_runs(options, finished, unfinished))
    for run in unfinished:
        print(f"Not finished, left out: {run.label}", file=sys.stderr)
    for run in (run for run in finished if run not in chosen):
        print(f"No segmentation, left out: {run.label}", file=sys.stderr)
    return chosen


def _leave_out_stale(runs: list[RunPaths]) -> list[RunPaths]:
    """Without the runs whose split was changed since; raises HtunetError when no other run is left."""
    from htunet.evaluation.freshness import trained_on_other_images

    stale = [run for run in runs if trained_on_other_images(run)]
    for run in stale:
        print(f"Trained on another split than there is now, left out: {run.label}", file=sys.stderr)
    if len(stale) == len(runs):
        raise HtunetError(
            f"{stale[0].dataset.splits_json} is not the split that these runs were trained on, so that its test part "
            "may hold images that they have seen. Put the split before back (splits_final.before.json), or train again "
            "with --restart."
        )
    return [run for run in runs if run not in stale]


def _task(run: RunPaths) -> str:
    from htunet.files import read_object

    return str(read_object(run.settings_json).get("task"))


def _no_runs(options: argparse.Namespace, finished: list[RunPaths], unfinished: list[RunPaths]) -> str:
    where = root("htunet_results")
    if unfinished:
        listing = "; ".join(run.label for run in unfinished[:5])
        run = unfinished[0]
        more = f" and {len(unfinished) - 5} more" if len(unfinished) > 5 else ""
        again = f"htunet_train {run.dataset.short_name} {run.method} fold{run.fold} --seed {run.seed}"
        return f"No run in {where} is finished. Begun: {listing}{more}. Continue one with: {again}"
    if finished:
        return f"None of the {len(finished)} finished runs in {where} is a segmentation; only those are evaluated here."
    train = f"htunet_train {options.dataset or 'BUSI'} {options.method or 'CLIP_HT'} fold0"
    return f"There is no run in {where} to evaluate. Train one first: {train}"


def _bring_up_to_date(run: RunPaths, policy: str, force: bool) -> None:
    """Predict and evaluate one run as far as it is not done, and print its result."""
    from htunet.evaluation.evaluate import evaluate_run
    from htunet.evaluation.freshness import is_evaluated, needs_prediction
    from htunet.evaluation.summary import write_summary
    from htunet.files import exclusive
    from htunet.reporting.pictures import gallery_path, write_pictures

    if force or needs_prediction(run):
        from htunet.inference.test_set import predict_test

        print(f"Predicting the test part: {run.label}", file=sys.stderr)
        predict_test(run)
    if not force and is_evaluated(run, policy) and gallery_path(run).exists():
        print(f"Already evaluated: {run.label}", file=sys.stderr)
        return
    with exclusive(run.test_folder, f"The evaluation of {run.label}"):
        summary = evaluate_run(run, policy)
        write_pictures(run, summary)
        write_summary(summary, run.test_folder)  # last: its presence says that all of it is done
    print(run.label)
    _print_means(summary)
    print(f"  Pictures: {gallery_path(run)}")


def _print_means(summary: "Summary") -> None:
    """Dice, IoU, HD95 and ASD with their intervals, and the empty predictions."""
    from htunet.evaluation.summary import KEYS

    for resolution in summary.resolutions:
        parts = []
        for name, mean in summary.means(resolution).items():
            if name not in ("dice", "iou", "hd95", "asd", "hd95_mm", "asd_mm") or mean.mean is None:
                continue
            scale, unit = (100, " %") if name in ("dice", "iou") else (1, " px")
            unit = " mm" if name.endswith("_mm") else unit
            interval = (
                "" if mean.low is None or mean.high is None else f" [{scale * mean.low:.2f}, {scale * mean.high:.2f}]"
            )
            parts.append(f"{KEYS[name].removesuffix('_mm')} {scale * mean.mean:.2f}{unit}{interval}")
        print(f"  {resolution.replace('_', ' ')}: {' · '.join(parts)}")
        _print_empty(summary, resolution)


def _print_empty(summary: "Summary", resolution: str) -> None:
    n_cases = len({row.case for row in summary.scores})
    for which, names in summary.empty(resolution).items():
        if names:
            some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            what = "prediction and reference are" if which == "both" else f"the {which} is"
            print(f"    {what} empty in {len(names)} of {n_cases} cases ({summary.policy}): {some}")


def _report(runs: list[RunPaths], policy: str) -> None:
    """Print the table of the chosen runs; write the tables of all runs that are evaluated."""
    from htunet.reporting.table_formats import as_text, write_tables
    from htunet.reporting.tables import table_rows

    everything = _evaluated_contents()
    baselines = _baselines(list(everything), policy)
    chosen = table_rows(
        [everything[run] for run in runs],
        [content for part in dict.fromkeys(map(_test_part, runs)) for content in baselines[part]],
    )
    print("\n" + as_text(chosen))
    every = table_rows(everything.values(), [content for contents in baselines.values() for content in contents])
    paths = write_tables(root("htunet_results") / "tables", every)
    print("\nWritten: " + ", ".join(map(str, paths)))


TestPart = tuple[DatasetPaths, str, int]


def _test_part(run: RunPaths) -> TestPart:
    return run.dataset, run.plan, run.fold


def _evaluated_contents() -> dict[RunPaths, dict[str, Any]]:
    """The summaries of all finished runs that this version can read."""
    from htunet.evaluation.summary import FORMAT
    from htunet.files import read_object

    found = {
        run: read_object(run.summary_json)
        for run in find_runs()
        if run.finished_json.exists() and run.summary_json.exists()
    }
    return {run: content for run, content in found.items() if content.get("htunet", {}).get("format") == FORMAT}


def _baselines(runs: list[RunPaths], policy: str) -> dict[TestPart, list[dict[str, Any]]]:
    """The trivial baselines on the test parts of these runs; none, said, where they cannot be made."""
    from htunet.evaluation.baselines import trivial_baselines
    from htunet.evaluation.summary import summary_content

    found: dict[TestPart, list[dict[str, Any]]] = {}
    for part in dict.fromkeys(map(_test_part, runs)):
        dataset, plan, fold = part
        try:
            summaries = trivial_baselines(dataset, plan, fold, policy)
        except HtunetError as error:
            print(f"No trivial baselines for {dataset.short_name}, plan {plan}, fold {fold}: {error}", file=sys.stderr)
            summaries = {}
        found[part] = [summary_content(summary) for summary in summaries.values()]
    return found
