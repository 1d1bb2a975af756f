"""What stands for a method on the page says of which run it is."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.report.curves import collect_class_pictures


@pytest.mark.parametrize(("folds", "end"), [(1, "(plan paper, task cls)"), (5, ", the first of 5 runs alone")])
def test_the_curves_of_one_fold_are_not_taken_for_those_of_all(home: Path, folds: int, end: str) -> None:
    first = RunPaths(DatasetPaths("Dataset503_BUSI"), "ClassificationTrainer", "paper", "UNet", 0, 1)
    first.classification_png.parent.mkdir(parents=True)
    first.classification_png.write_bytes(b"png")
    method = SimpleNamespace(shown={replace(first, fold=fold): {} for fold in range(folds)})
    study: Any = SimpleNamespace(methods=[method])
    (found,) = collect_class_pictures(study)
    assert found.title.startswith("BUSI UNet fold0 seed1")
    assert found.title.endswith(end)
