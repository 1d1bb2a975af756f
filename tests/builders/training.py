"""A tiny planned and preprocessed data set to train on, and two tiny methods."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from builders.plan import plan_of
from builders.raw import build_raw
from htunet.data.image_io import read_image, read_labels
from htunet.data.preprocessed import COLUMNS
from htunet.data.raw import read_raw
from htunet.data.split_files import save_splits
from htunet.files import write_csv, write_json
from htunet.models import build
from htunet.models.backbones import BACKBONES
from htunet.models.backbones.base import Backbone, InputStatistics
from htunet.models.network import Network
from htunet.models.standalone.base import Standalone
from htunet.models.weights.load import WeightsRecord
from htunet.paths import DatasetPaths, RunPaths
from htunet.planning.arrays import arrays_hash
from htunet.planning.plans import Plan, save_plans
from htunet.preprocessing.cropping import crop_box
from htunet.preprocessing.geometry import mask_to_input, to_input
from htunet.training.settings import TrainSettings

TRAIN, VAL, TEST = 14, 4, 6
STEPS = 4
"""Batches in an epoch of 14 images: 4, 4, 4 and 2."""


def tiny_plan(**changes: Any) -> Plan:
    """32 x 32 pixels, 4 images a batch, 4 epochs."""
    return plan_of(**{"name": "tiny", "dataset": "Dataset903_Tiny", "num_epochs": 4} | changes)


def build_training(n: int = TRAIN + VAL + TEST, *, more_plans: tuple[Plan, ...] = (), **changes: Any) -> DatasetPaths:
    """A data set of ``n`` cases with the plan ``tiny``; fold 0 has the last 6 as test split, fold 1 the first 6."""
    paths = build_raw(n)
    plans = [tiny_plan(**changes), *more_plans]
    for plan in plans:
        write_arrays(paths, plan)
    save_plans(paths.plans_json, {plan.name: plan for plan in plans})
    ids = [case.id for case in read_raw(paths).cases]
    save_splits(paths.splits_json, [_fold(ids), _fold(ids[::-1])])
    return paths


def _fold(ids: list[str]) -> dict[str, list[str]]:
    return {"train": ids[: -VAL - TEST], "val": ids[-VAL - TEST : -TEST], "test": ids[-TEST:]}


def write_arrays(paths: DatasetPaths, plan: Plan) -> None:
    """What preprocessing writes, for every case of the raw folder."""
    raw, folder, rows, images, masks = read_raw(paths), paths.plan_folder(plan.name), [], [], []
    folder.mkdir(parents=True)
    for case in raw.cases:
        image = read_image(raw.image_path(case), plan.channels)
        label = read_labels(raw.label_path(case))
        box = crop_box(image, plan)
        images.append(to_input(image, box, plan))
        masks.append(mask_to_input(label, box, plan))
        values = (case.id, case.class_name, case.group, *label.shape, box.top, box.left, box.height, box.width)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    np.save(folder / "images.npy", np.stack(images))
    np.save(folder / "masks.npy", np.stack(masks))
    write_csv(folder / "cases.csv", COLUMNS, rows)
    write_json(folder / "preprocessed.json", {"plan": plan.name, "plan_sha256": arrays_hash(plan)})


def tiny_settings(**changes: Any) -> TrainSettings:
    """The CPU in fp32, no workers."""
    defaults = {"plan": "tiny", "device": "cpu", "precision": "fp32", "workers": 0, "weights": "random"}
    return TrainSettings(**(defaults | changes))


def run_of(dataset: DatasetPaths, method: str = "UNet", **changes: Any) -> RunPaths:
    """Where a run with ``tiny_settings`` is."""
    place = {"plan": "tiny", "fold": 0, "seed": 1} | changes
    return RunPaths(dataset, "SegmentationTrainer", method=method, **place)


class Plain(Network):
    """Two convolutions: no dropout and no batch norm, so that a batch may be cut into any parts."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, num_labels, 3, padding=1))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.layers(images_BCHW.float() / 255)

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield "layers", self.layers

    def frozen_module(self) -> None:
        return None


class Bright(Plain):
    """Calls every pixel above the middle gray value a lesion, of gray images and colours alike."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        bright = (images_BCHW.float().mean(dim=1, keepdim=True) - 127.5) / 10
        return torch.cat([-bright, bright], dim=1)


class PlainClasses(Network):
    """``Plain`` for two classes: the mean of its scores over the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Plain(2)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return 10 * self.plain(images_BCHW).mean(dim=(2, 3))

    def trainable_modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield "plain", self.plain

    def frozen_module(self) -> None:
        return None


class TinyBackbone(Backbone):
    """Ten linear blocks of width 16 on patches of 8 pixels."""

    width = 16
    patch_size = 8
    statistics = InputStatistics(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, self.width, self.patch_size, stride=self.patch_size)
        self.blocks = nn.ModuleList(nn.Linear(self.width, self.width) for _ in range(10))

    def embed(self, images_BCHW: Tensor) -> Tensor:
        tokens_BTD = self.patches(images_BCHW).flatten(2).transpose(1, 2)
        return torch.cat([tokens_BTD.mean(dim=1, keepdim=True), tokens_BTD], dim=1)


def register_tiny_methods() -> None:
    """Make ``Plain``, ``PlainClasses``, ``TINY`` and ``TINY_HT`` known as methods; twice does no harm."""
    if "Plain" not in build.STANDALONE:
        build.STANDALONE.register("Plain")(
            Standalone(
                tasks=("seg",),
                sketch=lambda outputs: Plain(outputs.num_labels),
                build=lambda outputs, _: (Plain(outputs.num_labels), WeightsRecord(source="none")),
                has_published_weights=False,
                has_frozen_part=False,
            )
        )
        build.STANDALONE.register("PlainClasses")(
            Standalone(
                tasks=("cls",),
                sketch=lambda _: PlainClasses(),
                build=lambda *_: (PlainClasses(), WeightsRecord(source="none")),
                has_published_weights=False,
                has_frozen_part=False,
            )
        )
        BACKBONES.register("TINY")(TinyBackbone)


def tensors_in(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint."""
    with safe_open(path, framework="pt") as content:
        return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118


def same_tensors(first: Path, second: Path) -> bool:
    """Whether two checkpoints hold the same tensors, bit for bit."""
    a, b = tensors_in(first), tensors_in(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def prepare_command() -> None:
    """In a process of its own: checkpoints of every epoch that stay, a fixed commit, a word when it begins."""
    from htunet import reproducibility
    from htunet.training import session

    reproducibility._commit = lambda: "test"
    session.SAVE_SECONDS = 0.0
    session.remove_latest = lambda _: None
    fit = session.fit

    def announced(*arguments: Any) -> Any:
        sys.stdout.write("fit\n")
        sys.stdout.flush()
        return fit(*arguments)

    session.fit = announced
    register_tiny_methods()


def train_command() -> int:
    """``htunet_train`` with the tiny methods; a ``target`` of ``builders.processes``."""
    from htunet.cli.train import main

    prepare_command()
    return main()


def train_script(folder: Path) -> Path:
    """``train_command`` as a script for a fresh interpreter."""
    script = folder / "train.py"
    main = "import sys\nfrom builders.training import train_command\n"
    script.write_text(main + "if __name__ == '__main__':\n    sys.exit(train_command())\n", encoding="utf-8")
    return script
