"""Whether more images teach more: UNet on shares of the phantom's training images, test Dice, three seeds.

    python -m benchmarks.few_shot_learning [--images 300] [--steps 160] [--folder DIR]

Every run has about the same number of steps: a share of the images gets as many more epochs. (``htunet_train --ratio``
alone keeps the epochs, as the paper seems to do.) The picture and the tables are those of ``htunet_evaluate``.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from benchmarks.stage1_learning import run
from dataset_conversion.phantom import write_phantom
from htunet.cli.convert import main as convert
from htunet.cli.evaluate import main as evaluate
from htunet.cli.plan_and_preprocess import main as plan_and_preprocess
from htunet.cli.train import main as train
from htunet.data.few_shot import RATIOS
from htunet.data.split_files import load_splits
from htunet.paths import ROOTS, find_dataset, root
from htunet.planning.plans import load_plans, save_plans

PLAN, SIDE, BATCH = "few", 96, 8


def main() -> None:
    """Train 7 shares and all images with each seed, evaluate, and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, default=Path("few_shot_phantom"))
    options = parser.parse_args()
    home = options.folder.resolve()
    for variable, name in ROOTS.items():
        os.environ[variable] = str(home / name)
    if not (home / "phantom").exists():
        write_phantom(home / "phantom", num_images=options.images, seed=1, normal_share=0.05)
    run(convert, "Phantom", str(home / "phantom"), "--workers", "1")
    run(plan_and_preprocess, "-d", "Phantom", "--plan", "paper", "--workers", "0")
    dataset = find_dataset("Phantom")
    plans = load_plans(dataset.plans_json)
    small = replace(plans["paper"], name=PLAN, input_size=(SIDE, SIDE), learning_rate=2e-3)
    save_plans(dataset.plans_json, plans | {PLAN: replace(small, batch_size=BATCH, accumulation=1)})
    run(plan_and_preprocess, "-d", "Phantom", "--plan", PLAN, "--workers", "0")
    images = len(load_splits(dataset.splits_json)[0]["train"])
    for seed in options.seeds:
        for ratio in (*RATIOS, 1.0):
            steps_an_epoch = -(-max(round(ratio * images), 2) // BATCH)
            epochs = str(max(options.steps // steps_an_epoch, 1))
            share = ["--ratio", repr(ratio)] if ratio < 1 else []
            run(train, "Phantom", "UNet", "fold0", "--plan", PLAN, "--seed", str(seed), "--num_epochs", epochs, *share)
    run(evaluate, "Phantom")
    print(f"Look at {root('htunet_results') / 'tables' / 'few_shot_segmentation.png'}")


if __name__ == "__main__":
    main()
