"""Train and test a model on your own images: all steps in one command.

It converts your images and masks (or takes a converted data set: -d), verifies them, makes a plan, splits by patient if
patients are known, cross-validates the methods that fit into the time, chooses one of them, writes the report, and
predicts new images with the networks of all folds together. After an interruption the same command continues; finished
steps are not repeated.
"""

import argparse
import logging
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from htunet.cli.command import make_parser, run_command, run_step, train_step
from htunet.cli.convert_general import FOLDERS, OWN, add_own_options, own_options
from htunet.errors import HtunetError, UsageError, counted, duration, option
from htunet.paths import ROOTS, DatasetPaths, all_datasets, find_dataset, is_name_of, root

if TYPE_CHECKING:
    from htunet.evaluation.statistics import Mean
    from htunet.experiments.time_budget import Candidate, Schedule

NUM_FOLDS, HOURS = 5, 6.0
COMPARED = ("hours", "num_folds", "methods", "weights")
"""Options that decide what is trained and compared."""
WORDS = {"seg": ("masks", "a Dice of"), "cls": ("classes", "an accuracy of")}


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_run --images DIR --masks DIR --name MINE``."""
    parser = make_parser("htunet_run", __doc__)
    parser.add_argument("-d", "--dataset", help="data set that is already converted, such as BUSI")
    parser.add_argument("--name", help="name for the data set of your own images, such as MINE")
    add_own_options(parser, "-d DATASET")
    parser.add_argument("-i", "--input", type=Path, help="new images to predict at the end: a folder or a file")
    parser.add_argument("-o", "--output", type=Path, help="folder for the predicted masks and classes of --input")
    hours = f"time for all steps together, in hours (default: {HOURS})"
    parser.add_argument("--hours", type=float, help=hours)
    methods = (
        "methods to compare (default: UNet for masks, ResNet18 for classes; also CLIP_HT if its weights are on this "
        "machine, otherwise PhantomCLIP_HT for classes)"
    )
    parser.add_argument("-m", "--methods", nargs="+", help=methods)
    folds = f"number of folds of the cross-validation (default: those of a given split, otherwise {NUM_FOLDS})"
    parser.add_argument("--num-folds", type=int, help=folds)
    weights = (
        "weights to start from, or frozen weights: pretrained, phantom (pre-trained on simulated images), random or a "
        "file (default: pretrained; phantom for methods without published weights, such as UNet)"
    )
    parser.add_argument("--weights", help=weights)
    corrections = "continue the training of the chosen method with the cases corrected in this folder of htunet_review"
    parser.add_argument("--corrections", type=Path, metavar="FOLDER", help=corrections)
    dry = "print the steps and their estimated times, and do nothing"
    parser.add_argument("--dry-run", action="store_true", help=dry)
    return run_command(parser, _run, argv)


def _run(options: argparse.Namespace) -> None:
    given = own_options(options)
    _check(options, given)
    for variable in ROOTS:  # as the steps say where files go otherwise, each of them
        os.environ[variable] = str(root(variable))
    known = (name for name in all_datasets() if not options.dataset and is_name_of(options.name, name))
    dataset = find_dataset(options.dataset) if options.dataset else next(map(DatasetPaths, known), None)
    if options.corrections and dataset:
        _learn_corrections(dataset, options)
        return
    if dataset is None:
        step = ("convert", "--name", options.name, *_given_words(options, OWN))
        if options.dry_run:
            for name in FOLDERS:
                if (folder := getattr(options, name)) and not folder.is_dir():
                    raise UsageError(f"{option(name)} {folder} is not a folder. Name the folder that holds the files.")
            print(f"$ htunet_{shlex.join(step)}")
            words = _given_words(options, COMPARED)
            print("The other steps and their times depend on the data set. Convert it with this command; then type:\n"
                  f"$ {shlex.join(['htunet_run', '-d', options.name, *words])} --dry-run")  # fmt: skip
            return
        run_step(*step)
        dataset = find_dataset(options.name)
    elif given:
        print(f"{dataset.short_name} is already converted, in {dataset.raw}: {', '.join(given)} are not read again. "
              "Other images need another --name.")  # fmt: skip
    _cross_validate(dataset, options)


def _check(options: argparse.Namespace, given: Sequence[str]) -> None:
    """Raise UsageError for options that contradict each other or lack another one, before anything is done."""
    if options.dataset and (given or options.name):
        words = ", ".join([*["--name"] * bool(options.name), *given])
        positive = f" The positive class is in dataset.json of {options.dataset}." if options.positive else ""
        raise UsageError(f"{words}: only for images of your own, which are still to be converted. -d "
                         f"{options.dataset} takes a converted data set as it is: omit the one or the other.{positive}"
                         )  # fmt: skip
    if not given and not options.dataset:
        raise UsageError("Name a converted data set (-d BUSI), or your own images (--images DIR --masks DIR --name X).")
    if given and not options.name:
        raise UsageError("Name your data set: --name MYDATA.")
    if (options.input is None) != (options.output is None):
        raise UsageError("-i and -o belong together: the new images, and where their predictions go.")
    if options.hours is not None and not 0 < options.hours < 10_000:
        raise UsageError(f"--hours must be above 0, got {options.hours:g}.")
    if options.num_folds is not None:
        from htunet.data.splits import check_num_folds

        check_num_folds(options.num_folds)
    if options.methods:
        from htunet.models.build import parse_method

        for method in options.methods:
            parse_method(method)
    if options.corrections and not options.dataset:
        raise UsageError("--corrections needs the data set that they correct: -d MINE.")
    others = [name for name in ("input", "hours", "num_folds", "weights") if getattr(options, name) is not None]
    if options.corrections and others:
        words = ", ".join(map(option, others))
        raise UsageError(f"{words}: not with --corrections, which trains as the data set's models were trained: omit.")


def _given_words(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """What the user gave of these options, as on the command line."""
    words = []
    for name in names:
        value = getattr(options, name)
        if value not in (None, ""):
            words += [option(name), *map(str, value if isinstance(value, list) else [value] * (value is not True))]
    return words


def _cross_validate(dataset: DatasetPaths, options: argparse.Namespace) -> None:
    from htunet.data.postprocessing import in_words
    from htunet.data.raw import TEST, read_raw
    from htunet.data.split_files import load_splits
    from htunet.evaluation.statistics import percent_text
    from htunet.experiments.cross_validation import choose, folds_of, refuse_earlier_data, settle_schedule
    from htunet.experiments.time_budget import PLAN
    from htunet.reproducibility import record_command

    raw = read_raw(dataset)
    candidates = _candidates(dataset, options)
    folds, given = [], dataset.splits_json.exists() or dataset.paper_splits_json.exists()
    if options.num_folds or not (given or any(case.split == TEST for case in raw.cases)):
        folds = ["--num-folds", str(options.num_folds or NUM_FOLDS)]
    by_group = bool(folds) and any(case.group for case in raw.cases)
    planning = ("plan_and_preprocess", "-d", dataset.name, *folds, *(["--split-by", "group"] * by_group))
    if options.dry_run:
        is_planned = dataset.plans_json.exists() and not folds
        num_folds = options.num_folds or NUM_FOLDS if folds else None
        with nullcontext(dataset) if is_planned else _planned_aside(dataset, num_folds, by_group) as planned:
            _show(planned, candidates, planning, options)
        return
    record_command(dataset.run_json, options.typed)
    print("\nReading the images; measuring a step of each method on this machine", flush=True)
    _plan_adaptive(dataset, options.num_folds or NUM_FOLDS if folds else None, by_group)
    candidates = _on_trainable_folds(dataset, candidates)
    schedule = settle_schedule(dataset, candidates, options.hours)
    _print_schedule(dataset, schedule, options.hours)
    run_step(*planning, "--plan", PLAN)
    refuse_earlier_data(dataset, schedule)
    schedule = _train_folds(dataset, schedule, options.hours)
    run_step("evaluate", dataset.name, "--plan", PLAN)
    chosen, after = choose(dataset, schedule)
    run_step("report", dataset.name)
    words = {
        task: ["-d", dataset.short_name, "-m", choice.method, "-p", PLAN, "--task", task, "-f",
               *map(str, folds_of(dataset, task, schedule))]
        for task, choice in chosen.items()
    }  # fmt: skip
    if options.input:
        for task, of_run in words.items():
            folders = ("-i", str(options.input), "-o", str(options.output))
            run_step("predict", *folders, *of_run, *["--overlays"] * (task == "seg"))
    print()
    for task, choice in chosen.items():
        what, metric = WORDS[task]
        print(f"For {what}: {choice.method}, {choice.reason}. On images like these expect {metric} "
              f"{_percent(choice.expected, task)}{', at the size of the images' * (task == 'seg')}.")  # fmt: skip
        if task == "seg" and not after:
            print("The folds test no images of their own: no post-processing was tried, as nothing would be left to "
                  "judge it.")  # fmt: skip
        if task == "seg" and after and after.steps:
            print(f"Masks are post-processed, which improves the results on the tested folds: {in_words(after.steps)}. "
                  f"With it expect {metric} {_percent(after.expected, task)}; --no-postprocessing switches it off."
                  )  # fmt: skip
        if task == "cls":
            name = Counter(case.class_name for case in raw.cases if case.class_name).most_common(1)[0][0]
            splits = load_splits(dataset.splits_json)
            tested = {case for fold in folds_of(dataset, task, schedule) for case in splits[fold]["test"]}
            counts = Counter(case.class_name for case in raw.cases if case.class_name and case.id in tested)
            fraction = percent_text(counts[name] / counts.total())
            print(f"    for comparison: always answering {name} is right in {fraction} of them")
        for method, mean in choice.own.items() if len(choice.own) > 1 else ():
            print(f"    {method}: {_percent(mean, task)}")
    print(f"Look at:  {dataset.results / 'report.html'}")
    if options.input:
        drawn = f", the masks drawn over the images in {options.output / 'overlays'}" if "seg" in words else ""
        print(f"Predictions of {options.input}:  {options.output}{drawn}")
    for task, of_run in () if options.input else words.items():  # a mask alone looks black
        print(f"New images:  htunet_predict -i FOLDER -o OUTPUT {shlex.join(of_run)}{' --overlays' * (task == 'seg')}")


def _candidates(dataset: DatasetPaths, options: argparse.Namespace) -> "list[Candidate]":
    """The methods to compare; those of an earlier call, whose hours and split replace the options."""
    from htunet.experiments.cross_validation import candidates_for, earlier_request, learnable_tasks

    asked = {name: getattr(options, name) for name in COMPARED}
    if before := earlier_request(dataset, **asked):
        options.hours, candidates = before
        options.num_folds = None
        return candidates
    options.hours = options.hours or HOURS
    candidates, remarks = candidates_for(learnable_tasks(dataset), options.methods, options.weights)
    print(*remarks, sep="\n", end="\n" * bool(remarks))
    if not candidates:
        raise HtunetError(f"{dataset.short_name} has neither masks nor two classes: there is nothing to learn.")
    return candidates


def _learn_corrections(dataset: DatasetPaths, options: argparse.Namespace) -> None:
    """Train the chosen method on, from its last models, with the corrected cases; test it as before."""
    from dataset_conversion.review_folder import read_review
    from htunet.data.raw import read_raw
    from htunet.data.review_case import ACCEPTED
    from htunet.experiments.corrections import compared_dice, corrected_dataset, describe
    from htunet.experiments.review import runs_to_review
    from htunet.files import read_object
    from htunet.reproducibility import record_command
    from htunet.schemas import SETTINGS

    method = options.methods[0] if options.methods else None
    runs = runs_to_review(dataset, method, None)
    first = runs[0]
    found = read_review(options.corrections, read_raw(dataset).info.labels)
    forms = [
        f"{counted(number, 'prediction')} accepted unchanged" if form == ACCEPTED else
        f"{counted(number, 'case')} corrected as {form}" for form, number in Counter(one.form for one in found).items()
    ]  # fmt: skip
    print(f"{options.corrections}: {', '.join(forms)}.", flush=True)
    if options.dry_run:
        print(f"Would make a data set with the corrections, continue the training of {first.method} on "
              f"{counted(len(runs), 'fold')} for half of the epochs, and compare the Dice before and after.\n"
              "Nothing was done: this was a dry run.")  # fmt: skip
        return
    target = corrected_dataset(dataset, found, first.plan)
    record_command(target.conversion_json, options.typed)
    for line in describe(target):
        print(line)
    run_step("plan_and_preprocess", "-d", target.name, "--plan", first.plan)
    after = [replace(run, dataset=target) for run in runs]
    for run, new in zip(runs, after, strict=True):
        weights = str(read_object(run.settings_json, SETTINGS).get("weights_argument", "pretrained"))
        options_of_run = ("--plan", run.plan, "--task", run.task, "--seed", str(run.seed), "--weights", weights)
        start = ("--start-from", str(run.checkpoint_best))
        train_step(new, target.name, run.method, f"fold{run.fold}", *options_of_run, *start)
    run_step("evaluate", target.name, first.method, "--plan", first.plan)
    run_step("report", target.name)
    then, now = compared_dice(runs, after)
    print(f"\nOn the same test images, with the masks that they had: Dice {100 * then:.1f} % before, "
          f"{100 * now:.1f} % now.")  # fmt: skip
    if now < then:
        print(f"That is less: the corrections have not helped. The models of {dataset.short_name} are as they were.")
    print(f"Look at:  {target.results / 'report.html'}")
    folds = map(str, (run.fold for run in after))
    words = ["-d", target.short_name, "-m", first.method, "-p", first.plan, "--task", first.task, "-f", *folds]
    print(f"New images:  htunet_predict -i FOLDER -o OUTPUT {shlex.join(words)} --overlays")


@contextmanager
def _planned_aside(dataset: DatasetPaths, num_folds: int | None, by_group: bool) -> Iterator[DatasetPaths]:
    """The data set as ``_cross_validate`` plans it, in a folder that is removed afterwards."""
    with TemporaryDirectory() as folder:
        aside = replace(dataset, planned_in=Path(folder))
        aside.preprocessed.mkdir()
        if dataset.splits_json.exists():
            shutil.copy(dataset.splits_json, aside.splits_json)
        print("Reading the images", flush=True)
        _plan_adaptive(aside, num_folds, by_group)
        yield aside


def _plan_adaptive(dataset: DatasetPaths, num_folds: int | None, by_group: bool) -> None:
    """Make the split and plan ``adaptive``, from which plan ``run`` is made; that step prints the remarks.

    Only that a split replaces another one is printed here, because it is new only once.
    """
    from htunet.files import read_object
    from htunet.preprocessing.prepare import SPLIT_CHANGED, PrepareRequest, prepare

    split_by, log = "group" if by_group else None, logging.getLogger("htunet.preprocessing")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        prepare(dataset, PrepareRequest(plans=["adaptive"], num_folds=num_folds, split_by=split_by, preprocess=False))
    finally:
        log.setLevel(level)
    for text in read_object(dataset.warnings_json)["warnings"]["split"]:
        if text.startswith(SPLIT_CHANGED):
            print(f"Warning: {text}")


def _on_trainable_folds(dataset: DatasetPaths, candidates: "list[Candidate]") -> "list[Candidate]":
    """The candidates whose task can be trained on some fold; prints on which folds it cannot, and why."""
    from htunet.experiments.cross_validation import trainable_folds

    found = []
    for task in dict.fromkeys(candidate.task for candidate in candidates):
        folds, reasons = trainable_folds(dataset, task)
        what, _ = WORDS[task]
        for fold, reason in list(reasons.items())[:1]:
            skipped = f"on {counted(len(reasons), 'fold')} of {len(folds) + len(reasons)}" if folds else "at all"
            print(f"{what.capitalize()} are not learnt {skipped}. Fold {fold}: {reason}")
        found += [candidate for candidate in candidates if folds and candidate.task == task]
    if not found:
        raise HtunetError(f"No fold of {dataset.short_name} can be trained on; the reason is above.")
    return found


def _print_schedule(dataset: DatasetPaths, schedule: "Schedule", hours: float) -> None:
    """How long the trainings that are not done will take, and what does not fit into the time."""
    left = {one: schedule.num_folds - _folds_trained(dataset, schedule, one) for one in schedule.candidates}
    epochs = sum(folds * candidate.epoch_seconds for candidate, folds in left.items())
    time = f"{duration(epochs * schedule.scale**2 * schedule.num_epochs)} of {hours:g} h"
    print(f"The trainings will take about {time}, or less: each stops when it no longer improves."
          if any(left.values()) else "All trainings are done.")  # fmt: skip
    for line in schedule.given_up:
        print(f"    to fit into the time: {line}")


def _folds_trained(dataset: DatasetPaths, schedule: "Schedule", candidate: "Candidate") -> int:
    from htunet.experiments.cross_validation import folds_of, run_of

    folds = folds_of(dataset, candidate.task, schedule)
    return sum(run_of(dataset, candidate, fold).finished_json.exists() for fold in folds)


def _train_folds(dataset: DatasetPaths, schedule: "Schedule", hours: float) -> "Schedule":
    """Train all methods on one fold after another; the schedule, which the first fold settles."""
    from htunet.experiments.cross_validation import folds_of, run_of, settle_folds, time_taken

    number = 0
    while number < schedule.num_folds:
        for candidate in schedule.candidates:
            for fold in folds_of(dataset, candidate.task, schedule)[number : number + 1]:
                run = run_of(dataset, candidate, fold)
                is_new = not run.finished_json.exists()
                train_step(run, *_training(dataset, candidate, fold))
                if is_new:
                    print(time_taken(dataset, schedule, candidate, fold), flush=True)
        number += 1
        if not schedule.settled:
            schedule, settled = settle_folds(dataset, schedule, hours)
            print(settled, flush=True)
    return schedule


def _training(dataset: DatasetPaths, candidate: "Candidate", fold: int) -> list[str]:
    weights = ["--weights", candidate.weights] if candidate.weights else []
    return [dataset.name, candidate.method, f"fold{fold}", "--plan", "run", "--task", candidate.task, *weights]


def _show(
    dataset: DatasetPaths, candidates: "list[Candidate]", planning: Sequence[str], options: argparse.Namespace
) -> None:
    """The steps, with the times of a step that is measured on this machine."""
    from htunet.experiments.cross_validation import adaptive_of, folds_of, measured, sizes_of, stored_schedule
    from htunet.experiments.time_budget import PLAN, fit

    candidates = _on_trainable_folds(dataset, candidates)
    num_folds, training, validation = sizes_of(dataset)
    if before := stored_schedule(dataset):
        schedule = before[1]
    else:
        times = measured(candidates, dataset, training, validation)
        schedule = fit(times, adaptive_of(dataset), num_folds=num_folds, training_images=training,
                       hours=options.hours)  # fmt: skip
    print(f"$ htunet_{shlex.join([*planning, '--plan', PLAN])}")
    for candidate in schedule.candidates:
        first = folds_of(dataset, candidate.task, schedule)[0]
        seconds = candidate.epoch_seconds * schedule.scale**2 * schedule.num_epochs
        done = _folds_trained(dataset, schedule, candidate)
        left = f"; {done} of {schedule.num_folds} folds are trained already" * (done > 0)
        more = schedule.num_folds - 1
        print(f"$ htunet_train {shlex.join(_training(dataset, candidate, first))}   and {more} more "
              f"fold{'s' * (more != 1)}: {counted(schedule.num_epochs, 'epoch')}, {duration(seconds)} each{left}"
              )  # fmt: skip
    print(f"$ htunet_evaluate {dataset.name} --plan {PLAN}")
    print(f"$ htunet_report {dataset.name}")
    for task in dict.fromkeys(candidate.task for candidate in schedule.candidates) if options.input else ():
        print(f"$ htunet_predict -i {options.input} -o {options.output} -d {dataset.short_name} -p {PLAN} --task {task}"
              "   with the chosen method and all its folds")  # fmt: skip
    _print_schedule(dataset, schedule, options.hours)
    print("Nothing was trained: this was a dry run.")


def _percent(mean: "Mean", task: str) -> str:
    """The mean, its interval, and the images that it is of, and of how many."""
    from htunet.evaluation.statistics import interval_words, percent_text

    if mean.mean is None:
        return f"nothing (no value in any of {counted(mean.n_cases, 'tested image')})"
    interval = interval_words(mean.low, mean.high, 100)
    tested = counted(mean.n_cases, "tested image")
    if mean.n_used < mean.n_cases:
        why = "in the others nothing is to be found, and nothing was" if task == "seg" else "the others have no value"
        tested = f"{mean.n_used} of {tested}; {why}"
    return f"{percent_text(mean.mean)} ({f'95 % interval {interval}, ' if interval else ''}{tested})"


if __name__ == "__main__":
    sys.exit(main())
