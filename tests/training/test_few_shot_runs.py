"""Runs that learn from a share of the training images: their own folder, the whole validation split, bad ratios."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.training import VAL, run_of, tiny_plan, tiny_settings

from htunet.cli.predict import main as predict
from htunet.cli.train import main
from htunet.data.preprocessed import PreprocessedDataset
from htunet.data.split_files import load_splits
from htunet.data.training_fold import learnt_fold, training_fold
from htunet.errors import HtunetError, UsageError
from htunet.files import json_hash, read_json, write_json
from htunet.inference import test_set
from htunet.paths import DatasetPaths, RunPaths, find_runs
from htunet.planning.plans import save_plans
from htunet.reproducibility import training_command
from htunet.training.run import train
from htunet.training.session import Outcome

pytestmark = pytest.mark.usefixtures("without_pictures")


def train_tiny(ratio: float | None, method: str = "Plain", **changes: object) -> Outcome:
    return train("Tiny", method, 0, tiny_settings(ratio=ratio, **{"num_epochs": 1} | changes))


def test_the_ratio_is_part_of_the_runs_name_and_of_its_settings(tiny: DatasetPaths) -> None:
    few, whole = train_tiny(0.35).run, train_tiny(None).run
    assert few.folder.parts[-3:] == ("SegmentationTrainer__tiny__Plain__ratio_0.35", "fold_0", "seed_1")
    assert few.label == "Tiny Plain fold0 seed1 (plan tiny, ratio 0.35)"
    assert set(find_runs(tiny)) == {few, whole} == {run_of(tiny, "Plain", ratio=0.35), run_of(tiny, "Plain")}
    settings = read_json(few.settings_json)
    assert settings["few_shot"]["ratio"] == 0.35
    assert settings["few_shot"]["training_images"] == 5  # 0.35 * 14 = 4.9
    assert read_json(whole.settings_json)["few_shot"] is None
    assert settings["split_sha256"] == read_json(whole.settings_json)["split_sha256"]
    assert "5 training and 4 validation images, 2 steps per epoch" in few.training_log.read_text(encoding="utf-8")


def test_methods_of_a_seed_learn_from_the_same_images(tiny: DatasetPaths) -> None:
    digests = [
        read_json(train_tiny(0.5, method, seed=seed).run.settings_json)["few_shot"]["training_images_sha256"]
        for method, seed in (("Plain", 1), ("TINY_HT", 1), ("Plain", 2))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert sorted(path.name for path in (tiny.preprocessed / "few_shot").glob("*.json")) == [
        "fold_0_seed_1.json",
        "fold_0_seed_2.json",
    ]


def test_only_the_training_split_is_smaller(tiny: DatasetPaths) -> None:
    from htunet.data.preprocessed import PreprocessedDataset

    data = PreprocessedDataset(tiny.plan_folder("tiny"), {"benign": 0, "malignant": 1})
    learnt = training_fold(run_of(tiny, "Plain", ratio=0.2), data, 0.2)
    whole = load_splits(tiny.splits_json)[0]
    assert set(learnt.chosen["train"]) < set(whole["train"])
    assert len(learnt.rows("train")) == 3
    assert len(learnt.rows("val")) == VAL
    assert {split: learnt.chosen[split] for split in ("val", "test")} == {
        split: whole[split] for split in ("val", "test")
    }


@pytest.mark.parametrize("ratio", ["0", "1", "-0.1", "1.5", "nan"])
def test_a_ratio_that_is_no_share_is_refused(
    tiny: DatasetPaths, capsys: pytest.CaptureFixture[str], ratio: str
) -> None:
    assert main(["Tiny", "Plain", "fold0", f"--ratio={ratio}", "--plan", "tiny"]) == 2
    assert "--ratio is a fraction of the training images, larger than 0 and smaller than 1" in capsys.readouterr().err
    assert not tiny.results.exists()


def test_a_ratio_that_leaves_no_image_is_refused_before_anything_heavy(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("htunet.training.run.make_fabric", lambda **_: pytest.fail("it was begun"))
    with pytest.raises(UsageError, match=r"--ratio 0.01 of 14 training images selects no image"):
        train_tiny(0.01)
    assert not tiny.results.exists()


def test_images_without_a_labelled_pixel_are_refused(tiny: DatasetPaths) -> None:
    path = tiny.plan_folder("tiny") / "masks.npy"
    masks = np.load(path)
    kept = set(read_json(train_tiny(0.5).run.dataset.few_shot_json(0, 1))["order"][-1])
    rows = read_rows(tiny)
    for name, row in rows.items():
        masks[row] *= name in kept
    np.save(path, masks)
    with pytest.raises(HtunetError, match="None of the 3 training masks has a labelled pixel"):
        train_tiny(0.2)


def read_rows(tiny: DatasetPaths) -> dict[str, int]:
    from htunet.data.preprocessed import PreprocessedDataset

    return PreprocessedDataset(tiny.plan_folder("tiny")).index


def test_prediction_takes_the_run_of_all_images_unless_a_ratio_is_named(
    tiny: DatasetPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = train_tiny(0.5).run
    arguments = ["-i", str(tiny.raw / "imagesTr"), "-d", "Tiny", "-m", "Plain", "--device", "cpu"]
    assert predict([*arguments, "-o", str(tmp_path / "a")]) == 2
    assert "The runs of Tiny Plain are few-shot, of 0.5: choose one with --ratio." in capsys.readouterr().err
    assert predict([*arguments, "-o", str(tmp_path / "b"), "--ratio", "0.5"]) == 0
    assert few.label in capsys.readouterr().out
    assert training_command(replace(few, ratio=None)) == "htunet_train Tiny Plain fold0 --seed 1 --plan tiny"
    assert training_command(few) == (
        "htunet_train Tiny Plain fold0 --seed 1 --plan tiny --ratio 0.5 --num-epochs 1 --weights random "
        "--precision fp32"
    )


def test_when_no_validation_mask_has_a_label_the_loss_chooses_and_the_run_says_so(tiny: DatasetPaths) -> None:
    data = PreprocessedDataset(tiny.plan_folder("tiny"))
    run = RunPaths(tiny, "SegmentationTrainer", "tiny", "Plain", 0, 1)
    assert training_fold(run, data, None).remarks() == []
    masks = np.load(tiny.plan_folder("tiny") / "masks.npy")
    masks[data.rows(load_splits(tiny.splits_json)[0]["val"])] = 0
    np.save(tiny.plan_folder("tiny") / "masks.npy", masks)
    data = PreprocessedDataset(tiny.plan_folder("tiny"))
    assert "the validation loss alone chooses the epoch" in training_fold(run, data, None).remarks()[0]


def test_the_images_that_a_run_has_learnt_from_are_known_afterwards(tiny: DatasetPaths) -> None:
    few, whole = train_tiny(0.5).run, train_tiny(None).run
    learnt = learnt_fold(few)
    assert json_hash(learnt["train"]) == read_json(few.settings_json)["few_shot"]["training_images_sha256"]
    assert len(learnt["train"]) == 7
    assert learnt_fold(whole) == load_splits(tiny.splits_json)[0]
    order = read_json(tiny.few_shot_json(0, 1))
    write_json(tiny.few_shot_json(0, 1), order | {"order": order["order"][::-1]})
    with pytest.raises(HtunetError, match=r"fold_0_seed_1.json has changed since Tiny Plain fold0 seed1"):
        learnt_fold(few)


def test_how_many_steps_the_patience_of_a_plan_is_in_a_few_shot_run(
    tiny: DatasetPaths, caplog: pytest.LogCaptureFixture
) -> None:
    for drop_last, steps in ((False, 6), (True, 3)):  # 5 images, 4 in a batch: 2 batches, or the whole one alone
        save_plans(tiny.plans_json, {"tiny": tiny_plan(patience=3, drop_last=drop_last)})
        train_tiny(0.35, seed=steps)
        assert f"The plan's patience of 3 epochs is {steps} steps in this run." in caplog.text


def test_new_images_are_compared_with_the_images_that_the_run_has_learnt_from(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    monkeypatch.setattr(test_set, "learn_familiar", lambda *parts: compared.append([len([*part]) for part in parts]))
    for ratio, number in ((0.5, 7), (None, 14)):
        run = train_tiny(ratio).run
        run.test_folder.mkdir()
        run.familiar_json.write_text("of an earlier evaluation", encoding="utf-8")
        test_set.predict_test(run, device="cpu")
        held_out = VAL + len(load_splits(tiny.splits_json)[0]["test"])
        assert compared.pop() == [number, held_out]
        assert not run.familiar_json.exists()  # too few images
