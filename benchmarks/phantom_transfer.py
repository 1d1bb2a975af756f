"""What weights pre-trained on simulation do on real images: without any real image, and as a start for few of them.

    python -m benchmarks.phantom_transfer zero WEIGHTS PREPROCESSED [PREPROCESSED ...] [--normals FOLDER] --out OUT
    python -m benchmarks.phantom_transfer few DATASET --arms UNet UNet:phantom PhantomCLIP_HT --out OUT [...]
    python -m benchmarks.phantom_transfer table OUT/BUSI_cases.csv --arms UNet UNet:phantom --pairs UNet:phantom-UNet

``zero``: WEIGHTS holds a folder for each network of ``htunet_pretrain``; PREPROCESSED are folders of a plan, such as
htunet_preprocessed/Dataset503_BUSI/paper, whose images are all measured, as none has been learnt from. Each network and
plan gets a CSV with a row for each image; what is there of the same weights and arrays is not measured again; ``mean``
is the mean of both networks as they are, without the views of the model phantom, which is UNet+PhantomCLIP. ``few``:
runs of a planned data set, which ``htunet_train`` continues where they were; an arm is a method, with ``:phantom`` or
``:random`` for its weights.
``table``: means over seeds and test images, and differences of two arms, paired over the images, of what ``few`` wrote.
"""

import argparse
import csv
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from htunet import api
from htunet.data.few_shot import RATIOS
from htunet.data.image_io import read_image
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.evaluation.classification import auc
from htunet.evaluation.comparisons import SIGNIFICANT, holm, paired_tests
from htunet.evaluation.metrics import PENALISE, score_mask
from htunet.evaluation.statistics import bootstrap_estimates, bootstrap_means
from htunet.files import file_hash, json_hash, write_csv, write_json
from htunet.models.weights.formats import read_state
from htunet.paths import find_dataset
from htunet.planning.arrays import DONE
from htunet.planning.plans import load_plan
from htunet.pretraining.learners import LEARNERS, Learner, PhantomLearner
from htunet.pretraining.stream import CLASSES

SENTENCES = {
    "benign": ("Benign appearance.", "Features of a benign mass.", "The findings suggest a benign lesion."),
    "malignant": (
        "Malignant appearance; biopsy is advised.",
        "Features of a malignant mass.",
        "The findings are suspicious for malignancy.",
    ),
}
BATCH, BOTH = 16, ("UNet", "PhantomCLIP")
TOGETHER, MEAN = "+".join(BOTH), "mean"
SCORES = ("dice", "hd95", "missed", "found_pixels", "malignant_by_class", "malignant_by_sentence")
COLUMNS = ("case", "class", "split", *SCORES)
"""``split``: of fold 0. The views of the model phantom were chosen on its training images."""


def learner_of(name: str, path: Path) -> Learner:
    """A network of the pre-training, filled from its weights file."""
    learner, state = LEARNERS[name](), read_state(path)
    with torch.no_grad():
        for key, value in learner.published().items():  # the tensors themselves, so that filling them fills it
            value.copy_(state[key])
        if isinstance(learner, PhantomLearner):
            learner.logit_scale.copy_(state["logit_scale"])
    return learner.eval()


@torch.inference_mode()
def answers_of(learner: Learner, images: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.float32], float, float]]:
    """Of (N, 1 or 3, H, W) images: the lesion's probability per pixel, malignancy by class head and by sentences."""
    sentences = None
    if isinstance(learner, PhantomLearner):
        of_each = [learner.text(learner.text.tokenize(texts)) for texts in SENTENCES.values()]
        sentences = F.normalize(torch.stack([F.normalize(rows, dim=1).mean(dim=0) for rows in of_each]), dim=1)
    for start in range(0, len(images), BATCH):
        batch = torch.tensor(images[start : start + BATCH, :1]).float()
        none = torch.full((len(batch),), torch.nan)
        by_class, by_sentence = none, none
        lesion = torch.zeros((len(batch), *batch.shape[2:]))
        if isinstance(learner, PhantomLearner):
            features, whole, embedded = learner.seen(batch)
            lesion = learner.head(features, (batch.shape[-2], batch.shape[-1])).softmax(dim=1)[:, 1]
            by_class = _malignant(learner.kinds["class"](whole))
            by_sentence = (learner.logit_scale.exp() * embedded @ sentences.T).softmax(dim=1)[:, 1]
        elif learner.name == "UNet":
            lesion = learner.network(batch).softmax(dim=1)[:, 1]
        else:
            by_class = _malignant(learner.network(batch)[:, : len(CLASSES)])
        yield from zip(lesion.numpy(), by_class.tolist(), by_sentence.tolist(), strict=True)


def _malignant(scores: torch.Tensor) -> torch.Tensor:
    benign, malignant = CLASSES.index("benign"), CLASSES.index("malignant")
    return scores[:, [benign, malignant]].softmax(dim=1)[:, 1]


def predicted(
    name: str, weights: Path, images: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.bool_], float, float]] | None:
    """Masks and probabilities of malignancy by a network, or by both as ``htunet_predict`` has them; None: no file."""
    paths = files_of(name, weights)
    if not all(path.is_file() for path in paths):
        return None
    answers = [answers_of(learner_of(path.parent.name, path), images) for path in paths]
    if name != TOGETHER:
        each = zip(*answers, strict=True)
        return ((np.mean([one[0] for one in members], axis=0) > 0.5, *members[-1][1:]) for members in each)
    both = api.load(weights, device="cpu").predictor.each((None, image_CHW) for image_CHW in images[:, :1])
    pairs = zip(both, answers[-1], strict=True)
    return ((maps_KHW[1] > 0.5, *classes) for (_, maps_KHW, _), (_, *classes) in pairs)  # type: ignore[index,misc]


def files_of(name: str, weights: Path) -> list[Path]:
    """The weights of a network, or of both."""
    return [weights / one / "checkpoint.safetensors" for one in (BOTH if name in (TOGETHER, MEAN) else [name])]


def cases_file(name: str, weights: Path, preprocessed: Path, limit: int | None) -> str:
    """The name of the CSV of a network and a plan's folder, which says of which weights and arrays it is."""
    files = [*files_of(name, weights), preprocessed / DONE]
    made_of = json_hash([*map(file_hash, files), limit])[:8]
    return f"{name}_{preprocessed.parent.name}_{preprocessed.name}_{made_of}.csv"


def zero(options: argparse.Namespace) -> None:
    """Measure each network on each data set, and write the summary."""
    summary = {}
    names = [*LEARNERS, TOGETHER, MEAN]
    for name, folder in itertools.product(names, options.preprocessed):
        data = PreprocessedDataset(folder)
        answers = predicted(name, options.weights, data.images[: options.limit])
        if answers is None:
            continue
        target = options.out / cases_file(name, options.weights, folder, options.limit)
        if not target.is_file():
            fold0 = load_splits(folder.parent / "splits_final.json")[0]
            split_of = {case: split for split, cases in fold0.items() for case in cases}
            rows = [
                {"case": case.id, "class": case.class_name, "split": split_of.get(case.id)} | _scores(answer, mask > 0)
                for case, mask, answer in zip(data.cases, data.masks, answers, strict=False)
            ]
            write_csv(target, COLUMNS, rows)
        summary[f"{name} {folder.parent.name} {folder.name}"] = summary_of(target)
    if options.normals:
        normals = images_without_lesion(options.normals, options.side)
        images = np.stack([*normals.values()])[:, None]
        pixels = pd.DataFrame(index=pd.Index([*normals], name="case"))
        for name in names:
            if name != "ResNet18" and (answers := predicted(name, options.weights, images)):
                pixels[name] = [int(mask.sum()) for mask, _, _ in answers]
                nothing = int((pixels[name] == 0).sum())
                summary[f"{name} without a lesion"] = {"images": len(normals), "nothing_found": nothing}
        pixels.to_csv(options.out / "found_pixels_without_a_lesion.csv")
    write_json(options.out / "zero.json", summary)
    print(json.dumps(summary, indent=1))


def images_without_lesion(folder: Path, side: int) -> dict[str, NDArray[np.uint8]]:
    """By their names, the (side, side) gray images of a folder in BUSI's layout, whose masks are left out."""
    bilinear = Image.Resampling.BILINEAR
    images = {path.stem: read_image(path, 1)[0] for path in sorted(folder.glob("*.png")) if "_mask" not in path.name}
    return {name: np.asarray(Image.fromarray(one).resize((side, side), bilinear)) for name, one in images.items()}


def _scores(answer: tuple[NDArray[np.bool_], float, float], reference: NDArray[np.bool_]) -> dict[str, object]:
    """What ``SCORES`` names; four digits of what is no number of pixels."""
    mask, *malignant = answer
    values = score_mask(mask, reference).values(PENALISE)
    dice, hd95, *malignant = (float(f"{value:.4g}") for value in (values["dice"], values["hd95"], *malignant))
    missed = int(not (mask & reference).any())
    return dict(zip(SCORES, (dice, hd95, missed, int(mask.sum()), *malignant), strict=True))


def summary_of(path: Path) -> dict[str, object]:
    """Means with 95 % intervals over the images; distances in pixels of the input, the diagonal where nothing is."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values = np.array([[float(row["dice"]), float(row["hd95"])] for row in rows])
    dice, hd95 = bootstrap_means(values)
    found: dict[str, object] = {
        "images": len(rows),
        "dice": [dice.mean, dice.low, dice.high],
        "median_dice": float(np.median(values[:, 0])),
        "hd95": [hd95.mean, hd95.low, hd95.high],
        "missed": sum(int(row["missed"]) for row in rows),
    }
    others = np.array([row["split"] != "train" for row in rows])
    dice, _ = bootstrap_means(values[others])
    found |= {"images_outside_training": len(values[others]), "dice_of_these": [dice.mean, dice.low, dice.high]}
    truth = np.array([int(row["class"] == "malignant") for row in rows])
    for column in COLUMNS[-2:]:
        scores = np.array([float(row[column] or "nan") for row in rows])
        if len(set(truth.tolist())) == 2 and not np.isnan(scores).any():
            pairs = np.stack([1 - scores, scores], axis=1)[None]
            found |= {
                f"auc_{column}": [one.value, one.low, one.high]
                for one in bootstrap_estimates(lambda w, p=pairs: {"auc": auc(p, truth, w)}, len(rows)).values()
            }
    return found


def few(options: argparse.Namespace) -> None:
    """Train and test every arm, ratio and seed: a row for each test image, and one for each run."""
    cases, runs = list[dict[str, Any]](), list[dict[str, Any]]()
    paths = find_dataset(options.dataset)
    batch = load_plan(paths.plans_json, options.plan).batch_size
    images = len(load_splits(paths.splits_json)[0]["train"])
    for seed, ratio, arm in itertools.product(options.seeds, options.ratios, options.arms):
        method, _, weights = arm.partition(":")
        taken, epochs = math.floor(ratio * images + 0.5), options.epochs
        if options.steps:
            epochs = math.ceil(options.steps / math.ceil(taken / batch))
        changes = {"num_epochs": epochs, "plan": options.plan, "seed": seed, "device": options.device}
        changes |= {"ratio": None if ratio == 1 else ratio, "weights": weights or "pretrained"}
        outcome = api.train(options.dataset, method, 0, **changes)
        api.load(outcome.run.folder, device=options.device).evaluate()
        about = {"arm": arm, "images": taken, "seed": seed}
        with (outcome.run.folder / "test" / "per_case.csv").open(encoding="utf-8", newline="") as file:
            tested = [row for row in csv.DictReader(file) if row["resolution"] == "input_size"]
        for row in tested:
            scores = {"dice": round(float(row["dice"]), 5), "hd95": round(float(row["hd95"]), 2)}
            cases.append(about | {"case": row["case"]} | scores)
        runs.append(about | {"epochs": epochs, "best_epoch": outcome.best_epoch, "val_dice": outcome.best_metric})
        write_csv(options.out / f"{options.dataset}_cases.csv", tuple(cases[0]), cases)
        write_csv(options.out / f"{options.dataset}_runs.csv", tuple(runs[0]), runs)
        print(arm, ratio, seed, np.mean([float(row["dice"]) for row in tested]).round(4), flush=True)


def table(options: argparse.Namespace) -> None:
    """Print what ``few`` has written: test Dice by arm and number of images, and paired differences of arms."""
    pairs = [tuple(pair.split("-")) for pair in options.pairs]
    for name, same in itertools.groupby(sorted(options.cases, key=lambda path: path.name), key=lambda path: path.name):
        rows_of_all = pd.concat(map(pd.read_csv, same))
        dice = 100 * rows_of_all.set_index(["images", "arm", "seed", "case"]).dice.sort_index()
        if options.images:
            dice = dice[dice.index.isin(options.images, level="images")]
        rows = list[list[str]]()
        p = list[float]()
        for images in dice.index.unique("images"):
            of_arm = {arm: dice[images, arm].unstack("case") for arm in dice[images].index.unique("arm")}
            means = [_mean_and_deviation(of_arm[arm]) if arm in of_arm else "" for arm in options.arms]
            found = [_apart(of_arm[one], of_arm[other]) if {one, other} <= {*of_arm} else ("", np.nan)
                     for one, other in pairs]  # fmt: skip
            p += [value for _, value in found]
            rows.append([str(images), *means, *(text for text, _ in found)])
        clear = (holm(np.array(p)) < SIGNIFICANT).reshape(len(rows), len(pairs))
        data = name.removesuffix("_cases.csv")
        print(f"\n| {data}, images | {' | '.join([*options.arms, *options.pairs])} |")
        print("|---" * len(rows[0]) + "|")
        for row, of_row in zip(rows, clear, strict=True):
            first = len(row) - len(pairs)
            marked = [text + "*" * bool(sure) for text, sure in zip(row[first:], of_row, strict=True)]
            print(f"| {' | '.join([*row[:first], *marked])} |")


def _mean_and_deviation(dice_SN: pd.DataFrame) -> str:
    """``50.1 ± 2.0`` of S seeds and N cases; of one seed without a deviation."""
    of_seeds = dice_SN.mean(axis=1)
    return f"{of_seeds.mean():.1f}" + (f" ± {of_seeds.std():.1f}" if len(of_seeds) > 1 else "")


def _apart(one_SN: pd.DataFrame, other_SN: pd.DataFrame) -> tuple[str, float]:
    """The difference of two arms in the seeds that both have, paired over the cases, with its interval; and its p."""
    apart_SN = (one_SN - other_SN).dropna(how="all")
    test = paired_tests(apart_SN.mean().to_numpy()[:, None], [""] * apart_SN.shape[1])[0]
    mean, low, high, p = (float(test[name] or 0) for name in ("mean_difference", "low", "high", "p"))
    mean, low, high = (round(value, 1) + 0.0 for value in (mean, low, high))  # never -0.0
    return f"{mean:+.1f} [{low:.1f}, {high:.1f}]", p


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(required=True)
    for_zero = actions.add_parser("zero")
    for_zero.add_argument("weights", type=Path)
    for_zero.add_argument("preprocessed", type=Path, nargs="+")
    for_zero.add_argument("--normals", type=Path)
    for_zero.add_argument("--side", type=int, default=224)
    for_zero.add_argument("--limit", type=int, help="measure the first images only, to try it out")
    for_zero.set_defaults(act=zero)
    for_few = actions.add_parser("few")
    for_few.add_argument("dataset")
    for_few.add_argument("--arms", nargs="+", default=["UNet", "UNet:phantom", "PhantomCLIP", "PhantomCLIP_HT"])
    for_few.add_argument("--ratios", type=float, nargs="+", default=[*RATIOS, 1.0])
    for_few.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    for_few.add_argument("--plan", default="paper")
    length = for_few.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int)
    length.add_argument("--steps", type=int, help="as many whole epochs as have this number of steps, at least")
    for_few.add_argument("--device", default="auto")
    for_few.set_defaults(act=few)
    for_table = actions.add_parser("table")
    for_table.add_argument(
        "cases", type=Path, nargs="+", help="files DATASET_cases.csv of few; those of one name together"
    )
    for_table.add_argument("--arms", nargs="+", required=True)
    help_of_pairs = "such as UNet:phantom-UNet; * where p < 0.05 after Holm"
    for_table.add_argument("--pairs", nargs="+", required=True, help=help_of_pairs)
    for_table.add_argument("--images", type=int, nargs="+", help="only these numbers of training images")
    for_table.set_defaults(act=table)
    for action in (for_zero, for_few):
        action.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    if "out" in options:
        options.out.mkdir(parents=True, exist_ok=True)
    options.act(options)


if __name__ == "__main__":
    main()
