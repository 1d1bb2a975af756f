"""The case table and what is made of it: every figure can be checked by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders.results import classes, masks
from scipy.stats import wilcoxon
from sklearn.metrics import roc_auc_score

from htunet.evaluation.case_table import CASE, RUN, case_table, read_table, write_table
from htunet.evaluation.comparisons import by_group
from htunet.evaluation.study import entries, study
from htunet.reporting.tables.kinds import CLASSIFICATION
from htunet.reporting.tables.rows import table_rows

NINE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def only(table: pd.DataFrame, **expected: object) -> pd.Series:
    rows = table
    for name, value in expected.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def test_one_row_holds_all_that_is_known_of_a_case() -> None:
    table = case_table([masks("CLIP_HT", [0.8, 0.0], areas=[250, 500])])
    assert len(table) == 4  # two cases at two resolutions
    assert {*RUN, *CASE} <= set(table)
    row = only(table, case="case_1", resolution="input_size")
    assert (row["method"], row["seed"], row["label"], row["dice"], row["hd95"]) == ("CLIP_HT", 1, 1, 0.0, 300.0)
    assert (row["missed"], row["empty"], row["lesion_px"], row["lesion_share"]) == (1, "prediction", 500, 0.05)


def test_the_table_on_the_disk_is_the_same_table(tmp_path: Path) -> None:
    truth = {"a": "benign", "b": "malignant"}
    table = case_table([masks("UNet", [0.8, 0.123456789012345]), classes("CLIP", {"a": 0.2, "b": 0.9}, truth)])
    write_table(tmp_path / "cases.csv", table)
    again = read_table(tmp_path / "cases.csv")
    assert again["dice"].tolist()[:4] == table["dice"].tolist()[:4]
    assert (again["probability_malignant"].tolist()[-2:], again["correct"].tolist()[-1]) == ([0.2, 0.9], 1)
    columns = ["dataset", "arm", "metric", "mean", "low", "high", "n_cases"]
    assert study(again).means[columns].equals(study(table).means[columns])


def test_terciles_are_thirds_of_the_cases_whatever_the_methods() -> None:
    areas = [100 * i for i in range(1, 10)]
    table = case_table([masks(m, NINE, areas=areas, seed=s) for m in ("UNet", "CLIP") for s in (1, 2)])
    first = table.drop_duplicates("case")
    assert first["tercile"].tolist() == ["small"] * 3 + ["medium"] * 3 + ["large"] * 3
    found = study(table).by_size
    row = only(found, arm="UNet", tercile="medium", metric="dice", resolution="input_size")
    assert (row["mean"], row["n_cases"]) == (pytest.approx(0.5), 3)


def test_images_without_a_lesion_are_of_no_size() -> None:
    found = study(case_table([masks("UNet", NINE, areas=[0, *range(100, 900, 100)])])).by_size
    assert found["tercile"].unique().tolist() == ["small", "medium", "large"]


def test_equal_sizes_are_never_parted() -> None:
    table = case_table([masks("UNet", NINE, areas=[100] * 5 + [900] * 4)])
    assert table.groupby("lesion_px")["tercile"].nunique().tolist() == [1, 1]


def test_seeds_are_averaged_for_each_case_and_their_spread_is_told() -> None:
    found = study(case_table([masks("UNet", [0.5, 0.7], seed=1), masks("UNet", [0.7, 0.9], seed=2)])).means
    row = only(found, metric="dice", resolution="input_size")
    assert (row["mean"], row["n_cases"], row["n_seeds"]) == (pytest.approx(0.7), 2, 2)
    assert row["std"] == pytest.approx(np.std([0.6, 0.8], ddof=1))


def test_folds_of_one_seed_are_no_seeds() -> None:
    found = study(case_table([masks("UNet", [0.5, 0.7], fold=0), masks("UNet", [0.7, 0.9], fold=1)])).means
    row = only(found, metric="dice", resolution="input_size")
    assert (row["mean"], row["n_seeds"], pd.isna(row["std"])) == (pytest.approx(0.7), 1, True)


def test_missed_lesions_are_counted_in_every_stratum() -> None:
    values = [0.0, 0.5, 0.5, 0.6, 0.0, 0.6]
    kinds = ["benign", "malignant"] * 3
    found = study(case_table([masks("UNet", values, classes=kinds)]))
    assert only(found.means, metric="dice", resolution="input_size")["n_missed"] == 2
    sizes = found.by_size[(found.by_size["metric"] == "dice") & (found.by_size["resolution"] == "input_size")]
    assert sizes[["tercile", "n_missed"]].to_numpy().tolist() == [["small", 1], ["medium", 0], ["large", 1]]
    benign = only(found.by_class, metric="dice", resolution="input_size", **{"class": "benign"})
    assert (benign["mean"], benign["n_missed"]) == (pytest.approx(0.5 / 3), 2)


def test_methods_are_compared_on_the_same_cases_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.4, 0.8, 60)
    others = {"UNet": base, "CLIP": base + rng.normal(0, 0.05, 60), "CLIP_HT": base + rng.normal(0.05, 0.05, 60)}
    contents = [masks(name, values.clip(0.01, 1).tolist()) for name, values in others.items()]
    found = study(case_table(contents)).comparisons
    dice = found[(found["metric"] == "dice") & (found["resolution"] == "input_size")]
    row = only(dice, a="UNet", b="CLIP_HT")
    expected = wilcoxon(others["UNet"] - others["CLIP_HT"], method="approx", correction=False).pvalue
    assert row["p"] == pytest.approx(expected)
    assert (len(dice), row["n_tests"], row["favours"]) == (3, 3, "CLIP_HT")
    assert row["p_holm"] == pytest.approx(min(1, expected * (3 - dice["p"].rank()[row.name] + 1)))
    assert row["low"] < row["mean_difference"] < row["high"] < 0
    assert only(found, a="UNet", b="CLIP_HT", metric="hd95", resolution="input_size")["favours"] == "CLIP_HT"


def test_methods_that_share_no_case_are_no_test_that_is_corrected_for() -> None:
    other = masks("CLIP", [0.5, 0.6, 0.7])
    for case in other["metric_per_case"]:
        case["htunet"]["case"] += "_of_another_fold"
    contents = [masks("UNet", [0.1, 0.2, 0.3]), masks("CLIP_HT", [0.4, 0.6, 0.8]), other]
    found = study(case_table(contents)).comparisons
    dice = found[(found["metric"] == "dice") & (found["resolution"] == "input_size")]
    assert dice["n_pairs"].tolist() == [3, 0, 0]
    assert dice["n_tests"].tolist() == [1, 1, 1]
    assert dice["p_holm"].iloc[0] == dice["p"].iloc[0]


@pytest.mark.parametrize(("policy", "n_cases", "difference"), [("penalise", 3, 0.6 / 3), ("exclude", 2, -0.2)])
def test_a_false_alarm_counts_against_who_makes_it(policy: str, n_cases: int, difference: float) -> None:
    """A is worse in both lesions, and finds nothing in two images without one: B finds something in one of them."""
    table = case_table([masks("A", [0.5, 0.6, 0, 0], policy=policy), masks("B", [0.7, 0.8, 0, 0], policy=policy)])
    rightly_empty = (table["case"] == "case_3") | ((table["case"] == "case_2") & (table["method"] == "A"))
    if policy == "exclude":  # nothing to find has no value for either
        rightly_empty = table["case"].isin(["case_2", "case_3"])
    table.loc[rightly_empty, ["dice", "iou", "hd95", "asd"]] = np.nan
    table.loc[rightly_empty, "empty"] = "both"
    of_iou = only(study(table.assign(iou=np.nan)).comparisons, metric="iou", resolution="input_size")
    assert of_iou["n_cases"] == 0  # of earlier results: not known
    found = study(table).comparisons
    row = only(found, metric="dice", resolution="input_size")
    assert (row["n_cases"], row["n_pairs"], row["mean_difference"]) == (n_cases, n_cases, pytest.approx(difference))
    distance = {"penalise": (20 + 20 - 300) / 3, "exclude": 20.0}[policy]
    assert only(found, metric="hd95", resolution="input_size")["mean_difference"] == pytest.approx(distance)


def test_a_false_alarm_of_one_seed_counts_as_that_of_one_seed() -> None:
    table = case_table([masks("A", [0.5, 0.0], seed=seed) for seed in (1, 2)] + [masks("B", [0.5, 0.0])])
    table.loc[(table["case"] == "case_1") & (table["method"] == "A") & (table["seed"] == 1), "dice"] = np.nan
    row = only(study(table).comparisons, metric="dice", resolution="input_size")
    assert row["mean_difference"] == pytest.approx((0 + 0.5) / 2)


def test_images_of_one_patient_are_one_pair() -> None:
    groups = ["p1", "p1", "p2", "p2", "", ""]
    contents = [masks(m, [0.5 + 0.01 * i + d for i in range(6)], groups=groups) for m, d in (("A", 0.1), ("B", 0.0))]
    row = only(study(case_table(contents)).comparisons, metric="dice", resolution="input_size")
    assert (row["n_cases"], row["n_pairs"], row["rank_biserial"]) == (6, 4, 1.0)


def test_a_group_has_the_mean_of_its_cases() -> None:
    found = by_group(np.array([[1.0], [3.0], [5.0], [np.nan]]), ["p", "p", "", ""])
    np.testing.assert_array_equal(found, [[2], [5], [np.nan]])


def test_images_of_one_patient_alone_give_no_interval() -> None:
    contents = [masks(m, [0.5 + d, 0.6 + d, 0.8], groups=["p"] * 3) for m, d in (("A", 0.1), ("B", 0.0))]
    found = study(case_table(contents))
    of_dice = {"metric": "dice", "resolution": "input_size"}
    for row in (only(found.means, arm="A", **of_dice), only(found.comparisons, **of_dice)):
        assert row["n_cases"] == 3
        assert pd.isna(row["low"])
    content = classes("CLIP", {"a": 0.2, "b": 0.9, "c": 0.4}, {"a": "benign", "b": "malignant", "c": "malignant"})
    for case in content["htunet"]["classification"]["cases"]:
        case["group"] = "p"
    area = only(study(case_table([content])).means, metric="auc")
    assert (area["mean"], pd.isna(area["low"])) == (1, True)


def test_a_difference_that_chance_may_explain_favours_nobody() -> None:
    contents = [masks(m, [0.5 + d, 0.61 + 2 * d, 0.72 + 3 * d, 0.6 + d / 2]) for m, d in (("A", 0.05), ("B", 0.0))]
    row = only(study(case_table(contents)).comparisons, metric="dice", resolution="input_size")
    assert (row["p"], row["rank_biserial"], row["favours"]) == (pytest.approx(2 / 2**4), 1, "")


def test_a_case_is_missed_where_all_of_its_labels_are() -> None:
    content, other = (masks("UNet", dice) for dice in ([0.0, 0.0, 0.5], [0.0, 0.6, 0.7]))
    for case, second in zip(content["metric_per_case"], other["metric_per_case"], strict=True):
        case["metrics"]["2"] = second["metrics"]["1"]
        for resolution in ("input_size", "original_size"):
            case["htunet"][resolution]["2"] = second["htunet"][resolution]["1"]
    rows = study(case_table([content])).means
    rows = rows[(rows["metric"] == "dice") & (rows["resolution"] == "input_size")].set_index("label")
    assert rows["n_missed"].to_dict() == {"": 1, 1: 2, 2: 1}
    assert rows["mean"].to_dict() == pytest.approx({"": 0.3, 1: 0.5 / 3, 2: 1.3 / 3})


def test_pixels_of_different_input_sizes_are_not_compared() -> None:
    contents = [masks("CLIP", NINE), masks("DINOv2", NINE, plan="paper_518")]
    found = study(case_table(contents)).comparisons
    at_input = set(found[found["resolution"] == "input_size"]["metric"])
    assert {"dice", "iou"} <= at_input
    assert not at_input & {"hd95", "asd"}
    assert "hd95" in set(found[found["resolution"] == "original_size"]["metric"])


def test_shares_of_the_training_images_are_not_compared_with_each_other() -> None:
    contents = [masks("CLIP", NINE, ratio=r) for r in (None, 0.1)] + [masks("UNet", NINE, ratio=0.1)]
    found = study(case_table(contents)).comparisons
    assert set(zip(found["a"], found["b"], strict=True)) == {("CLIP (ratio 0.1)", "UNet")}


def test_several_arms_of_a_method_have_names_of_their_own() -> None:
    contents = [masks("CLIP", NINE), masks("CLIP", NINE, plan="wide"), masks("UNet", NINE)]
    assert set(study(case_table(contents)).means["arm"]) == {"CLIP (plan paper)", "CLIP (plan wide)", "UNet"}


def of_both(method: str, right: int, **about: Any) -> dict[str, Any]:
    """A run that learns masks and classes: the first ``right`` of three malignant cases are found to be so."""
    content = masks(method, [0.5, 0.6, 0.7], task="seg", **about)
    found = classes(method, *of_three(right))["htunet"]["classification"]
    content["htunet"] |= {"trainer": "JointTrainer", "task": "seg+cls", "classification": found}
    return content


def of_three(right: int) -> tuple[dict[str, float], dict[str, str]]:
    cases = [f"case_{i}" for i in range(3)]
    return {case: 0.75 if i < right else 0.25 for i, case in enumerate(cases)}, dict.fromkeys(cases, "malignant")


def test_the_policy_for_masks_does_not_touch_the_classes_of_a_run_that_learns_both() -> None:
    contents = [of_both("A", 3), of_both("B", 1), classes("C", *of_three(0))]
    found = study(case_table(contents)).comparisons
    of = {(row["a"], row["b"]): row["mean_difference"] for _, row in found[found["metric"] == "correct"].iterrows()}
    assert of == {("A", "B"): pytest.approx(2 / 3), ("A", "C"): pytest.approx(1), ("B", "C"): pytest.approx(1 / 3)}
    of_truth = only(found, metric="probability_of_truth", a="A", b="B")
    assert of_truth["mean_difference"] == pytest.approx(0.5 * 2 / 3)
    rows = table_rows(contents, kind=CLASSIFICATION)
    assert len({row.ranking_group for row in rows}) == 1


@pytest.mark.parametrize("with_masks", [False, True], ids=["", "and masks alone"])
def test_a_run_that_learns_both_is_another_arm_than_one_of_classes(with_masks: bool) -> None:
    contents = [of_both("CLIP", 3), classes("CLIP", *of_three(2)), *([masks("CLIP", [0.5])] if with_masks else [])]
    found = study(case_table(contents))
    accuracy = found.means[found.means["metric"] == "accuracy"].set_index("arm")["mean"].to_dict()
    assert accuracy == {"CLIP (task seg+cls)": 1, "CLIP (task cls)": pytest.approx(2 / 3)}
    row = only(found.comparisons, metric="correct")
    assert row["mean_difference"] == pytest.approx(1 / 3)
    rows = {row.own["task"]: row for row in table_rows(contents, kind=CLASSIFICATION, means=entries(found.means))}
    assert rows["seg+cls"].values["accuracy"].low == 100


def test_the_auc_of_an_arm_is_the_mean_of_its_seeds_and_lies_in_its_interval() -> None:
    rng = np.random.default_rng(1)
    truth = {f"c{i}": "malignant" if i % 3 == 0 else "benign" for i in range(60)}
    runs = [
        {case: float(rng.uniform(0, 0.7) + 0.3 * (name == "malignant")) for case, name in truth.items()} for _ in "ab"
    ]
    found = study(case_table([classes("CLIP", run, truth, seed=s) for s, run in enumerate(runs)])).means
    positive = [name == "malignant" for name in truth.values()]
    areas = [roc_auc_score(positive, list(run.values())) for run in runs]
    row = only(found, metric="auc")
    assert (row["mean"], row["std"]) == (pytest.approx(np.mean(areas)), pytest.approx(np.std(areas, ddof=1)))
    assert row["low"] < row["mean"] < row["high"]
    accuracy, correct = (only(found, metric=name) for name in ("accuracy", "correct"))
    assert accuracy["mean"] == pytest.approx(correct["mean"])


def test_each_run_counts_once_in_the_auc_whatever_cases_it_has() -> None:
    truth = {"a": "benign", "b": "malignant", "c": "benign", "d": "malignant"}
    right, wrong = {"a": 0.2, "b": 0.9}, {"c": 0.9, "d": 0.2}
    runs = [classes("CLIP", right, truth, seed=seed, fold=0) for seed in (1, 2)]
    runs.append(classes("CLIP", wrong, truth, seed=1, fold=1))
    assert only(study(case_table(runs)).means, metric="auc")["mean"] == pytest.approx(2 / 3)


def test_each_run_has_its_own_positive_class() -> None:
    truth = {"a": "benign", "b": "malignant", "c": "malignant"}
    contents = [classes(method, {"a": 0.2, "b": 0.9, "c": 0.4}, truth) for method in ("CLIP", "UNet")]
    contents[1]["htunet"]["classification"] |= {"classes": ["malignant", "benign"], "positive": "benign"}
    found = study(case_table(contents)).means
    assert [only(found, arm="CLIP", metric=name)["mean"] for name in ("recall", "precision")] == [0.5, 1]
    assert [only(found, arm="UNet", metric=name)["mean"] for name in ("recall", "precision")] == [1, 0.5]


def test_an_empty_study_has_empty_tables() -> None:
    found = study(case_table([]))
    assert all(getattr(found, name).empty for name in ("means", "by_size", "by_class", "comparisons"))


def test_a_label_that_no_reference_has_is_in_no_mean_of_the_study() -> None:
    """Of the second label both masks are empty in one case, and it is a false alarm in the other."""
    content = masks("UNet", [0.8, 0.6])
    for case, second in zip(
        content["metric_per_case"], ({"empty": "both"}, {"empty": "reference", "Dice": 0.0}), strict=True
    ):
        case["metrics"]["2"] = {"n_ref": 0, "TP": 0, "FP": 0, "FN": 0, "TN": 10_000}
        for resolution in ("input_size", "original_size"):
            case["htunet"][resolution] = {**case["htunet"][resolution], "2": second}
    found = study(case_table([content])).means
    row = only(found, metric="dice", resolution="input_size", label="")
    assert (row["mean"], row["n_cases"]) == (pytest.approx(0.7), 2)
    of_both = case_table([masks("UNet", [0.8, 0.6])])
    assert only(study(of_both).means, metric="dice", resolution="input_size", label="")["mean"] == pytest.approx(0.7)


def of_fold(dice: list[float], prefix: str, **about: Any) -> dict[str, Any]:
    """Of a fold with cases of its own."""
    content = masks("UNet", dice, **about)
    for case in content["metric_per_case"]:
        case["htunet"]["case"] = prefix + case["htunet"]["case"]
    return content


UNEQUAL_FOLDS = [of_fold([0.2, 0.4, 0.6], "a_", fold=0), of_fold([0.8], "b_", fold=1)]
UNLIKE_SEEDS = [of_fold([0.2], "a_", fold=0), of_fold([0.8], "b_", fold=1), of_fold([0.5], "a_", fold=0, seed=2)]


@pytest.mark.parametrize(("contents", "mean", "counts"), [(UNEQUAL_FOLDS, 0.5, (4, 4)), (UNLIKE_SEEDS, 0.5, (2, 3))])
def test_the_mean_is_over_predictions_not_over_folds_or_seeds(
    contents: list[dict[str, Any]], mean: float, counts: tuple[int, int]
) -> None:
    row = only(study(case_table(contents)).means, metric="dice", resolution="input_size")
    assert row["mean"] == pytest.approx(mean)
    assert (row["n_cases"], row["n_predictions"]) == counts
    (printed,) = table_rows(contents)
    assert printed.values["dice"].mean == pytest.approx(100 * mean)


def test_what_several_runs_predict_of_a_case_is_drawn_together() -> None:
    twice = [masks("UNet", [0.2, 0.5, 0.9], seed=1), masks("UNet", [0.2, 0.5, 0.9], seed=2)]
    edges = ["mean", "low", "high", "n_cases"]
    once, both = (only(study(case_table(found)).means, metric="dice", resolution="input_size")[edges].tolist()
                  for found in (twice[:1], twice))  # fmt: skip
    assert both == pytest.approx(once)


def test_a_case_of_one_label_of_several_is_missed_although_the_other_is_not_there() -> None:
    content = masks("UNet", [0.0, 0.5, 0.0])
    nothing = {"Dice": None, "IoU": None, "HD95": None, "ASD": None, "HD95_max": None, "ASD_directed": None}
    for number, case in enumerate(content["metric_per_case"]):
        case["metrics"]["2"] = case["metrics"]["1"]
        for resolution in ("input_size", "original_size"):
            own = case["htunet"][resolution]
            own["2"] = {**nothing, "empty": "both"}
            if number == 2:  # nothing of label 1, which is there, but some of label 2, which is not
                own["2"] = own["1"] | {"empty": "reference"}
            if number == 1:
                own["1"], own["2"] = own["2"], own["1"]
    found = study(case_table([content]))
    assert only(found.means, metric="dice", resolution="input_size", label="")["n_missed"] == 1
    assert only(found.by_class, metric="dice", resolution="input_size")["n_missed"] == 1


def test_a_method_that_was_tested_on_fewer_cases_has_their_number_and_interval() -> None:
    truth = {name: "malignant" if name in "ace" else "benign" for name in "abcdefgh"}
    scores = dict(zip("abcdefgh", (0.9, 0.2, 0.4, 0.1, 0.8, 0.6, 0.3, 0.2), strict=True))
    few = {name: scores[name] for name in "abcd"}
    part = classes("CLIP", few, {name: truth[name] for name in few})
    alone = only(study(case_table([part])).means, metric="accuracy")
    beside = only(study(case_table([classes("UNet", scores, truth), part])).means, metric="accuracy", arm="CLIP")
    edges = ["mean", "low", "high", "n_cases"]
    assert beside[edges].tolist() == alone[edges].tolist()
    assert beside["n_cases"] == 4
