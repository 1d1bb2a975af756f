"""The tiny data set with classes that can be seen: images of the last class are brighter."""

from collections.abc import Collection
from typing import Any

import numpy as np

from builders.training import build_training
from htunet.data.preprocessed import COLUMNS
from htunet.data.raw import CASE_COLUMNS
from htunet.files import read_csv, write_csv
from htunet.paths import DatasetPaths

BRIGHTER = 80


def build_visible_classes(n: int = 60, **changes: Any) -> DatasetPaths:
    """``builders.training.build_training`` with ``n`` cases of two classes, whose images differ in brightness."""
    dataset = build_training(n, **changes)
    path = dataset.plan_folder("tiny") / "images.npy"
    images = np.load(path)
    images[1::2] = np.minimum(images[1::2].astype(int) + BRIGHTER, 255)  # classes are dealt in turn
    np.save(path, images)
    return dataset


def take_classes_away(dataset: DatasetPaths, cases: Collection[str]) -> None:
    """Leave some cases without a class, in the raw folder and in the arrays of the plan ``tiny``."""
    tables = (dataset.cases_csv, CASE_COLUMNS), (dataset.plan_folder("tiny") / "cases.csv", COLUMNS)
    for path, columns in tables:
        rows = read_csv(path, columns)
        write_csv(path, columns, [row | {"class": "" if row["id"] in cases else row["class"]} for row in rows])
