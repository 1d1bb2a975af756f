"""Evaluate the test predictions of all finished runs, or of one data set or method; or compare two folders of masks.

The test images of a run are predicted first if necessary. The command writes test/summary.json into each run, with
test/per_case.csv, test/overlays/ and test/contact_sheet.png for masks and test/classification.png for classes. It
writes the tables, with the paper's results beside yours, all statistics and all metrics of all test cases into
htunet_results/tables/.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from htunet.cli.command import make_parser, run_command, tell, written_text
from htunet.errors import OUT_OF_MEMORY, HtunetError, UsageError, counted, did_you_mean, is_out_of_memory, option, some
from htunet.paths import TASK_OF_TRAINER, DatasetPaths, RunPaths, find_dataset, find_runs, root
from htunet.registry import Registry

if TYPE_CHECKING:
    from htunet.reporting.tables.kinds import TableKind
    from htunet.reporting.tables.rows import Row


POSITIVE = (
    "positive one of two classes, for which recall, precision and F1 are computed (default: that of the data set)"
)

OF_RUNS = ("method", "plan", "task", "trained_on", "split", "run", "positive", "force")
"""Options that two folders of masks have no use for."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``htunet_evaluate``; returns the exit code."""
    parser = make_parser("htunet_evaluate", __doc__)
    dataset = "data set, such as BUSI, 503 or Dataset503_BUSI (default: all)"
    parser.add_positional("dataset", "-d", required=False, help=dataset)
    parser.add_positional("method", "-m", required=False, help="method, such as CLIP_HT (default: all)")
    parser.add_argument("-p", "--plan", help="only runs with this plan (default: all)")
    parser.add_argument("--task", help="only runs with this task: seg, cls or seg+cls (default: all)")
    trained_on = "test runs that were trained on this other data set on the images of DATASET"
    parser.add_argument("--trained-on", metavar="DATASET", help=trained_on)
    split = "with --trained-on: test on all images, or on the test split only (default: all)"
    parser.add_argument("--split", choices=("all", "test"), help=split)
    run = "evaluate only the finished run in this folder, on its test split or on DATASET; no tables are written"
    parser.add_argument("--run", type=Path, metavar="FOLDER", help=run)
    parser.add_argument(
        "--policy",
        default="penalise",
        choices=("penalise", "exclude"),
        help="distances of an empty mask: penalise counts the image diagonal, exclude ignores the image, as the "
        "paper's public code does (default: %(default)s)",
    )
    parser.add_argument("--positive", metavar="CLASS", default="", help=POSITIVE)
    parser.add_argument("--force", action="store_true", help="predict and evaluate again what is already evaluated")
    predictions = "evaluate the predicted masks in this folder, instead of runs"
    parser.add_argument("--prediction-folder", type=Path, help=predictions)
    references = "folder of the reference masks for --prediction-folder, with the same names apart from the extension"
    parser.add_argument("--reference-folder", type=Path, help=references)
    output = "folder for the summary of --prediction-folder (default: that folder)"
    parser.add_argument("-o", "--output", type=Path, help=output)
    parser.lists["Metrics of installed packages"] = Registry("metric", group="htunet.metrics")
    return run_command(parser, _evaluate, argv)


def _evaluate(options: argparse.Namespace) -> None:
    from htunet.experiments.update_run import check_positive_applies

    if options.prediction_folder or options.reference_folder:
        _evaluate_folders(options)
        return
    if options.output:
        raise UsageError("--output is for --prediction-folder and --reference-folder; runs have folders of their own.")
    if options.run:
        _evaluate_one(options)
        return
    if options.split and not options.trained_on:
        raise UsageError("--split belongs to --trained-on; runs are scored on the test split of their own data set.")
    runs = _runs_on_other_data(options) if options.trained_on else _finished_runs(options)
    check_positive_applies(runs, options.positive)
    stale: list[RunPaths] = []
    done: list[RunPaths] = []
    failed: dict[RunPaths, str] = {}
    for run in tqdm(runs, desc="evaluate", unit="run", disable=None if len(runs) > 1 else True):
        try:
            (done if _bring_up_to_date(run, options) else stale).append(run)
        except Exception as error:  # whatever is wrong with one run, the others can be evaluated
            if options.debug or len(runs) == 1:
                raise
            text = OUT_OF_MEMORY if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
            text = str(error) if isinstance(error, HtunetError) else text
            reason = "for the same reason as before" if text in failed.values() else text
            print(f"Failed: {run.label}: {reason}", file=sys.stderr)
            failed[run] = text
    if done:
        for dataset in dict.fromkeys(run.dataset for run in done if run.dataset.choice_json.exists()):
            from htunet.experiments.cross_validation import renew_choice

            if chosen := renew_choice(dataset):
                print(f"{dataset.short_name}: runs of htunet_run have changed; chosen again: {', '.join(chosen)}. See "
                      f"{dataset.choice_json}")  # fmt: skip
        _report(done, options.policy, options.positive)
    elif stale and not failed:
        raise HtunetError(_all_stale(stale[0]))
    if failed:
        reasons = {text: [run.label for run, other in failed.items() if other == text] for text in failed.values()}
        listing = "; ".join(f"{some(labels)}: {text}" for text, labels in reasons.items())
        raise HtunetError(f"{len(failed)} of {len(runs)} runs could not be evaluated. {listing}")


def _evaluate_folders(options: argparse.Namespace) -> None:
    from htunet import api
    from htunet.evaluation.summary import write_summary
    from htunet.reporting.result_lines import mask_lines

    if not (options.prediction_folder and options.reference_folder):
        raise UsageError("--prediction-folder and --reference-folder are needed together.")
    of_runs = [option(name) for name in OF_RUNS if getattr(options, name)]
    if words := [repr(options.dataset)] * bool(options.dataset) + of_runs:
        raise UsageError(f"Two folders are scored on their own: omit {', '.join(words)}, or omit the folders.")
    summary = api.evaluate_folders(options.prediction_folder, options.reference_folder, policy=options.policy)
    output = options.output or options.prediction_folder
    write_summary(summary, output)
    print(*mask_lines(summary), sep="\n")
    print(f"Written: {output / 'summary.json'}, {output / 'per_case.csv'}")


def _evaluate_one(options: argparse.Namespace) -> None:
    """Predict and evaluate the run of --run, and nothing else: many processes may do so at a time."""
    from htunet.experiments.cross_dataset import check_before, run_on
    from htunet.experiments.update_run import check_positive_applies

    if options.method or options.trained_on:
        raise UsageError("--run names the run already: omit METHOD and --trained-on.")
    requested = options.run.resolve()
    runs = [run for run in find_runs() if run.folder.resolve() == requested and run.trained_on is None]
    if not runs or not runs[0].finished_json.exists():
        raise HtunetError(f"{options.run} is not the folder of a finished run. Train it first, or see htunet_evaluate.")
    run = runs[0]
    check_positive_applies([run], options.positive)
    if options.dataset:
        run = run_on(run, find_dataset(options.dataset))
        check_before(run, options.split or "all")
        options.split = options.split or "all"
    if not _bring_up_to_date(run, options):
        raise HtunetError(_all_stale(run))


def _finished_runs(options: argparse.Namespace) -> list[RunPaths]:
    """The chosen runs that are finished; raises HtunetError with the next command when there are none."""
    dataset = find_dataset(options.dataset) if options.dataset else None
    runs = list(find_runs(dataset))
    for name in ("method", "plan", "task"):
        requested, known = getattr(options, name), sorted({getattr(run, name) for run in runs})
        if requested and known and requested not in known:
            raise UsageError(
                f"No run has the {name} {requested!r}; there are {', '.join(known)}." + did_you_mean(requested, known)
            )
        runs = [run for run in runs if not requested or getattr(run, name) == requested]
    finished = [run for run in runs if run.finished_json.exists()]
    unfinished = [run for run in runs if not run.finished_json.exists()]
    chosen = [run for run in finished if run.trainer in TASK_OF_TRAINER]
    if not chosen:
        raise HtunetError(_no_runs(options, finished, unfinished))
    for run in unfinished:
        print(f"Not finished, skipped: {run.label}", file=sys.stderr)
    for run in (run for run in finished if run not in chosen):
        print(f"Learns neither masks nor classes, skipped: {run.label}", file=sys.stderr)
    return chosen


def _runs_on_other_data(options: argparse.Namespace) -> list[RunPaths]:
    """The finished runs of --trained-on with the data set as what they are tested on."""
    from htunet.experiments.cross_dataset import check_before, run_on

    if not options.dataset:
        raise UsageError("--trained-on needs the data set to test on: htunet_evaluate LN-EXT --trained-on LN-INT.")
    tested = find_dataset(options.dataset)
    own = argparse.Namespace(**vars(options) | {"dataset": options.trained_on})
    runs = [run_on(run, tested) for run in _finished_runs(own) if run.trained_on is None]
    if not runs:
        raise HtunetError(_no_runs(own, [], []))
    for run in {run.task: run for run in runs}.values():
        check_before(run, options.split or "all")
    return runs


def _all_stale(run: RunPaths) -> str:
    return (
        f"{run.dataset.splits_json} is not the split that these runs were trained on, so that its test split may hold "
        "images that they have seen. Restore the previous split (splits_final.before.json), or train again with "
        "--restart."
    )


def _no_runs(options: argparse.Namespace, finished: list[RunPaths], unfinished: list[RunPaths]) -> str:
    where = root("htunet_results")
    if unfinished:
        from htunet.reproducibility import training_command

        listing, command = some([run.label for run in unfinished]), training_command(unfinished[0])
        return f"No run in {where} is finished. Started: {listing}. Continue one with: {command}"
    if finished:
        return (
            f"None of the {len(finished)} finished runs in {where} learns masks or classes; only those are evaluated."
        )
    train = f"htunet_train {options.dataset or 'BUSI'} {options.method or 'CLIP_HT'} fold0"
    return f"There is no run in {where} to evaluate. Train one first: {train}"


def _bring_up_to_date(run: RunPaths, options: argparse.Namespace) -> bool:
    """Predict and evaluate one run as far as it is not done, and print its result; False: its split was changed."""
    from htunet.evaluation.freshness import needs_prediction, trained_on_other_images
    from htunet.experiments.update_run import bring_up_to_date, pictures_of
    from htunet.planning.arrays import trained_on_earlier_data
    from htunet.reporting.result_lines import class_lines, mask_lines
    from htunet.reproducibility import training_command

    if trained_on_other_images(run):
        print(f"Trained on another split than the present one, skipped: {run.label}", file=sys.stderr)
        return False
    if run.trained_on:
        from htunet.experiments.cross_dataset import predict_if_needed

        split = options.split or ("all" if options.trained_on else None)
        if predict_if_needed(run, split, force=options.force):
            print(f"Predicted: {run.label}", file=sys.stderr)
    elif options.force or needs_prediction(run):
        from htunet.inference.test_set import predict_test

        print(f"Predicting the test split: {run.label}", file=sys.stderr)
        predict_test(run)
    if trained_on_earlier_data(run):
        print(f"Trained on images, masks or classes that have changed since: {run.label}. To train on those of now: "
              f"{training_command(run.source)} --restart", file=sys.stderr)  # fmt: skip
    found = bring_up_to_date(run, options.policy, force=options.force, positive=options.positive)
    if found.before:
        print(f"Already evaluated: {run.label}", file=sys.stderr)
        return True
    print(run.label)
    for line in (
        *(mask_lines(found.masks) if found.masks else ()),
        *(class_lines(found.classes) if found.classes else ()),
    ):
        print(line)
    _tell_of_shared_images(run)
    print(f"  Pictures: {', '.join(map(str, pictures_of(run)))}")
    return True


def _tell_of_shared_images(run: RunPaths) -> None:
    """Where another data set was tested: whether the run has seen some of its images in the training."""
    if run.trained_on is None:
        return
    from htunet.experiments.cross_dataset import shared_of

    (shared, not_compared), own = shared_of(run), run.source.dataset.short_name
    unknown = f": {'; '.join(not_compared)}" * bool(not_compared)
    if shared is None:
        print(f"  Not compared with the training images of {own}: no raw folder, or another split since{unknown}.")
    elif shared:
        pairs = some([f"{case} = {', '.join(ids)}" for case, ids in shared.items()])
        print(f"  LEAK: among the images that it was trained on: {counted(len(shared), 'test image')}: {pairs}")
    elif not unknown:
        print(f"  It was trained on none of the test images ({own} was compared).")
    if unknown and shared is not None:
        others = "" if shared else " With those that were compared no test image is shared."
        print(f"  Not compared with all images that it was trained on{unknown}.{others}")


def _report(runs: list[RunPaths], policy: str, positive: str) -> None:
    """Print the rows of the chosen runs; write the tables and statistics of all runs that are evaluated.

    A paper's table is written where a result is of the paper's images.
    """
    from htunet.evaluation.case_table import arm_key
    from htunet.evaluation.study import entries
    from htunet.reporting.summaries import evaluated_contents, zero_shot_contents
    from htunet.reporting.tables.kinds import KINDS
    from htunet.reporting.tables.rows import row_tables, table_rows, write_tables
    from htunet.reporting.tables.study_files import write_paper_tables, write_statistics
    from htunet.reporting.tables.write import as_text

    everything, folder = evaluated_contents(tell), root("htunet_results") / "tables"
    contents = list(everything.values())
    baselines = _baselines(list(everything), policy, positive)
    trivial = [content for split in dict.fromkeys(map(_test_split, runs)) for content in baselines.get(split, ())]
    chosen = [*(everything[run] for run in runs if run in everything), *trivial]
    found, of_study = write_statistics(folder, contents)
    written = []
    for kind in KINDS:
        of_kind = {arm_key(content["htunet"]) for content in chosen if kind.key in content["htunet"]}
        every = table_rows(contents, [one for split in baselines.values() for one in split], kind, entries(found.means))
        if shown := [row for row in every if arm_key(row.own) in of_kind]:
            print("\n" + as_text(*row_tables(shown, kind, narrow=True)))
        if every:
            written += write_tables(folder, every, kind)
            written += _few_shot_results(folder, every, kind)
    tables = write_paper_tables(folder, contents, found, zero_shot=zero_shot_contents(tell), only_of_paper=True)
    written += [*of_study, *(path for _, files in tables.values() for path in files)]
    print("\n" + written_text(written))


def _few_shot_results(folder: Path, rows: "list[Row]", kind: "TableKind") -> list[Path]:
    """The table and the picture of few-shot runs, where there are some."""
    from htunet.reporting.figures.few_shot_curves import draw_few_shot
    from htunet.reporting.tables.few_shot_means import few_shot_rows
    from htunet.reporting.tables.rows import write_tables

    picture = folder / f"few_shot_{kind.name}.png"
    if not draw_few_shot(picture, rows, kind):
        return []
    return [*write_tables(folder, few_shot_rows(rows), kind, name=f"few_shot_{kind.name}"), picture]


TestSplit = tuple[DatasetPaths, str, int]


def _test_split(run: RunPaths) -> TestSplit:
    return run.dataset, run.plan, run.fold


def _baselines(runs: list[RunPaths], policy: str, positive: str) -> dict[TestSplit, list[dict[str, Any]]]:
    """The trivial baselines on the test splits of these runs; none, with a message, where they cannot be made."""
    from htunet.evaluation.baselines import class_baseline, trivial_baselines
    from htunet.evaluation.summary import summary_content

    tasks: dict[TestSplit, set[str]] = {}
    for run in (run for run in runs if run.trained_on is None):
        tasks.setdefault(_test_split(run), set()).update(run.tasks)
    found: dict[TestSplit, list[dict[str, Any]]] = {}
    for split, learnt in tasks.items():
        dataset, plan, fold = split
        contents = found[split] = []
        try:
            if "seg" in learnt:
                contents += [summary_content(s) for s in trivial_baselines(dataset, plan, fold, policy).values()]
            if "cls" in learnt:
                contents.append(class_baseline(dataset, plan, fold, positive))
        except HtunetError as error:
            print(f"No trivial baselines for {dataset.short_name}, plan {plan}, fold {fold}: {error}", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main())
