"""Images of one's own with three labels and three classes go through every command."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.own import build_own
from PIL import Image

from htunet.cli import convert, evaluate, plan_and_preprocess, predict, train
from htunet.data.image_io import read_image, read_labels
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits
from htunet.files import read_json
from htunet.paths import DatasetPaths, RunPaths, find_runs
from htunet.planning.plans import load_plans, save_plans
from htunet.reporting.overlays.draw import label_colour

KINDS = ("benign", "cyst", "malignant")
LABELS = {"background": 0, "nodule": 1, "duct": 2, "cyst": 3}
PATHS = DatasetPaths("Dataset600_Mine")


def planned(home: Path) -> None:
    """Thirty images, converted, planned and preprocessed with a tiny plan."""
    names = [f"{KINDS[index % 3]}/case {index}" for index in range(30)]
    images, masks = build_own(home / "mine", names, labels=3, values=(85, 170, 255))
    options = ["--classes", f"^({'|'.join(KINDS)})/", "--labels", "nodule=85,duct=170,cyst=255"]
    assert convert.main(["--images", str(images), "--masks", str(masks), "--name", "Mine", *options]) == 0
    assert plan_and_preprocess.main(["-d", "Mine", "--plan", "paper"]) == 0
    plans = load_plans(PATHS.plans_json)
    tiny = replace(plans["paper"], name="tiny", input_size=(32, 32), batch_size=4, accumulation=1)
    save_plans(PATHS.plans_json, plans | {"tiny": tiny})
    assert plan_and_preprocess.main(["-d", "Mine", "--plan", "tiny"]) == 0


def test_three_labels_and_three_classes_go_through_the_whole_pipeline(
    home: Path, capsys: pytest.CaptureFixture[str], log_handlers: None
) -> None:
    planned(home)
    raw = read_raw(PATHS)
    assert (raw.info.labels, raw.info.classes) == (LABELS, {"benign": 0, "cyst": 1, "malignant": 2})
    fold = load_splits(PATHS.splits_json)[0]
    kind_of = {case.id: case.class_name for case in raw.cases}
    for split, number in (("train", 8), ("val", 1), ("test", 1)):
        assert [sum(kind_of[case] == kind for case in fold[split]) for kind in KINDS] == [number] * 3, split
    arrays = PreprocessedDataset(PATHS.plan_folder("tiny"))
    assert set(np.unique(arrays.masks)) == {0, 1, 2, 3}
    assert {case.class_name for case in arrays.cases} == set(KINDS)

    assert train.main(["Mine", "UNet", "fold0", "--plan", "tiny", "--num-epochs", "2", "--device", "cpu"]) == 0
    capsys.readouterr()
    assert evaluate.main([]) == 0
    output = capsys.readouterr().out
    (run,) = find_runs(PATHS)
    check_evaluation(run, output)
    check_prediction(home, run)


def check_evaluation(run: RunPaths, output: str) -> None:
    """The summary, the table, the pictures and what was printed."""
    own = read_json(run.summary_json)["htunet"]
    by_label = own["means_by_label"]["original_size"]
    assert list(by_label) == ["1", "2", "3"]
    over_labels = np.mean([by_label[label]["Dice"]["mean"] for label in by_label])
    assert own["means"]["original_size"]["Dice"]["mean"] == pytest.approx(over_labels)
    for name in ("nodule", "duct", "cyst"):
        assert f"    {name}: Dice" in output
    table = run.dataset.results.parent / "tables" / "segmentation.csv"
    rows = [row for row in csv.DictReader(table.open(encoding="utf-8")) if row["method"] == "UNet"]
    assert [(row["dataset"], row["n_cases"]) for row in rows] == [(PATHS.name, "3")]
    assert float(rows[0]["dice"]) == pytest.approx(100 * own["means"]["input_size"]["Dice"]["mean"])
    assert int(rows[0]["n_missed"]) <= 3
    assert len(list(run.overlays.glob("*.png"))) == 3
    assert (run.test_folder / "contact_sheet.png").exists()
    case = next(case for case in read_raw(PATHS).cases if (run.overlays / f"{case.id}.png").exists())
    picture, truth = read_image(run.overlays / f"{case.id}.png", 3), read_labels(read_raw(PATHS).label_path(case))
    for label in (1, 2, 3):
        shown = (picture[:, : truth.shape[0]] == np.array(label_colour(label))[:, None, None]).all(axis=0)
        assert shown.any(), label
        assert (truth[shown] == label).all(), label


def check_prediction(home: Path, run: RunPaths) -> None:
    """New images get masks with the labels, and overlays in their colours."""
    out = home / "out"
    images = str(home / "mine" / "images" / "cyst")
    assert predict.main(["-i", images, "-o", str(out), "-d", "Mine", "-m", run.method, "--overlays"]) == 0
    masks = [read_labels(path) for path in sorted(out.glob("*.png"))]
    assert len(masks) == 10
    assert {int(value) for mask in masks for value in np.unique(mask)} <= {0, 1, 2, 3}
    assert Image.open(next((out / "overlays").glob("*.png"))).mode == "RGB"


def test_images_with_classes_alone_are_planned_and_never_segmented(
    home: Path, capsys: pytest.CaptureFixture[str], log_handlers: None
) -> None:
    images, _ = build_own(home / "mine", [f"{KINDS[index % 3]}/{index}" for index in range(30)])
    assert convert.main(["--images", str(images), "--classes", f"^({'|'.join(KINDS)})/", "--name", "Mine"]) == 0
    assert plan_and_preprocess.main(["-d", "Mine", "--plan", "paper"]) == 0
    output = capsys.readouterr().out
    assert "30 cases, 0 warnings" in output
    assert "htunet_train Mine CLIP_HT fold0 --task cls" in output
    assert train.main(["Mine", "UNet", "fold0", "--device", "cpu"]) == 1
    assert "no masks: nothing can be segmented. Train it with --task cls" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["BUSI", "x", "--images", "y"], "--images are for images of your own; BUSI has a converter"),
        (["BUSI", "x", "--classes", "y"], "--classes are for images of your own"),
        (
            ["STU", "x", "--masks", "y"],
            "--masks are for images of your own; STU is not a data set of --list; to name your own",
        ),
        (["--images", "x", "--masks", "y", "--name", "M", "--pairs", "a", "b", "c"], "--pairs takes a table or two"),
        (["--images", "x", "--classes", "y", "--name", "M", "--pairs", "{id}", "{id}"], "name both folders"),
        (["--images", "x", "--masks", "y"], "Name your data set: --name MYDATA"),
        (["--images", "nowhere", "--masks", "y", "--name", "Mine"], "nowhere is not a folder"),
        (["--images", "x", "--fit-masks", "--drop-empty-slices", "--masks", "y", "--name", "M"], "--drop-empty-slices"),
    ],
)
def test_wrong_usage_says_the_way_out(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert convert.main(arguments) == 2
    assert message in capsys.readouterr().err
