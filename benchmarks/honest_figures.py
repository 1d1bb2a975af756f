"""Whether what htunet_run says of its model holds on images it never had: ``python -m benchmarks.honest_figures``.

Several times some images of a converted data set are drawn, whole groups at a time, and given to ``htunet_run`` as a
folder; then its model predicts other images. Beside each other: the Dice that was reported and the true one, the Dice
predicted of each image and the true one, how often the intervals hold, how many images are flagged.

The reported Dice is that of a network of one fold, and the true one beside it the mean over the folds, each predicting
alone; that of the folds together comes beside it. Of several methods (``--methods``) also the naive figure: the chosen
one's own in the cross-validation that chose it.

``--epochs`` fixes the training, whatever the speed of the machine: what is left out of ``htunet_run`` then are the time
budget and the report. ``--correct N`` goes on: of a pool of new images N are corrected (their true masks), those that
``htunet_review`` chooses and others at random, and both trainings go on (``htunet_run --corrections``).

What is done is not done again: the same command continues after an interruption.
"""

import argparse
import csv
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet import api
from htunet.cli import run as run_module
from htunet.cli.convert import main as convert
from htunet.cli.review import main as review
from htunet.data.image_io import read_labels
from htunet.data.raw import Case, RawDataset, read_raw
from htunet.experiments.cross_validation import adaptive_of, begin, candidates_for, sizes_of, stored_schedule
from htunet.experiments.time_budget import Schedule, plan_of
from htunet.files import read_csv, read_json, write_json
from htunet.paths import ROOTS, DatasetPaths, all_datasets, find_dataset, root
from htunet.reproducibility import generator

RESULT = "result.json"
NAME = "Drawn"
WAYS = ("chosen", "random")
"""How the images to correct are found: by htunet_review, or drawn."""


def draw(raw: RawDataset, number: int, images: int) -> tuple[list[Case], list[Case]]:
    """Whole groups in a random order until there are enough images, and all the others."""
    groups: dict[str, list[Case]] = {}
    for case in raw.cases:
        groups.setdefault(case.group or case.id, []).append(case)
    names = sorted(groups)
    generator(number, "honest figures").shuffle(names)
    drawn: list[Case] = []
    while len(drawn) < images:
        drawn += groups[names.pop()]
    return drawn, [case for name in names for case in groups[name]]


def write_folder(raw: RawDataset, cases: list[Case], folder: Path) -> None:
    """``images/ID.png``, ``masks/ID.png`` with the values 0 and 255, and ``groups.csv``."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case in cases:
        shutil.copyfile(raw.image_path(case), folder / "images" / f"{case.id}.png")
        mask_HW = np.where(read_labels(raw.label_path(case)) > 0, 255, 0).astype(np.uint8)
        Image.fromarray(mask_HW).save(folder / "masks" / f"{case.id}.png")
    with (folder / "groups.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerows([("image", "group"), *((f"{case.id}.png", case.group or case.id) for case in cases)])


def dice_of(labels_HW: NDArray[np.uint8], true: Path) -> float:
    """Of the foreground; 1 where both masks are empty."""
    one, other = labels_HW > 0, np.asarray(Image.open(true)) > 0
    return float(2 * (one & other).sum() / total) if (total := one.sum() + other.sum()) else 1.0


def mean_dice(model: api.Model, folder: Path) -> tuple[float, float]:
    """Of ``folder/images`` with ``folder/masks``: as the model predicts, and without its post-processing."""
    values = []
    for path in sorted((folder / "images").glob("*.png")):
        found, true = model.predict(path), folder / "masks" / path.name
        values.append([dice_of(one.labels, true) for one in (found, replace(found, postprocessing={}))])
    done, plain = np.mean(values, axis=0).tolist()
    return done, plain


def call(command: Callable[[Sequence[str]], int], words: Sequence[object], folder: Path) -> None:
    """Another command, in this process; what it prints goes to ``folder/run.log``."""
    with (folder / "run.log").open("a", encoding="utf-8") as log, redirect_stdout(log):
        if code := command([str(word) for word in words]):
            raise SystemExit(f"{words}: exit code {code}; see {folder / 'run.log'}")


def fix_training(dataset: DatasetPaths, options: argparse.Namespace) -> None:
    """What htunet_run would decide by the time there is: every method, all folds, so many epochs."""
    api.plan(dataset.name, plans=["adaptive"], num_folds=options.num_folds, split_by="group", preprocess=False)
    candidates, _ = candidates_for(["seg"], options.methods, options.weights)
    num_folds, images, _ = sizes_of(dataset)
    folds = min(num_folds, options.trained_folds or num_folds)
    schedule = Schedule(candidates=tuple(candidates), num_folds=folds, scale=1.0, num_epochs=options.epochs,
                        seconds=0.0, given_up=())  # fmt: skip
    plan = plan_of(schedule, adaptive_of(dataset), images)
    plan = replace(plan, input_size=(options.side, options.side)) if options.side else plan
    begin(dataset, schedule, plan, candidates, hours=options.hours, num_folds=num_folds)


def run_one(raw: RawDataset, folder: Path, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """One draw in a folder of its own."""
    drawn, others = draw(raw, number, options.images)
    pool = others[: options.pool] if options.correct else []
    write_folder(raw, drawn, folder)
    write_folder(raw, pool, folder / "pool")
    write_folder(raw, others[len(pool) :][: options.most_others], folder / "others")
    os.environ.update({variable: str(folder / "htunet_data" / name) for variable, name in ROOTS.items()
                       if variable != "htunet_weights"})  # fmt: skip
    own = ["--images", folder / "images", "--masks", folder / "masks", "--groups", folder / "groups.csv", "--name",
           NAME]  # fmt: skip
    if options.epochs and not all_datasets():
        call(convert, own, folder)
    if options.epochs and not stored_schedule(find_dataset(NAME)):
        fix_training(find_dataset(NAME), options)
    weights = ["--weights", options.weights] if options.weights else []
    asked = [*own, "--hours", options.hours, "--methods", *options.methods, *weights]
    call(run_module.main, ["-d", NAME] if options.epochs else asked, folder)
    dataset = find_dataset(NAME)
    choice = read_json(dataset.results / "run" / "choice.json")["seg"]
    folds = [*range(read_json(dataset.results / "run" / "schedule.json")["schedule"]["num_folds"])]
    model = f"{NAME} {choice['method']}"
    if options.correct:
        return {"draw": number} | corrected(folder, model, folds, options.correct)
    alone = [mean_dice(api.load(model, fold, plan="run"), folder / "others") for fold in folds]
    true, plain = np.mean(alone, axis=0).tolist()
    after = choice["postprocessing"]
    reported = after["expected"] if after["steps"] else choice["expected"]
    result: dict[str, Any] = {"draw": number, "method": choice["method"], "reported": reported, "true": true}
    result |= {"nested": choice["expected"]["mean"], "naive": choice["own"][choice["method"]]["mean"], "plain": plain}
    together = api.load(model, folds=folds, plan="run")
    together.predict_folder(sorted((folder / "others" / "images").glob("*.png")), folder / "found")
    names = [path.name for path in sorted((folder / "found").glob("*.png"))]
    real = {name: dice_of(read_labels(folder / "found" / name), folder / "others" / "masks" / name) for name in names}
    result |= {"folds": len(folds), "others": len(real), "together": float(np.mean([*real.values()]))}
    return result | _of_images(folder / "found", real)


def corrected(folder: Path, model: str, folds: Sequence[int], count: int) -> dict[str, Any]:
    """The Dice of images that no training has, before and after ``count`` images of the pool were corrected.

    Without post-processing, which is chosen by the first cross-validation alone.
    """
    result: dict[str, Any] = {"before": mean_dice(api.load(model, folds=[*folds], plan="run"), folder / "others")[1]}
    pool = sorted((folder / "pool" / "images").glob("*.png"))
    drawn = generator(len(pool), str(folder.name)).permutation(len(pool))[:count]
    for way, paths in zip(WAYS, (pool, [pool[position] for position in drawn]), strict=True):
        images, given = folder / way / "images", folder / way / "review"
        images.mkdir(parents=True, exist_ok=True)
        for path in paths:
            shutil.copyfile(path, images / path.name)
        if not given.exists():
            call(review, ["-d", NAME, "-i", images, "-o", given, "-n", count], folder)
        for path in (given / "masks").glob("*.png"):
            shutil.copyfile(folder / "pool" / "masks" / path.name, path)
        names = {*all_datasets()}
        call(run_module.main, ["-d", NAME, "--corrections", given], folder)
        record = folder / way / "dataset.json"
        if new := {*all_datasets()} - names:
            write_json(record, {"name": new.pop()})
        after = api.load(read_json(record)["name"], model.split()[1], folds=[*folds], plan="run")
        result[way] = mean_dice(after, folder / "others")[1]
    return result


def _of_images(found: Path, real: dict[str, float]) -> dict[str, object]:
    """What quality.csv says of each mask in which something was found, beside the truth."""
    rows = read_csv(found / "quality.csv", ("mask", "predicted_dice", "low", "high"))
    rows = [row for row in rows if row["predicted_dice"]]
    values: NDArray[np.float64] = np.array(
        [[float(row["predicted_dice"]), float(row["low"]), float(row["high"]), real[row["mask"]]] for row in rows]
    ).reshape(-1, 4)
    flags = [row.get("unlike") == "yes" for row in read_csv(found / "quality.csv", ("mask",))]
    predicted, low, high, true = values.T
    return {
        "predicted": float(predicted.mean()),
        "true_of_predicted": float(true.mean()),
        "held": float(((low <= true) & (true <= high)).mean()),
        "flagged": float(np.mean(flags)),
    }


def interval(values: Sequence[float]) -> str:
    """The mean with its 95 % interval over draws, by Student's t."""
    from scipy import stats

    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):+.4f} [{np.mean(values) - half:+.4f}, {np.mean(values) + half:+.4f}]"


def print_summary(results: Sequence[dict[str, Any]]) -> None:
    """Over all draws, where there are several."""
    if "before" in results[0]:
        for way in WAYS:
            print(f"{way} less before: {interval([one[way] - one['before'] for one in results])}")
        print(f"chosen less random: {interval([one['chosen'] - one['random'] for one in results])}")
        return
    held = [one["reported"]["low"] <= one["true"] <= one["reported"]["high"] for one in results]
    print(f"\nreported less true: {interval([one['reported']['mean'] - one['true'] for one in results])}")
    print(f"without post-processing: {interval([one['nested'] - one['plain'] for one in results])}")
    print(f"naive less true: {interval([one['naive'] - one['plain'] for one in results])}")
    print(f"naive less nested: {interval([one['naive'] - one['nested'] for one in results])}")
    print(f"the reported interval holds in {sum(held)} of {len(held)} draws")


def main() -> None:
    """Every draw, then a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="converted, with masks, such as BUSI")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for all draws")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=1, help="number of the first draw, for several processes")
    parser.add_argument("--images", type=int, default=100, help="of a draw")
    parser.add_argument("--most-others", type=int, help="predict no more than these of the others")
    parser.add_argument("--hours", type=float, default=1.0, help="of a draw")
    parser.add_argument("--methods", nargs="+", default=["UNet"])
    parser.add_argument("--weights", help="as htunet_run has it")
    parser.add_argument("--epochs", type=int, help="of each training, instead of what fits into --hours")
    parser.add_argument("--num-folds", type=int, default=3, help="with --epochs")
    parser.add_argument("--trained-folds", type=int, help="with --epochs: the first ones alone")
    parser.add_argument("--side", type=int, help="with --epochs: side of the networks' square inputs, pixels")
    parser.add_argument("--correct", type=int, help="correct so many images of a pool, and train on")
    parser.add_argument("--pool", type=int, default=60, help="new images to choose from")
    options = parser.parse_args()
    if options.epochs:
        step = run_module.run_step
        run_module.run_step = lambda name, *words: None if name == "report" else step(name, *words)  # type: ignore[assignment]
    home = {variable: str(root(variable)) for variable in ROOTS}
    raw, results = read_raw(find_dataset(options.dataset)), []
    for number in range(options.first, options.draws + 1):
        path = options.output.resolve() / f"draw_{number}" / RESULT
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, run_one(raw, path.parent, number, options))
            os.environ.update(home)
        results.append(read_json(path))
        print(json.dumps(results[-1]), flush=True)
    if options.correct:
        print("\n| draw | before | after, chosen | after, random |\n|---|---|---|---|")
        for one in results:
            print(" | ".join([f"| {one['draw']}", *(f"{one[name]:.3f}" for name in ("before", *WAYS))]), "|")
    else:
        print("\n| draw | method | reported [95 %] | naive | true, folds alone | together | predicted | true | held | "
              "flagged |\n" + "|---" * 10 + "|")  # fmt: skip
        for one in results:
            own = one["reported"]
            shown = f"{own['mean']:.3f} [{own['low']:.3f}, {own['high']:.3f}]"
            names = ("naive", "true", "together", "predicted", "true_of_predicted", "held", "flagged")
            print(" | ".join([f"| {one['draw']} | {one['method']}", shown, *(f"{one[n]:.3f}" for n in names)]), "|")
    if len(results) > 1:
        print_summary(results)


if __name__ == "__main__":
    main()
