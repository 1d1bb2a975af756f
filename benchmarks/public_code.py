"""What the differences between plan ``paper`` and plan ``public`` do to values that can be measured without a long run.

    python -m benchmarks.public_code [--dataset BUSI] [--folder DIR]

Without ``--dataset`` on 60 images of the phantom. A converted data set is planned with both plans where it is not. The
last part reads the recorded runs of benchmarks/results.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.phantom_home import prepare_phantom
from benchmarks.stage1_learning import run
from htunet.cli.plan_and_preprocess import main as plan_and_preprocess
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.models.build import build_network
from htunet.models.tasks import Outputs
from htunet.paths import DatasetPaths, find_dataset
from htunet.planning.plans import Plan, load_plans
from htunet.training.augmentation.augment import Augmentation
from htunet.training.losses.classification import focal, sigmoid_focal
from htunet.training.losses.segmentation import dice_cross_entropy

BATCH = 32
RECORDED = Path(__file__).parent / "results"
DIAGONAL = np.hypot(224, 224)
"""The distance that an empty mask counts with, in pixels of the input."""
PUBLIC = {"background": True, "squared": True, "smoothing": 1e-8}


def say(what: str, text: str) -> None:
    """One line."""
    print(f"{what:<40} {text}", flush=True)


def compare_images(paper: PreprocessedDataset, public: PreprocessedDataset) -> None:
    """How far the resized pixels of both plans are apart, in gray values of 0 to 255."""
    ours, theirs = (np.asarray(one.images, dtype=np.int16) for one in (paper, public))
    apart = np.abs(ours - theirs)
    masks = float((np.asarray(paper.masks) != np.asarray(public.masks)).mean())
    say("resize", f"mean {apart.mean():.2f}, 99 % {np.percentile(apart, 99):.0f}, most {apart.max()} gray values")
    say("resize, masks", f"{100 * masks:.4f} % of the pixels differ")


def compare_augmentations(data: PreprocessedDataset, rows: list[int], plans: dict[str, Plan]) -> None:
    """How often an image is left alone, and how far its gray values move."""
    for name, plan in plans.items():
        augment, moved, alone, outlines = Augmentation.from_plan(plan), [], 0, 0
        for row in rows:
            for epoch in range(4):
                image, mask = augment(data.images[row], data.masks[row], 1, epoch, row)
                change = np.abs(image.astype(np.int16) - data.images[row]).mean()
                moved.append(change)
                alone += not change
                outlines += bool((mask != data.masks[row]).any())
        number = len(moved)
        text = f"{100 * alone / number:.0f} % unchanged, gray values move by {np.mean(moved):.1f} in the mean"
        say(f"augmentation, {name}", f"{text}, mask moves in {100 * outlines / number:.0f} %")


def compare_losses(data: PreprocessedDataset, rows: list[int]) -> None:
    """Both losses of made-up scores that fit the masks more and more, and their gradients; then aligned corners."""
    labels = torch.from_numpy(np.asarray(data.masks[rows]))
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (len(rows), 2, *labels.shape[1:]))).float()
    for fit in (0.0, 1.0, 3.0):
        towards = torch.stack([1 - labels, labels], dim=1).float() * fit
        values, gradients = [], []
        for parameters in ({}, PUBLIC):
            scores = (noise + towards).requires_grad_()
            loss = dice_cross_entropy(scores, labels, **parameters).mean()  # type: ignore[arg-type]
            loss.backward()
            values.append(loss.item())
            assert scores.grad is not None
            gradients.append(scores.grad.flatten())
        cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0).item()
        length = (gradients[1].norm() / gradients[0].norm()).item()
        right = 100 * ((noise + towards).argmax(dim=1) == labels).float().mean().item()
        text = f"{values[0]:.3f} (public {values[1]:.3f}), gradients: cosine {cosine:.2f}, length {length:.2f} of ours"
        say(f"loss, {right:.0f} % of pixels right", text)
    images = torch.from_numpy(np.asarray(data.images[rows[:4]])).float() / 255
    outputs = Outputs(task="seg", num_labels=2)
    found = []
    for aligned in (False, True):
        network, _ = build_network("UNet", replace(outputs, align_corners=aligned), seed=1, weights="random")
        torch.manual_seed(1)  # of the dropout: normalisation needs the batch's own statistics, as in training
        with torch.no_grad():
            found.append(network.train()(images))
    ours, theirs = found
    change = 100 * ((ours - theirs).norm() / ours.norm()).item()
    say("align_corners", f"the scores of an untrained UNet with the same weights change by {change:.1f} %")


def compare_classes() -> None:
    """Both focal losses of one batch of made-up scores, and the two heads."""
    scores = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (64, 2))).float()
    classes = torch.arange(64) % 2
    say(
        "focal loss",
        f"{float(focal(scores, classes).mean()):.3f} (public {float(sigmoid_focal(scores, classes).mean()):.3f})",
    )
    for name, head in (("paper", "hidden_layer"), ("public", "linear")):
        outputs = Outputs(task="cls", num_labels=2, num_classes=2, class_head=head)
        network, _ = build_network("BiomedCLIP", outputs, seed=1, weights="random")
        number = sum(p.numel() for p in network.parameters() if p.requires_grad)
        say(f"class head, {name}", f"{number:,} trainable parameters")


def read_recorded() -> None:
    """Selection every tenth epoch, and each definition of the distances, on the recorded runs."""
    for folder in sorted(RECORDED.glob("split_by_*/*_UNet")):
        name = f"{folder.parent.name}, {folder.name}"
        curves = [pd.read_csv(path).val_metric for path in sorted(folder.glob("seed_*/progress.csv"))]
        gain = [100 * (curve.max() - curve[9::10].max()) for curve in curves if curve.notna().all()]
        if gain:  # plan public validates every tenth epoch alone
            say(name, f"best validation Dice is {np.mean(gain):.2f} points lower with every tenth epoch alone")
        tables = [pd.read_csv(path) for path in sorted(folder.glob("seed_*/per_case.csv"))]
        cases = pd.concat([table[table.resolution == "input_size"] for table in tables])
        empty = np.isclose(cases.hd95, DIAGONAL)
        kept = cases[~empty]
        say(f"{name}, HD95", f"{cases.hd95.mean():.1f}; without the {empty.sum()} empty ones of {len(cases)} "
            f"{kept.hd95.mean():.1f}; of these the larger directed {kept.hd95_max.mean():.1f}")  # fmt: skip
        say(f"{name}, ASD", f"{cases.asd.mean():.1f}; without empty ones {kept.asd.mean():.1f}; of these one direction "
            f"{kept.asd_directed.mean():.1f}")  # fmt: skip


def prepared(options: argparse.Namespace) -> DatasetPaths:
    """The data set with the arrays of both plans."""
    if options.dataset is None:
        prepare_phantom(options.folder.resolve(), "paper", images=60, split_by="image")
    dataset = find_dataset(options.dataset or "Phantom")
    run(plan_and_preprocess, "-d", dataset.name, "--plan", "paper", "public")
    return dataset


def main() -> int:
    """Print all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="a converted data set with masks, such as BUSI; default: the phantom")
    parser.add_argument("--folder", type=Path, default=Path("public_code_phantom"))
    options = parser.parse_args()
    dataset = prepared(options)
    plans = {name: plan for name, plan in load_plans(dataset.plans_json).items() if name in ("paper", "public")}
    paper, public = (PreprocessedDataset(dataset.plan_folder(name)) for name in plans)
    train = load_splits(dataset.splits_json)[0]["train"]
    rows = paper.rows(train)
    say(dataset.short_name, f"{len(paper.cases)} images")
    compare_images(paper, public)
    compare_augmentations(paper, rows[:100], plans)
    compare_losses(paper, rows[:BATCH])
    whole = len(train) // 32 * 32
    say("last batch", f"plan public leaves out {len(train) - whole} of {len(train)} images in each epoch")
    compare_classes()
    read_recorded()
    return 0


if __name__ == "__main__":
    sys.exit(main())
