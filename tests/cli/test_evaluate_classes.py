"""htunet_evaluate on runs that classify: files, tables, and what is done again."""

import sys
import types
from pathlib import Path

import pytest
from builders.class_run import TEST, build_class_dataset, build_class_run, predict_classes
from builders.run import build_run, make_older

from htunet.api import Model
from htunet.cli.evaluate import main
from htunet.errors import HtunetError, UsageError
from htunet.files import read_json
from htunet.paths import RunPaths


@pytest.fixture(autouse=True)
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[RunPaths]:
    """Stands for the network: a list of the runs that were asked to be predicted."""
    calls: list[RunPaths] = []

    def predict_test(run: RunPaths) -> None:
        calls.append(run)
        predict_classes(run, TEST)

    module = types.ModuleType("htunet.inference.test_set")
    module.predict_test = predict_test  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "htunet.inference.test_set", module)
    return calls


def test_a_classification_gets_its_files_and_its_row(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = build_class_dataset(name="Dataset503_BUSI")
    run = build_class_run(dataset)
    assert main([]) == 0
    out = capsys.readouterr().out
    own = read_json(run.summary_json)["htunet"]
    assert own["classification"]["auc"]["value"] == 0.75
    assert (own["method"], own["task"], own["seed"]) == ("ResNet18", "cls", 1)
    assert run.classification_png.exists()
    assert "95.45" not in out  # the paper's AUC, of other images
    assert "Rec, Pre, F1: of malignant (BUSI)" in out
    assert "most common class" in out
    assert "Dice" not in out
    tables = {path.name for path in (home / "results" / "tables").iterdir()}
    assert tables >= {"classification.csv", "classification.md", "classification.tex", "cases.csv", "means.csv"}
    assert "segmentation.csv" not in tables
    assert (home / "results" / "tables" / "classification.csv").read_text().count("\n") == 3  # and the baseline


def test_a_run_of_both_tasks_stands_in_both_tables(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = build_class_run(build_class_dataset(), method="CLIP_HT", task="seg+cls")
    assert main([]) == 0
    out = capsys.readouterr().out
    content = read_json(run.summary_json)
    assert content["htunet"]["classification"]["n_cases"] == content["htunet"]["n_cases"] == 4
    assert content["foreground_mean"]["Dice"] is not None
    assert {"contact_sheet.png", "classification.png", "per_case.csv"} <= {
        path.name for path in run.test_folder.iterdir()
    }
    for word in ("Dice %", "AUC %", "all background", "most common class", "(plan paper, task seg+cls)"):
        assert word in out


def test_tasks_of_one_method_are_rows_apart_and_can_be_chosen(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = build_class_dataset()
    build_run(dataset)
    build_class_run(dataset, method="CLIP_HT")
    assert main(["Tiny", "CLIP_HT", "--task", "cls"]) == 0
    assert "Dice" not in capsys.readouterr().out
    assert main(["Tiny", "CLIP_HT"]) == 0
    out = capsys.readouterr().out
    assert "Dice %" in out
    assert "AUC %" in out
    assert main(["Tiny", "CLIP_HT", "--task", "clas"]) == 2
    assert "Did you mean 'cls'?" in capsys.readouterr().err


def test_what_is_done_is_not_done_again_and_what_is_missing_old_or_of_other_cases_is(
    home: Path, predicted: list[RunPaths], capsys: pytest.CaptureFixture[str]
) -> None:
    run = build_class_run(build_class_dataset())
    for _ in range(2):
        assert main([]) == 0
    assert predicted == []
    assert "Already evaluated" in capsys.readouterr().err
    run.val_classes_csv.unlink()
    main([])
    make_older(run.classes_csv)
    main([])
    predict_classes(run, {"case_0006": 0.5})
    main([])
    assert predicted == [run] * 3


def test_a_classification_whose_class_names_have_changed_is_named_and_the_others_go_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = build_class_run(build_class_dataset())
    other = build_class_dataset(name="Dataset904_Other")
    build_class_run(other)
    text = other.cases_csv.read_text().replace("malignant", "bad")
    other.cases_csv.write_text(text)
    assert main([]) == 1
    assert "case_0007 ('bad')" in capsys.readouterr().err.splitlines()[-1]
    assert sound.summary_json.exists()


def test_a_positive_class_is_refused_where_no_classes_are_evaluated(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = build_class_dataset()
    run = build_run(dataset)
    assert main(["Tiny", "--positive", "benign"]) == 2
    assert "'benign' applies to runs that learn classes" in capsys.readouterr().err
    with pytest.raises(UsageError, match="omit it"):
        Model(run).evaluate(positive="benign")
    folders = ["--prediction-folder", str(run.predictions), "--reference-folder", str(run.predictions)]
    assert main([*folders, "--positive", "benign", "--task", "cls"]) == 2
    assert "omit --task, --positive" in capsys.readouterr().err
    with_classes = build_class_run(dataset)
    assert main(["Tiny", "--positive", "benign"]) == 0  # it is for those runs that learn classes
    assert read_json(with_classes.summary_json)["htunet"]["classification"]["positive"] == "benign"


def test_python_names_the_positive_class_as_the_command_does(home: Path) -> None:
    """By the most probable class both malignant cases are right, and one of the two benign ones."""
    model = Model(build_class_run(build_class_dataset()))
    recall = {}
    for positive in ("malignant", "benign", ""):
        found = model.evaluate(positive=positive)["htunet"]["classification"]
        recall[positive] = (found["positive"], found["decisions"]["most_probable_class"]["figures"]["recall"]["value"])
    assert recall == {"malignant": ("malignant", 1.0), "benign": ("benign", 0.5), "": ("benign", 0.5)}
    with pytest.raises(HtunetError, match="must be one of two classes"):
        model.evaluate(positive="cyst")
