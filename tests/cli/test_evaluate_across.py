"""htunet_evaluate B --trained-on A: images that a run has never seen, of a data set that was never planned."""

import re
from pathlib import Path

import numpy as np
import pytest
from builders.raw import build_raw
from builders.training import tiny_plan, tiny_settings, write_arrays
from PIL import Image

from htunet.cli.evaluate import main
from htunet.data.image_io import read_labels
from htunet.data.raw import read_raw
from htunet.data.split_files import load_splits, save_splits
from htunet.data.training_fold import learnt_fold
from htunet.errors import HtunetError
from htunet.experiments import cross_dataset
from htunet.files import read_csv, read_json, write_json
from htunet.inference.across import cases_of
from htunet.paths import DatasetPaths, RunPaths, find_runs
from htunet.planning.plans import save_plans
from htunet.training.run import train

pytestmark = pytest.mark.usefixtures("without_pictures")

OTHER = "Dataset904_Other"


@pytest.fixture
def other(tiny: DatasetPaths) -> DatasetPaths:
    """Seven images of other sizes, of which two are a test split; raw only."""
    return build_raw(5, sizes=((70, 40), (36, 36)), seed=5, test=2, rule="8:2", name=OTHER)


def trained(task: str = "seg", method: str = "TINY", **changes: object) -> RunPaths:
    run = train("Tiny", method, 0, tiny_settings(task=task, num_epochs=1, **changes)).run
    assert isinstance(run, RunPaths)
    return run


def on_other(run: RunPaths, other: DatasetPaths) -> RunPaths:
    return next(found for found in find_runs(other) if found.source == run)


def change_info(paths: DatasetPaths, **changes: object) -> None:
    content = read_json(paths.dataset_json)
    write_json(paths.dataset_json, content | {"htunet": content["htunet"] | changes})


def test_all_images_of_the_other_data_set_are_predicted_scored_and_marked(
    other: DatasetPaths, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = trained("seg+cls")
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    out = capsys.readouterr().out
    run = on_other(source, other)
    ids = [case.id for case in read_raw(other).cases]
    assert run.folder.parts[-4:] == (
        OTHER,
        "SegmentationClassificationTrainer__tiny__TINY__trained_on_Dataset903_Tiny",
        "fold_0",
        "seed_1",
    )
    assert run.label == "Other TINY fold0 seed1 (plan tiny, task seg+cls, trained on Tiny)"
    for case in read_raw(other).cases:
        size = read_labels(read_raw(other).label_path(case)).shape
        assert read_labels(run.predictions / f"{case.id}.png").shape == size
        assert read_labels(run.references_at_input / f"{case.id}.png").shape == (32, 32)
    own = read_json(run.summary_json)["htunet"]
    assert (own["n_cases"], own["classification"]["n_cases"]) == (7, 7)
    assert own["classification"]["validation_cases"] == 4  # of the data set that was trained on
    assert own["trained_on"] == {
        "dataset": "Dataset903_Tiny", "part": "all", "cases": ids, "shared_images": {}, "not_compared": []
    }  # fmt: skip
    assert "It was trained on none of the test images (Tiny was compared)." in out
    for kind in ("segmentation", "classification"):
        rows = read_csv(home / "results" / "tables" / f"{kind}.csv", ["dataset", "trained_on", "marks"])
        assert [(row["dataset"], row["trained_on"]) for row in rows] == [(OTHER, "Tiny")]
        assert "trained on Tiny" in rows[0]["marks"]
    assert not other.preprocessed.exists()


def test_the_masks_at_the_input_size_are_those_of_the_preprocessing(other: DatasetPaths) -> None:
    from builders.training import tiny_plan, write_arrays

    run = trained()
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    write_arrays(other, tiny_plan())
    masks = np.load(other.plan_folder("tiny") / "masks.npy")
    for row, case in enumerate(read_raw(other).cases):
        assert np.array_equal(read_labels(on_other(run, other).references_at_input / f"{case.id}.png"), masks[row])


@pytest.mark.parametrize("option", ["--split", "--part"])
def test_the_test_split_alone_when_asked_for(
    other: DatasetPaths, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained()
    assert main(["Other", "--trained-on", "Tiny", option, "test"]) == 0
    found = on_other(run, other)
    assert sorted(path.stem for path in found.predictions.iterdir()) == ["case_0005", "case_0006"]
    assert "its test split" in capsys.readouterr().out
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    assert len(list(found.predictions.iterdir())) == 7


def test_what_is_done_is_not_done_again(other: DatasetPaths, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained()
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    written = on_other(run, other).summary_json.stat().st_mtime_ns
    capsys.readouterr()
    assert main(["Other"]) == 0
    assert "Already evaluated: Other TINY fold0 seed1 (plan tiny, trained on Tiny)" in capsys.readouterr().err
    assert on_other(run, other).summary_json.stat().st_mtime_ns == written
    run.checkpoint_best.touch()
    assert main(["Other"]) == 0
    assert on_other(run, other).summary_json.stat().st_mtime_ns > written


def test_a_training_image_among_the_test_images_is_a_leak_that_is_named(
    other: DatasetPaths, tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, mask = (folder / name for folder, name in ((tiny.raw, "imagesTr"), (tiny.raw, "labelsTr")))
    Image.open(copy / "case_0003_0000.png").save(other.raw / "imagesTr" / "case_0001_0000.png")
    Image.open(mask / "case_0003.png").save(other.raw / "labelsTr" / "case_0001.png")
    run = trained()
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    out = capsys.readouterr().out
    assert "LEAK: among the images that it was trained on: 1 test image: case_0001 = case_0003" in out
    assert "1 test image also in the training data" in out
    assert read_json(on_other(run, other).settings_json)["trained_on"]["shared_images"] == {"case_0001": ["case_0003"]}


def test_images_of_the_run_that_a_training_began_with_are_a_leak_too(
    other: DatasetPaths, tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arrays(other, plan := tiny_plan(dataset=other.name))
    save_plans(other.plans_json, {"tiny": plan})
    ids = [case.id for case in read_raw(other).cases]
    save_splits(other.splits_json, [{"train": ids[:4], "val": ids[4:5], "test": ids[5:]}])
    first = train("Other", "TINY", 0, tiny_settings(num_epochs=1)).run
    run = trained(start_from=str(first.checkpoint_best))
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    shared = {case: [f"{case} of Other"] for case in ids[:5]}
    assert read_json(on_other(run, other).settings_json)["trained_on"]["shared_images"] == shared
    out = capsys.readouterr().out
    assert "LEAK: among the images that it was trained on: 5 test images: case_0000 = case_0000 of Other" in out
    assert "5 test images also in the training data" in out


def test_a_few_shot_run_has_seen_its_own_images_alone(
    other: DatasetPaths, tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(ratio=0.5)
    train_ids, learnt = load_splits(tiny.splits_json)[0]["train"], learnt_fold(run)["train"]
    unseen = next(case for case in train_ids if case not in learnt)
    for number, case in ((1, learnt[0]), (2, unseen)):
        picture = tiny.raw / "imagesTr" / f"{case}_0000.png"
        Image.open(picture).save(other.raw / "imagesTr" / f"case_000{number}_0000.png")
        Image.open(tiny.raw / "labelsTr" / f"{case}.png").save(other.raw / "labelsTr" / f"case_000{number}.png")
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    assert f"1 test image: case_0001 = {learnt[0]}" in capsys.readouterr().out
    assert read_json(on_other(run, other).settings_json)["trained_on"]["shared_images"] == {"case_0001": [learnt[0]]}


def test_what_cannot_be_compared_because_the_split_has_changed_is_marked(
    other: DatasetPaths, tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained()
    fold = load_splits(tiny.splits_json)[0]
    fold["train"], fold["val"] = fold["train"][1:], [*fold["val"], fold["train"][0]]
    write_json(tiny.splits_json, [fold])
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    out = capsys.readouterr().out
    assert (
        "Not compared with the training images of Tiny: no raw folder, or another split since: fold0 of "
        "Dataset903_Tiny." in out
    )
    assert "not compared with the training data" in out
    found = read_json(on_other(run, other).settings_json)["trained_on"]
    assert (found["shared_images"], found["not_compared"]) == (None, ["fold0 of Dataset903_Tiny"])


def test_what_is_known_is_compared_and_the_rest_is_named(
    other: DatasetPaths, tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run began with weights that do not say what they were trained on: a leak of its own images is still found."""
    copy, mask = (tiny.raw / name for name in ("imagesTr", "labelsTr"))
    Image.open(copy / "case_0003_0000.png").save(other.raw / "imagesTr" / "case_0001_0000.png")
    Image.open(mask / "case_0003.png").save(other.raw / "labelsTr" / "case_0001.png")
    run = trained()
    settings = read_json(run.settings_json)
    write_json(run.settings_json, settings | {"start_checkpoint": {"dataset": None, "fold": 0, "weights": "file"}})
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    found = read_json(on_other(run, other).settings_json)["trained_on"]
    assert found["shared_images"] == {"case_0001": ["case_0003"]}
    assert found["not_compared"] == ["starting weights that do not say what they were trained on"]
    out = capsys.readouterr().out
    assert "LEAK: among the images that it was trained on: 1 test image: case_0001 = case_0003" in out
    assert "Not compared with all images that it was trained on: starting weights that do not say" in out
    assert "not compared with all training data" in out


def test_images_that_changed_or_went_since_the_training_are_named(
    other: DatasetPaths, tiny: DatasetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained()
    done = tiny.plan_folder("tiny") / "preprocessed.json"
    write_json(done, read_json(done) | {"raw_sha256": "other"})
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    out = capsys.readouterr().out
    assert "the images of Dataset903_Tiny as they were then (its files or its plan have changed since)" in out
    assert "With those that were compared no test image is shared." in out
    assert "It was trained on none of the test images" not in out  # of some nobody knows
    gone = load_splits(tiny.splits_json)[0]["train"][0]
    rows = tiny.cases_csv.read_text().splitlines()
    tiny.cases_csv.write_text("\n".join(row for row in rows if not row.startswith(gone)) + "\n")
    for path in (tiny.raw / "imagesTr" / f"{gone}_0000.png", tiny.raw / "labelsTr" / f"{gone}.png"):
        path.unlink()
    info = read_json(tiny.dataset_json)
    write_json(tiny.dataset_json, info | {"numTraining": info["numTraining"] - 1})
    assert main(["Other", "--trained-on", "Tiny", "--force"]) == 0
    assert f"1 image that Dataset903_Tiny no longer has ({gone})" in capsys.readouterr().out
    found = read_json(on_other(run, other).settings_json)["trained_on"]
    assert (found["shared_images"], len(found["not_compared"])) == ({}, 2)


def test_pictures_are_compared_once_for_all_folds_and_fractions(
    other: DatasetPaths, tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    compare = cross_dataset.shared_images
    cross_dataset._same_pictures.cache_clear()  # other tests have data sets of the same content
    monkeypatch.setattr(cross_dataset, "shared_images", lambda *some: calls.append(len(some[1])) or compare(*some))
    for ratio in (None, 0.5):
        trained(ratio=ratio)
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    assert calls == [len(read_raw(tiny).cases)]


def test_classes_are_matched_by_name_whatever_their_numbers(other: DatasetPaths) -> None:
    run = trained("cls")
    assert main(["Other", "--trained-on", "Tiny"]) == 0
    figures = read_json(on_other(run, other).summary_json)["htunet"]["classification"]
    change_info(other, classes={"benign": 1, "malignant": 0})
    assert main(["Other", "--trained-on", "Tiny", "--force"]) == 0
    again = read_json(on_other(run, other).summary_json)["htunet"]["classification"]
    assert again["auc"] == figures["auc"]
    assert again["positive"] == "malignant"


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        (
            "cls",
            {"classes": {"benign": 0, "cancer": 1}},
            "The classes of Other are benign, cancer, a run of Tiny",
        ),
        ("seg+cls", {"classes": {}}, r"The classes of Other are \(none\)"),
        ("seg", {"labels": {"background": 0, "a": 1, "b": 2}}, r"The labels of Other are a \(1\), b \(2\), a run of"),
        ("seg", {"has_masks": False}, "Other has no masks to compare with"),
    ],
)
def test_data_sets_that_do_not_fit_are_refused_before_anything_is_predicted(
    other: DatasetPaths, capsys: pytest.CaptureFixture[str], task: str, changes: dict[str, object], message: str
) -> None:
    trained(task)
    change_info(other, **changes)
    assert main(["Other", "--trained-on", "Tiny"]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not other.results.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trained-on", "Tiny"], "--trained-on needs the data set to test on"),
        (["Tiny", "--trained-on", "Tiny"], "Tiny is what the runs were trained on"),
        (["Other", "--split", "test"], "--split belongs to --trained-on"),
    ],
)
def test_options_that_say_nothing_together_are_refused(
    other: DatasetPaths, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    trained()
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_data_set_without_a_test_split_has_none_to_offer(home: Path) -> None:
    raw = read_raw(build_raw(4, name=OTHER))
    assert len(cases_of(raw, "all")) == 4
    with pytest.raises(HtunetError, match=r"Dataset904_Other has no test split yet. Take --split all"):
        cases_of(raw, "test")
