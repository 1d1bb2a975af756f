"""Predict the test split of a run's fold. Together with ``htunet.evaluation`` the only reader of test images."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from htunet.data.class_probabilities import ClassProbabilities, write_class_probabilities
from htunet.data.expected_dice import COLUMNS, expected_dice
from htunet.data.image_io import UInt8, write_png
from htunet.data.preprocessed import CaseGeometry, PreprocessedDataset
from htunet.data.split_files import trained_fold
from htunet.data.training_fold import learnt_fold
from htunet.errors import HtunetError
from htunet.files import exclusive, whole_folder, write_csv, write_json
from htunet.inference.prediction import entropy_of
from htunet.inference.predictor import Predictor
from htunet.inference.unlike_images import learn_familiar, some_of
from htunet.paths import RunPaths
from htunet.planning.arrays import check_arrays, predicted_of
from htunet.preprocessing.geometry import box_of, from_input, scores_from_input
from htunet.reproducibility import training_command

log = logging.getLogger(__name__)
STEPS = 15
"""The number of steps of the uncertainty, 0 to 1, in the written pictures."""


@dataclass(frozen=True)
class CaseInput:
    """One image of a test split as the network gets it."""

    case: CaseGeometry
    input_CHW: UInt8
    reference_HW: UInt8 | None = None
    """The true mask at the input size, where it is written beside the prediction."""


def predict_test(run: RunPaths, *, device: str = "auto") -> None:
    """Write what a run's task asks for: masks of all test cases, or ``classes.csv`` of the test split, or both.

    Masks are written at the input size and at the original size, each folder whole or not at all. Where classes are
    learnt, the validation split is predicted too: it chooses the threshold and the temperature. Raises HtunetError when
    the training is not finished, as its checkpoint is then not chosen yet, when the fold has no test split, or when
    another process predicts or evaluates the run.
    """
    if not run.finished_json.exists():
        raise HtunetError(
            f"{run.label} is not finished: the test split is predicted once the checkpoint is chosen. Continue it: "
            f"{training_command(run)}"
        )
    predictor = Predictor.from_run(run, device=device)
    data = PreprocessedDataset(run.dataset.plan_folder(run.plan))
    check_arrays(run.dataset, predictor.plan)
    fold = trained_fold(run)
    ids = fold["test"]
    if not ids:
        raise HtunetError(f"fold{run.fold} of {run.dataset.name} has no test images: there is nothing to predict.")
    with exclusive(run.test_folder, f"The test split of {run.label}"):
        if predictor.classifies:
            write_class_probabilities(run.val_classes_csv, predict_validation(run, predictor, data))
        run.familiar_json.unlink(missing_ok=True)
        _write_familiar(run, data, fold["val"] + ids)
        write_predictions(run, predictor, _images(data, ids), ids)


def _write_familiar(run: RunPaths, data: PreprocessedDataset, held_out: Sequence[str]) -> None:
    """What new images are compared with; nothing, with a warning, where the images that were learnt cannot be known."""
    try:
        learnt = learnt_fold(run)["train"]
    except HtunetError as error:
        log.warning("New images will not be compared with those that were learnt: %s", error)
        return
    images = ((data.images[row] for row in data.rows(some_of(cases))) for cases in (learnt, held_out))
    if familiar := learn_familiar(*images):
        write_json(run.familiar_json, familiar.content())


def predict_validation(run: RunPaths, predictor: Predictor, data: PreprocessedDataset) -> ClassProbabilities:
    """The probabilities of the classes of the validation split of a run's fold."""
    ids = trained_fold(run)["val"]
    inputs = ((image.case, image.input_CHW) for image in _images(data, ids))
    bar = tqdm(predictor.each(inputs), total=len(ids), disable=None, unit="image")
    return _probabilities(predictor, [(case, classes_N) for case, _, classes_N in bar])


def write_predictions(run: RunPaths, predictor: Predictor, images: Iterable[CaseInput], ids: Sequence[str]) -> None:
    """Predict images and write their masks and ``classes.csv`` into the run's folder, as far as it has learnt them.

    ``predicted.json``, written last, says of which files. Where a test is on another data set's images, their true
    masks at the input size are written, too.
    """
    run.predicted_json.unlink(missing_ok=True)
    record = predicted_of(run, ids)
    rows = []
    expected: list[dict[str, str]] = []
    with ExitStack() as stack:
        folders = [run.predictions, run.predictions_at_input, run.uncertainty]
        folders += [run.references_at_input] if run.trained_on else []
        targets = [stack.enter_context(whole_folder(folder)) for folder in folders] if predictor.segments else []
        found = predictor.each((image, image.input_CHW) for image in images)
        for image, scores_KHW, classes_N in tqdm(found, total=len(ids), disable=None, unit="image"):
            case = image.case
            rows.append((case, classes_N))
            if scores_KHW is not None:
                dice = expected_dice(scores_KHW)
                expected.append({"case": case.id, "expected_dice": "" if dice is None else f"{dice:.6f}"})
                masks = [from_input(scores_KHW, box_of(case), case.original_hw, predictor.plan)]
                masks += [scores_KHW.argmax(axis=0).astype(np.uint8), _uncertainty(scores_KHW, case, predictor)]
                masks += [] if image.reference_HW is None else [image.reference_HW]
                for folder, mask_HW in zip(targets, masks, strict=True):
                    write_png(folder / f"{case.id}.png", mask_HW)
        if predictor.classifies:
            write_class_probabilities(run.classes_csv, _probabilities(predictor, rows))
        if predictor.segments:
            write_csv(run.expected_dice_csv, COLUMNS, expected)
    write_json(run.predicted_json, record)


def _uncertainty(scores_KHW: NDArray[np.float32], case: CaseGeometry, predictor: Predictor) -> UInt8:
    """(H, W) of the image, 0..255: few steps, so that the files are small."""
    entropy_HW = entropy_of(scores_from_input(scores_KHW, box_of(case), case.original_hw, predictor.plan))
    return (np.round(entropy_HW * STEPS) * (255 // STEPS)).astype(np.uint8)


def _images(data: PreprocessedDataset, ids: list[str]) -> Iterator[CaseInput]:
    return (CaseInput(data.cases[row], data.images[row]) for row in data.rows(ids))


def _probabilities(predictor: Predictor, rows: Iterable[tuple[CaseGeometry, object]]) -> ClassProbabilities:
    cases, values_NK = zip(*rows, strict=True)
    return ClassProbabilities(
        classes=predictor.classes,
        cases=tuple(case.id for case in cases),
        truth=tuple(case.class_name for case in cases),
        values_NK=np.stack(values_NK),
    )
