"""One command from a folder to a model: what it does, what it skips, what it refuses."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from builders.raw import blob, build_raw, speckled
from PIL import Image

from htunet import api
from htunet.api import load
from htunet.cli import run
from htunet.cli.convert import main as convert
from htunet.cli.export import main as export
from htunet.cli.predict import main as predict
from htunet.cli.review import main as review
from htunet.cli.run import main
from htunet.data.image_io import read_labels
from htunet.data.split_files import load_splits, save_splits
from htunet.errors import HtunetError
from htunet.experiments import cross_validation
from htunet.experiments.cost import START_SECONDS, Cost
from htunet.experiments.cross_validation import sizes_of
from htunet.experiments.jobs import Job
from htunet.experiments.time_budget import Candidate
from htunet.files import read_csv, read_json, write_json
from htunet.paths import RunPaths, all_datasets, find_dataset, find_runs, root
from htunet.planning.plans import load_plans

pytestmark = pytest.mark.usefixtures("home", "log_handlers")
NEVER_ENOUGH = "0.000001"
PREPROCESSED = "htunet_preprocessed"


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second an epoch, without the process that measures it."""
    monkeypatch.setattr(
        cross_validation,
        "costs_of",
        lambda jobs: {job.name: Cost(START_SECONDS + 0.5, "made up") for job in _all(jobs)},
    )


def _all(jobs: Iterable[Job]) -> list[Job]:
    return list(jobs)


@pytest.fixture
def own(tmp_path: Path) -> tuple[str, ...]:
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "own" / name).mkdir(parents=True)
    for index in range(12):
        mask = blob((40, 50), radius=0.2 + 0.01 * index)
        Image.fromarray(np.where(mask, 20, speckled((40, 50), rng)).astype(np.uint8)).save(
            tmp_path / "own" / "images" / f"patient{index // 2}_{index}.png"
        )
        Image.fromarray(255 * mask).save(tmp_path / "own" / "masks" / f"patient{index // 2}_{index}.png")
    folders = ("--images", str(tmp_path / "own" / "images"), "--masks", str(tmp_path / "own" / "masks"))
    return (*folders, "--groups", r"patient(\d)", "--name", "Mine", "--methods", "UNet", "--num-folds", "2")


def test_a_method_that_does_not_exist_is_named_before_anything_is_converted(
    own: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ((), ("--dry-run",)):
        assert main([*own, "--methods", "UNet", "CLIP_HTT", *more]) == 2
        assert "Did you mean 'CLIP_HT'" in capsys.readouterr().err
    assert all_datasets() == []


def test_a_folder_becomes_a_tested_model_and_predictions(
    own: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ("-i", str(tmp_path / "own" / "images"), "-o", str(tmp_path / "out"))
    assert main([*own, *new, "--hours", NEVER_ENOUGH]) == 0
    output = capsys.readouterr().out
    dataset = find_dataset("Mine")
    folds = load_splits(dataset.splits_json)
    assert len(folds) == 2
    assert sorted(case for fold in folds for case in fold["test"]) == sorted(f"patient{n // 2}_{n}" for n in range(12))
    for fold in folds:  # by patient, as patients are known
        patients = [{case[:8] for case in fold[split]} for split in ("train", "val", "test")]
        assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
    plan = load_plans(dataset.plans_json)["run"]
    assert (plan.geometry, plan.num_epochs, plan.learning_rate) == ("letterbox", 1, pytest.approx(1e-3))
    runs = list(find_runs(dataset))
    assert [(run.method, run.plan, run.fold) for run in runs] == [("UNet", "run", 0), ("UNet", "run", 1)]
    assert "UNet starts from weights pre-trained on simulated images." in output
    assert {run.adapter for run in runs} == {"phantom"}
    steps = [line for line in output.splitlines() if line.startswith("$ htunet_")]
    assert [line.split()[1] for line in steps] == [
        f"htunet_{name}"
        for name in ("convert", "plan_and_preprocess", "train", "train", "evaluate", "report", "predict")
    ]
    assert "Next: " not in output  # the next step follows by itself
    assert "  next " not in output
    assert output.count("learning_rate 0.0001: not above 0.0001") == 1  # not for each fold
    assert not dataset.plan_folder("adaptive").exists()  # its arrays would serve nothing
    dice = [
        float(row["dice"])
        for run in runs
        for row in read_csv(run.test_folder / "per_case.csv", ["resolution", "dice"])
        if row["resolution"] == "original_size"
    ]
    choice = read_json(dataset.results / "run" / "choice.json")["seg"]
    assert (choice["method"], choice["expected"]["n_used"]) == ("UNet", len(dice))
    assert choice["expected"]["mean"] == pytest.approx(np.mean(dice), abs=1e-6)
    assert f"expect a Dice of {100 * np.mean(dice):.1f} %" in output
    assert output.count("were estimated for 1 epoch.\n") == 2  # each training
    assert "2 of 2 folds are trained, as planned." in output
    assert read_json(dataset.results / "run" / "schedule.json")["schedule"]["settled"]
    assert (dataset.results / "report.html").exists()
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == {f"patient{n // 2}_{n}" for n in range(12)}
    assert read_labels(tmp_path / "out" / "patient0_0.png").shape == (40, 50)
    assert output.endswith(f"{tmp_path / 'out'}, the masks drawn over the images in {tmp_path / 'out' / 'overlays'}\n")
    assert "with Mine UNet folds 0,1 seed1 (plan run, pre-trained on simulation)" in output
    for one in runs:  # what predicts the Dice is there for every test image
        rows = read_csv(one.expected_dice_csv, ["case", "expected_dice"])
        assert {row["case"] for row in rows} == set(folds[one.fold]["test"])
    assert not (tmp_path / "out" / "quality.csv").exists()  # 12 tested images are too few to calibrate it

    assert choice["postprocessing"]["steps"] == {}
    content = read_json(dataset.results / "run" / "choice.json")
    content["seg"]["postprocessing"]["steps"] = steps = {"largest_component": True, "smallest_share": 0.25}
    write_json(dataset.results / "run" / "choice.json", content)
    model = load("Mine UNet", folds=[0, 1])
    assert model.postprocessing == model.predictor.predict(np.zeros((40, 50), np.uint8)).postprocessing == steps
    words = ("Mine", "UNet", "all-folds", "-o")
    assert (
        export([*words, str(tmp_path / "with")]) == export([*words, str(tmp_path / "no"), "--no-postprocessing"]) == 0
    )
    assert [load(tmp_path / name).postprocessing for name in ("with", "no")] == [steps, {}]
    assert (
        capsys.readouterr().out.count("Exported Mine UNet folds 0,1 seed1 (plan run, pre-trained on simulation) as ")
        == 2
    )

    before = {run: run.checkpoint_best.stat().st_mtime_ns for run in runs}
    assert main([*own, "--hours", NEVER_ENOUGH]) == 0
    output = capsys.readouterr().out
    assert "Mine is already converted" in output
    assert (
        "New images:  htunet_predict -i FOLDER -o OUTPUT -d Mine -m UNet -p run --task seg -f 0 1 --overlays\n"
        in output
    )
    assert before == {run: run.checkpoint_best.stat().st_mtime_ns for run in runs}

    split = dataset.splits_json.read_bytes()
    others = ("--hours", "2", "--num-folds", "3", "--methods", "CLIPSeg", "--weights", "random")
    for more in ((), ("--dry-run",)):
        assert main([*own, *others, *more]) == 1
        error = capsys.readouterr().err
        assert "other settings: --hours 1e-06, not 2; --num-folds 2, not 3; --methods UNet, not CLIPSeg; " in error
        assert "UNet from weights phantom, not random. Omit these options" in error
    assert dataset.splits_json.read_bytes() == split

    # what only predicts names nothing of it again
    assert main(["-d", "Mine", *new[:-1], str(tmp_path / "again")]) == 0
    for path in (tmp_path / "out").glob("*.png"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert before == {run: run.checkpoint_best.stat().st_mtime_ns for run in runs}
    capsys.readouterr()
    assert main(["-d", "Mine", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "and 1 more fold: 1 epoch" in output
    assert "; 2 of 2 folds are trained already" in output
    assert "All trainings are done.\n" in output

    _folds_that_were_trained_differently_are_neither_one_model_nor_one_figure(runs[1], tmp_path, capsys)
    assert "    to fit into the time: 1 epoch in place of " in output


def _folds_that_were_trained_differently_are_neither_one_model_nor_one_figure(
    run: RunPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read_json(run.settings_json)
    write_json(run.settings_json, settings | {"precision": "other", "weights": {"source": "random"}})
    folders = ["-i", str(tmp_path / "own" / "images"), "-o", str(tmp_path / "mixed")]
    for command, arguments in (
        (predict, ["-d", "Mine", "-m", "UNet", *folders, "-f", "all-folds"]),
        (export, ["Mine", "UNet", "0", "1", *folders[2:]]),
        (review, ["-d", "Mine", *folders[2:]]),
    ):
        assert command(arguments) == 2
        error = capsys.readouterr().err
        assert (
            "Mine UNet fold1 seed1 (plan run, pre-trained on simulation) was trained otherwise than Mine UNet" in error
        )
        assert "precision other" in error
        assert "weights.source random" in error
        assert not (tmp_path / "mixed").exists()


def test_a_dry_run_shows_the_folds_that_there_will_be_and_refuses_those_that_cannot_be(
    own: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in ("1", "100"):
        assert main([*own[:-1], number, "--dry-run"]) == 2
        assert f"--num-folds must be from 2 to 99, got {number}." in capsys.readouterr().err
    assert convert(own[:8]) == 0
    for number, more in (("2", 1), ("40", 5)):  # six patients
        capsys.readouterr()
        assert main(["-d", "Mine", "--methods", "UNet", "--num-folds", number, "--hours", "1000", "--dry-run"]) == 0
        assert f"and {more} more fold{'s' * (more > 1)}: 200 epochs, " in capsys.readouterr().out
    dataset = find_dataset("Mine")
    assert not dataset.plans_json.exists()
    assert not dataset.splits_json.exists()
    show, places = run._show, []
    monkeypatch.setattr(
        run, "_show", lambda dataset, *rest: places.append((dataset, root(PREPROCESSED))) or show(dataset, *rest)
    )
    assert main(["-d", "Mine", "--methods", "UNet", "--hours", NEVER_ENOUGH, "--dry-run"]) == 0
    ((aside, during),) = places
    assert (during, dataset.splits_json.exists()) == (root(PREPROCESSED), False)
    assert aside.preprocessed.parent != during
    assert not aside.preprocessed.parent.exists()  # it has been removed
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("    to fit into the time: ")]
    assert api.plan("Mine", plans=["adaptive"], num_folds=5, split_by="group", preprocess=False)
    assert main(["-d", "Mine", "--methods", "UNet", "--hours", NEVER_ENOUGH, "--dry-run"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line in shown] == shown


def test_a_dry_run_writes_nothing(own: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*own, "--hours", "0.5", "--methods", "UNet", "ResNet18", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("$ htunet_convert --name Mine --images ")
    assert "$ htunet_run -d Mine --hours 0.5 --num-folds 2 --methods UNet ResNet18 --dry-run\n" in output
    assert not list(tmp_path.rglob("dataset.json"))
    assert main([own[0], str(tmp_path / "nowhere"), *own[2:], "--dry-run"]) == 2
    assert f"--images {tmp_path / 'nowhere'} is not a folder" in capsys.readouterr().err


def test_tasks_with_lists_of_their_own_are_trained_on_their_own_folds(
    own: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"patient{n // 2}_{n}" for n in range(12)]
    _write_classes(tmp_path / "classes.csv", ids, "ab" * 6)
    assert convert([*own[:6], "--classes", str(tmp_path / "classes.csv"), "--name", "Mine"]) == 0
    dataset = find_dataset("Mine")
    for_masks = {"name": "paper", "task": "seg", "train": ids[:6], "val": ids[6:9], "test": ids[9:]}
    for_classes = {"name": "paper", "task": "cls", "train": ids[4:], "val": ids[:2], "test": ids[2:4]}
    save_splits(dataset.splits_json, [for_masks, for_classes])
    assert sizes_of(dataset)[0] == 1
    capsys.readouterr()
    assert main(["-d", "Mine", "--dry-run", "--methods", "UNet", "ResNet18", "--weights", "random"]) == 0
    output = capsys.readouterr().out
    assert "UNet fold0 --plan run --task seg" in output
    assert "ResNet18 fold1 --plan run --task cls" in output


def test_official_folds_are_trained_unless_others_are_asked_for(
    own: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images 0-3, 4-7 and 8-11 are folds 0, 1 and 2: each is tested once, and the next validates."""
    ids = [f"patient{n // 2}_{n}" for n in range(12)]
    folds = "".join(f"{name}.png,{n // 4}\n" for n, name in enumerate(ids))
    (tmp_path / "folds.csv").write_text("image,fold\n" + folds)
    assert convert([*own[:6], "--folds", str(tmp_path / "folds.csv"), "--name", "Mine"]) == 0
    capsys.readouterr()
    words = ["-d", "Mine", "--methods", "UNet", "--hours", "1000"]
    assert main([*words, "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "--num-folds" not in output
    assert "and 2 more folds: " in output

    def stop(*_: object) -> None:
        raise HtunetError("before the first training")

    monkeypatch.setattr(run, "_train_folds", stop)
    assert main(words) == 1
    parts = [ids[:4], ids[4:8], ids[8:]]
    expected = [{"test": parts[n], "val": parts[n - 2], "train": parts[n - 1]} for n in range(3)]
    dataset = find_dataset("Mine")
    assert load_splits(dataset.splits_json) == expected
    assert "official lists" not in capsys.readouterr().out
    assert main([*words, "--num-folds", "3"]) == 1
    assert "3 folds of lists, not --num-folds 3" in capsys.readouterr().err
    dataset.schedule_json.unlink()
    assert main([*words, "--num-folds", "2"]) == 1
    output = capsys.readouterr().out
    assert "THE SPLIT HAS CHANGED: it was not made here, and --num-folds asks for a new one" in output
    assert f"this split is not that of the official lists in {dataset.paper_splits_json}. To take them: " in output
    assert len(load_splits(dataset.splits_json)) == 2


def test_folds_without_a_test_image_are_named_before_anything_is_trained(
    own: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = "".join(f"patient{n // 2}_{n}.png,{'train' if n < 8 else 'val'}\n" for n in range(12))
    (tmp_path / "folds.csv").write_text("image,fold\n" + folds)
    assert main([*own[:6], "--folds", str(tmp_path / "folds.csv"), "--name", "Mine", "--hours", NEVER_ENOUGH]) == 1
    found = capsys.readouterr()
    assert "Masks are not learnt at all. Fold 0: it names no image for test" in found.out
    assert "No fold of Mine can be trained on" in found.err
    assert not any(find_runs(find_dataset("Mine")))
    assert main(["-d", "Mine", "--methods", "UNet", "--num-folds", "2", "--hours", "1000", "--dry-run"]) == 0
    assert "and 1 more fold: " in capsys.readouterr().out


def test_a_data_set_of_test_images_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    build_raw(0, test=4, rule="test only")
    for more in ((), ("--dry-run",)):
        assert main(["-d", "Tiny", "--methods", "UNet", *more]) == 1
        assert "Fold 0: it names no image for train and val, and a model needs all three" in capsys.readouterr().out


def test_classes_that_no_fold_can_learn_do_not_stop_the_masks(
    own: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"patient{n // 2}_{n}" for n in range(12)]
    _write_classes(tmp_path / "classes.csv", ids, "a" * 11 + "b")
    words = [*own[:4], "--name", "Mine", "--classes", str(tmp_path / "classes.csv"), "--num-folds", "2"]
    assert main([*words, "--hours", NEVER_ENOUGH]) == 0
    output = capsys.readouterr().out
    assert "Classes are not learnt at all. Fold 0: " in output
    assert {run.method for run in find_runs(find_dataset("Mine"))} == {"UNet"}
    assert "For masks: UNet" in output

    _write_classes(tmp_path / "classes.csv", ids, "a" * 11 + "b")
    words = [*words[:2], "--classes", str(tmp_path / "classes.csv"), "--name", "Alone", "--num-folds", "2"]
    assert main([*words, "--hours", NEVER_ENOUGH]) == 1
    assert "No fold of Alone can be trained on" in capsys.readouterr().err


def _write_classes(path: Path, ids: list[str], classes: str) -> None:
    lines = (f"{name}.png,{one}\n" for name, one in zip(ids, classes, strict=True))
    path.write_text("image,class\n" + "".join(lines))


def test_a_run_begun_with_other_default_weights_goes_on_with_them(
    own: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*own, "--hours", NEVER_ENOUGH, "--weights", "random"]) == 0
    capsys.readouterr()
    assert main([*own, "--hours", NEVER_ENOUGH]) == 0  # as an earlier version began it
    assert {run.adapter for run in find_runs(find_dataset("Mine"))} == {""}
    assert main([*own, "--hours", NEVER_ENOUGH, "--weights", "phantom"]) == 1
    assert "UNet from weights random, not phantom" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Name a converted data set"),
        (["-d", "BUSI", "--images", "x"], "--images: only for images of your own"),
        (["-d", "BUSI", "--name", "Mine"], "--name: only for images of your own"),
        (["-d", "BUSI", "--positive", "b"], "omit the one or the other. The positive class is in dataset.json of BUSI"),
        (["--images", "x", "--masks", "y"], "--name MYDATA"),
        (["-d", "BUSI", "-i", "x"], "-i and -o belong together"),
        (["-d", "BUSI", "--hours", "nan"], "--hours must be above 0"),
        (["-d", "BUSI"], "No data set is called 'BUSI'"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_a_faster_machine_than_estimated_trains_the_folds_that_were_given_up(
    own: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(own[:8]) == 0
    dataset = find_dataset("Mine")
    run._plan_adaptive(dataset, 6, by_group=True)
    found = cross_validation.settle_schedule(dataset, [Candidate(method="UNet", task="seg")], 1.5 / 0.8 / 3600)
    assert (found.num_folds, found.num_epochs, found.scale) == (3, 4, 0.5)  # of 0.125 s: 1.5 s are for training
    steps = list[str]()

    def train_nothing(of_fold: RunPaths, *words: str) -> None:
        steps.append(words[2])
        write_json(of_fold.finished_json, {"epochs": 3})

    monkeypatch.setattr(run, "train_step", train_nothing)
    monkeypatch.setattr(cross_validation, "epoch_seconds", lambda _: [0.06, 0.06, 0.0675])
    for _ in range(2):  # what is settled stays
        assert run._train_folds(dataset, found, 1.5 / 0.8 / 3600).num_folds == 6
        found = cross_validation.settle_schedule(dataset, [], 1.0)
        assert (found.num_folds, found.settled, len(found.given_up)) == (6, True, 2)
    assert steps == 2 * [f"fold{number}" for number in range(6)]
    output = capsys.readouterr().out
    assert "Here an epoch takes 0.062 s; 0.12 s were estimated. 6 of 6 folds are trained, in place of 3." in output
    took = "The training took 0 s: it no longer improved, and stopped after 3 of 4 epochs. 0 s were estimated for 4 "
    assert output.count(took) == 6
