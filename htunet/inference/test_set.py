"""Predict the test part of a run's fold. Together with ``htunet.evaluation`` the only reader of test images."""

from collections.abc import Iterator

from tqdm import tqdm

from htunet.data.image_io import write_png
from htunet.data.preprocessed import CaseGeometry, PreprocessedDataset
from htunet.data.split_files import load_splits, training_digest
from htunet.data.splits import Fold
from htunet.errors import HtunetError
from htunet.files import exclusive, read_object, whole_folder
from htunet.inference.predictor import Predictor
from htunet.paths import RunPaths
from htunet.preprocessing.geometry import box_of, from_input
from htunet.preprocessing.preprocess import check_arrays


def predict_test(run: RunPaths, *, progress: bool = True, device: str = "auto") -> None:
    """Write the masks of all test cases, at the input size and at the original size, whole or not at all.

    Raises HtunetError when the fold has no test part, or when another process predicts or evaluates the run.
    """
    predictor = Predictor.from_run(run, device=device)
    data = PreprocessedDataset(run.dataset.plan_folder(run.plan))
    check_arrays(data.folder, predictor.plan)
    ids = _same_fold(run)["test"]
    if not ids:
        raise HtunetError(f"fold{run.fold} of {run.dataset.name} has no test images: there is nothing to predict.")
    with (
        exclusive(run.test_folder, f"The test part of {run.label}"),
        whole_folder(run.predictions) as original,
        whole_folder(run.predictions_at_input) as at_input,
    ):
        cases = tqdm(_batches(data, ids, predictor.plan.batch_size), disable=None if progress else True, unit="batch")
        for chosen in cases:
            probabilities = predictor.probabilities(data.images[data.rows([case.id for case in chosen])])
            for case, scores_KHW in zip(chosen, probabilities, strict=True):
                labels = from_input(scores_KHW, box_of(case), case.original_hw, predictor.plan)
                write_png(original / f"{case.id}.png", labels)
                write_png(at_input / f"{case.id}.png", scores_KHW.argmax(axis=0).astype("uint8"))


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


def _batches(data: PreprocessedDataset, ids: list[str], size: int) -> Iterator[list[CaseGeometry]]:
    cases = [data.cases[row] for row in data.rows(ids)]
    for start in range(0, len(cases), size):
        yield cases[start : start + size]
