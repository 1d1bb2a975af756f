"""A cross-validation within the available time: its runs, their record, and the method that is chosen by them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from htunet.data.class_checks import check_classes, with_classes
from htunet.data.raw import read_raw
from htunet.data.split_files import all_folds, load_splits
from htunet.data.splits import cross_validation
from htunet.errors import HtunetError, counted, duration
from htunet.evaluation.case_table import case_table
from htunet.evaluation.freshness import trained_on_other_images
from htunet.evaluation.metrics import EMPTY_REFERENCE
from htunet.evaluation.model_choice import LOSS, VALUE, ModelChoice, choose_model, choose_on_validation
from htunet.evaluation.postprocessing_choice import PostprocessingChoice, choose_postprocessing
from htunet.evaluation.predicted_run import test_cases
from htunet.evaluation.study import over_labels
from htunet.evaluation.summary import ORIGINAL
from htunet.experiments.cost import START_SECONDS, costs_of, epoch_seconds
from htunet.experiments.jobs import Job, Workload
from htunet.experiments.products import Tested, Trained
from htunet.experiments.time_budget import PLAN, Candidate, Schedule, fit, plan_of, settle
from htunet.files import read_object, write_json
from htunet.inference.chosen import training_hash
from htunet.models.build import check_task, has_frozen_part, parse_method, published_weights, tasks_of
from htunet.models.weights.load import PRETRAINED, RANDOM
from htunet.models.weights.store import find_phantom, find_pretrained
from htunet.paths import PHANTOM, TRAINER_OF_TASK, DatasetPaths, RunPaths
from htunet.planning.arrays import trained_on_earlier_data
from htunet.planning.plans import Plan, load_plans, save_plans
from htunet.schemas import CHOICE, SCHEDULE, SUMMARY

METHODS = {"seg": ("UNet", "CLIP_HT"), "cls": ("ResNet18", "CLIP_HT")}
"""Compared where the user names none; those with published weights only where these are on the machine."""
SUBSTITUTES = {"cls": ["PhantomCLIP_HT"]}
"""Tried where the weights of CLIP are missing. Of 30 images of BUSI it learnt classes to an AUC of 82 %, ResNet18 from
random weights to 69 % on 80 others; masks worse than UNet from phantom weights, 56 against 66 % Dice."""
FEWEST_CLASSES = 2


def run_of(dataset: DatasetPaths, candidate: Candidate, fold: int) -> RunPaths:
    """The run of a candidate on a fold."""
    start = PHANTOM if candidate.weights == PHANTOM and not parse_method(candidate.method).backbone else ""
    return RunPaths(dataset, TRAINER_OF_TASK[candidate.task], PLAN, candidate.method, fold, 1, adapter=start)


def learnable_tasks(dataset: DatasetPaths) -> list[str]:
    """``seg`` where there are masks, ``cls`` where there are classes: each is learnt by networks of its own."""
    info = read_raw(dataset).info
    return ["seg"] * info.has_masks + ["cls"] * (len(info.classes) >= FEWEST_CLASSES)


def candidates_for(
    tasks: Sequence[str], methods: Sequence[str] | None, weights: str | None
) -> tuple[list[Candidate], list[str]]:
    """What to compare, and a sentence for each method that cannot take part or starts from random weights.

    Where ``methods`` is None those of ``METHODS``, as far as their frozen weights are on this machine; where
    ``weights`` is None the published ones, and where there are none those pre-trained on simulation.
    Raises UsageError for a method that does not exist or can do none of the tasks, HtunetError where the weights of a
    method that the user named are missing.
    """
    found: list[Candidate] = []
    remarks: dict[str, str] = {}
    for task in tasks:
        waiting = list(methods or METHODS[task])
        for method in waiting:
            if task not in tasks_of(method):
                continue
            name, own = parse_method(method).backbone or method, ""
            source = (weights or PRETRAINED) if published_weights(method) or has_frozen_part(method) else ""
            if source == PRETRAINED:
                try:
                    find_pretrained(name)
                except HtunetError:
                    if has_frozen_part(method) and methods:
                        raise
                    here = f"the pre-trained weights of {name} are not on this machine (htunet_weights download {name})"
                    if has_frozen_part(method):
                        remarks[method] = f"{method} is not tried: {here}."
                        waiting += SUBSTITUTES.get(task, [])
                        continue
                    source, own = RANDOM, f"{here[0].upper()}{here[1:]}. "
            if not has_frozen_part(method) and (own or (not source and weights != RANDOM)) and _simulated(name):
                source = PHANTOM
            if not has_frozen_part(method) and source in (PHANTOM, RANDOM) and not weights:
                start = "weights pre-trained on simulated images" if source == PHANTOM else "random weights"
                remarks[method] = f"{own}{method} starts from {start}."
            found.append(Candidate(method=method, task=task, weights=source))
    for method in methods or ():
        if all(candidate.method != method for candidate in found):
            check_task(method, tasks[0])
    return found, list(remarks.values())


def _simulated(name: str) -> bool:
    """Whether there are weights of a network that are pre-trained on simulation."""
    try:
        return find_phantom(name).exists()
    except HtunetError:
        return False


def measured(
    candidates: Sequence[Candidate], dataset: DatasetPaths, training_images: int, validation_images: int
) -> list[Candidate]:
    """The candidates with the seconds of an epoch here, by a measured step; HtunetError where it cannot be measured."""
    jobs = [
        Job(
            name=f"{candidate.method}-{candidate.task}",
            kind="train",
            arguments=(),
            product=Trained(run_of(dataset, candidate, 0), None, candidate.weights),
            workload=Workload(
                method=candidate.method,
                task=candidate.task,
                dataset=dataset.name,
                plan="adaptive",
                train_images=training_images,
                epochs=1,
                other_images=validation_images,
            ),
        )
        for candidate in candidates
    ]
    costs = costs_of(jobs)
    found = []
    for candidate, job in zip(candidates, jobs, strict=True):
        cost = costs[job.name]
        if cost.seconds is None:
            raise HtunetError(f"A step of {candidate.method} cannot be measured: {cost.because}")
        found.append(replace(candidate, epoch_seconds=max(0.01, cost.seconds - START_SECONDS)))
    return found


def adaptive_of(dataset: DatasetPaths) -> Plan:
    """Plan ``adaptive`` of the data set."""
    return load_plans(dataset.plans_json)["adaptive"]


def folds_of(dataset: DatasetPaths, task: str, schedule: Schedule) -> list[int]:
    """The positions of the folds that are trained for a task, whose lists may differ from those of another."""
    return trainable_folds(dataset, task)[0][: schedule.num_folds]


def trainable_folds(dataset: DatasetPaths, task: str) -> tuple[list[int], dict[int, str]]:
    """The positions of the folds that can be trained on and tested for a task; of the others why not."""
    positions, folds = all_folds(dataset, task), load_splits(dataset.splits_json)
    reasons = {
        position: f"it names no image for {' and '.join(lacking)}, and a model needs all three splits. Name some, or "
        "take htunet's own folds with --num-folds."
        for position in positions
        if (lacking := [split for split in ("train", "val", "test") if not folds[position][split]])
    }
    if task == "cls":
        raw = read_raw(dataset)
        class_of = {case.id: case.class_name for case in raw.cases}
        for position in positions:
            try:
                check_classes(with_classes(folds[position], class_of), class_of, list(raw.info.classes))
            except HtunetError as error:
                reasons[position] = str(error)
    return [position for position in positions if position not in reasons], reasons


def sizes_of(dataset: DatasetPaths) -> tuple[int, int, int]:
    """Folds of the task that has most, and training and validation images of the largest one."""
    folds = load_splits(dataset.splits_json)
    num_folds = max(len(trainable_folds(dataset, task)[0]) for task in METHODS)
    return num_folds, max(len(fold["train"]) for fold in folds), max(len(fold["val"]) for fold in folds)


def earlier_request(
    dataset: DatasetPaths,
    *,
    hours: float | None,
    num_folds: int | None,
    methods: Sequence[str] | None,
    weights: str | None,
) -> tuple[float, list[Candidate]] | None:
    """Hours and methods of an earlier call, which are those of this one; None where there was none.

    Raises HtunetError where what the user names now (not None) was otherwise then: its runs would not be comparable.
    """
    if (before := stored_schedule(dataset)) is None:
        return None
    request, changes = before[0], list[str]()
    words = [text.split(" ", 2) for text in request["methods"]]
    candidates = [Candidate(method=method, task=task, weights="".join(own)) for method, task, *own in words]
    if hours not in (None, request["hours"]):
        changes.append(f"--hours {request['hours']:g}, not {hours:g}")
    if num_folds is not None and dataset.splits_json.exists():
        cases, split = read_raw(dataset).cases, load_splits(dataset.splits_json)
        rule = cross_validation(cases, num_folds, "group" if any(case.group for case in cases) else "image")
        if not dataset.splits_made_json.exists():
            changes.append(f"{counted(len(split), 'fold')} of lists, not --num-folds {num_folds}")
        elif rule != f"{len(split)} folds":
            changes.append(f"--num-folds {len(split)}, not {num_folds}")
    names = dict.fromkeys(candidate.method for candidate in candidates)
    if methods and set(methods) != set(names):
        changes.append(f"--methods {' '.join(names)}, not {' '.join(methods)}")
    for candidate in candidates if weights else ():
        now, _ = candidates_for([candidate.task], [candidate.method], weights)
        if other := [one.weights for one in now if one.weights != candidate.weights]:
            changes.append(f"{candidate.method} from weights {candidate.weights or RANDOM}, not {other[0] or RANDOM}")
    if changes:
        raise HtunetError(
            f"{dataset.short_name} was started with other settings: {'; '.join(changes)}. Omit these options: what was "
            f"begun is continued, and predicts, with its own. To start from scratch, remove {dataset.schedule_json} "
            f"and the runs {dataset.results}/*__{PLAN}__*."
        )
    return float(request["hours"]), candidates


def stored_schedule(dataset: DatasetPaths) -> tuple[dict[str, Any], Schedule] | None:
    """The request of an earlier call (``hours``, ``folds``, ``methods``) and its schedule; None: there was none."""
    if not (path := dataset.schedule_json).exists():
        return None
    before = read_object(path, SCHEDULE)
    content = before["schedule"]
    stored = tuple(Candidate(**candidate) for candidate in content["candidates"])
    return before["request"], Schedule(**content | {"candidates": stored, "given_up": tuple(content["given_up"])})


def settle_schedule(dataset: DatasetPaths, candidates: Sequence[Candidate], hours: float) -> Schedule:
    """The schedule of an earlier call, or a new one; plan ``run`` goes into plans.json.

    Raises HtunetError where the split has another number of folds than then: its runs would not be comparable.
    """
    num_folds, training_images, validation_images = sizes_of(dataset)
    if before := stored_schedule(dataset):
        request, found = before
        if request["folds"] != num_folds:
            raise HtunetError(
                f"{dataset.short_name} was started with {counted(request['folds'], 'fold')}, and its split has "
                f"{num_folds} now. Restore {dataset.splits_json}, or remove {dataset.schedule_json} and the runs "
                f"{dataset.results}/*__{PLAN}__* to start from scratch."
            )
        return found
    adaptive = adaptive_of(dataset)
    schedule = fit(
        measured(candidates, dataset, training_images, validation_images),
        adaptive,
        num_folds=num_folds,
        training_images=training_images,
        hours=hours,
    )
    begin(dataset, schedule, plan_of(schedule, adaptive, training_images), candidates, hours=hours, num_folds=num_folds)
    return schedule


def begin(
    dataset: DatasetPaths,
    schedule: Schedule,
    plan: Plan,
    candidates: Sequence[Candidate],
    *,
    hours: float,
    num_folds: int,
) -> None:
    """Put plan ``run`` into plans.json and record the schedule, with the request: hours, folds, candidates."""
    save_plans(dataset.plans_json, load_plans(dataset.plans_json) | {PLAN: plan})
    methods = [" ".join(filter(None, (one.method, one.task, one.weights))) for one in candidates]
    request = {"hours": hours, "folds": num_folds, "methods": methods}
    write_json(dataset.schedule_json, {"request": request, "schedule": asdict(schedule)})


def refuse_earlier_data(dataset: DatasetPaths, schedule: Schedule) -> None:
    """Raise HtunetError where trainings of the schedule have learnt from what the data set no longer holds."""
    earlier = [run for run in _runs_of(dataset, schedule) if run.settings_json.exists()
               and (trained_on_earlier_data(run) or trained_on_other_images(run))]  # fmt: skip
    if earlier:
        raise HtunetError(
            f"Images, masks, classes or the split of {dataset.short_name} have changed since "
            f"{counted(len(earlier), 'training')} of it. Put the earlier ones back; or, to train anew, remove "
            f"{dataset.schedule_json} and the runs {dataset.results}/*__{PLAN}__*."
        )


def time_taken(dataset: DatasetPaths, schedule: Schedule, candidate: Candidate, fold: int) -> str:
    """What a training took beside what was estimated, a sentence."""
    epochs = epoch_seconds(run_of(dataset, candidate, fold).training_log)
    estimated = schedule.num_epochs * candidate.epoch_seconds * schedule.scale**2
    early = f": it no longer improved, and stopped after {len(epochs)} of {schedule.num_epochs} epochs"
    return (f"The training took {duration(sum(epochs))}{early * (len(epochs) < schedule.num_epochs)}. "
            f"{duration(estimated)} were estimated for {counted(schedule.num_epochs, 'epoch')}.")  # fmt: skip


def settle_folds(dataset: DatasetPaths, schedule: Schedule, hours: float) -> tuple[Schedule, str]:
    """The schedule after the first fold of every method (see ``time_budget.settle``), stored, and a sentence of it."""
    logs = [epoch_seconds(run_of(dataset, one, folds_of(dataset, one.task, schedule)[0]).training_log)
            for one in schedule.candidates]  # fmt: skip
    request, _ = stored_schedule(dataset) or ({}, None)
    found = replace(schedule, settled=True)
    if all(logs):
        seconds = [sum(log) / len(log) for log in logs]
        found = settle(schedule, seconds, num_folds=request["folds"], hours=hours)
    write_json(dataset.schedule_json, {"request": request, "schedule": asdict(found)})
    estimated = sum(one.epoch_seconds for one in schedule.candidates) * schedule.scale**2
    what = "an epoch" if len(logs) == 1 else "an epoch of each method"
    are = "is" if found.num_folds == 1 else "are"
    speed = f"Here {what} takes {sum(seconds):.2g} s; {estimated:.2g} s were estimated. " if all(logs) else ""
    before = f", in place of {schedule.num_folds}" if found.num_folds != schedule.num_folds else ", as planned"
    return found, f"{speed}{found.num_folds} of {counted(request['folds'], 'fold')} {are} trained{before}."


def choose(dataset: DatasetPaths, schedule: Schedule) -> tuple[dict[str, ModelChoice], PostprocessingChoice | None]:
    """The method for each task, by the tested folds, and what gains after it; ``choice.json`` beside the schedule.

    Where the folds do not test images of their own, the validation images choose, and nothing is post-processed: no
    test image would be left to judge what was chosen.
    """
    runs = _runs_of(dataset, schedule)
    table = case_table([read_object(run.summary_json, SUMMARY) for run in runs])
    found = {}
    for task in dict.fromkeys(candidate.task for candidate in schedule.candidates):
        methods = [candidate.method for candidate in schedule.candidates if candidate.task == task]
        rows = table[(table["task"] == task) & table["method"].isin(methods)]
        scores = _scores(rows, task)
        folds = folds_of(dataset, task, schedule)
        if tests_apart(dataset, folds):
            found[task] = choose_model(scores, methods)
        else:
            validated = [_validated(run) for run in runs if run.task == task and run.fold in folds]
            found[task] = choose_on_validation(pd.DataFrame(validated), scores, methods)
    of = {(candidate.task, candidate.method): candidate for candidate in schedule.candidates}
    chosen = {task: of[task, choice.method] for task, choice in found.items()}
    content: dict[str, dict[str, object]] = {
        task: asdict(choice) | {"adapter": run_of(dataset, chosen[task], 0).adapter, "runs": _states(runs, task)}
        for task, choice in found.items()
    }
    after = None
    if "seg" in found and tests_apart(dataset, folds_of(dataset, "seg", schedule)):
        without = {fold: of["seg", method] for fold, method in found["seg"].chosen_without.items()}
        after = _postprocessing(dataset, chosen["seg"], without, folds_of(dataset, "seg", schedule))
        content["seg"]["postprocessing"] = asdict(after)
    write_json(dataset.choice_json, content)
    return found, after


def renew_choice(dataset: DatasetPaths) -> list[str]:
    """Choose again where trainings or true masks have changed since; what is chosen, such as ``UNet for seg``.

    Empty where ``htunet_run`` has not chosen anything or nothing has changed, and before all its runs are evaluated.
    """
    if not dataset.choice_json.exists() or (stored := stored_schedule(dataset)) is None:
        return []
    then, schedule = read_object(dataset.choice_json, CHOICE), stored[1]
    runs = _runs_of(dataset, schedule)
    if all(then.get(task, {}).get("runs") == _states(runs, task) for task in {run.task for run in runs}):
        return []
    if not all(Tested(run).done() for run in runs):
        return []
    return [f"{choice.method} for {task}" for task, choice in choose(dataset, schedule)[0].items()]


def _runs_of(dataset: DatasetPaths, schedule: Schedule) -> list[RunPaths]:
    return [run_of(dataset, one, fold) for one in schedule.candidates for fold in folds_of(dataset, one.task, schedule)]


def _states(runs: Sequence[RunPaths], task: str) -> dict[str, dict[str, str]]:
    """What a choice between the runs of a task rests on: their trainings, and what they are scored against."""
    return {
        run.below_results: {
            "trained": training_hash(run),
            "tested": str(read_object(run.summary_json, SUMMARY)["htunet"].get("references_sha256", "")),
        }
        for run in runs
        if run.task == task and run.summary_json.exists()
    }


def tests_apart(dataset: DatasetPaths, folds: Sequence[int]) -> bool:
    """Whether there are several folds, and none tests an image of another."""
    tested = [case for fold in folds for case in load_splits(dataset.splits_json)[fold]["test"]]
    return len(folds) > 1 and len(tested) == len(set(tested))


def _validated(run: RunPaths) -> dict[str, Any]:
    """A row for ``choose_on_validation``: the metric of the best epoch."""
    found = next(value for name, value in read_object(run.finished_json).items() if name.startswith("best_val_"))
    row = {"case": f"fold {run.fold}", "group": "", "fold": run.fold, "method": run.method}
    return row | {VALUE: float(found), LOSS: 1 - float(found)}


def _postprocessing(
    dataset: DatasetPaths, chosen: Candidate, without: Mapping[int, Candidate], folds: Sequence[int]
) -> PostprocessingChoice:
    """On the tested images of all folds of the chosen method; ``without`` are those that all folds but one choose."""
    raw = read_raw(dataset)
    tested = [(fold, raw.by_id[name]) for fold in folds for name in test_cases(run_of(dataset, chosen, fold))]

    def files(method: Candidate) -> list[tuple[Path, Path]]:
        return [(run_of(dataset, method, fold).predictions / f"{case.id}.png", raw.label_path(case))
                for fold, case in tested]  # fmt: skip

    of_others = {fold: files(method) for fold, method in without.items()}
    return choose_postprocessing(
        files(chosen), [case.group for _, case in tested], [fold for fold, _ in tested], of_others
    )


def _scores(rows: pd.DataFrame, task: str) -> pd.DataFrame:
    """What ``choose_model`` takes: the Dice at the original size; of classes, whether right, and the Brier score."""
    keys = ["case", "group", "fold", "method"]
    if task == "seg":
        known = rows.assign(dice=rows["dice"].mask(rows["empty"] == EMPTY_REFERENCE, 0.0))  # under any policy
        dice = over_labels(known[known["resolution"] == ORIGINAL], ["dice"])
        loss = (1 - dice["dice"]).fillna(0.0)  # nothing to find and nothing found, where another method may find some
        return dice.assign(**{VALUE: dice["dice"], LOSS: loss})[[*keys, VALUE, LOSS]]
    cases = rows[rows["label"].isna()]
    loss = (1 - cases["probability_of_truth"].astype(float)) ** 2
    return cases[keys].assign(**{VALUE: cases["correct"].astype(float), LOSS: np.asarray(loss)})
