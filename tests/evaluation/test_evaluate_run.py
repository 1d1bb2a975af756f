"""A whole run scored: strict JSON in nnU-Net's form, nothing lost, and clear words where something is missing."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.results import masks
from builders.run import SIZE, build_dataset, build_run, make_older, predict
from scipy.ndimage import binary_erosion

from htunet.data.image_io import read_labels, write_png
from htunet.data.raw import read_raw
from htunet.errors import HtunetError, UsageError
from htunet.evaluation.baselines import ALL_BACKGROUND, MEAN_MASK, mean_mask, trivial_baselines
from htunet.evaluation.evaluate import evaluate_folders, evaluate_run, run_pairs, score_pairs
from htunet.evaluation.freshness import is_evaluated, needs_prediction
from htunet.evaluation.metrics import score
from htunet.evaluation.predicted_run import open_predicted
from htunet.evaluation.summary import (
    INPUT,
    NNUNET_METRICS,
    ORIGINAL,
    CaseScore,
    Summary,
    per_case_columns,
    summary_content,
    upgraded,
    write_summary,
)
from htunet.files import read_csv, read_json, write_csv, write_json
from htunet.paths import RunPaths
from htunet.reporting.result_lines import mask_lines

DIAGONAL = float(np.hypot(SIZE, SIZE))


def refuse(token: str) -> Any:
    raise AssertionError(f"{token} is not JSON")


@pytest.fixture
def run(home: Path) -> RunPaths:
    return build_run(build_dataset())


def evaluated(run: RunPaths, policy: str = "penalise") -> Summary:
    return evaluate_run(open_predicted(run), policy)


def test_perfect_predictions_have_perfect_figures(home: Path) -> None:
    summary = evaluated(build_run(build_dataset(), shift=0))
    for resolution in (INPUT, ORIGINAL):
        means = summary.means(resolution)
        assert [means[name].mean for name in ("dice", "iou", "hd95", "asd")] == [1.0, 1.0, 0.0, 0.0]
        assert means["dice"].n_cases == means["dice"].n_used == 4


@pytest.mark.parametrize("policy", ["penalise", "exclude"])
def test_the_summary_is_strict_json_and_names_policy_weights_and_versions(home: Path, policy: str) -> None:
    run = build_run(build_dataset(), missed=["case_0007"])
    write_summary(evaluated(run, policy), run.test_folder)
    content = json.loads(run.summary_json.read_text(), parse_constant=refuse)
    own = content["htunet"]
    assert (own["policy"], own["n_cases"], own["method"], own["seed"]) == (policy, 4, "CLIP_HT", 1)
    assert own["empty"][INPUT] == {"prediction": ["case_0007"], "reference": [], "both": []}
    assert own["weights"]["sha256"] == "0" * 64
    assert own["evaluated_with"]["htunet"]
    missed = next(case for case in content["metric_per_case"] if case["htunet"]["case"] == "case_0007")
    assert missed["htunet"][INPUT]["1"]["HD95"] == (pytest.approx(DIAGONAL) if policy == "penalise" else None)
    assert missed["prediction_file"] == "predictions/case_0007.png"
    assert missed["reference_file"] == "Dataset903_Tiny/labelsTr/case_0007.png"


def test_keys_and_types_are_those_of_nnunet(run: RunPaths) -> None:
    content = summary_content(evaluated(run))
    case = content["metric_per_case"][0]["metrics"]["1"]
    assert tuple(content["foreground_mean"]) == tuple(content["mean"]["1"]) == tuple(case) == NNUNET_METRICS
    assert isinstance(case["TP"], int)
    assert case["n_ref"] == case["TP"] + case["FN"]
    dice = [entry["metrics"]["1"]["Dice"] for entry in content["metric_per_case"]]
    assert content["foreground_mean"]["Dice"] == pytest.approx(np.mean(dice))


def test_two_empty_masks_have_no_dice_and_are_counted(run: RunPaths) -> None:
    label = run.dataset.raw / "labelsTr" / "case_0006.png"
    for folder in (label, run.predictions / "case_0006.png"):
        write_png(folder, np.zeros((40, 50), np.uint8))
    content = summary_content(evaluated(run))
    case = content["metric_per_case"][0]
    assert case["metrics"]["1"]["Dice"] is None
    assert case["htunet"][ORIGINAL]["1"]["Dice"] is None
    own = content["htunet"]
    assert own["empty"][ORIGINAL]["both"] == ["case_0006"]
    assert own["without_label"][ORIGINAL] == {"1": {"references_without": 1, "false_alarms": 0}}
    assert (own["means"][ORIGINAL]["Dice"]["n_used"], own["means"][ORIGINAL]["Dice"]["n_cases"]) == (3, 4)


def test_a_lesion_that_vanishes_at_the_input_size_is_missed_at_the_original_size_and_said(run: RunPaths) -> None:
    arrays = np.load(run.dataset.plan_folder("paper") / "masks.npy")
    row = [row["id"] for row in read_csv(run.dataset.plan_folder("paper") / "cases.csv", ["id"])].index("case_0006")
    arrays[row] = 0
    np.save(run.dataset.plan_folder("paper") / "masks.npy", arrays)
    for folder in (run.predictions, run.predictions_at_input):
        write_png(folder / "case_0006.png", np.zeros_like(read_labels(folder / "case_0006.png")))
    summary = evaluated(run)
    assert [summary.empty(size)[which] for size, which in ((INPUT, "both"), (ORIGINAL, "prediction"))] == [
        ["case_0006"], ["case_0006"],
    ]  # fmt: skip
    assert (summary.means(INPUT)["dice"].n_used, summary.means(ORIGINAL)["dice"].n_used) == (3, 4)
    assert "at the original size: 1 label of references" in summary.notes[0]
    assert "case_0006 (lesion)" in summary.notes[0]


@pytest.mark.parametrize("name", ["dice", "iou", "hd95", "asd"])
def test_missing_a_lesion_never_makes_a_mean_better(home: Path, name: str) -> None:
    run = build_run(build_dataset(), shift=9)
    before = evaluated(run).means(INPUT)[name].mean
    predict(run, shift=9, missed=["case_0008"])
    after = evaluated(run).means(INPUT)[name].mean
    assert after < before if name in ("dice", "iou") else after > before


@pytest.mark.parametrize("name", ["hd95_max", "asd_directed"])
def test_the_distances_of_the_papers_code_leave_missed_lesions_out_and_say_so(home: Path, name: str) -> None:
    run = build_run(build_dataset(), shift=9)
    predict(run, shift=9, missed=["case_0008"])
    found = evaluated(run).means(INPUT)[name]
    assert found.n_used == found.n_cases - 1


def test_millimetres_follow_the_pixel_size_and_say_how_many_cases_have_one(run: RunPaths) -> None:
    rows = read_csv(run.dataset.cases_csv, ["id"])
    for row in rows:
        row["spacing_mm"] = {"case_0006": "0.5", "case_0007": "0.25"}.get(row["id"], "")
    write_csv(run.dataset.cases_csv, list(rows[0]), rows)
    summary = evaluated(run)
    scores = {row.case: row.values("penalise") for row in summary.at(ORIGINAL)}
    assert scores["case_0007"]["hd95_mm"] == 0.25 * scores["case_0007"]["hd95"]
    assert (summary.means(ORIGINAL)["hd95_mm"].n_used, summary.means(ORIGINAL)["hd95"].n_used) == (2, 4)
    assert summary.means(INPUT)["hd95_mm"].mean is None  # stretched pixels have no one size


def test_millimetres_of_pixels_that_are_not_square_are_measured_with_both_sides(run: RunPaths) -> None:
    rows = read_csv(run.dataset.cases_csv, ["id"])
    sides = {"case_0006": (0.5, 0.1), "case_0007": (0.1, 0.5)}
    for row in rows:
        row["spacing_mm"] = " ".join(map(str, sides.get(row["id"], ())))
    write_csv(run.dataset.cases_csv, list(rows[0]), rows)
    summary = evaluated(run)
    scores = {row.case: row.values("penalise") for row in summary.at(ORIGINAL)}
    raw = read_raw(run.dataset)
    for case, (height, width) in sides.items():
        prediction = read_labels(run.predictions / f"{case}.png") > 0
        reference = read_labels(next(raw.label_path(one) for one in raw.cases if one.id == case)) > 0
        lines = [
            [(y * height, x * width) for y, x in np.argwhere(mask & ~binary_erosion(mask))]
            for mask in (prediction, reference)
        ]  # fmt: skip
        away = [min(math.dist(a, b) for b in other) for own, other in (lines, lines[::-1]) for a in own]
        assert scores[case]["asd_mm"] == pytest.approx(np.mean(away))
        assert scores[case]["hd95_mm"] == pytest.approx(np.percentile(away, 95))
    content = summary_content(summary)
    assert [one["htunet"]["spacing_mm"] for one in content["metric_per_case"]][:2] == [(0.5, 0.1), (0.1, 0.5)]


def test_the_csv_has_one_row_per_case_and_resolution(run: RunPaths) -> None:
    write_summary(evaluated(run), run.test_folder)
    with (run.test_folder / "per_case.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == per_case_columns()
    assert {(row["case"], row["resolution"]) for row in rows} == {
        (f"case_000{i}", resolution) for i in (6, 7, 8, 9) for resolution in (INPUT, ORIGINAL)
    }
    assert rows[0]["hd95_mm"] == ""  # not known is an empty cell, not a number


def test_a_missing_prediction_is_named_with_the_way_out(run: RunPaths) -> None:
    (run.predictions_at_input / "case_0009.png").unlink()
    with pytest.raises(HtunetError, match=r"1 of 4 .*case_0009\. Predict them with htunet_evaluate Tiny CLIP_HT"):
        evaluated(run)


def test_a_prediction_of_another_size_is_named(run: RunPaths) -> None:
    write_png(run.predictions / "case_0006.png", np.zeros((3, 5), np.uint8))
    with pytest.raises(HtunetError, match=r"case_0006\.png has 3 x 5 pixels .* 40 x 50"):
        evaluated(run)


def test_a_value_that_is_no_label_is_named(run: RunPaths) -> None:
    write_png(run.predictions_at_input / "case_0006.png", np.full((SIZE, SIZE), 7, np.uint8))
    with pytest.raises(HtunetError, match=r"values \[7\]; known labels: \[0, 1\]"):
        evaluated(run)


def test_a_fold_without_test_cases_is_refused(run: RunPaths) -> None:
    write_json(run.dataset.splits_json, [{"train": ["case_0001"], "val": [], "test": []}])
    with pytest.raises(HtunetError, match=r"Fold 0 .* has no test cases"):
        evaluated(run)


def test_processes_find_the_same_as_one(run: RunPaths) -> None:
    pairs = run_pairs(open_predicted(run))
    assert len(pairs) == 8
    assert score_pairs(pairs, [1], workers=2) == score_pairs(pairs, [1], workers=1)


def test_an_unknown_policy_is_refused_before_anything_is_read(run: RunPaths) -> None:
    with pytest.raises(UsageError, match="forgive"):
        evaluated(run, "forgive")


def folder_of(path: Path, masks: dict[str, list[list[int]]]) -> Path:
    for name, mask in masks.items():
        write_png(path / name, np.array(mask, np.uint8))
    return path


def test_folders_are_matched_by_stem_and_0_255_is_read_as_0_1_and_said(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", {"a.png": [[0, 255], [0, 255]], "b.png": [[0, 0], [0, 0]], "c.png": [[0]]})
    references = folder_of(tmp_path / "r", {"a.bmp": [[0, 1], [0, 0]], "b.png": [[1, 0], [0, 0]]})
    summary = evaluate_folders(predictions, references)
    scores = {row.case: row.score for row in summary.scores}
    assert scores["a"].values(summary.policy)["dice"] == pytest.approx(2 / 3)
    assert scores["b"].empty == "prediction"
    assert summary.notes == (
        "predictions: values 0 and 255 read as 0 and 1",
        "predictions without a reference, not scored: 1 of 3: c",
    )


def test_references_without_prediction_are_named(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", {"a.png": [[0]]})
    references = folder_of(tmp_path / "r", {"a.png": [[0]], "b.png": [[0]], "c.png": [[0]]})
    with pytest.raises(HtunetError, match=r"2 of 3 references .* b, c\."):
        evaluate_folders(predictions, references)


def test_each_label_of_several_has_figures_of_its_own(tmp_path: Path) -> None:
    predictions = folder_of(tmp_path / "p", {"a.png": [[1, 2, 2, 0]]})
    references = folder_of(tmp_path / "r", {"a.png": [[1, 1, 2, 2]]})
    content = summary_content(evaluate_folders(predictions, references))
    assert set(content["mean"]) == {"1", "2"}
    assert content["foreground_mean"]["Dice"] == pytest.approx((2 / 3 + 0.5) / 2)
    assert content["htunet"]["means"][ORIGINAL]["Dice"]["mean"] == pytest.approx((2 / 3 + 0.5) / 2)


def test_a_label_that_neither_mask_of_an_image_has_says_nothing_of_it(tmp_path: Path) -> None:
    """Each image holds one of two labels; with nothing found at all no label may come out as half found."""
    masks = {"a.png": [[1, 1, 0, 0]], "b.png": [[0, 0, 2, 2]], "c.png": [[1, 1, 0, 0]]}
    references = folder_of(tmp_path / "r", masks)
    nothing = folder_of(tmp_path / "p", {name: [[0, 0, 0, 0]] for name in masks} | {"c.png": [[1, 1, 0, 0]]})
    own = summary_content(evaluate_folders(nothing, references))["htunet"]
    assert own["means"][ORIGINAL]["Dice"]["mean"] == pytest.approx(1 / 3)
    means = own["means_by_label"][ORIGINAL]
    assert [(means[label]["Dice"]["mean"], means[label]["Dice"]["n_used"]) for label in "12"] == [(0.5, 2), (0.0, 1)]
    assert own["without_label"][ORIGINAL]["2"] == {"references_without": 2, "false_alarms": 0}


@pytest.mark.parametrize("found", [[[1, 0, 0, 0]], [[1, 0, 2, 2]]], ids=["never predicted", "a false alarm"])
def test_a_label_that_no_reference_has_is_in_no_mean(run: RunPaths, found: list[list[int]]) -> None:
    """dataset.json may name a label that no mask holds."""
    rows = [
        CaseScore(case=case, label=label, resolution=ORIGINAL, score=one)
        for case, predicted in (("a", found), ("b", [[1, 1, 0, 0]]))
        for label, one in score(np.array(predicted, np.uint8), np.array([[1, 1, 0, 0]], np.uint8), [1, 2]).items()
    ]
    summary = Summary(identity={"labels": {"cyst": 1, "nodule": 2}}, policy="penalise", scores=tuple(rows))
    own = summary_content(summary)["htunet"]
    assert own["means"][ORIGINAL]["Dice"]["mean"] == pytest.approx((2 / 3 + 1) / 2)
    alarms = int(2 in found[0])
    assert own["without_label"][ORIGINAL]["2"] == {"references_without": 2, "false_alarms": alarms}
    assert f"nodule: in no reference and so in no mean; predicted in {alarms} of 2 cases" in "\n".join(
        mask_lines(summary)
    )


def test_summaries_of_the_version_before_lose_the_values_of_images_without_a_lesion(tmp_path: Path) -> None:
    masks = {"a.png": [[1, 1, 0, 0]], "b.png": [[0, 0, 0, 0]], "c.png": [[1, 0, 0, 0]]}
    references = folder_of(tmp_path / "r", masks)
    predictions = folder_of(tmp_path / "p", masks | {"a.png": [[1, 0, 0, 0]]})
    now = summary_content(evaluate_folders(predictions, references))
    before = json.loads(json.dumps(now))
    before["htunet"] |= {"format": 1, "policy_means": "as it was"}
    case = before["metric_per_case"][1]["htunet"][ORIGINAL]["1"]
    case |= {"Dice": 1.0, "IoU": 1.0, "HD95": 0.0, "ASD": 0.0, "HD95_max": 0.0, "ASD_directed": 0.0}
    for means in (before["htunet"]["means"][ORIGINAL], before["htunet"]["means_by_label"][ORIGINAL]["1"]):
        means["Dice"] = {"mean": (2 / 3 + 1 + 1) / 3, "low": 0, "high": 1, "n_used": 3, "n_cases": 3}
    again = upgraded(before)
    assert again["htunet"].pop("format") == 1
    del now["htunet"]["format"]
    assert json.loads(json.dumps(now)) == again
    assert again["htunet"]["means"][ORIGINAL]["Dice"]["mean"] == pytest.approx((2 / 3 + 1) / 2)


def test_baselines_predict_nothing_or_what_most_training_masks_share(run: RunPaths) -> None:
    found = trivial_baselines(run.dataset, "paper", 0)
    nothing, mean = (found[name].means(INPUT) for name in (ALL_BACKGROUND, MEAN_MASK))
    assert (nothing["dice"].mean, nothing["hd95"].mean) == (0.0, pytest.approx(DIAGONAL))
    assert 0.3 < mean["dice"].mean < 1.0
    assert found[ALL_BACKGROUND].empty(INPUT)["prediction"] == [f"case_000{i}" for i in (6, 7, 8, 9)]


def test_the_mean_mask_takes_the_share_with_the_best_training_dice() -> None:
    masks = np.array([[[1, 1, 0, 0]], [[1, 1, 0, 0]], [[1, 0, 0, 1]], [[0, 0, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(mean_mask(masks, [0, 1, 2], 1), [[True, True, False, False]])


def test_training_masks_without_the_label_do_not_decide_the_mean_mask() -> None:
    """Two of three normal images: a mask that is empty would be right in most of them, and is no answer."""
    masks = np.array([[[1, 1, 0, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(mean_mask(masks, [0, 1, 2], 1), [[True, True, False, False]])


def test_the_mean_mask_never_sees_the_test_masks() -> None:
    masks = np.zeros((3, 2, 2), np.uint8)
    masks[0, 0], masks[2, 1] = 1, 1
    np.testing.assert_array_equal(mean_mask(masks, [0], 1), masks[0] == 1)


def test_what_is_done_is_known(run: RunPaths) -> None:
    assert not needs_prediction(run)
    assert not is_evaluated(run, "penalise")
    write_summary(evaluated(run), run.test_folder)
    assert is_evaluated(run, "penalise")
    assert not is_evaluated(run, "exclude")
    make_older(run.summary_json)
    assert not is_evaluated(run, "penalise")
    make_older(run.predictions / "case_0006.png")
    assert needs_prediction(run)


def test_a_result_is_of_the_masks_classes_and_groups_that_the_data_set_has_now(run: RunPaths) -> None:
    raw = read_raw(run.dataset)
    trained, tested = (next(case for case in raw.cases if case.id == name) for name in ("case_0000", "case_0006"))
    write_summary(evaluated(run), run.test_folder)
    write_png(raw.label_path(trained), np.zeros_like(read_labels(raw.label_path(trained))))
    assert is_evaluated(run, "penalise")  # of no test case
    mask = raw.label_path(tested).read_bytes()
    write_png(raw.label_path(tested), np.zeros_like(read_labels(raw.label_path(tested))))
    assert not is_evaluated(run, "penalise")
    raw.label_path(tested).write_bytes(mask)
    assert is_evaluated(run, "penalise")
    text = raw.paths.cases_csv.read_text()
    changed = [line.replace("benign", "malignant") if "case_0006" in line else line for line in text.splitlines()]
    raw.paths.cases_csv.write_text("\n".join(changed) + "\n")
    assert not is_evaluated(run, "penalise")
    raw.paths.dataset_json.unlink()
    assert is_evaluated(run, "penalise")  # nothing says otherwise


def test_a_summary_of_another_version_is_not_up_to_date(run: RunPaths) -> None:
    write_summary(evaluated(run), run.test_folder)
    content = read_json(run.summary_json)
    content["htunet"]["evaluated_with"]["htunet"] = "0.0.1"
    write_json(run.summary_json, content)
    assert not is_evaluated(run, "penalise")


def test_groups_of_the_data_set_reach_the_intervals(home: Path) -> None:
    summary = evaluated(build_run(build_dataset(groups=2)))
    assert {row.group for row in summary.scores} == {"group_000", "group_001"}
    alone = Summary(
        identity={}, policy="penalise", scores=tuple(row for row in summary.scores if row.group == "group_000")
    )
    assert alone.means(INPUT)["dice"].low is None


def test_penalties_of_before_are_taken_out_of_the_distances_of_the_papers_code() -> None:
    content = masks("UNet", [0.0, 0.5, 0.7])
    penalised = {"mean": 360 / 3, "low": 1.0, "high": 300.0, "n_used": 3, "n_cases": 3}
    for case in content["metric_per_case"]:
        values = case["htunet"]["input_size"]["1"]
        values |= {"HD95_max": values["HD95"], "ASD_directed": values["ASD"]}
    content["htunet"]["means"]["input_size"] |= {"HD95_max": dict(penalised), "ASD_directed": dict(penalised)}
    content["htunet"] |= {"format": 1, "means_by_label": {"input_size": {"1": {}}}}
    upgraded(content)
    found = content["htunet"]["means"]["input_size"]
    for name in ("HD95_max", "ASD_directed"):
        assert (found[name]["mean"], found[name]["n_used"], found[name]["n_cases"]) == (pytest.approx(40.0), 2, 3)
    assert found["HD95"]["mean"] == pytest.approx(380 / 3)  # by our own definition a miss costs
    assert content["metric_per_case"][0]["htunet"]["input_size"]["1"]["HD95_max"] is None
    before = dict(found)
    upgraded(content)
    assert found == before


def test_what_cannot_be_taken_again_without_the_cases_is_absent() -> None:
    content = masks("UNet", [0.0, 0.5, 0.7])
    found = content["htunet"]["means"]["input_size"]
    found["HD95_max"] = {"mean": 120.0, "low": 1.0, "high": 300.0, "n_used": 3, "n_cases": 3}
    del content["metric_per_case"]
    content["htunet"]["format"] = 1
    upgraded(content)
    assert (found["HD95_max"]["mean"], found["HD95_max"]["n_used"]) == (None, 2)
    assert found["HD95"]["mean"] == pytest.approx(380 / 3)
