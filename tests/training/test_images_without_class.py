"""Where some images have no class, a classification leaves them out and says so; a segmentation takes all of them."""

import numpy as np
import pytest
from builders.classes import take_classes_away
from builders.training import run_of, tiny_settings

from htunet.cli.evaluate import main as evaluate
from htunet.cli.train import main
from htunet.data.class_probabilities import ClassProbabilities
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.data.training_fold import training_fold
from htunet.errors import HtunetError
from htunet.evaluation.class_summary import summarise
from htunet.files import read_csv, read_json
from htunet.paths import DatasetPaths, RunPaths
from htunet.training import record
from htunet.training.run import train

TINY = ("--plan", "tiny", "--device", "cpu", "--precision", "fp32", "--workers", "0", "--num-epochs", "1")

pytestmark = pytest.mark.usefixtures("log_handlers")


@pytest.fixture
def partly(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> DatasetPaths:
    """Two of 14 training images, one of 4 for validation and two of 6 test images have no class."""
    monkeypatch.setattr(record, "draw_progress", lambda *_: None)
    fold = load_splits(tiny.splits_json)[0]
    take_classes_away(tiny, [*fold["train"][:2], fold["val"][0], *fold["test"][:2]])
    return tiny


def place(dataset: DatasetPaths, trainer: str, method: str) -> RunPaths:
    return RunPaths(dataset, trainer, "tiny", method, 0, 1)


def test_they_are_left_out_and_said(partly: DatasetPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["Tiny", "PlainClasses", "fold0", *TINY, "--task", "cls"]) == 0
    output = capsys.readouterr().out
    assert "12 training and 3 validation images" in output
    assert (
        "Excluded, because they have no class: 2 of the train split, 1 of the val split, 2 of the test split." in output
    )
    run = place(partly, "ClassificationTrainer", "PlainClasses")
    assert read_json(run.settings_json)["images_without_class"] == {"train": 2, "val": 1, "test": 2}
    assert main(["Tiny", "PlainClasses", "fold0", *TINY, "--task", "cls"]) == 0
    assert "Already finished" in capsys.readouterr().out


def test_they_are_not_scored_and_the_evaluation_says_so(
    partly: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["Tiny", "PlainClasses", "fold0", *TINY, "--task", "cls"]) == 0
    assert evaluate(["Tiny"]) == 0
    assert "2 of 6 test cases have no class and are not scored" in capsys.readouterr().out
    run = place(partly, "ClassificationTrainer", "PlainClasses")
    found = read_json(run.summary_json)["htunet"]["classification"]
    assert (found["n_cases"], len(found["cases"]), found["validation_cases"]) == (4, 4, 3)
    assert len(read_csv(run.classes_csv, ["case", "predicted"])) == 6  # they are predicted like any other


def test_both_tasks_at_once_predict_the_masks_of_all_test_images(partly: DatasetPaths) -> None:
    settings = tiny_settings(task="seg+cls", num_epochs=1)
    run = train("Tiny", "TINY", 0, settings).run
    assert isinstance(run, RunPaths)
    assert evaluate(["Tiny"]) == 0
    assert len(list(run.predictions.iterdir())) == 6
    assert read_json(run.summary_json)["htunet"]["classification"]["n_cases"] == 4


def test_a_segmentation_takes_all_of_them(partly: DatasetPaths) -> None:
    run = train("Tiny", "Plain", 0, tiny_settings(num_epochs=1)).run
    assert "14 training and 4 validation images" in run.training_log.read_text(encoding="utf-8")
    assert "images_without_class" not in read_json(run.settings_json)


def test_a_share_is_one_of_the_images_with_a_class_in_the_order_of_all_methods(partly: DatasetPaths) -> None:
    data = PreprocessedDataset(partly.plan_folder("tiny"), {"benign": 0, "malignant": 1})
    run = place(partly, "ClassificationTrainer", "PlainClasses")
    few = training_fold(run, data, 0.5)
    assert len(few.rows("train")) == 6
    assert {data.cases[row].class_name for row in few.rows("train")} == {"benign", "malignant"}
    order = [case for unit in read_json(partly.few_shot_json(0, 1))["order"] for case in unit]
    classed = [case for case in order if data.cases[data.index[case]].class_name]
    assert sorted(classed[:6]) == few.chosen["train"]
    assert training_fold(run_of(partly, "Plain"), data, 0.5).chosen["train"] == sorted(order[:7])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", "train split has no image of benign, malignant"),
        ("val", "No image of the val split has a class"),
    ],
)
def test_a_split_without_any_class_is_refused_before_anything_is_made(
    tiny: DatasetPaths, split: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    take_classes_away(tiny, load_splits(tiny.splits_json)[0][split])
    for more in ((), ("--ratio", "0.5")):
        assert main(["Tiny", "PlainClasses", "fold0", *TINY, "--task", "cls", *more]) == 1
        assert message in capsys.readouterr().err
    assert not tiny.results.exists()


def test_a_test_split_without_any_class_cannot_be_scored() -> None:
    half = np.array([[0.5, 0.5]])
    found = ClassProbabilities(classes=("benign", "malignant"), cases=("a",), truth=("",), values_NK=half)
    with pytest.raises(HtunetError, match="None of the 1 test cases has a class"):
        summarise(found, [""])
