"""Run the whole pipeline on simulated ultrasound images: simulate, convert, plan, train, evaluate, predict, report.

Neither a network connection nor a GPU is needed.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from htunet.cli.command import make_parser, run_command, run_step, train_step
from htunet.errors import counted
from htunet.paths import ROOTS, RunPaths, find_dataset

DATASET = "Phantom"


def main(argv: Sequence[str] | None = None) -> int:
    """``htunet_demo``: what a user would type, command after command, each printed before it runs."""
    parser = make_parser("htunet_demo", __doc__)
    parser.add_argument("-o", "--folder", type=Path, default=Path("demo"), help="folder for all files (default: demo)")
    parser.add_argument("--images", type=int, help="number of simulated images (default: that of the demo plan)")
    parser.add_argument("--num-epochs", type=int, help="number of epochs (default: that of the demo plan)")
    return run_command(parser, _demo, argv, announce=False)


def _demo(options: argparse.Namespace) -> None:
    from htunet.data.split_files import load_splits
    from htunet.experiments.demo_plan import METHOD, NUM_IMAGES, PLAN, add_demo_plan, dice_before_training
    from htunet.files import read_bytes, read_json, whole_folder

    started = time.perf_counter()
    home = options.folder.resolve()
    for variable, name in ROOTS.items():
        if variable != "htunet_weights" or not os.environ.get(variable):
            os.environ[variable] = str(home / name)
    phantom = home / "phantom"
    make_phantom(phantom, options.images or NUM_IMAGES)
    run_step("convert", DATASET, str(phantom))
    run_step("plan_and_preprocess", "-d", DATASET, "--plan", "paper")
    dataset = find_dataset(DATASET)
    add_demo_plan(dataset)
    run_step("plan_and_preprocess", "-d", DATASET, "--plan", PLAN)
    test = load_splits(dataset.splits_json)[0]["test"]
    before = dice_before_training(dataset, test)
    print(f"\nBefore any training: mean test Dice {before:.3f} with the weights that come with htunet, which have seen "
          "simulated images of the same kind alone.")  # fmt: skip
    epochs = ["--num-epochs", str(options.num_epochs)] if options.num_epochs else []
    run = RunPaths(dataset, "SegmentationTrainer", PLAN, METHOD, 0, 1)
    train_step(run, DATASET, METHOD, "fold0", "--plan", PLAN, *epochs)
    run_step("evaluate", DATASET, METHOD)
    predicted = home / "predicted"  # three test images, as if they were a user's new ones
    with whole_folder(predicted / "images") as part:
        for case in test[:3]:
            image = read_bytes(dataset.raw / "imagesTr" / f"{case}_0000.png")
            (part / f"{case}.png").write_bytes(image)
    folders = ("-i", str(predicted / "images"), "-o", str(predicted / "masks"))
    run_step("predict", *folders, "-d", DATASET, "-m", METHOD, "--overlays")
    run_step("report", DATASET)
    dice = read_json(run.summary_json)["foreground_mean"]["Dice"]
    minutes = (time.perf_counter() - started) / 60
    print(f"\nDone in {minutes:.1f} minutes. Mean test Dice at the original size: {before:.3f} before any training, "
          f"{dice:.3f} after it ({METHOD}).")  # fmt: skip
    print("Your own images: see documentation/start/your_own_images.md")
    print(f"Look at:  {dataset.results / 'report.html'}")


def make_phantom(folder: Path, images: int) -> None:
    """Simulate the demo's ultrasound images into ``folder``, with their captions, unless the folder exists."""
    if folder.exists():
        print(f"The phantom exists already: {folder}")
        return
    from dataset_conversion.phantom.scan import write_phantom
    from htunet.experiments.demo_plan import NORMAL_SHARE, SEED
    from htunet.parallel import available_cores

    print(f"Simulating {counted(images, 'ultrasound image')}: {folder}", flush=True)
    write_phantom(folder, num_images=images, seed=SEED, workers=available_cores(), normal_share=NORMAL_SHARE)


if __name__ == "__main__":
    sys.exit(main())
