"""ROC curves and reliability diagrams: numbers that can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
from builders.results import classes
from sklearn.metrics import auc, roc_auc_score

from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.figures import class_curves
from htunet.reporting.figures.class_curves import (
    MethodProbabilities,
    _draw_roc,
    auc_of,
    mean_ece,
    mean_roc,
    method_probabilities,
    other_cases,
    pooled_bins,
)
from htunet.reporting.figures.style import in_style

TRUTH = {"a": "benign", "b": "malignant", "c": "benign", "d": "malignant"}
FIRST = {"a": 0.2, "b": 0.6, "c": 0.7, "d": 0.9}
SECOND = {"a": 0.1, "b": 0.8, "c": 0.3, "d": 0.9}


def run(seed: int = 1, fold: int = 0) -> RunPaths:
    return RunPaths(DatasetPaths("Dataset503_BUSI"), "ClassificationTrainer", "paper", "CLIP_HT", fold, seed)


@pytest.fixture
def both() -> MethodProbabilities:
    contents = {run(1): classes("CLIP_HT", FIRST, TRUTH), run(2): classes("CLIP_HT", SECOND, TRUTH, seed=2)}
    (one,) = method_probabilities(list(contents), contents)
    return one


def test_runs_of_one_method_are_put_together_case_by_case(both: MethodProbabilities) -> None:
    assert both.truth_N.tolist() == [0, 1, 0, 1]
    assert both.values_SNK.shape == (2, 4, 2)
    assert both.values_SNK[:, 2, 1].tolist() == [0.7, 0.3]


def test_runs_on_other_cases_are_counted_and_not_mixed_in() -> None:
    other = {"e": 0.3, "f": 0.4}
    contents = {
        run(1): classes("CLIP_HT", FIRST, TRUTH),
        run(1, fold=1): classes("CLIP_HT", other, {"e": "benign", "f": "malignant"}, fold=1),
    }
    (one,) = method_probabilities(list(contents), contents)
    assert (len(one.values_SNK), one.n_other_cases) == (1, 1)
    assert [*other_cases([one])] == ["Of fold 0 alone; not shown: 1 run on other test cases or classes."]


def test_a_method_on_other_test_cases_is_named(both: MethodProbabilities) -> None:
    other = MethodProbabilities(**{**vars(both), "name": "CLIP", "cases": ("a", "b", "c", "e")})
    assert [*other_cases([both, other])] == ["On other test cases than those in the title: CLIP."]
    assert not [*other_cases([both, both])]


def test_classes_are_found_by_their_names_whatever_their_order_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the second method the classes are in another order, of the third there is one more; a run has other ones."""
    truth, scores = TRUTH | {"e": "benign"}, FIRST | {"e": 0.1}
    turned, more, renamed = (classes("CLIP_HT", scores, truth) for _ in range(3))
    turned["htunet"]["classification"]["classes"] = ["malignant", "benign"]
    more["htunet"]["classification"]["classes"] = ["benign", "cyst", "malignant"]
    for case in more["htunet"]["classification"]["cases"]:
        case["probabilities"]["cyst"] = 0.0
    renamed["htunet"]["classification"]["classes"] = ["a", "b"]
    methods = {"CLIP_HT": classes("CLIP_HT", scores, truth), "UNet": turned, "ResNet18": more}
    contents = {replace(run(), method=method): content for method, content in methods.items()} | {run(2): renamed}
    found = method_probabilities(list(contents), contents)
    assert {one.name: one.n_other_cases for one in found} == {"UNet": 0, "ResNet18": 0, "CLIP (HT)": 1}
    monkeypatch.setattr(class_curves, "random_weights_note", lambda _: "")
    with in_style():
        panel = _draw_roc("BUSI", list(contents), contents).axes[0]
    curves = [np.asarray(line.get_xydata()).tolist() for line in panel.lines[:3]]
    of_malignant = [[0, 0], [0, 0.5], [1 / 3, 0.5], [1 / 3, 1], [2 / 3, 1], [2 / 3, 1], [1, 1], [1, 1]]
    assert curves == [of_malignant] * 3
    assert "Of other classes than" in " ".join(other_cases(found))


def test_the_mean_curve_goes_through_the_means_at_each_false_positive_rate() -> None:
    scores = np.array([list(FIRST.values()), list(SECOND.values())])
    false, true = mean_roc(scores, np.array([False, True, False, True]))
    assert false.tolist() == [0, 0, 0.5, 0.5, 1, 1]
    # the first run has one of two malignant before any benign, and the other one at half of the benign; the second both
    assert true.tolist() == [0, 0.75, 0.75, 1, 1, 1]


def test_the_area_below_the_mean_curve_is_the_mean_of_the_areas() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(40) < 0.4
    scores = np.round(rng.random((3, 40)) + 0.5 * positive, 1)  # with ties
    areas = [roc_auc_score(positive, row) for row in scores]
    assert auc(*mean_roc(scores, positive)) == pytest.approx(np.mean(areas))


def test_the_auc_is_the_mean_of_the_runs_with_an_interval_around_it(both: MethodProbabilities) -> None:
    area = auc_of(both, 1)
    assert area.value == pytest.approx((3 / 4 + 1) / 2)
    assert area.low is not None
    assert area.high is not None
    assert area.low <= area.value <= area.high


def test_the_error_is_that_of_the_bins_and_bins_hold_the_cases_of_all_runs(both: MethodProbabilities) -> None:
    # each case of each run lies in a bin of its own here but 0.9 and 0.9: |right - confidence| each, over 4 cases
    first = (0.2 + 0.4 + 0.7 + 0.1) / 4
    assert mean_ece(MethodProbabilities(**{**vars(both), "values_SNK": both.values_SNK[:1]})) == pytest.approx(first)
    assert sum(b.n for b in pooled_bins(both)) == 8


def test_a_curve_needs_both_kinds_of_cases() -> None:
    with pytest.raises(ValueError, match="and others"):
        mean_roc(np.ones((1, 3)), np.array([True, True, True]))
