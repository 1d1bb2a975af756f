"""Runs of one name and unlike content are two arms, in every table and statistic, and the tables say what differs."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from builders.fingerprint import PRINT
from builders.results import classes, masks

from htunet.data.raw import DatasetInfo
from htunet.data.split_files import load_splits, save_splits, training_digest
from htunet.evaluation.case_table import case_table
from htunet.evaluation.study import study
from htunet.evaluation.summary import FORMAT
from htunet.files import write_json
from htunet.paths import DatasetPaths, RunPaths
from htunet.planning.planner import make_plans
from htunet.reporting.figures.base import by_arm
from htunet.reporting.report.origin import collect_plans
from htunet.reporting.report.study_results import study_of
from htunet.reporting.summaries import evaluated_contents
from htunet.reporting.tables.few_shot_means import few_shot_rows
from htunet.reporting.tables.kinds import CLASSIFICATION
from htunet.reporting.tables.paper_layouts import TABLES, chosen
from htunet.reporting.tables.paper_tables import AVERAGE, UNLIKE, fill
from htunet.reporting.tables.rows import Row, row_notes, table_rows

PAPER = make_plans(PRINT, DatasetInfo()).plans["paper"]
OWN = replace(PAPER, name="mine")


def run(seed: int, dice: float, plan: Any = PAPER, *, ratio: float | None = None, **settings: Any) -> dict[str, Any]:
    content = asdict(plan)
    held = {"plan": plan.name, "plan_content": content, "precision": "bf16", "parts": 1} | settings
    about = {"trainer": "SegmentationTrainer", "settings": held, "plan": plan.name, "seed": seed, "ratio": ratio}
    return masks("UNet", [dice, dice], **about)


def by_plan(rows: list[Row]) -> dict[str, tuple[int, ...]]:
    return {row.plan: row.seeds for row in rows}


EDITED = {
    "batches cut": (replace(PAPER, accumulation=2), ""),
    "learning rate": (replace(PAPER, learning_rate=0.01), "learning_rate 0.01"),
    "no mirror": (replace(PAPER, augmentation=PAPER.augmentation | {"mirror": 0.0}), "augmentation.mirror 0"),
}


def test_three_plans_of_one_name_are_three_rows_and_one_cut_into_parts_is_none_of_them() -> None:
    runs = [run(seed, 0.5 + seed / 10, plan) for seed, (plan, _) in enumerate(EDITED.values(), start=1)]
    runs.append(run(4, 0.9))
    rows = table_rows(runs)
    assert len(rows) == 3
    assert by_plan(rows)["paper"] == (1, 4)
    others = [row for row in rows if row.plan != "paper"]
    for row, text in ((row, EDITED["learning rate" if row.seeds == (2,) else "no mirror"][1]) for row in others):
        assert f"plan {row.plan}: {text}" in row.marks
    assert all(row.plan.startswith("paper, edited ") for row in others)
    means = study(case_table(runs)).means
    dice = means[(means["metric"] == "dice") & (means["resolution"] == "input_size")]
    assert dict(zip(dice["arm"], dice["n_seeds"], strict=True)) == {
        "UNet (plan paper)": 2, **{f"UNet (plan {row.plan})": 1 for row in others}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "settings", "text"),
    [
        (replace(OWN, learning_rate=0.01), {}, "learning_rate 0.01"),
        (OWN, {"precision": "fp32"}, "precision fp32"),
        (OWN, {"data_sha256": "ab"}, "data_sha256 ab"),
        (OWN, {"weights": {"sha256": "cd"}}, "weights.sha256 cd"),
    ],
)
def test_what_has_no_name_of_its_own_is_told_apart_by_what_differs(
    other: Any, settings: dict[str, Any], text: str
) -> None:
    runs = [run(1, 0.5, OWN), run(2, 0.7, OWN), run(3, 0.9, other, **settings)]
    rows = table_rows(runs)
    assert sorted((row.seeds, row.values["dice"].mean) for row in rows) == [((1, 2), pytest.approx(60)), ((3,), 90)]
    (marked,) = [row for row in rows if row.seeds == (3,)]
    assert f"configuration with {text}" in marked.marks
    assert marked.configuration != rows[1 - rows.index(marked)].configuration
    assert len(set(study(case_table(runs)).means["arm"])) == 2


def test_runs_without_a_recorded_plan_are_a_group_of_their_own() -> None:
    unknown = masks("UNet", [0.5], trainer="SegmentationTrainer", plan="mine", seed=2, settings={})
    rows = table_rows([run(1, 0.5, OWN), unknown])
    assert [row.seeds for row in rows] == [(1,), (2,)] or [row.seeds for row in rows] == [(2,), (1,)]
    assert sum("configuration not recorded" in row.marks for row in rows) == 1
    assert "configuration not recorded" not in table_rows([unknown])[0].marks


def test_means_over_data_sets_and_paper_tables_keep_them_apart() -> None:
    rows = table_rows([run(1, 0.5, ratio=0.05), run(2, 0.9, EDITED["learning rate"][0], ratio=0.05)])
    assert len(few_shot_rows(rows)) == 2
    cells = fill(TABLES["table2"], [run(1, 0.5), run(2, 0.9, EDITED["learning rate"][0])])
    (cell,) = [one for one in cells if one.seeds and one.metric == "dice"]
    assert (cell.seeds, cell.estimate.mean) == ((1,), pytest.approx(50))


def test_a_mean_over_data_sets_is_over_runs_that_differ_in_the_data_alone() -> None:
    """Of a plan of one's own nothing says that it is another one in each data set; facts of the data may differ."""
    one = run(1, 0.5, OWN, ratio=0.05, data_sha256="ab")
    of_data = replace(OWN, labels={"background": 0, "nodule": 1}, dataset="Dataset504_DDTI")
    for plan, settings, n in (
        (of_data, {}, 1),
        (replace(of_data, learning_rate=0.01), {}, 2),
        (of_data, {"precision": "fp32"}, 2),
        (of_data, {"weights": {"sha256": "cd"}}, 2),
    ):
        other = run(1, 0.9, plan, ratio=0.05, data_sha256="cd", **settings)
        other["htunet"] |= {"dataset": "Dataset504_DDTI", "trainable_parameters": 7}
        rows = few_shot_rows(table_rows([one, other]))
        assert sorted(row.values["dice"].mean for row in rows) == ([pytest.approx(70)] if n == 1 else [50, 90])
        assert [row.trainable_parameters for row in rows] == ([None] if n == 1 else [4_118_568, 7])
        whole = [content["htunet"] | {"ratio": None, "method": "BiomedCLIP"} for content in (one, other)]
        contents = [content | {"htunet": own} for content, own in zip((one, other), whole, strict=True)]
        table = chosen(TABLES["table5"], ["BUSI", "DDTI"], ["BiomedCLIP"])
        (mean,) = [cell for cell in fill(table, contents) if cell.dataset == AVERAGE and cell.metric == "dice"]
        assert mean.estimate.mean == (pytest.approx(70) if n == 1 else None)
        assert (UNLIKE in mean.marks) == (n == 2)


TRUTH = {f"case_{n}": "malignant" if n < 10 else "benign" for n in range(40)}
SCORES = {case: 0.9 if n < 8 or n in (10, 11) else 0.1 for n, case in enumerate(TRUTH)}
"""8 of 10 malignant ones are found, and 28 of 30 benign ones."""


def test_recall_of_one_class_is_never_averaged_with_that_of_the_other_one() -> None:
    """The positive class can be chosen at each evaluation; an AUC is the same of both, and was 1 minus it of one."""
    runs = [classes("BiomedCLIP_HT", SCORES, TRUTH, seed=seed, settings={}) for seed in (1, 2, 3)]
    found = runs[2]["htunet"]["classification"]
    found |= {"classes": ["malignant", "benign"], "positive": "benign"}
    found["decisions"]["most_probable_class"]["figures"]["recall"] = {"value": 28 / 30}
    for content in runs[:2]:
        content["htunet"]["classification"]["decisions"]["most_probable_class"]["figures"]["recall"] = {"value": 0.8}
    rows = {row.seeds: row for row in table_rows(runs, kind=CLASSIFICATION)}
    assert {seeds: row.values["recall"].mean for seeds, row in rows.items()} == {
        (1, 2): pytest.approx(80),
        (3,): pytest.approx(100 * 28 / 30),
    }
    assert "positive class benign" in rows[3,].marks
    assert "positive class malignant" in rows[1, 2].marks
    assert rows[1, 2].paper.keys() - rows[3,].paper.keys() == {"recall", "precision", "f1"}  # which are of malignant
    assert any("of benign or malignant (BUSI)" in note for note in row_notes([*rows.values()], CLASSIFICATION))
    means = study(case_table(runs)).means.set_index(["arm", "metric"])["mean"]
    names = [f"BiomedCLIP_HT (positive {name})" for name in ("malignant", "benign")]
    assert [means[name, "recall"] for name in names] == [pytest.approx(0.8), pytest.approx(28 / 30)]
    auc = (8 * 28 + 0.5 * (8 * 2 + 2 * 28)) / 300  # pairs in order, and half of those that are equal
    assert [means[name, "auc"] for name in names] == [pytest.approx(auc)] * 2
    cells = fill(chosen(TABLES["table6"], ["BUSI"], ["BiomedCLIP_HT"]), [runs[2]])
    assert {cell.metric: cell.paper is not None for cell in cells if cell.dataset == "BUSI"} == {
        **{"accuracy": True, "auc": True, "recall": False, "precision": False, "f1": False}
    }
    assert not any("positive class" in mark for row in table_rows(runs[:2], kind=CLASSIFICATION) for mark in row.marks)


def test_masks_learnt_with_classes_say_so_beside_masks_learnt_alone() -> None:
    both = run(2, 0.9)
    both["htunet"] |= {"trainer": "JointTrainer", "task": "seg+cls"}
    marks = {row.seeds: row.marks for row in table_rows([run(1, 0.5), both])}
    assert "task seg+cls" in marks[2,]
    assert not any("task" in mark for mark in marks[1,])


def test_a_page_has_a_method_for_each() -> None:
    contents = {}
    for seed, (plan, _) in enumerate(EDITED.values(), start=1):
        content = run(seed, 0.5, plan)
        place = RunPaths(DatasetPaths(content["htunet"]["dataset"]), "SegmentationTrainer", "paper", "UNet", 0, seed)
        contents[place] = content
    found = study_of(contents)
    assert len(found.methods) == 3
    tables = collect_plans(found)
    assert [table.title for table in tables] == [f"BUSI, plan paper, content {number} of 3" for number in (1, 2, 3)]
    assert len({table.id for table in tables}) == 3


def test_a_mean_over_several_adapters_of_one_fold_and_seed_is_said_to_be_one() -> None:
    """Which fold or seed an adapter comes from makes no other arm, so that each run may start from its own."""
    starts = [{"adapter": {"datasets": ["Dataset504_DDTI"], "seed": seed, "sha256": f"{seed}"}} for seed in (1, 2)]
    mark = "the mean is over several adapters of one fold and seed"
    (both,) = table_rows([run(1, 0.5, **start) for start in starts])
    assert (both.n_runs, both.seeds, mark in both.marks) == (2, (1,), True)
    (each,) = table_rows([run(seed, 0.5, **start) for seed, start in enumerate(starts, start=1)])
    assert mark not in each.marks


def test_an_empty_augmentation_is_never_said_to_be_none() -> None:
    """It is the usual one."""
    plan = replace(PAPER, augmentation={})
    content = run(1, 0.5, plan)
    place = RunPaths(DatasetPaths(content["htunet"]["dataset"]), "SegmentationTrainer", "paper", "UNet", 0, 1)
    rows = {row[0].text: row[1].text for row in collect_plans(study_of({place: content}))[0].rows}
    assert rows["augmentation"].startswith("mirror 0.5, rotation degrees 15.0, ")
    edited = next(mark for row in table_rows([content]) for mark in row.marks if "edited" in mark)
    assert "augmentation.blur default, augmentation.brightness default" in edited


def test_results_of_a_split_that_is_no_longer_used_are_a_group_of_their_own(home: Path) -> None:
    data, contents = DatasetPaths("Dataset903_Tiny"), [run(1, 0.5), run(2, 0.7), run(3, 0.9)]
    save_splits(data.splits_json, [{"train": ["a"], "val": ["b"], "test": ["c"]}])
    used = training_digest(load_splits(data.splits_json)[0])
    for seed, content in enumerate(contents, start=1):
        place = RunPaths(data, "SegmentationTrainer", "paper", "UNet", 0, seed)
        settings = content["htunet"]["settings"] | {"split_sha256": "0123" * 16 if seed == 3 else used}
        write_json(place.settings_json, settings)
        write_json(place.finished_json, {})
        own = content["htunet"] | {"format": FORMAT, "dataset": data.name, "settings": settings}
        write_json(place.summary_json, content | {"htunet": own})
    found = list(evaluated_contents(print).values())
    assert by_plan(table_rows(found)) == {"paper": (1, 2), "paper, split 0123": (3,)}
    drawn = by_arm(list(evaluated_contents(print)))
    assert {name: [one.seed for one in members] for name, members in drawn.items()} == {
        "UNet": [1, 2],
        "UNet, split 0123": [3],
    }
    data.splits_json.unlink()
    assert by_plan(table_rows(evaluated_contents(print).values())) == {
        f"paper, split {used[:4]}": (1, 2),
        "paper, split 0123": (3,),
    }


def test_a_test_on_other_data_is_not_of_a_training_that_was_repeated_since(home: Path) -> None:
    """The training removes its own results, and those on another data set lie elsewhere."""
    data, content, messages = DatasetPaths("Dataset904_Other"), run(1, 0.5), list[str]()
    place = RunPaths(data, "SegmentationTrainer", "paper", "UNet", 0, 1, trained_on="Dataset903_Tiny")
    for one in (place, place.source):
        write_json(one.settings_json, content["htunet"]["settings"])
        write_json(one.finished_json, {"epochs": 5, "best_epoch": 3, "best_val_dice": 0.5})
    own = content["htunet"] | {"format": FORMAT, "dataset": data.name, "policy": "penalise"}
    write_json(place.summary_json, content | {"htunet": own})
    assert by_plan(table_rows(evaluated_contents(messages.append).values())) == {"paper": (1,)}
    assert len(messages) == 1
    assert messages[0].startswith("Trained but not evaluated, and so not in the tables: Tiny UNet fold0 seed1")
    write_json(place.source.finished_json, {"epochs": 5, "best_epoch": 4, "best_val_dice": 0.6})
    assert by_plan(table_rows(evaluated_contents(messages.append).values())) == {"paper, of an earlier training": (1,)}
    assert messages[-1].endswith("htunet_evaluate Other UNet --trained-on Tiny")


def test_figures_draw_one_line_for_each(home: Path) -> None:
    places = []
    for seed, plan in (
        (1, OWN),
        (2, OWN),
        (3, replace(OWN, learning_rate=0.01)),
        (4, PAPER),
        (5, EDITED["no mirror"][0]),
    ):
        place = RunPaths(DatasetPaths("Dataset903_Tiny"), "SegmentationTrainer", plan.name, "UNet", 0, seed)
        write_json(place.settings_json, run(seed, 0.5, plan)["htunet"]["settings"] | {"num_epochs": 200})
        places.append(place)
    arms = by_arm(places)
    assert sorted([place.seed for place in members] for members in arms.values()) == [[1, 2], [3], [4], [5]]
    assert sum(name.startswith("UNet, plan paper, edited ") for name in arms) == 1
    assert by_arm(places[:2]).keys() == {"UNet, plan mine"}
    of_other_data = RunPaths(DatasetPaths("Dataset904_Other"), "SegmentationTrainer", "mine", "UNet", 0, 1)
    write_json(of_other_data.settings_json, run(1, 0.5, replace(OWN, learning_rate=0.5))["htunet"]["settings"])
    assert by_arm([*places[:2], of_other_data]).keys() == {"UNet, plan mine"}
