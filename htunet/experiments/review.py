"""Which cases a person should look at and correct first: of the tested ones the worst, of all the most uncertain."""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from htunet.data.formats.medical_file import pixel_spacing
from htunet.data.formats.stacks import open_stack
from htunet.data.image_io import channels_last, read_image, read_labels
from htunet.data.names import unique_ids
from htunet.data.raw import read_raw, spacing_text
from htunet.data.review_case import ReviewCase
from htunet.errors import HtunetError, UsageError
from htunet.evaluation.freshness import are_of_earlier_files
from htunet.evaluation.predicted_dice import calibration_of, dice_of_cases
from htunet.experiments.time_budget import PLAN
from htunet.files import read_csv, read_object
from htunet.inference.folder import images_in
from htunet.inference.prediction import Prediction
from htunet.paths import DatasetPaths, RunPaths, find_runs
from htunet.planning.configuration import check_alike
from htunet.schemas import CHOICE, SUMMARY

MISSED, NOTHING, UNLIKE = "missed", "nothing found", "unlike the training images"
UNRANKED = "in the order of the names: no predicted Dice is known"


def runs_to_review(dataset: DatasetPaths, method: str | None, plan: str | None) -> list[RunPaths]:
    """The evaluated folds of one method that learns masks: that of ``htunet_run``, else the only one.

    Raises HtunetError where there is none, UsageError where there are several, or folds that were trained differently.
    """
    start = None
    if method is None and plan in (None, PLAN) and dataset.choice_json.exists():
        chosen = read_object(dataset.choice_json, CHOICE).get("seg", {})
        method, plan, start = chosen.get("method"), PLAN, chosen.get("adapter", "")
    runs = [run for run in find_runs(dataset) if "seg" in run.tasks and run.summary_json.exists()
            and run.trained_on is None and run.ratio is None and method in (None, run.method)
            and plan in (None, run.plan) and start in (None, run.adapter)]  # fmt: skip
    if not runs:
        raise HtunetError(f"No run on {dataset.short_name} that learns masks is evaluated. Run htunet_run or "
                          "htunet_evaluate first.")  # fmt: skip
    kinds = {f"-m {run.method} -p {run.plan}" for run in runs}
    if len(kinds) > 1:
        raise UsageError(f"{dataset.short_name} has several methods: {', '.join(sorted(kinds))}. Name one.")
    seed = min(run.seed for run in runs)
    found = [run for run in runs if run.seed == seed]
    check_alike(found)
    for run in found:
        if are_of_earlier_files(run, read_object(run.summary_json, SUMMARY)["htunet"]):
            raise HtunetError(f"Images or masks of {dataset.short_name} have changed since {run.label} was evaluated. "
                              f"Evaluate it again: htunet_evaluate {dataset.short_name} {run.method}")  # fmt: skip
    return found


def tested_cases(dataset: DatasetPaths, runs: Sequence[RunPaths], number: int) -> Iterator[ReviewCase]:
    """Of the tested images in turn the worst and the most uncertain, each as the fold that tests it predicts it."""
    raw = read_raw(dataset)
    of: dict[str, tuple[RunPaths, float, float]] = {}
    for run in runs:
        calibration = calibration_of(run)
        expected = {}
        if run.expected_dice_csv.exists():
            for row in read_csv(run.expected_dice_csv, ("case", "expected_dice")):
                value = float(row["expected_dice"] or "nan")
                expected[row["case"]] = calibration(value).value if calibration and value == value else value
        for name, found in dice_of_cases(run.test_folder / "per_case.csv").items():
            of.setdefault(name, (run, float(np.mean(found)), expected.get(name, np.nan)))
    worst = sorted(of, key=lambda name: of[name][1])
    uncertain = sorted((name for name in of if of[name][2] == of[name][2]), key=lambda name: of[name][2])
    order = dict.fromkeys(one for pair in zip_longest(worst, uncertain) for one in pair if one in raw.by_id)
    for name in [*order][:number]:
        run, dice, predicted = of[name]
        case = raw.by_id[name]
        labels = read_labels(run.predictions / f"{name}.png")
        why = MISSED if not labels.any() and dice == 0 else f"Dice {dice:.2f}"
        facts = {"case": name, "source": case.source, "group": case.group, "class": case.class_name, "why": why,
                 "spacing_mm": spacing_text(case.spacing_mm), "dice": f"{dice:.3f}",
                 "predicted_dice": "" if predicted != predicted else f"{predicted:.3f}"}  # fmt: skip
        pixels = channels_last(read_image(raw.image_path(case), raw.info.channels))
        yield ReviewCase(name=name, pixels=pixels, labels=labels, facts=facts)


def new_cases(
    predict: Callable[[Path], Prediction], folder: Path, number: int
) -> tuple[list[ReviewCase], dict[str, str]]:
    """Of new images those in which nothing is found, then those unlike the training images, then the uncertain ones.

    Also the files that are excluded, with the reason: of several frames, or not readable. Raises UsageError for a model
    that makes no masks.
    """
    paths, excluded = images_in(folder), dict[str, str]()
    sources = [path.relative_to(folder).as_posix() if path != folder else path.name for path in paths]
    names = unique_ids(sources, [""] * len(paths))[0]
    found = []
    for path, source, name in zip(paths, sources, names, strict=True):
        try:
            frames = open_stack(path).frames
            if frames > 1:
                excluded[source] = f"{frames} frames; save those that are to be corrected as pictures"
                continue
            one = predict(path)
        except HtunetError as error:
            excluded[source] = str(error)
            continue
        dice = one.predicted_dice
        if one.labels is None:
            raise UsageError("The model makes no masks: there is nothing to correct.")
        why = UNLIKE if one.unlike else UNRANKED if dice is None else f"predicted Dice {dice.value:.2f}"
        why = why if one.labels.any() else NOTHING
        facts = {"source": source, "why": why, "predicted_dice": "" if dice is None else f"{dice.value:.3f}",
                 "spacing_mm": spacing_text(pixel_spacing(one.spacing_mm))}  # fmt: skip
        rank = (bool(one.labels.any()), not one.unlike, dice.value if dice else 0.0)
        found.append((rank, ReviewCase(name=name, pixels=channels_last(one.image_CHW), labels=one.labels, facts=facts)))
    return [case for _, case in sorted(found, key=lambda entry: entry[0])[:number]], excluded
