"""Whether UNet learns equally with what makes it faster: htunet's training beside a plain PyTorch loop, three seeds.

    python -m benchmarks.equal_learning BUSI_SOURCE [--images 128] [--side 96] [--epochs 20] [--seeds 1 2 3]

Both see the same augmented images in the same order, start from the same weights, and follow the same learning rate.
The plain loop has PyTorch's usual memory layout, its own dropout and AdamW, in fp32. What differs within a seed is
compared with what differs between the seeds. Curves are written to benchmarks/results/equal_learning.json and .png.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from benchmarks.phantom_home import prepare
from benchmarks.training_step import as_users_write_it
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.experiments.step_time import Trial
from htunet.models.build import build_network
from htunet.models.precision import fp32_products, has_bf16
from htunet.paths import DatasetPaths
from htunet.planning.plans import Plan, load_plan
from htunet.training.augmentation.augment import Augmentation
from htunet.training.loader import BatchOrder, TrainingImages
from htunet.training.loop import Data, Events, Loop, fit, learning_rate
from htunet.training.losses.segmentation import dice_cross_entropy
from htunet.training.state import Progress
from htunet.training.validation_metrics import hard_dice, mean_dice

PLAN = "equal"
RESULTS = Path(__file__).parent / "results"
LAST = 5
"""Epochs whose mean is compared: one alone is noisy."""
FIGURES = {"train_loss": "training loss", "val_loss": "validation loss", "val_dice": "validation Dice"}
PLAIN = "plain PyTorch, fp32"
Curve = list[dict[str, float]]
"""Of each epoch the ``FIGURES``."""


def in_htunet(plan: Plan, data: Data, seed: int, epochs: int, precision: str) -> Curve:
    """Its own loop, with everything that makes it fast."""
    trial = Trial("UNet", "seg", plan, precision=precision, device="cpu")
    network, _ = build_network("UNet", plan.outputs("seg"), seed=seed, weights="random")
    trial.network.load_state_dict(network.state_dict())
    loop = Loop(fabric=trial.fabric, trainer=trial.trainer, network=trial.network, forward=trial.forward,
                optimizer=trial.optimizer, plan=plan, data=data, seed=seed, num_epochs=epochs, workers=0)  # fmt: skip
    progress = Progress()
    with fp32_products(trial.precision):
        fit(loop, progress, Events(after_step=lambda *_: None, after_epoch=lambda *_: None,
                                   stop_requested=lambda: False))  # fmt: skip
    return [
        {"train_loss": one.train_loss, "val_loss": one.val_loss or 0.0, "val_dice": one.val_metric or 0.0}
        for one in progress.history
    ]


def in_plain_pytorch(plan: Plan, data: Data, seed: int, epochs: int) -> Curve:
    """The same as a loop that a PyTorch user would write."""
    network, _ = build_network("UNet", plan.outputs("seg"), seed=seed, weights="random")
    as_users_write_it(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, betas=plan.betas,
                                  weight_decay=plan.weight_decay)  # fmt: skip
    order = BatchOrder(data.train_rows, plan.batch_size, seed)
    torch.manual_seed(seed)
    curve: Curve = []
    for epoch in range(epochs):
        network.train()
        losses = []
        for step in range(epoch * order.per_epoch, (epoch + 1) * order.per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(plan.learning_rate, step, epochs * order.per_epoch)
            batch = data.images.collate([data.images[key] for key in order.batch(step)])
            loss = dice_cross_entropy(network(batch.images), batch.masks).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        network.eval()
        with torch.no_grad():
            batch = data.images.as_they_are(data.val_rows)
            scores = network(batch.images)
        figures = {"val_loss": float(dice_cross_entropy(scores, batch.masks).mean())}
        figures["val_dice"] = mean_dice(hard_dice(scores, batch.masks))
        curve.append({"train_loss": statistics.mean(losses)} | figures)
    return curve


def learn(dataset: DatasetPaths, images: int, seeds: Sequence[int], epochs: int) -> dict[str, list[Curve]]:
    """The curves of each version, one for each seed."""
    plan = load_plan(dataset.plans_json, PLAN)
    arrays, fold = PreprocessedDataset(dataset.plan_folder(PLAN), plan.classes), load_splits(dataset.splits_json)[0]
    precisions = ["fp32", *(["bf16"] if has_bf16("cpu") else [])]
    found: dict[str, list[Curve]] = {PLAIN: [], **{f"htunet, {one}": [] for one in precisions}}
    for seed in seeds:
        shown = TrainingImages(arrays, Augmentation.from_plan(plan), seed)
        data = Data(train_rows=arrays.rows(fold["train"])[:images], val_rows=arrays.rows(fold["val"]), images=shown)
        found[PLAIN].append(in_plain_pytorch(plan, data, seed, epochs))
        for one in precisions:
            found[f"htunet, {one}"].append(in_htunet(plan, data, seed, epochs, one))
        print(f"seed {seed}", *lines({name: [curves[-1]] for name, curves in found.items()}), sep="\n", flush=True)
    return found


def last(curve: Curve, figure: str) -> float:
    """The mean of a figure over the last epochs."""
    return statistics.mean(one[figure] for one in curve[-LAST:])


def lines(found: dict[str, list[Curve]]) -> Iterator[str]:
    """A table: mean of the seeds, deviation between them, and the mean difference to the plain loop within a seed."""
    yield f"| version | {' | '.join(FIGURES.values())} |"
    yield "|---|" + "---|" * len(FIGURES)
    for name, curves in found.items():
        cells = []
        for figure in FIGURES:
            values, plain = ([last(curve, figure) for curve in some] for some in (curves, found[PLAIN]))
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            difference = statistics.mean(one - other for one, other in zip(values, plain, strict=True))
            cells.append(f"{statistics.mean(values):.3f}{spread}" + (f", {difference:+.3f}" if name != PLAIN else ""))
        yield f"| {name} | {' | '.join(cells)} |"


def draw(found: dict[str, list[Curve]], path: Path) -> None:
    """The curves: a colour for each version, a line for each seed."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, len(FIGURES)), FIGURES.items(), strict=True):
        for colour, (name, curves) in zip(("#222222", "#1f77b4", "#d95f02"), found.items(), strict=False):
            for number, curve in enumerate(curves):
                axes.plot(range(1, len(curve) + 1), [one[key] for one in curve], color=colour, linewidth=1,
                          label=None if number else name)  # fmt: skip
        axes.set(xlabel="epoch", ylabel=label)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=90)


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the images, train, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="BUSI as it is downloaded")
    parser.add_argument("--images", type=int, default=128, help="of the training split")
    parser.add_argument("--side", type=int, default=96, help="pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as home:
        changes = {"input_size": (options.side, options.side), "batch_size": options.batch, "learning_rate": 1e-3}
        dataset = prepare(Path(home), "BUSI", options.source, PLAN, split_by="image", **changes)
        found = learn(dataset, options.images, options.seeds, options.epochs)
    print(*lines(found), sep="\n")
    about = {name: getattr(options, name) for name in ("images", "side", "batch", "epochs", "seeds")}
    about |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    rounded = {name: [[{key: round(value, 5) for key, value in one.items()} for one in curve] for curve in curves]
               for name, curves in found.items()}  # fmt: skip
    (options.out / "equal_learning.json").write_text(json.dumps({"about": about, "curves": rounded}) + "\n")
    draw(found, options.out / "equal_learning.png")


if __name__ == "__main__":
    main()
