"""Whether more images teach more: UNet on shares of the phantom's training images, test Dice, three seeds.

    python -m benchmarks.few_shot_learning [--images 300] [--steps 160] [--folder DIR]

Every run has about the same number of steps: a share of the images gets as many more epochs. (``htunet_train --ratio``
alone keeps the epochs, as the paper seems to do.) The picture and the tables are those of ``htunet_evaluate``.
"""

import argparse
from pathlib import Path

from benchmarks.phantom_home import prepare_phantom
from benchmarks.stage1_learning import run
from htunet.cli.evaluate import main as evaluate
from htunet.cli.train import main as train
from htunet.data.few_shot import RATIOS
from htunet.data.split_files import load_splits
from htunet.paths import root

PLAN, SIDE, BATCH = "few", 96, 8


def main() -> None:
    """Train 7 shares and all images with each seed, evaluate, and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, default=Path("few_shot_phantom"))
    options = parser.parse_args()
    changes = {"input_size": (SIDE, SIDE), "learning_rate": 2e-3, "batch_size": BATCH}
    home = options.folder.resolve()
    dataset = prepare_phantom(home, PLAN, images=options.images, split_by="image", normal_share=0.05, **changes)
    images = len(load_splits(dataset.splits_json)[0]["train"])
    for seed in options.seeds:
        for ratio in (*RATIOS, 1.0):
            steps_an_epoch = -(-max(round(ratio * images), 2) // BATCH)
            epochs = str(max(options.steps // steps_an_epoch, 1))
            share = ["--ratio", repr(ratio)] if ratio < 1 else []
            run(train, "Phantom", "UNet", "fold0", "--plan", PLAN, "--seed", str(seed), "--num-epochs", epochs, *share)
    run(evaluate, "Phantom")
    print(f"Look at {root('htunet_results') / 'tables' / 'few_shot_segmentation.png'}")


if __name__ == "__main__":
    main()
