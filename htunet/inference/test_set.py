"""Predict the test part of a run's fold. Together with ``htunet.evaluation`` the only reader of test images."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.class_probabilities import ClassProbabilities, write_class_probabilities
from htunet.data.image_io import write_png
from htunet.data.preprocessed import CaseGeometry, PreprocessedDataset
from htunet.data.split_files import load_splits, training_digest
from htunet.data.splits import Fold
from htunet.errors import HtunetError
from htunet.files import exclusive, read_object, whole_folder
from htunet.inference.predictor import Predictor
from htunet.paths import RunPaths
from htunet.planning.plans import Plan
from htunet.preprocessing.geometry import box_of, from_input
from htunet.preprocessing.preprocess import check_arrays

Scores = NDArray[np.float32]
OnMask = Callable[[CaseGeometry, Scores], None]
"""Called with each case and its (K, H, W) probabilities."""


def predict_test(run: RunPaths, *, progress: bool = True, device: str = "auto") -> None:
    """Write what a run's task asks for: masks of all test cases, or ``classes.csv`` of the test part, or both.

    Masks are written at the input size and at the original size, each folder whole or not at all. Where classes are
    learnt, the validation part is predicted too: it chooses the threshold and the temperature. Raises HtunetError when
    the fold has no test part, or when another process predicts or evaluates the run.
    """
    predictor = Predictor.from_run(run, device=device)
    data = PreprocessedDataset(run.dataset.plan_folder(run.plan))
    check_arrays(data.folder, predictor.plan)
    fold = _same_fold(run)
    if not fold["test"]:
        raise HtunetError(f"fold{run.fold} of {run.dataset.name} has no test images: there is nothing to predict.")
    with exclusive(run.test_folder, f"The test part of {run.label}"), ExitStack() as stack:
        if predictor.classifies:
            write_class_probabilities(run.val_classes_csv, predict_validation(run, predictor, data, progress=progress))
        test = _Part(predictor, data, fold["test"], progress=progress)
        if predictor.segments:
            folders = (run.predictions, run.predictions_at_input)
            original, at_input = (stack.enter_context(whole_folder(folder)) for folder in folders)
            test.predict(_mask_writer(original, at_input, predictor.plan))
        if predictor.classifies:
            write_class_probabilities(run.classes_csv, test.classes())


def predict_validation(
    run: RunPaths, predictor: Predictor, data: PreprocessedDataset, *, progress: bool = True
) -> ClassProbabilities:
    """The probabilities of the classes of the validation part of a run's fold."""
    return _Part(predictor, data, _same_fold(run)["val"], progress=progress).classes()


class _Part:
    """The cases of one part, predicted once, batch after batch."""

    def __init__(self, predictor: Predictor, data: PreprocessedDataset, ids: list[str], *, progress: bool) -> None:
        self.predictor, self.data, self.progress = predictor, data, progress
        self.cases = [data.cases[row] for row in data.rows(ids)]
        self.rows: list[NDArray[np.float64]] = []

    def predict(self, on_mask: OnMask | None = None) -> None:
        """Predict every case: hand its masks to ``on_mask``, keep the probabilities of its classes."""
        self.rows = []
        for chosen in tqdm(self._batches(), disable=None if self.progress else True, unit="batch"):
            found = self.predictor.probabilities(self.data.images[self.data.rows([case.id for case in chosen])])
            if on_mask and found.labels_BKHW is not None:
                for case, scores_KHW in zip(chosen, found.labels_BKHW, strict=True):
                    on_mask(case, scores_KHW)
            if found.classes_BN is not None:
                self.rows.append(found.classes_BN)

    def classes(self) -> ClassProbabilities:
        """The probabilities of the classes of every case."""
        if not self.rows:
            self.predict()
        return ClassProbabilities(
            classes=self.predictor.classes,
            cases=tuple(case.id for case in self.cases),
            truth=tuple(case.class_name for case in self.cases),
            values_NK=np.concatenate(self.rows),
        )

    def _batches(self) -> list[list[CaseGeometry]]:
        size = self.predictor.plan.batch_size
        return [self.cases[start : start + size] for start in range(0, len(self.cases), size)]


def _mask_writer(original: Path, at_input: Path, plan: Plan) -> OnMask:
    def write(case: CaseGeometry, scores_KHW: Scores) -> None:
        write_png(original / f"{case.id}.png", from_input(scores_KHW, box_of(case), case.original_hw, plan))
        write_png(at_input / f"{case.id}.png", scores_KHW.argmax(axis=0).astype("uint8"))

    return write


def _same_fold(run: RunPaths) -> Fold:
    """The run's fold; raises HtunetError where it is not the one that the run was trained on."""
    folds = load_splits(run.dataset.splits_json)
    then = read_object(run.settings_json).get("split_sha256")
    if run.fold >= len(folds) or then not in (None, training_digest(folds[run.fold])):
        raise HtunetError(
            f"{run.dataset.splits_json} has changed since {run.label} was trained: its test part may hold images that "
            "the run has seen. Put the split before back (splits_final.before.json), or train again with --restart."
        )
    return folds[run.fold]
