"""Whether classification learns: the phantom's benign and malignant lesions, patients on one side, test AUC.

    python -m benchmarks.classification_learning [--images 1500] [--methods ResNet18 CLIP_HT] [--epochs 8]

Frozen weights are random. The images are small, so that a core needs minutes.
"""

import argparse
from pathlib import Path

from benchmarks.phantom_home import prepare_phantom
from benchmarks.stage1_learning import run
from htunet.cli.evaluate import main as evaluate
from htunet.cli.train import main as train

PLAN, SIDE, LEARNING_RATE = "small", 112, 1e-3


def main() -> None:
    """Train each method, and print the table of the test split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--methods", nargs="+", default=["ResNet18", "CLIP_HT"])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("classification_phantom"))
    options = parser.parse_args()
    changes = {"input_size": (SIDE, SIDE), "learning_rate": LEARNING_RATE}
    prepare_phantom(options.folder.resolve(), PLAN, images=options.images, split_by="group", **changes)
    for method in options.methods:
        choice = ["--plan", PLAN, "--task", "cls", "--num-epochs", str(options.epochs), "--weights", "random"]
        run(train, "Phantom", method, "fold0", *choice)
    run(evaluate, "Phantom")


if __name__ == "__main__":
    main()
