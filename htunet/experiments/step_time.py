"""Time one optimiser step of a method on this machine, with the training's own code on made-up images.

A process of its own, so that the driver of many jobs has no network in memory and no context on a GPU:
``python -m htunet.experiments.step_time REQUEST.json FOUND.json``.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from htunet.files import read_object, write_json
from htunet.models.build import build_network
from htunet.models.precision import AUTO, fp32_products, resolve_precision
from htunet.models.weights.load import RANDOM
from htunet.planning.plans import Plan, plan_from
from htunet.reproducibility import generator
from htunet.training.augmentation.augment import Augmentation
from htunet.training.devices import make_fabric
from htunet.training.loader import Batch, TrainingSamples
from htunet.training.loop import Data, Loop, train_step
from htunet.training.ready import make_ready
from htunet.training.trainer import TRAINERS

STEPS = 3
"""Of which the median counts, so that one that waited for another program does not."""
SLOW_SECONDS = 2.0
"""A step that takes longer is timed with a quarter of its images and multiplied: its time grows with the batch."""
QUARTER = 4


class MadeUpImages(TrainingSamples):
    """Noise with a square for a lesion, augmented as the training does."""

    def __init__(self, plan: Plan) -> None:
        height, width = plan.input_size
        self.image = generator("step time").integers(0, 255, (plan.channels, height, width)).astype(np.uint8)
        self.mask = np.zeros((height, width), np.uint8)
        self.mask[height // 4 : height // 2, width // 4 : width // 2] = 1
        self.augmentation = Augmentation.from_plan(plan)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, Any, int]:
        image, mask = self.augmentation(self.image, self.mask, 1, key[0], str(key[1]))
        return image, mask, key[1] % 2

    def collate(self, samples: list[Any]) -> Batch:
        """Samples -> a batch of images, masks and classes."""
        images, masks, classes = zip(*samples, strict=True)
        return Batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)), torch.tensor(classes))

    def as_they_are(self, rows: Sequence[int]) -> Batch:
        """A batch of the image without augmentation, with classes in turn."""
        return self.collate([(self.image, self.mask, row % 2) for row in rows])


class Trial:
    """A method as it trains, on made-up images. Weights are random: they change no time."""

    def __init__(
        self, method: str, task: str, plan: Plan, *, precision: str = AUTO, device: str = "auto", compiled: bool = False
    ) -> None:
        self.fabric = make_fabric(device=device, devices=1, precision=precision)
        self.precision = resolve_precision(precision, self.fabric.device.type)
        self.plan, self.images = plan, MadeUpImages(plan)
        outputs = replace(plan.outputs(task), num_classes=max(2, len(plan.classes)))
        settings = plan.adapter_settings
        self.network, _ = build_network(method, outputs, seed=1, weights=RANDOM, adapter_settings=settings)
        if compiled:
            self.network.compile()
        self.forward, self.optimizer = make_ready(self.network, plan, self.fabric, precision)
        self.trainer = TRAINERS[task].from_plan(plan)

    def loop(self, size: int, *, val_size: int = 0, num_epochs: int = 10 * STEPS, workers: int = 0) -> Loop:
        """The training of so many images."""
        data = Data(train_rows=list(range(size)), val_rows=list(range(val_size)), images=self.images)
        return Loop(fabric=self.fabric, trainer=self.trainer, network=self.network, forward=self.forward,
                    optimizer=self.optimizer, plan=self.plan, data=data, seed=1, num_epochs=num_epochs,
                    workers=workers)  # fmt: skip

    def step(self, size: int, number: int) -> float:
        """Train one step of one batch; its loss.

        With a GPU the images are augmented by other processes meanwhile, so that this is left out there.
        """
        rows, images = range(size), self.images
        on_gpu = self.fabric.device.type == "cuda"
        batch = images.as_they_are(rows) if on_gpu else images.collate([images[number, row] for row in rows])
        with fp32_products(self.precision):
            return train_step(self.loop(size), batch, number)

    @torch.no_grad()
    def predict(self, size: int) -> None:
        """The forward pass alone."""
        self.network.eval()
        with fp32_products(self.precision):
            self.forward(self.fabric.to_device(self.images.as_they_are(range(size))).images)


def measure(method: str, task: str, plan: Plan) -> dict[str, Any]:
    """Seconds of a step of a whole batch (``step``), and of the forward pass of one image (``image``); the device."""
    trial = Trial(method, task, plan)
    device = trial.fabric.device
    quarter = max(1, plan.batch_size // QUARTER)
    trial.step(quarter, 0)  # what is slow the first time only
    size = quarter
    seconds = _median(lambda n: trial.step(quarter, n), range(1, 1 + STEPS), device)
    if seconds * plan.batch_size / quarter < SLOW_SECONDS:
        size = plan.batch_size
        trial.step(size, 1 + STEPS)
        seconds = _median(lambda n: trial.step(size, n), range(2 + STEPS, 2 + 2 * STEPS), device)
    whole = _median(lambda _: trial.predict(size), range(STEPS), device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    return {"step": seconds * plan.batch_size / size, "image": whole / size, "device": name}


def _median(action: Callable[[int], object], numbers: Sequence[int], device: torch.device) -> float:
    """The median time of several calls, seconds: one alone may have waited for other programs."""
    found = []
    for number in numbers:
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        action(number)
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def main(request: Path, found: Path) -> None:
    """Measure the requests (a list of method, task and plan) and write a list of the results.

    What cannot be measured (memory runs out) has an ``error`` instead.
    """
    results = []
    for entry in read_object(request)["requests"]:
        try:
            results.append(measure(entry["method"], entry["task"], plan_from(entry["plan"], str(request))))
        except Exception as error:  # an estimate is not worth a failure: the plan of the jobs says what is unknown
            results.append({"error": f"{type(error).__name__}: {error}"})
    write_json(found, {"found": results})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
