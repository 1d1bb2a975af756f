"""htunet's UNet as it trains and predicts, for a comparison: see ``benchmarks.side``."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.side import network_text, serve
from htunet.data.preprocessed import PreprocessedDataset
from htunet.experiments.step_time import Trial
from htunet.inference.predictor import Predictor
from htunet.planning.plans import load_plan
from htunet.training.augmentation.augment import Augmentation
from htunet.training.loader import TrainingImages


def main(spec: dict[str, Any]) -> None:
    """Batches of a planned data set, augmented; files to masks in their own size."""
    plan = load_plan(Path(spec["dataset"], "plans.json"), spec["plan"])
    trial = Trial("UNet", "seg", plan, precision=spec["precision"], device="cpu")
    arrays = PreprocessedDataset(Path(spec["dataset"], plan.name), plan.classes)
    trial.images = TrainingImages(arrays, Augmentation.from_plan(plan), 1)  # type: ignore[assignment]
    steps = iter(range(10**6))
    predictor: list[Predictor] = []

    def predict() -> None:
        if not predictor:
            place = {"device": torch.device("cpu"), "precision": trial.precision}
            predictor.append(Predictor(trial.network, plan, **place))
        for path in spec["files"]:
            Image.fromarray(predictor[0].predict(path).labels).save(Path(spec["output"], Path(path).name))

    image = torch.zeros(1, plan.channels, *plan.input_size, dtype=torch.uint8)
    about = {"network": network_text(trial.network, image)}
    serve(about, {"step": lambda: trial.step(spec["batch"], next(steps)), "predict": predict})


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
