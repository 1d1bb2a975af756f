"""Whether what htunet_run says of its model holds on images it never had: ``python -m benchmarks.honest_figures``.

Several times some images of a converted data set are drawn, whole groups at a time, and given to ``htunet_run`` as a
folder; then its model predicts all the other images. Beside each other: the Dice that was reported and the true one,
the Dice predicted of each image and the true one, how often the intervals hold, how many images are flagged.

What is done is not done again: the same command continues after an interruption.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from htunet import api
from htunet.data.image_io import read_labels
from htunet.data.raw import Case, RawDataset, read_raw
from htunet.files import read_csv, read_json, write_json
from htunet.paths import ROOTS, find_dataset, root
from htunet.reproducibility import generator

RESULT = "result.json"
NAME = "Drawn"


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


def dice_of(folder: Path, true: Path) -> dict[str, float]:
    """Of the foreground, by the name of the mask; 1 where both masks are empty."""
    found = {}
    for path in sorted(folder.glob("*.png")):
        one, other = read_labels(path) > 0, np.asarray(Image.open(true / path.name)) > 0
        found[path.name] = float(2 * (one & other).sum() / total) if (total := one.sum() + other.sum()) else 1.0
    return found


def run_one(raw: RawDataset, folder: Path, number: int, options: argparse.Namespace) -> dict[str, object]:
    """One draw in a folder of its own."""
    drawn, others = draw(raw, number, options.images)
    write_folder(raw, drawn, folder)
    write_folder(raw, others[: options.most_others], folder / "others")
    homes = {variable: str(folder / "htunet_data" / name) for variable, name in ROOTS.items()} | {
        "htunet_weights": str(root("htunet_weights"))
    }
    command = [sys.executable, "-m", "htunet.cli.run", "--images", str(folder / "images"), "--masks",
               str(folder / "masks"), "--groups", str(folder / "groups.csv"), "--name", NAME,
               "--hours", str(options.hours), "--methods", *options.methods]  # fmt: skip
    with (folder / "run.log").open("a", encoding="utf-8") as log:
        subprocess.run(command, check=True, env=os.environ | homes, stdout=log, stderr=log)
    os.environ.update(homes)
    dataset = find_dataset(NAME)
    choice = read_json(dataset.results / "run" / "choice.json")["seg"]
    folds = range(read_json(dataset.results / "run" / "schedule.json")["schedule"]["num_folds"])
    model = api.load(f"{NAME} {choice['method']}", folds=list(folds), plan="run")
    images = sorted((folder / "others" / "images").glob("*.png"))
    model.predict_folder(images, folder / "found")
    alone = api.load(f"{NAME} {choice['method']} fold0", plan="run")
    alone.predict_folder(images, folder / "found_by_fold0")
    true = folder / "others" / "masks"
    real, of_fold0 = dice_of(folder / "found", true), dice_of(folder / "found_by_fold0", true)
    result: dict[str, object] = {"draw": number, "method": choice["method"], "reported": choice["expected"]}
    result |= {"folds": len(folds), "others": len(real), "true": float(np.mean(list(real.values())))}
    return result | {"true_fold0": float(np.mean(list(of_fold0.values()))), **_of_images(folder / "found", real)}


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


def main() -> None:
    """Every draw, then a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="converted, with masks, such as BUSI")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for all draws")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--images", type=int, default=100, help="of a draw")
    parser.add_argument("--most-others", type=int, help="predict no more than these of the others")
    parser.add_argument("--hours", type=float, default=1.0, help="of a draw")
    parser.add_argument("--methods", nargs="+", default=["UNet"])
    options = parser.parse_args()
    home = {variable: str(root(variable)) for variable in ROOTS}
    raw, results = read_raw(find_dataset(options.dataset)), []
    for number in range(1, options.draws + 1):
        path = options.output.resolve() / f"draw_{number}" / RESULT
        if not path.exists():
            write_json(path, run_one(raw, path.parent, number, options))
            os.environ.update(home)
        results.append(read_json(path))
        print(json.dumps(results[-1]), flush=True)
    print("\n| draw | reported [95 %] | true, folds together | true, fold 0 | predicted | true | held | flagged |")
    print("|---|---|---|---|---|---|---|---|")
    for one in results:
        own = one["reported"]
        interval = f"{own['mean']:.3f} [{own['low']:.3f}, {own['high']:.3f}]"
        names = ("true", "true_fold0", "predicted", "true_of_predicted", "held", "flagged")
        print(" | ".join([f"| {one['draw']}", interval, *(f"{one[name]:.3f}" for name in names)]), "|")


if __name__ == "__main__":
    main()
