"""Predictions of a run's test split: which images, which sizes, which labels, and whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.training import TEST, tiny_settings
from PIL import Image

import htunet
from htunet.data.image_io import read_image, read_labels
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.errors import HtunetError, UsageError
from htunet.files import PART, exclusive, read_json, write_json
from htunet.inference import test_set
from htunet.inference.predictor import Predictor
from htunet.inference.test_set import predict_test
from htunet.models.build import build_network
from htunet.models.checkpoint import restore
from htunet.models.tasks import Outputs
from htunet.paths import DatasetPaths, RunPaths
from htunet.training import record
from htunet.training.run import train


@pytest.fixture
def run(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """A trained run of a method with frozen weights and adapters."""
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    return train("Tiny", "TINY_HT", 0, tiny_settings(num_epochs=2)).run


def by_hand(run: RunPaths, ids: list[str]) -> np.ndarray:
    """(B, K, H, W) probabilities from the network, put together and run without the predictor."""
    network, record = build_network("TINY_HT", Outputs(), seed=1, weights="random")
    restore(network, record, run.checkpoint_best)
    data = PreprocessedDataset(run.dataset.plan_folder("tiny"))
    with torch.no_grad():
        return network.eval()(torch.from_numpy(data.images[data.rows(ids)])).softmax(dim=1).numpy()


def test_both_folders_hold_exactly_the_test_cases(run: RunPaths) -> None:
    predict_test(run)
    tested = [f"{case}.png" for case in load_splits(run.dataset.splits_json)[0]["test"]]
    assert len(tested) == TEST
    for folder in (run.predictions, run.predictions_at_input):
        assert sorted(path.name for path in folder.iterdir()) == sorted(tested)
    assert not list(run.folder.rglob(f"{PART}*"))


def test_a_few_shot_run_whose_images_cannot_be_known_is_tested_with_a_warning(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    run = train("Tiny", "TINY", 0, tiny_settings(num_epochs=1, ratio=0.8)).run
    predict_test(run)
    assert run.familiar_json.exists()
    order = read_json(tiny.few_shot_json(0, 1))
    write_json(tiny.few_shot_json(0, 1), order | {"order": order["order"][::-1]})
    predict_test(run)
    assert "New images will not be compared with those that were learnt: " in caplog.text
    assert "fold_0_seed_1.json has changed since" in caplog.text
    assert not run.familiar_json.exists()
    assert len(list(run.predictions.iterdir())) == TEST


def test_the_test_split_stays_closed_until_the_training_is_finished(run: RunPaths) -> None:
    run.finished_json.unlink()
    with pytest.raises(HtunetError, match="is not finished: the test split is predicted once the checkpoint is chosen"):
        predict_test(run)
    with pytest.raises(HtunetError, match="is not finished"):
        htunet.load(run.folder).evaluate()
    assert not run.test_folder.exists()


def test_masks_have_the_original_and_the_input_size_and_the_labels_of_the_plan(run: RunPaths) -> None:
    predict_test(run)
    data = PreprocessedDataset(run.dataset.plan_folder("tiny"))
    sizes = set()
    for path in run.predictions.iterdir():
        labels = read_labels(path)
        assert labels.shape == data.cases[data.index[path.stem]].original_hw
        assert read_labels(run.predictions_at_input / path.name).shape == (32, 32)
        assert set(np.unique(labels)) <= {0, 1}
        with Image.open(path) as image:
            assert image.mode == "L"
        sizes.add(labels.shape)
    assert sizes == {(40, 50), (60, 44)}


def test_predictions_are_those_of_the_network_put_together_by_hand(run: RunPaths) -> None:
    predict_test(run)
    ids = load_splits(run.dataset.splits_json)[0]["test"]
    labels = by_hand(run, ids).argmax(axis=1)
    for case, expected in zip(ids, labels, strict=True):
        np.testing.assert_array_equal(read_labels(run.predictions_at_input / f"{case}.png"), expected)
    assert labels.any()


def test_where_the_network_is_undecided_is_written_in_the_size_of_the_image(run: RunPaths) -> None:
    predict_test(run)
    ids = load_splits(run.dataset.splits_json)[0]["test"]
    for case, lesion in zip(ids, by_hand(run, ids)[:, 1], strict=True):
        entropy = -(lesion * np.log2(lesion) + (1 - lesion) * np.log2(1 - lesion))
        found = read_image(run.uncertainty / f"{case}.png", 1)[0]
        assert found.shape == read_labels(run.predictions / f"{case}.png").shape
        assert set(np.unique(found) % 17) == {0}  # 16 levels
        assert found.mean() / 255 == pytest.approx(entropy.mean(), abs=0.04)


def test_the_predictor_gives_probabilities(run: RunPaths) -> None:
    data = PreprocessedDataset(run.dataset.plan_folder("tiny"))
    ids = [case.id for case in data.cases[:5]]
    found = Predictor.from_run(run, device="cpu").probabilities(data.images[data.rows(ids)])
    probabilities = found.labels_BKHW
    assert probabilities is not None
    assert found.classes_BN is None
    assert (probabilities.shape, probabilities.dtype) == ((5, 2, 32, 32), np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(probabilities, by_hand(run, ids), atol=1e-6)


def test_a_failure_leaves_the_predictions_before_as_they_were(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    predict_test(run)
    for path in run.predictions.iterdir():
        path.write_bytes(b"before")
    calls = []

    def fail_at_the_fifth(path: Path, _: Any) -> None:
        calls.append(path)
        path.write_bytes(b"new")
        if len(calls) == 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(test_set, "write_png", fail_at_the_fifth)
    with pytest.raises(OSError, match="No space"):
        predict_test(run)
    assert {path.read_bytes() for path in run.predictions.iterdir()} == {b"before"}
    assert len(list(run.predictions_at_input.iterdir())) == TEST
    assert not list(run.folder.rglob(f"{PART}*"))


def test_a_run_that_is_being_predicted_is_refused(run: RunPaths) -> None:
    with exclusive(run.test_folder, "something"), pytest.raises(HtunetError, match=r"test split of Tiny TINY_HT fold0"):
        predict_test(run)


def test_a_fold_without_a_test_split_is_refused(run: RunPaths) -> None:
    folds = read_json(run.dataset.splits_json)
    folds[0]["test"] = []
    write_json(run.dataset.splits_json, folds)
    with pytest.raises(HtunetError, match="fold0 of Dataset903_Tiny has no test images"):
        predict_test(run)
    assert not run.predictions.exists()


def test_a_run_without_a_checkpoint_is_one_clear_error(run: RunPaths) -> None:
    run.checkpoint_best.unlink()
    with pytest.raises(HtunetError, match=r"checkpoint_best\.safetensors is missing: train first"):
        predict_test(run)


def test_other_frozen_weights_than_those_of_the_training_are_refused(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("htunet.models.weights.load.RANDOM_WEIGHTS_SEED", 5)
    with pytest.raises(HtunetError, match="was trained on random weights"):
        Predictor.from_run(run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_a_usage_error(run: RunPaths) -> None:
    with pytest.raises(UsageError, match="--device cuda: no CUDA device is visible"):
        Predictor.from_run(run, device="cuda")


def test_a_split_that_changed_since_the_training_is_refused(run: RunPaths) -> None:
    folds = load_splits(run.dataset.splits_json)
    folds[0]["test"].append(folds[0]["train"].pop())  # an image that the run has seen
    write_json(run.dataset.splits_json, folds)
    with pytest.raises(HtunetError, match="may contain images that the run was trained on"):
        predict_test(run)
    assert not run.predictions.exists()


def test_a_test_image_may_be_taken_out(run: RunPaths) -> None:
    folds = load_splits(run.dataset.splits_json)
    folds[0]["test"].pop()
    write_json(run.dataset.splits_json, folds)
    predict_test(run)
    assert len(list(run.predictions.iterdir())) == TEST - 1


def test_arrays_that_were_made_anew_with_another_plan_are_refused(run: RunPaths) -> None:
    mark = run.dataset.plan_folder("tiny") / "preprocessed.json"
    write_json(mark, read_json(mark) | {"plan_sha256": "0" * 64})
    with pytest.raises(HtunetError, match="was made with another input_size"):
        predict_test(run)


def test_a_process_that_ends_before_its_predictions_are_whole_has_nothing_else_to_write(
    run: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there once they are is never written later: the next call sees the predictions and does nothing."""

    def ended(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(test_set, "write_predictions", ended)
        with pytest.raises(KeyboardInterrupt):
            predict_test(run)
    before = {path.name for path in run.test_folder.iterdir()}
    predict_test(run)
    made = (run.predictions, run.predictions_at_input, run.expected_dice_csv, run.uncertainty)
    predicted = {
        path.name for path in (*made, run.predicted_json)
    }  # the evaluation writes the last one where it is not there
    assert {path.name for path in run.test_folder.iterdir()} - before == predicted
    assert run.familiar_json.name in before
