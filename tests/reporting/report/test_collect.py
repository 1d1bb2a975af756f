"""What the page says, from figures that can be checked by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders.results import DATASET, classes, masks
from builders.run import build_dataset
from builders.small_study import by_run

from htunet.files import write_json
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.report.collect import collect, collect_class_pictures
from htunet.reporting.report.content import ReportContent
from htunet.reporting.report.page import render
from htunet.reporting.report.study_results import Terms, study_of
from htunet.reporting.tables.paper_layouts import TABLES, chosen
from htunet.reporting.tables.paper_tables import fill
from htunet.reporting.tables.rows import table_rows
from htunet.reporting.tables.write import Table
from htunet.reproducibility import training_command

TERMS = {"CLIP": Terms("MIT", "Radford et al. 2021")}


def report_of(*found: Mapping[str, Any], **options: Any) -> ReportContent:
    return collect(study_of(by_run(found), terms=TERMS, **options))


def texts(table: Table, row: int) -> Sequence[str]:
    return [cell.text for cell in table.rows[row]]


def by_id(report: ReportContent, name: str) -> Table:
    return next(table for table in report.tables if table.id == name)


@pytest.fixture(autouse=True)
def _home(home: object) -> None:
    """No raw folder unless a test makes one."""


def test_the_headline_is_the_best_pretrained_method() -> None:
    report = report_of(
        masks("CLIP_HT", [0.6, 0.8] * 10), masks("UNet", [0.5, 0.5] * 10),
        masks("CLIP", [0.99, 0.99] * 10, weights={"source": "random"}),
        masks("CLIP_HT", [0.95, 0.95] * 10, ratio=0.05),
    )  # fmt: skip
    (headline,) = report.headlines
    assert (headline.method, headline.estimate) == ("CLIP_HT", "Dice 70.0 %")
    assert headline.facts[0].startswith("The best of 3 methods; the choice rests on this very result, so expect")
    assert headline.facts[2:4] == ("20 predictions in 1 run, at the network's input size", "Nothing found in 0 of them")
    assert not headline.random
    (headline,) = report_of(masks("UNet", [0.5] * 20), masks("CLIP_HT", [0.95] * 20, ratio=0.05)).headlines
    assert headline.method == "UNet"
    assert headline.facts[0] == "The only method that is trained on so many images and tested on these"
    (headline,) = report_of(masks("UNet", [0.5] * 30), masks("CLIP_HT", [0.95] * 20)).headlines
    assert headline.method == "UNet"  # on more test images


def test_false_alarms_are_counted_and_images_rightly_without_a_lesion_are_none() -> None:
    content = masks("UNet", [1e-9] * 3 + [0.5] * 17, areas=[0] * 3 + [100] * 17)
    empty = content["htunet"]["empty"]["input_size"]
    empty["both"] = [empty["reference"].pop()]
    (headline,) = report_of(content).headlines
    assert "Something found in 2 of them that have no lesion: each counts as Dice 0 %" in headline.facts
    (headline,) = report_of({**content, "htunet": content["htunet"] | {"policy": "exclude"}}).headlines
    assert "Something found in 2 of them that have no lesion: they are in no mean" in headline.facts
    empty["both"] += empty["reference"]
    empty["reference"] = []
    (headline,) = report_of(content).headlines
    assert not any("Something found" in fact for fact in headline.facts)


def test_few_test_cases_have_an_interval_for_a_headline_and_a_warning() -> None:
    report = report_of(masks("CLIP_HT", [0.6, 0.8, 0.7]), masks("UNet", [0.5] * 3))
    (headline,) = report.headlines
    assert headline.estimate.startswith("Dice ")
    assert " to " in headline.estimate
    assert "70.0" not in headline.estimate
    assert headline.facts[0].startswith("Few test cases: 3: chance has a large effect")
    assert report.warnings == ("BUSI: few test cases: 3: chance has a large effect on these results; "
                               "look at the interval.",)  # fmt: skip
    alone = report_of(masks("CLIP_HT", [0.6])).headlines[0]
    assert (alone.estimate, alone.interval) == ("Dice not known", "")


def test_names_of_classes_keep_their_capitals() -> None:
    found = classes("CLIP", {"a": 0.9, "b": 0.1}, {"a": "malignant", "b": "benign"})
    (headline,) = report_of(json.loads(json.dumps(found).replace("malignant", "BI-RADS 4"))).headlines
    assert headline.facts[0].startswith("Few test cases: 2 (1 benign, 1 BI-RADS 4): chance")


def test_what_is_rounded_is_neither_nothing_nor_all() -> None:
    content = masks("UNet", [0.99999, 0.5], areas=[3, 5])
    item = next(item for item in report_of(content).gallery.items if item.case == "case_0")
    assert item.facts[0] == "Dice > 99.9 %"
    found = classes("CLIP", {"a": 0.99999, "b": 0.00001}, {"a": "malignant", "b": "malignant"})
    facts = {item.case: item.facts[1] for item in report_of(found).gallery.items}
    assert facts == {"a": "probability of the true class > 99.9 %", "b": "probability of the true class < 0.1 %"}


def test_random_weights_are_warned_of() -> None:
    many = [0.6] * 20
    (warning,) = report_of(masks("CLIP_HT", many, weights={"source": "random"})).warnings
    assert "all results on this page were made with random" in warning
    mixed = report_of(masks("UNet", many), masks("CLIP_HT", many, weights={"source": "random"})).warnings
    assert "BUSI CLIP_HT" in mixed[0]
    assert "UNet" not in mixed[0]
    assert report_of(masks("UNet", many)).warnings == ()


def test_the_results_have_the_papers_figures_beside_them_and_the_best_is_marked() -> None:
    table = by_id(report_of(masks("CLIP_HT", [0.8, 0.9]), masks("UNet", [0.7, 0.7])), "segmentation")
    assert [column.heading for column in table.columns[:4]] == ["Data set", "Method", "Dice %", "paper"]
    assert [texts(table, row)[1:4] for row in (0, 1)] == [["UNet", "70.00", "76.97"], ["CLIP_HT", "85.00", "81.19"]]
    dice = [column.heading for column in table.columns].index("Dice %")
    assert [row[dice].strong for row in table.rows] == [False, True]
    distance = [column.heading for column in table.columns].index("HD95 px")
    assert [row[distance].strong for row in table.rows] == [False, True]
    assert table.rows[1][dice].below.startswith("[")


def test_data_sets_of_one_name_are_told_apart() -> None:
    for name in (DATASET, "Dataset605_BUSI"):
        DatasetPaths(name).raw.mkdir(parents=True)
    report = report_of(masks("UNet", [0.6] * 20), masks("UNet", [0.8] * 20, dataset="Dataset605_BUSI"))
    table = by_id(report, "segmentation")
    assert [row[0].text for row in table.rows] == [DATASET, "Dataset605_BUSI"]
    assert not any(cell.strong for row in table.rows for cell in row[2:])  # each is the only method of its data set
    assert [one.dataset for one in report.headlines] == [DATASET, "Dataset605_BUSI"]
    assert f"htunet_train {DATASET} UNet fold0 --seed 1" in report.commands


def test_seeds_are_one_method() -> None:
    table = by_id(report_of(masks("CLIP_HT", [0.8, 0.8]), masks("CLIP_HT", [0.6, 0.6], seed=2)), "segmentation")
    assert texts(table, 0)[2] == "70.00 ± 14.14"
    assert len(table.rows) == 1


def test_pixels_of_different_input_sizes_are_not_compared() -> None:
    large, small, other = (
        masks(name, dice, settings={"plan_content": {"input_size": [size, size]}})
        for name, dice, size in (("DINOv2", [0.8, 0.9], 518), ("CLIP", [0.6, 0.7], 224), ("UNet", [0.5, 0.5], 224))
    )
    table = by_id(report_of(large, small, other), "segmentation")
    dice, hd95 = ([column.heading for column in table.columns].index(name) for name in ("Dice %", "HD95 px"))
    strong = {row[1].text: (row[dice].strong, row[hd95].strong) for row in table.rows}
    assert strong == {"DINOv2": (True, False), "CLIP": (False, True), "UNet": (False, False)}
    cells = fill(chosen(TABLES["table2"], ["BUSI"], ["DINOv2", "CLIP", "UNet"]), [large, small, other])
    assert {cell.line.method: cell.rank for cell in cells if cell.metric == "hd95"} == {
        "DINOv2": 0,
        "CLIP": 1,
        "UNet": 2,
    }


def test_the_page_and_the_tables_say_the_same_of_unlike_folds() -> None:
    found = [masks("UNet", [0.2, 0.4, 0.6, 0.0]), masks("UNet", [0.8], fold=1), masks("UNet", [0.3] * 5, seed=2)]
    (row,) = table_rows(found)
    cells = texts(by_id(report_of(*found), "segmentation"), 0)
    values = [row.values[name].text() for name in ("dice", "iou", "hd95", "asd", "hd95_max", "asd_directed")]
    assert values[0] == "35.00 ± 7.07"  # ten predictions; the seeds have 40 and 30
    assert [text for text in cells if text in values] == values


def test_predictions_of_two_folds_on_the_same_image_are_two() -> None:
    table = by_id(report_of(masks("UNet", [0.0, 0.4]), masks("UNet", [0.0, 0.0], fold=1)), "by_class")
    assert texts(table, 0)[-2:] == ["3 / 4", "2"]


def test_missed_cases_are_counted_by_tercile_of_the_size() -> None:
    dice = [0.0, 0.2, 0.5, 0.5, 0.8, 0.9]  # lesions grow from case to case
    table = by_id(report_of(masks("CLIP_HT", dice)), "by_size")
    assert texts(table, 0)[2:] == ["10.00", "1 / 2", "50.00", "0 / 2", "85.00", "0 / 2", "75.0"]


def test_classes_have_a_row_each() -> None:
    table = by_id(report_of(masks("CLIP_HT", [0.2, 0.4, 0.9], classes=["benign", "benign", "malignant"])), "by_class")
    assert [texts(table, row)[2:4] for row in (0, 1)] == [["benign", "30.00"], ["malignant", "90.00"]]


def test_comparisons_name_the_better_method() -> None:
    better, worse = [0.9 + i / 1000 for i in range(12)], [0.5 + i / 500 for i in range(12)]
    table = by_id(report_of(masks("CLIP_HT", better), masks("UNet", worse)), "comparisons")
    dice = next(row for row in table.rows if row[1].text == "Dice %")
    assert dice[-1].text == "CLIP_HT"
    assert {dice[2].text, dice[3].text} == {"CLIP_HT", "UNet"}
    assert dice[6].text == "< 0.001"


def test_a_better_method_that_is_worse_by_the_mean_is_named_so() -> None:
    """B is better by 1 % or so in eleven images, and misses the lesion of the last one."""
    steady, misses = [0.5 + i / 500 for i in range(12)], [0.51 + i / 400 for i in range(11)] + [0.0]
    table = by_id(report_of(masks("UNet", steady), masks("CLIP_HT", misses)), "comparisons")
    dice, distance = (next(row for row in table.rows if row[1].text.startswith(name)) for name in ("Dice", "HD95"))
    assert dice[-1].text == distance[-1].text == "CLIP_HT, not by the mean"
    strong = [cell.text for cell in dice if cell.strong]
    assert strong == ["CLIP_HT"]


def test_the_gallery_has_the_cases_of_the_first_seed() -> None:
    first, second = masks("CLIP_HT", [0.0, 0.2, 0.5, 0.9]), masks("CLIP_HT", [0.9, 0.9, 0.9, 0.1], seed=2)
    gallery = report_of(first, second).gallery
    assert [(item.case, item.group) for item in gallery.items] == [
        ("case_0", "missed"), ("case_1", "worst"), ("case_2", "median"), ("case_3", "best")
    ]  # fmt: skip
    assert gallery.items[0].facts == ("Dice 0.0 %", "HD95 300.0 px", "nothing found")
    assert [item.size for item in gallery.items] == ["small", "small", "medium", "large"]
    assert all(item.picture is None for item in gallery.items)
    assert any("Pictures are missing" in note and "Dataset503_BUSI" in note for note in gallery.notes)


def test_classifications_have_a_headline_a_table_and_cases() -> None:
    truth = {"a": "malignant", "b": "benign", "c": "malignant"}
    report = report_of(classes("ResNet18", {"a": 0.9, "b": 0.2, "c": 0.4}, truth))
    assert report.headlines[0].task == "classes"
    assert by_id(report, "classification").rows
    (wrong,) = [item for item in report.gallery.items if item.group == "missed"]
    assert (wrong.case, wrong.facts) == ("c", ("predicted benign, wrong", "probability of the true class 40.0 %"))


def test_masks_and_classes_of_one_name_are_different_methods() -> None:
    truth = {"case_0": "malignant", "case_1": "benign"}
    report = report_of(masks("CLIP", [0.5, 0.6]), classes("CLIP", {"case_0": 0.9, "case_1": 0.2}, truth))
    assert [headline.task for headline in report.headlines] == ["masks", "classes"]
    assert {item.task for item in report.gallery.items} == {"masks", "classes"}
    assert [len(by_id(report, name).rows) for name in ("segmentation", "classification")] == [1, 1]


def test_no_more_cases_than_asked_for() -> None:
    report = report_of(masks("CLIP_HT", [i / 30 for i in range(30)]), per_group=2)
    assert [item.group for item in report.gallery.items] == [
        "missed", "worst", "worst", "median", "median", "best", "best"
    ]  # fmt: skip
    assert "7 of 30 test cases" in report.gallery.notes[0]


def test_the_plan_is_shown_with_the_reasons_that_still_hold() -> None:
    plan = {"name": "paper", "input_size": [224, 224], "patience": None, "because": {}}
    entry = plan | {"patience": 5, "because": {"input_size": "the paper has it", "patience": "small data"}}
    write_json(DatasetPaths(DATASET).plans_json, {"format": 1, "plans": {"paper": entry}})
    (table,) = report_of(masks("CLIP_HT", [0.5], settings={"plan_content": plan})).plans
    assert [texts(table, row) for row in (0, 1)] == [
        ["input size", "224 x 224", "the paper has it"], ["patience", "none", ""]
    ]  # fmt: skip


def test_what_planning_warned_of_is_on_the_page_for_each_plan_that_was_used() -> None:
    warnings = {"data": ["two masks are empty"], "split": ["a group leaks"], "paper": ["a label is lost"], "own": ["x"]}
    write_json(DatasetPaths(DATASET).warnings_json, {"format": 1, "warnings": warnings})
    report = report_of(masks("CLIP_HT", [0.5]), masks("UNet", [0.5]))
    (found,) = report.planning_warnings
    assert found.title == "3 warnings about BUSI, plan paper"
    assert [text for _, text in found.rows] == ["two masks are empty", "a group leaks", "a label is lost"]
    assert "Planning gave 3 warnings about BUSI, plan paper: see the plans below." in report.notes
    page = render(report)
    assert all(f"<li>{text}</li>" in page for _, text in found.rows)
    DatasetPaths(DATASET).warnings_json.write_text("{")
    assert report_of(masks("CLIP_HT", [0.5])).planning_warnings == ()


def test_the_commands_repeat_the_runs_as_they_were() -> None:
    settings = {
        "plan_content": {"num_epochs": 200},
        "num_epochs": 3,
        "weights_argument": "my weights.pt",
        "precision": "fp32",
    }
    commands = report_of(masks("CLIP_HT", [0.5], settings=settings)).commands
    assert commands == (
        "htunet_convert BUSI SOURCE",
        "htunet_plan_and_preprocess -d BUSI --plan paper",
        "htunet_train BUSI CLIP_HT fold0 --seed 1 --num-epochs 3 --weights 'my weights.pt' --precision fp32",
        "htunet_evaluate",
        "htunet_report",
    )


def test_a_run_from_weights_of_our_own_has_their_licence_and_names_them_once() -> None:
    settings = {"weights_argument": "phantom", "precision": "fp32"}
    one = masks("UNet", [0.5], settings=settings, weights={"source": "phantom"}, adapter="phantom")
    report = report_of(one)
    assert "htunet_train BUSI UNet fold0 --seed 1 --weights phantom --precision fp32" in report.commands
    (weights,) = report.weights
    assert dict(weights.rows)["Licence"] == "Apache-2.0: weights of htunet's own"


def test_what_a_run_began_with_is_said_with_its_weights_and_in_the_command() -> None:
    start = {"dataset": "Dataset504_DDTI", "fold": 0, "num_epochs": 200}
    settings = {"start_checkpoint": start, "start_argument": "runs/best one.safetensors"}
    report = report_of(masks("UNet", [0.5], settings=settings, weights={"source": "none"}))
    assert "htunet_train BUSI UNet fold0 --seed 1 --start-from 'runs/best one.safetensors'" in report.commands
    rows = dict(report.weights[0].rows)
    assert rows["Weights"] == "those of a run on DDTI (fold 0, 200 epochs)"
    assert rows["Licence"] == "that of a run on DDTI (fold 0, 200 epochs)"
    report = report_of(masks("CLIP_HT", [0.5], settings={"start_checkpoint": start}, weights={"source": "pretrained"}))
    assert (
        "htunet_train BUSI CLIP_HT fold0 --seed 1 --start-from CHECKPOINT-OF-Dataset504_DDTI-fold0" in report.commands
    )
    rows = dict(report.weights[0].rows)
    assert rows["Weights"] == "pre-trained, as published"
    assert rows["Trained further"] == "from the trained part of a run on DDTI (fold 0, 200 epochs)"


@pytest.mark.parametrize(
    ("about", "weights", "card"),
    [
        ({"dataset": None, "weights": "phantom"}, {"source": "none"}, "started from weights pre-trained on simulation"),
        ({}, {"source": "file", "file": "checkpoint.safetensors", "simulated": True}, "pre-trained on simulation"),
        ({"dataset": "Dataset504_DDTI"}, {"source": "none"}, "started from a run on DDTI (fold None, 0 epochs)"),
        ({}, {"source": "none"}, "trained from scratch"),
    ],
)
def test_the_page_says_pretrained_on_simulation_whichever_option_named_the_weights(
    about: dict[str, object], weights: dict[str, object], card: str
) -> None:
    licence, settings = "simulation" in card, {"start_checkpoint": about} if about else {}
    report = report_of(masks("UNet", [0.5] * 20, settings=settings, weights=weights))
    assert report.headlines[0].weights == card
    rows = dict(report.weights[0].rows)
    assert rows["Weights"].startswith("pre-trained on simulation") == licence
    assert (rows["Licence"] == "Apache-2.0: weights of htunet's own") == licence
    assert "Trained further" not in rows


def test_an_adapter_of_another_run_is_named_by_its_path() -> None:
    run = RunPaths(DatasetPaths("Dataset503_BUSI"), "SegmentationTrainer", "paper", "CLIP_HT", 0, 1, adapter="3f2a1b4c")
    record = {"datasets": ["Dataset504_DDTI"], "run": {"dataset": "Dataset504_DDTI"}}
    for settings, named in (
        ({"adapter": record, "adapter_argument": "ddti.safetensors"}, "ddti.safetensors"),
        ({"adapter": record}, "CHECKPOINT"),
        ({"adapter": {"datasets": ["Dataset510_MedPix"]}}, "finetuned"),
    ):
        assert training_command(run, settings) == f"htunet_train BUSI CLIP_HT fold0 --seed 1 --adapter {named}"


def test_own_data_is_repeated_as_it_was_typed() -> None:
    from htunet.reproducibility import record_command

    own = DatasetPaths("Dataset612_Mine")
    content = masks("UNet", [0.5])
    content["htunet"]["dataset"] = own.name
    (guess, *_) = report_of(content).commands
    assert guess.startswith("# How Mine was converted is not recorded: htunet_convert --images IMAGES")
    for path, command in (
        (own.conversion_json, "htunet_convert --images 'my images' --masks m --name Mine"),
        (own.planning_json, "htunet_plan_and_preprocess -d Mine --num-folds 3 --plan adaptive"),
        (own.planning_json, "htunet_plan_and_preprocess -d Mine --num-folds 3 --plan run"),
        (own.planning_json, "htunet_plan_and_preprocess -d Mine --num-folds 3 --plan adaptive"),
        (own.run_json, "htunet_run -d Mine --hours 1"),
    ):
        record_command(path, command)
    choice = own.results / "run" / "choice.json"
    write_json(choice, {"seg": {"method": "UNet"}, "cls": {"method": "ResNet18"}})
    assert report_of(content).commands[-3:] == (
        "# New images, with the method that htunet_run chose:",
        "htunet_predict -i IMAGES -o OUTPUT -d Mine -m UNet -p run --task seg -f all-folds --overlays",
        "htunet_predict -i IMAGES -o OUTPUT -d Mine -m ResNet18 -p run --task cls -f all-folds",
    )
    choice.write_text('{"seg": ["damaged"]}')
    assert report_of(content).commands[-1] == "htunet_report"
    assert report_of(content).commands[:5] == (
        "htunet_convert --images 'my images' --masks m --name Mine",  # htunet_run -d does not
        "htunet_run -d Mine --hours 1",
        "# The steps of htunet_run, each of which it does itself:",
        "htunet_plan_and_preprocess -d Mine --num-folds 3 --plan run",
        "htunet_plan_and_preprocess -d Mine --num-folds 3 --plan adaptive",
    )
    own.conversion_json.write_text("[1]")
    assert "not recorded" in report_of(content).commands[0]
    record_command(own.run_json, "htunet_run --images 'my images' --masks m --name Mine")
    assert "not recorded" in report_of(content).commands[3]


def test_millimetres_are_shown_where_the_size_of_a_pixel_is_known() -> None:
    content = masks("UNet", [0.5, 0.6])
    content["metric_per_case"][0]["htunet"]["spacing_mm"] = 0.1
    items = {item.case: item for item in report_of(content).gallery.items}
    assert items["case_0"].facts[1].endswith(" mm")
    assert "mm across" in items["case_0"].lesion
    assert items["case_1"].facts[1].endswith(" px")
    assert items["case_1"].lesion.endswith("% of the image")


def test_weights_have_hash_licence_and_methods() -> None:
    about = {"source": "pretrained", "file": "ViT-B-16.pt", "sha256": "abc"}
    report = report_of(masks("CLIP_HT", [0.5], weights=about), masks("CLIP", [0.5], weights=about))
    (facts,) = report.weights
    assert facts.title == "CLIP"
    assert dict(facts.rows) == {
        "Weights": "pre-trained, as published", "File": "ViT-B-16.pt", "SHA-256": "abc", "Methods": "CLIP, CLIP_HT",
        "Licence": "MIT", "Please cite": "Radford et al. 2021",
    }  # fmt: skip


def test_the_data_set_is_described_with_its_licence() -> None:
    build_dataset(name=DATASET)
    (facts,) = report_of(masks("CLIP_HT", [0.5])).datasets
    assert facts.title == DATASET
    assert dict(facts.rows)["Images"] == "10 (5 benign, 5 malignant)"
    assert dict(facts.rows)["Licence"] == "not stated in dataset.json"


def test_classifications_by_sentences_have_a_table_with_the_best_sentence_and_the_papers_figures() -> None:
    entry = {"value": 0.6, "low": 0.5, "high": 0.7}
    prompts = [{"class": "benign", "text": "Oval.", "auc": 0.55}, {"class": "malignant", "text": "Spiky.", "auc": 0.9}]
    content = {
        "dataset": DATASET, "method": "CLIP", "plan": "paper", "part": "all", "seed": 1, "adapter": None,
        "weights": {"source": "random"},
        "zero_shot": {"n_cases": 647, "accuracy": entry, "auc": entry, "prompts": prompts},
    }  # fmt: skip
    table = by_id(report_of(masks("CLIP", [0.6]), zero_shot=[content]), "zero_shot")
    assert texts(table, 0) == [
        *("BUSI", "CLIP", "60.00", "70.48", "60.00", "69.96", "647"),
        *("Spiky. (malignant)", "90.0", "random weights"),
    ]
    assert table.rows[0][2].below == "[50.00, 70.00]"
    assert not any(one.id == "zero_shot" for one in report_of(masks("CLIP", [0.6])).tables)


@pytest.mark.parametrize(("folds", "end"), [(1, "(plan paper, task cls)"), (5, ", the first of 5 runs alone")])
def test_the_curves_of_one_fold_are_not_taken_for_those_of_all(home: Path, folds: int, end: str) -> None:
    first = RunPaths(DatasetPaths("Dataset503_BUSI"), "ClassificationTrainer", "paper", "UNet", 0, 1)
    first.classification_png.parent.mkdir(parents=True)
    first.classification_png.write_bytes(b"png")
    method = SimpleNamespace(shown={replace(first, fold=fold): {} for fold in range(folds)})
    study: Any = SimpleNamespace(methods=[method])
    (found,) = collect_class_pictures(study)
    assert found.title.startswith("BUSI UNet fold0 seed1")
    assert found.title.endswith(end)


def test_only_methods_that_are_tested_on_the_same_images_are_ranked() -> None:
    """The best Dice is of two other, easier images; and a Dice of 81.192 is printed as one of 81.188 is."""
    easy = masks("UNet", [0.9, 0.95])
    for number, case in enumerate(easy["metric_per_case"]):
        case["htunet"]["case"] = f"easy_{number}"
    found = [easy, masks("CLIP", [0.81188] * 20), masks("CLIP_HT", [0.81192] * 20), masks("DINOv2", [0.6] * 20)]
    report = report_of(*found)
    table = by_id(report, "segmentation")
    dice = [column.heading for column in table.columns].index("Dice %")
    assert {row[1].text: (row[dice].text, row[dice].strong) for row in table.rows} == {
        **{"UNet": ("92.50", False), "CLIP": ("81.19", True), "CLIP_HT": ("81.19", True), "DINOv2": ("60.00", False)}
    }
    cells = fill(chosen(TABLES["table2"], ["BUSI"], ["UNet", "CLIP", "CLIP_HT", "DINOv2"]), found)
    ranks = {cell.line.method: cell.rank for cell in cells if cell.metric == "dice"}
    assert ranks == {"UNet": 0, "CLIP": 1, "CLIP_HT": 1, "DINOv2": 2}
    assert [(first.method, first.facts[0][:21]) for first in report.headlines] == [("CLIP_HT", "The best of 3 methods")]
    pairs = [column.heading for column in by_id(report, "comparisons").columns].index("Pairs")
    assert {row[pairs].text for row in by_id(report, "comparisons").rows} == {"20"}
