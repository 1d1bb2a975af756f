"""Predictions of runs that learn classes: which images, which probabilities, for the test split and for any folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from builders.classes import build_visible_classes
from builders.training import TEST, VAL, register_tiny_methods, tiny_settings
from PIL import Image

from htunet.api import Model
from htunet.cli.predict import main
from htunet.data.class_probabilities import read_class_probabilities
from htunet.data.expected_dice import PredictedDice
from htunet.data.image_io import read_labels
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.evaluation import predicted_dice
from htunet.evaluation.class_summary import evaluate_classes
from htunet.evaluation.freshness import needs_prediction
from htunet.evaluation.predicted_run import open_predicted
from htunet.files import read_csv, write_json
from htunet.inference.prediction import Prediction
from htunet.inference.predictor import Predictor
from htunet.inference.test_set import predict_test
from htunet.models import build
from htunet.models.backbones import BACKBONES
from htunet.models.build import build_network
from htunet.models.checkpoint import restore
from htunet.models.tasks import Outputs
from htunet.paths import DatasetPaths, RunPaths
from htunet.training import record
from htunet.training.run import train

CLASSES = {"benign": 0, "malignant": 1}
LABELS = np.eye(40, dtype=np.uint8)


@pytest.fixture
def dataset(home: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetPaths:
    for registry in (build.STANDALONE, BACKBONES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    register_tiny_methods()
    return build_visible_classes()


def trained(task: str, epochs: int = 4) -> RunPaths:
    return train("Tiny", "TINY", 0, tiny_settings(task=task, num_epochs=epochs)).run


def test_both_splits_are_predicted_with_the_probabilities_of_the_network(dataset: DatasetPaths) -> None:
    run = trained("cls")
    assert needs_prediction(run)
    predict_test(run)
    assert not needs_prediction(run)
    network, weights = build_network("TINY", Outputs(task="cls"), seed=1, weights="random")
    restore(network, weights, run.checkpoint_best)
    data = PreprocessedDataset(dataset.plan_folder("tiny"))
    fold = load_splits(dataset.splits_json)[0]
    for path, split, count in ((run.classes_csv, "test", TEST), (run.val_classes_csv, "val", VAL)):
        found = read_class_probabilities(path)
        assert (list(found.cases), len(found.cases)) == (fold[split], count)
        assert found.truth == tuple(data.cases[row].class_name for row in data.rows(fold[split]))
        with torch.no_grad():
            scores = network.eval()(torch.from_numpy(data.images[data.rows(fold[split])]))
        np.testing.assert_allclose(found.values_NK, scores.double().softmax(dim=1).numpy(), atol=1e-6)
    assert not run.predictions.exists()
    assert evaluate_classes(open_predicted(run)).auc.value == 1.0


def test_a_run_of_both_tasks_writes_masks_and_classes(dataset: DatasetPaths) -> None:
    run = trained("seg+cls", epochs=1)
    predict_test(run)
    assert len(list(run.predictions.iterdir())) == len(read_class_probabilities(run.classes_csv).cases) == TEST
    data = PreprocessedDataset(dataset.plan_folder("tiny"))
    found = Predictor.from_run(run, device="cpu").probabilities(data.images[[0, 1, 2]])
    assert found.labels_BKHW is not None
    assert found.classes_BN is not None
    assert (found.labels_BKHW.shape, found.classes_BN.shape) == ((3, 2, 32, 32), (3, 2))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, brighter in (("dark.png", 0), ("bright.png", 80), ("dark.jpg", 0)):
        Image.fromarray(rng.integers(60 + brighter, 170 + brighter, (48, 40)).astype(np.uint8)).save(folder / name)
    return folder


def predict(images: Path, *options: str) -> int:
    target = images.parent / "out"
    return main(["-i", str(images), "-o", str(target), "-d", "Tiny", "-m", "TINY", "--device", "cpu", *options])


def test_new_images_get_a_line_each_and_no_mask(
    dataset: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained("cls")
    (images / "broken.png").write_bytes(b"no image")
    assert predict(images) == 1
    out = images.parent / "out"
    assert [path.name for path in out.iterdir()] == ["classes.csv"]
    found = read_class_probabilities(out / "classes.csv")
    assert (found.cases, found.truth) == (("bright.png", "dark.jpg", "dark.png"), ("", "", ""))
    assert found.predicted == ["malignant", "benign", "benign"]
    assert "Classes: 2 benign, 1 malignant" in capsys.readouterr().out


def test_both_tasks_write_masks_and_classes_of_new_images(dataset: DatasetPaths, images: Path) -> None:
    trained("seg+cls", epochs=1)
    (images / "dark.jpg").unlink()
    assert predict(images, "--overlays") == 0
    out = images.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == ["bright.png", "classes.csv", "dark.png", "overlays"]
    assert read_labels(out / "dark.png").shape == (48, 40)


@pytest.mark.parametrize("option", ["--overlays", "--save-probabilities"])
def test_options_about_masks_are_refused_where_there_are_none(
    dataset: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    trained("cls", epochs=1)
    assert predict(images, option) == 2
    assert f"{option} is about masks" in capsys.readouterr().err
    assert not (images.parent / "out").exists()


def test_runs_of_several_tasks_ask_for_one(
    dataset: DatasetPaths, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for task in ("seg", "cls"):
        trained(task, epochs=1)
    assert predict(images) == 2
    assert "runs with the tasks cls, seg: choose one with --task" in capsys.readouterr().err
    assert predict(images, "--task", "cls") == 0
    assert "fold0 seed1 (plan tiny, task cls)" in capsys.readouterr().out
    assert predict(images, "--task", "clss") == 2
    assert "Did you mean 'cls'?" in capsys.readouterr().err


def test_classes_by_hand_into_a_folder_of_masks_leave_what_the_masks_say(
    dataset: DatasetPaths, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for task in ("seg", "cls"):
        trained(task, epochs=1)
    monkeypatch.setattr(Prediction, "labels", property(lambda found: None if found.scores_KHW is None else LABELS))
    monkeypatch.setattr(predicted_dice, "predicted_dice", lambda *_: PredictedDice(0.7, 0.5, 0.9))
    monkeypatch.setattr(Model, "dice_calibrations", property(lambda model: ("some",) * (model.run.task == "seg")))
    assert predict(images, "--task", "seg") == 0
    out = images.parent / "out"
    before = (out / "quality.csv").read_bytes()
    assert len([row for row in read_csv(out / "quality.csv", ("image",)) if row["predicted_dice"]]) == 3
    assert predict(images, "--task", "cls") == 0
    assert (out / "quality.csv").read_bytes() == before
    assert read_class_probabilities(out / "classes.csv").cases == ("bright.png", "dark.jpg", "dark.png")
    for name in ("bright.png", "dark.jpg"):
        (images / name).unlink()
    capsys.readouterr()
    assert predict(images, "--task", "cls") == 0
    assert "The tables keep their rows of 2 images predicted before." in capsys.readouterr().out
    assert len(read_class_probabilities(out / "classes.csv").cases) == 3
    text = (out / "classes.csv").read_text().replace("benign", "cyst")
    (out / "classes.csv").write_text(text)
    assert predict(images, "--task", "cls") == 2
    assert "has the classes cyst, malignant, and the model benign, malignant" in capsys.readouterr().err
    assert (out / "classes.csv").read_text() == text


def test_classes_are_calibrated_from_python_where_enough_images_were_validated(
    dataset: DatasetPaths, images: Path
) -> None:
    """A temperature of 2 halves the difference of the scores; fewer than 20 validation images give none."""
    run = trained("cls")
    summary = Model(run, device="cpu").evaluate()
    own = summary["htunet"]["classification"]
    for number, temperature in ((19, None), (20, 2.0)):
        own |= {"validation_cases": number, "calibration": own["calibration"] | {"temperature": 2.0}}
        write_json(run.summary_json, summary)
        model = Model(run, device="cpu")
        assert model.describe()["figures"]["test"].get("temperature") == temperature
        found = model.predict(images / "dark.png")
        scores = np.log([*found.network_classes.values()]) / (temperature or 1)
        expected = np.exp(scores) / np.exp(scores).sum()
        assert [*found.classes.values()] == pytest.approx(expected.tolist(), abs=1e-9)
        assert (found.temperature, found.predicted_class) == (temperature, "benign")
        model.tta = True
        several = model.predict(images / "dark.png")
        assert several.temperature is None  # it was fitted on one view of each image
        assert several.classes == several.network_classes
