"""The evaluation of a classification run: every figure can be checked by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.class_run import TEST, VAL, build_class_dataset, build_class_run, predict_classes, probabilities

from htunet.data.class_probabilities import ClassProbabilities, write_class_probabilities
from htunet.data.raw import DatasetInfo, positive_class, read_raw, write_raw_index
from htunet.errors import HtunetError
from htunet.evaluation.class_summary import (
    MOST_PROBABLE,
    VALIDATION_THRESHOLD,
    class_content,
    evaluate_classes,
    summarise,
)
from htunet.evaluation.predicted_run import open_predicted
from htunet.experiments.update_run import bring_up_to_date
from htunet.files import read_json, write_json
from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.result_lines import class_lines


def test_the_figures_of_a_run_are_those_of_four_cases(home: Path) -> None:
    found = evaluate_classes(open_predicted(build_class_run(build_class_dataset())))
    half = found.decisions[MOST_PROBABLE]
    assert (found.auc.value, found.positive, found.validation_cases) == (0.75, "malignant", 4)
    assert {name: figure.value for name, figure in half.estimates.items()} == pytest.approx(
        {"accuracy": 0.75, "recall": 1.0, "precision": 2 / 3, "f1": 0.8, "specificity": 0.5}
    )
    assert (half.threshold, half.confusion) == (0.5, [[1, 1], [0, 2]])


def test_the_threshold_is_the_validation_splits_and_stands_beside_one_half(home: Path) -> None:
    found = evaluate_classes(open_predicted(build_class_run(build_class_dataset())))
    chosen = found.decisions[VALIDATION_THRESHOLD]
    # 0.45 to 0.625 finds both malignant and one benign; 0.7 one malignant and both benign: 0.5 is the nearest to 0.5
    assert chosen.threshold == 0.5
    moved = VAL | {"case_0003": 0.9, "case_0005": 0.8}
    predict_classes(run := build_class_run(build_class_dataset(name="Dataset904_Tiny")), TEST, moved)
    chosen = evaluate_classes(open_predicted(run)).decisions[VALIDATION_THRESHOLD]
    assert chosen.threshold == pytest.approx((0.65 + 0.8) / 2)
    assert "Youden index, 1.0000, of 4 validation cases" in chosen.chosen
    assert chosen.confusion == [[2, 0], [1, 1]]
    assert chosen.decided == ["benign", "benign", "benign", "malignant"]


def test_the_temperature_is_the_validation_splits_and_both_errors_are_reported(home: Path) -> None:
    found = evaluate_classes(open_predicted(build_class_run(build_class_dataset())))
    assert found.temperature is not None
    assert found.after is not None
    assert found.before.values["ece"] != found.after.values["ece"]


def test_where_no_temperature_is_best_that_is_said(home: Path) -> None:
    dataset = build_class_dataset()
    right = {"case_0002": 0.1, "case_0003": 0.9, "case_0004": 0.1, "case_0005": 0.9}
    predict_classes(run := build_class_run(dataset), TEST, right)
    found = evaluate_classes(open_predicted(run))
    assert (found.temperature, found.after) == (None, None)
    assert any("no temperature" in note for note in found.notes)


def test_true_classes_and_groups_come_from_the_raw_folder(home: Path) -> None:
    dataset = build_class_dataset(groups=5)
    found = evaluate_classes(open_predicted(build_class_run(dataset)))
    assert found.groups == ("group_001", "group_002", "group_003", "group_004")
    assert found.test.truth == ("benign", "malignant", "benign", "malignant")


def test_the_content_is_strict_json_with_a_row_for_each_case(home: Path) -> None:
    content = json.loads(
        json.dumps(
            class_content(evaluate_classes(open_predicted(build_class_run(build_class_dataset())))), allow_nan=False
        )
    )
    assert content["cases"][1] == {
        "case": "case_0007",
        "class": "malignant",
        "group": "",
        "probabilities": {"benign": 0.4, "malignant": 0.6},
        "decided": {MOST_PROBABLE: "malignant", VALIDATION_THRESHOLD: "malignant"},
    }
    assert content["cases_by_class"] == {"benign": 2, "malignant": 2}
    assert list(content["curves"]["roc"]) == ["malignant"]
    assert len(content["calibration"]["before"]["bins"]) == 15


def test_a_split_with_other_cases_is_refused_with_the_command(home: Path) -> None:
    run = build_class_run(build_class_dataset(), test={"case_0006": 0.2})
    with pytest.raises(HtunetError, match=r"does not hold the test split of fold 0.*--force"):
        evaluate_classes(open_predicted(run))


def test_a_data_set_whose_classes_have_changed_is_refused(home: Path) -> None:
    run = build_class_run(dataset := build_class_dataset())
    content = read_json(dataset.dataset_json)
    content["htunet"]["classes"] = {"malignant": 0, "benign": 1}
    write_json(dataset.dataset_json, content)
    with pytest.raises(HtunetError, match=r"knows the classes benign, malignant,.*has the classes malignant, benign"):
        evaluate_classes(open_predicted(run))


def three(n: int = 60) -> ClassProbabilities:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, n)
    raised = np.exp(rng.normal(size=(n, 3)) + np.eye(3)[truth])
    names = ("a", "b", "c")
    return ClassProbabilities(
        classes=names,
        cases=tuple(str(i) for i in range(n)),
        truth=tuple(names[i] for i in truth),
        values_NK=raised / raised.sum(axis=1, keepdims=True),
    )


def test_more_than_two_classes_have_no_threshold_and_macro_figures() -> None:
    found = summarise(three(), [""] * 60, three())
    assert list(found.decisions) == [MOST_PROBABLE]
    assert found.decisions[MOST_PROBABLE].threshold is None
    content = class_content(found)
    assert (content["positive"], content["averaging"][:5]) == (None, "macro")
    assert np.array(content["decisions"][MOST_PROBABLE]["confusion"]).sum() == 60


def test_a_class_without_test_cases_is_named() -> None:
    everything = three()
    kept = [index for index, name in enumerate(everything.truth) if name != "b"]
    fewer = replace(
        everything,
        cases=tuple(everything.cases[i] for i in kept),
        truth=tuple(everything.truth[i] for i in kept),
        values_NK=everything.values_NK[kept],
    )
    assert summarise(fewer, [""] * len(kept)).notes == ("no test case of b: excluded from every mean over the classes",)


def test_one_class_alone_has_no_auc_and_says_so(home: Path) -> None:
    dataset = build_class_dataset()
    found = summarise(probabilities(dataset, {"case_0006": 0.2, "case_0008": 0.7}), ["", ""])
    assert found.auc.value is None
    assert found.notes == ("no test case of malignant: there is no AUC",)
    json.dumps(class_content(found), allow_nan=False)


def renamed(dataset: DatasetPaths, **names: str) -> DatasetPaths:
    """The data set with other names for its classes, and what else is said of them."""
    raw = read_raw(dataset)
    cases = [replace(case, class_name=names[case.class_name]) for case in raw.cases]
    classes = {names[name]: index for name, index in raw.info.classes.items()}
    write_raw_index(dataset.raw, dataset.name, replace(raw.info, classes=classes), cases, [])
    return dataset


@pytest.mark.parametrize("last", ["normal", "benign", "Healthy", "gutartig"])
def test_the_positive_class_is_the_disease_whatever_the_order(home: Path, last: str) -> None:
    """Malignant comes first: 0.2, 0.6, 0.7, 0.9 are probabilities of normal, of which cases 7 and 9 are."""
    dataset = renamed(build_class_dataset(), benign="malignant", malignant=last)
    run = build_class_run(dataset)
    predict(run, dataset, ("malignant", last))
    found = evaluate_classes(open_predicted(run))
    half = found.decisions[MOST_PROBABLE]
    # of the malignant cases 6 (0.8) and 8 (0.3) one is found, and nothing else is taken for one
    assert (found.positive, found.positive_from, found.test.classes) == (
        "malignant",
        "dataset.json",
        (last, "malignant"),
    )
    assert {name: value.value for name, value in half.estimates.items()} == pytest.approx(
        {"accuracy": 0.75, "recall": 0.5, "precision": 1.0, "f1": 2 / 3, "specificity": 1.0}
    )
    content = class_content(found)
    assert (content["positive"], list(content["curves"]["roc"])) == ("malignant", ["malignant"])
    other = evaluate_classes(open_predicted(run), positive=last)
    assert (other.positive, other.decisions[MOST_PROBABLE].estimates["recall"].value) == (last, 1.0)
    assert other.auc.value == found.auc.value == 0.75


def predict(run: RunPaths, dataset: DatasetPaths, classes: tuple[str, str]) -> None:
    for path, values in ((run.classes_csv, TEST), (run.val_classes_csv, VAL)):
        write_class_probabilities(path, probabilities(dataset, values, classes))


def test_dataset_json_names_the_positive_class(home: Path) -> None:
    dataset = build_class_dataset()
    content = read_json(dataset.dataset_json)
    content["htunet"]["positive"] = "benign"
    write_json(dataset.dataset_json, content)
    assert evaluate_classes(open_predicted(build_class_run(dataset))).positive == "benign"
    content["htunet"]["positive"] = "malign"
    write_json(dataset.dataset_json, content)
    with pytest.raises(
        HtunetError, match=r"dataset\.json, positive: 'malign' must be one of two classes; .* benign, mal"
    ):
        read_raw(dataset)


def test_an_unknown_positive_class_is_refused(home: Path) -> None:
    with pytest.raises(
        HtunetError, match="--positive: 'malign' must be one of two classes; the classes are benign, mal"
    ):
        evaluate_classes(open_predicted(build_class_run(build_class_dataset())), positive="malign")


@pytest.mark.parametrize(
    ("classes", "named", "positive"),
    [
        (("benign", "malignant"), "", "malignant"),
        (("malignant", "normal"), "", "malignant"),
        (("benign", "normal"), "", "benign"),
        (("cyst", "nodule"), "", "nodule"),
        (("malignant", "non-malignant"), "", "malignant"),
        (("cancer", "noncancer"), "", "cancer"),
        (("Lesion", "No lesion"), "", "Lesion"),
        (("no_cyst", "none_of_it"), "", "none_of_it"),
        (("benign", "not benign"), "", "not benign"),
        (("non-normal", "normal"), "", "non-normal"),
        (("benign", "without lesion"), "", "benign"),
        (("cyst", "nodule"), "cyst", "cyst"),
        (("malignant", "normal"), "normal", "normal"),
        (("benign", "malignant", "normal"), "", ""),
        ((), "", ""),
    ],
)
def test_who_is_positive(classes: tuple[str, ...], named: str, positive: str) -> None:
    info = DatasetInfo(classes={name: index for index, name in enumerate(classes)}, positive=named)
    assert positive_class(info) == positive


def test_another_positive_class_is_evaluated_again_and_kept(home: Path) -> None:
    run = build_class_run(build_class_dataset())
    assert bring_up_to_date(run, "penalise").classes is not None
    assert bring_up_to_date(run, "penalise").before
    assert bring_up_to_date(run, "penalise", positive="benign").classes is not None
    assert bring_up_to_date(run, "penalise").before
    own = read_json(run.summary_json)["htunet"]["classification"]
    assert (own["positive"], own["positive_from"]) == ("benign", "--positive")


@pytest.mark.parametrize("wrong", [0.9, 0.1])
def test_the_auc_of_a_handful_that_no_resample_changes_is_absent_with_the_reason(wrong: float) -> None:
    """Four cases, all in order or none: 100 % [100, 100] or 0 % [0, 0] would be an illusion."""
    few = ClassProbabilities(
        classes=("benign", "malignant"), cases=tuple("abcd"), truth=("benign", "benign", "benign", "malignant"),
        values_NK=np.array([[1 - value, value] for value in (0.5, 0.4, 0.3, wrong)]),
    )  # fmt: skip
    found = summarise(few, [""] * 4)
    auc = class_content(found)["auc"]
    assert (auc["value"], auc["low"], auc["high"]) == (float(wrong > 0.5), None, None)
    assert found.notes[0].startswith("no AUC and no interval, few test cases: 4 (3 benign, 1 malignant)")
    assert "classes: AUC - · 4 cases: 3 benign, 1 malignant" in "\n".join(class_lines(found))
    many = replace(few, cases=tuple(map(str, range(40))), truth=("benign", "malignant") * 20,
                   values_NK=np.array([[0.8, 0.2], [0.3, 0.7]] * 20))  # fmt: skip
    assert (summarise(many, [""] * 40).auc.value, summarise(many, [""] * 40).auc.low) == (1, 1)
