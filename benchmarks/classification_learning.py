"""Whether classification learns: the phantom's benign and malignant lesions, patients on one side, test AUC.

    python -m benchmarks.classification_learning [--images 1500] [--methods ResNet18 CLIP_HT] [--epochs 8]

Frozen weights are random. The images are small, so that a core needs minutes.
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
from htunet.paths import ROOTS, find_dataset
from htunet.planning.plans import load_plans, save_plans

PLAN, SIDE, LEARNING_RATE = "small", 112, 1e-3


def main() -> None:
    """Train each method, and print the table of the test part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--methods", nargs="+", default=["ResNet18", "CLIP_HT"])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("classification_phantom"))
    options = parser.parse_args()
    home = options.folder.resolve()
    for variable, name in ROOTS.items():
        os.environ[variable] = str(home / name)
    if not (home / "phantom").exists():
        write_phantom(home / "phantom", num_images=options.images, seed=1, normal_share=0.0)
    run(convert, "Phantom", str(home / "phantom"), "--workers", "1")
    run(plan_and_preprocess, "-d", "Phantom", "--plan", "paper", "--split-by", "group", "--workers", "0")
    dataset = find_dataset("Phantom")
    plans = load_plans(dataset.plans_json)
    small = replace(plans["paper"], name=PLAN, input_size=(SIDE, SIDE), learning_rate=LEARNING_RATE)
    save_plans(dataset.plans_json, plans | {PLAN: small})
    run(plan_and_preprocess, "-d", "Phantom", "--plan", PLAN, "--workers", "0")
    for method in options.methods:
        choice = ["--plan", PLAN, "--task", "cls", "--num_epochs", str(options.epochs), "--weights", "random"]
        run(train, "Phantom", method, "fold0", *choice)
    run(evaluate, "Phantom")


if __name__ == "__main__":
    main()
