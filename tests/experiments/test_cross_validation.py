"""The method and its post-processing are chosen without the fold that judges them."""

from dataclasses import asdict

import pandas as pd
import pytest
from builders.run import build_dataset, build_run

from htunet.api import load
from htunet.data.raw import read_raw
from htunet.errors import HtunetError
from htunet.evaluation.evaluate import evaluate_run
from htunet.evaluation.predicted_run import open_predicted, split_cases
from htunet.evaluation.summary import write_summary
from htunet.experiments.cross_validation import _scores, choose, refuse_earlier_data, renew_choice, trainable_folds
from htunet.experiments.time_budget import Candidate, Schedule
from htunet.files import file_hash, read_json, write_json
from htunet.planning.arrays import predicted_of

pytestmark = pytest.mark.usefixtures("home")


def test_masks_are_post_processed_of_the_method_that_the_other_folds_choose() -> None:
    """UNet is perfect in fold 0 and worse than CLIP_HT in fold 1, so that each fold would have chosen the other one."""
    dataset = build_dataset(plan="run")
    ids = [case.id for case in read_raw(dataset).cases]
    write_json(dataset.splits_json, [{"train": ids[6:], "val": [ids[5]], "test": ids[:3]},
                                     {"train": ids[6:], "val": [ids[0]], "test": ids[3:6]}])  # fmt: skip
    for method, shifts in (("UNet", (0, 5)), ("CLIP_HT", (2, 1))):
        for fold, shift in enumerate(shifts):
            run = build_run(dataset, method=method, plan="run", fold=fold, shift=shift)
            write_summary(evaluate_run(open_predicted(run), "penalise"), run.test_folder)
    methods = Candidate(method="UNet", task="seg"), Candidate(method="CLIP_HT", task="seg", weights="pretrained")
    schedule = Schedule(candidates=methods, num_folds=2, scale=1, num_epochs=1, seconds=1, given_up=())
    found, after = choose(dataset, schedule)
    assert found["seg"].chosen_without == {0: "CLIP_HT", 1: "UNet"}
    assert after is not None
    assert after.steps == {}
    assert after.before.mean == pytest.approx(found["seg"].expected.mean)
    assert (found["seg"].expected.mean or 1.0) < min(mean.mean or 0.0 for mean in found["seg"].own.values())


@pytest.mark.parametrize("num_folds", [1, 2])
def test_a_test_split_that_all_folds_share_chooses_nothing(num_folds: int) -> None:
    """UNet is perfect on the test images, CLIP_HT on the validation images: the latter choose, the former judge."""
    dataset = build_dataset(plan="run")
    ids = [case.id for case in read_raw(dataset).cases]
    write_json(dataset.splits_json, [{"train": ids[5:], "val": [ids[4]], "test": ids[:3]},
                                     {"train": ids[5:], "val": [ids[3]], "test": ids[:3]}])  # fmt: skip
    for method, shift, validation in (("UNet", 0, 0.5), ("CLIP_HT", 2, 0.9)):
        for fold in range(num_folds):
            run = build_run(dataset, method=method, plan="run", fold=fold, shift=shift)
            write_json(run.finished_json, {"epochs": 1, "best_epoch": 1, "best_val_dice": validation + fold / 100})
            write_summary(evaluate_run(open_predicted(run), "penalise"), run.test_folder)
    methods = Candidate(method="UNet", task="seg"), Candidate(method="CLIP_HT", task="seg", weights="pretrained")
    schedule = Schedule(candidates=methods, num_folds=num_folds, scale=1, num_epochs=1, seconds=1, given_up=())
    found, after = choose(dataset, schedule)
    choice = found["seg"]
    assert (choice.method, after) == ("CLIP_HT", None)
    assert "on the validation images" in choice.reason
    assert choice.expected == choice.own["CLIP_HT"]
    assert choice.own["UNet"].mean == 1.0
    assert choice.expected.n_used == 3  # each image once, whatever the number of folds
    assert "postprocessing" not in read_json(dataset.results / "run" / "choice.json")["seg"]


def test_a_choice_is_made_again_when_its_runs_are_trained_and_tested_again(caplog: pytest.LogCaptureFixture) -> None:
    """UNet is better at first; trained again, it misses more than CLIP_HT does."""
    dataset = build_dataset(plan="run")
    ids = [case.id for case in read_raw(dataset).cases]
    write_json(dataset.splits_json, [{"train": ids[6:], "val": [ids[5]], "test": ids[:3]},
                                     {"train": ids[6:], "val": [ids[0]], "test": ids[3:6]}])  # fmt: skip

    def train_and_test(method: str, shift: int, fold: int, metric: float) -> None:
        run = build_run(dataset, method=method, plan="run", fold=fold, shift=shift)
        write_json(run.finished_json, {"epochs": 1, "best_epoch": 1, "best_val_dice": metric})
        write_json(run.predicted_json, predicted_of(run, split_cases(dataset, fold, "test")))
        write_summary(evaluate_run(open_predicted(run), "penalise"), run.test_folder)

    for fold in (0, 1):
        train_and_test("UNet", 0, fold, 0.9)
        train_and_test("CLIP_HT", 2, fold, 0.8)
    methods = Candidate(method="UNet", task="seg"), Candidate(method="CLIP_HT", task="seg", weights="pretrained")
    schedule = Schedule(candidates=methods, num_folds=2, scale=1, num_epochs=1, seconds=1, given_up=())
    request = {"hours": 1.0, "folds": 2, "methods": ["UNet seg", "CLIP_HT seg pretrained"]}
    write_json(dataset.schedule_json, {"request": request, "schedule": asdict(schedule)})
    assert renew_choice(dataset) == []  # htunet_run has not chosen yet
    choose(dataset, schedule)
    assert renew_choice(dataset) == []
    steps = {"largest_component": True}
    content = read_json(dataset.choice_json)
    content["seg"]["postprocessing"]["steps"] = steps
    write_json(dataset.choice_json, content)

    assert load("Tiny UNet", folds=[0, 1], plan="run").postprocessing == steps
    train_and_test("UNet", 5, 1, 0.7)
    assert load("Tiny UNet fold0", plan="run").postprocessing == steps
    assert load("Tiny UNet", folds=[0, 1], plan="run").postprocessing == {}
    assert "for an earlier training of Tiny UNet fold1 seed1 (plan run)" in caplog.text
    train_and_test("UNet", 5, 0, 0.7)
    assert renew_choice(dataset) == ["CLIP_HT for seg"]
    assert read_json(dataset.choice_json)["seg"]["method"] == "CLIP_HT"
    assert renew_choice(dataset) == []


def test_a_fold_without_images_of_any_split_is_not_trained_and_said_so() -> None:
    dataset = build_dataset(plan="run")
    ids = [case.id for case in read_raw(dataset).cases]
    whole = {"train": ids[4:], "val": ids[3:4], "test": ids[:3]}
    write_json(dataset.splits_json, [whole, *(whole | {split: []} for split in ("train", "val", "test"))])
    found, reasons = trainable_folds(dataset, "seg")
    assert found == [0]
    assert [reasons[fold].partition(",")[0] for fold in (1, 2, 3)] == [
        f"it names no image for {split}" for split in ("train", "val", "test")
    ]


def test_a_label_that_no_reference_has_is_in_no_dice_to_expect() -> None:
    """As in the tables of the evaluation: it can be found nowhere."""
    about = {"dataset": "Tiny", "method": "UNet", "fold": 0, "seed": 1, "resolution": "original_size", "case": "a"}
    about |= {"group": "", "class": "", "missed": 0}
    rows = [about | {"label": 1, "empty": "", "dice": 0.8}, about | {"label": 2, "empty": "reference", "dice": 0.0}]
    assert _scores(pd.DataFrame(rows), "seg")["value"].tolist() == [0.8]


def test_a_false_alarm_counts_in_the_choice_under_any_policy() -> None:
    """Under ``exclude`` the table has no Dice for it."""
    about = {"dataset": "Tiny", "method": "UNet", "fold": 0, "seed": 1, "resolution": "original_size", "label": 1}
    about |= {"group": "", "class": "", "missed": 0}
    rows = [about | {"case": "a", "empty": "", "dice": 0.75}, about | {"case": "b", "empty": "reference", "dice": None},
            about | {"case": "c", "empty": "both", "dice": None}]  # fmt: skip
    found = _scores(pd.DataFrame(rows), "seg").set_index("case")
    assert found["loss"].to_dict() == {"a": 0.25, "b": 1.0, "c": 0.0}


def test_trainings_on_what_has_changed_since_are_refused_before_the_others_go_on() -> None:
    dataset = build_dataset(plan="run")
    candidates = (Candidate(method="UNet", task="seg"),)
    schedule = Schedule(candidates=candidates, num_folds=1, scale=1, num_epochs=1, seconds=1, given_up=())
    write_json(
        dataset.splits_json,
        [{**one, "train": one["train"][1:], "val": one["train"][:1]} for one in read_json(dataset.splits_json)],
    )
    mark = dataset.plan_folder("run") / "preprocessed.json"
    write_json(mark, {"plan": "run"})
    build_run(dataset, plan="run", method="UNet", settings={"data_sha256": file_hash(mark)})
    refuse_earlier_data(dataset, schedule)
    write_json(mark, {"plan": "run", "cases": 5})
    with pytest.raises(HtunetError, match=r"have changed since 1 training of it.*remove .*schedule\.json and the runs"):
        refuse_earlier_data(dataset, schedule)
