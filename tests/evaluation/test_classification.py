"""Figures of classification, by hand for few cases and against scikit-learn for many."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from htunet.evaluation.class_summary import decision_estimates, ranking_estimates
from htunet.evaluation.classification import (
    Confusion,
    auc,
    average_precision,
    choose_threshold,
    confusion_matrix,
    curves,
    decide,
)
from htunet.evaluation.metrics import Kind, metrics_of
from htunet.evaluation.statistics import Estimate

BENIGN, MALIGNANT = 0, 1
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1])
POSITIVE = np.array([0.1, 0.2, 0.3, 0.8, 0.4, 0.6, 0.9])
"""At one half: TN 3, FP 1, FN 1, TP 2."""


def binary(positive: np.ndarray) -> np.ndarray:
    return np.stack([1 - positive, positive], axis=1)


def once(n: int) -> np.ndarray:
    return np.ones((1, n))


def drawn(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) probabilities with ties that tell a little about the (N,) classes."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    raised = np.exp(rng.normal(size=(n, k)).round(1) + np.eye(k)[truth])
    return raised / raised.sum(axis=1, keepdims=True), truth


def values_of(counts: list) -> dict[str, float]:
    confusion = Confusion.of(np.array([counts], dtype=float))
    return {metric.name: metric.of(confusion)[0] for metric in metrics_of(Kind.DECISION)}


def width(figure: Estimate) -> float:
    assert figure.low is not None
    assert figure.high is not None
    return figure.high - figure.low


def test_figures_of_two_classes_are_those_of_the_last_one() -> None:
    decided = decide(binary(POSITIVE))
    assert confusion_matrix(TRUTH, decided, 2, once(7))[0].tolist() == [[3, 1], [1, 2]]
    found = values_of([[3.0, 1.0], [1.0, 2.0]])
    assert found == pytest.approx(
        {"accuracy": 5 / 7, "recall": 2 / 3, "precision": 2 / 3, "f1": 2 / 3, "specificity": 3 / 4}
    )


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    # 12 pairs; 0.8 is above 0.4 and 0.6: 10 right
    assert auc(binary(POSITIVE)[None], TRUTH, once(7))[0] == pytest.approx(10 / 12)
    tied = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.6, 0.9])  # one pair in the wrong order, one tied
    assert auc(binary(tied)[None], TRUTH, once(7))[0] == pytest.approx(10.5 / 12)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_all_figures_agree_with_scikit_learn(k: int) -> None:
    probabilities, truth = drawn(200, k)
    decided = decide(probabilities)
    found = decision_estimates(truth, decided, k)
    average = {"average": "binary"} if k == 2 else {"average": "macro"}
    precision, recall, f1, _ = precision_recall_fscore_support(truth, decided, **average)
    expected = {"accuracy": accuracy_score(truth, decided), "recall": recall, "precision": precision, "f1": f1}
    assert {name: found[name].value for name in expected} == pytest.approx(expected)
    area = roc_auc_score(truth, probabilities[:, 1] if k == 2 else probabilities, multi_class="ovr")
    assert auc(probabilities[None], truth, once(200))[0] == pytest.approx(area)


def test_specificity_of_more_classes_is_the_mean_recall_of_all_others() -> None:
    probabilities, truth = drawn(90, 3)
    decided = decide(probabilities)
    expected = np.mean([np.mean(decided[truth != k] != k) for k in range(3)])
    assert decision_estimates(truth, decided, 3)["specificity"].value == pytest.approx(expected)


def test_a_weight_of_two_is_the_case_twice() -> None:
    probabilities, truth = drawn(30, 3)
    weights = np.random.default_rng(1).integers(0, 3, (1, 30)).astype(float)
    rows = np.repeat(np.arange(30), weights[0].astype(int))
    repeated = auc(probabilities[rows][None], truth[rows], once(len(rows)))
    assert auc(probabilities[None], truth, weights) == pytest.approx(repeated)
    decided = decide(probabilities)
    np.testing.assert_array_equal(
        confusion_matrix(truth, decided, 3, weights), confusion_matrix(truth[rows], decided[rows], 3, once(len(rows)))
    )


def test_the_interval_of_the_auc_is_that_of_resamples_counted_one_by_one() -> None:
    probabilities, truth = drawn(60, 2)
    found = ranking_estimates(probabilities, truth)["auc"]
    rng, areas = np.random.default_rng(5), []
    for _ in range(2000):
        rows = rng.integers(0, 60, 60)
        areas.append(roc_auc_score(truth[rows], probabilities[rows, 1]))
    # ours are corrected for bias and skewness, and a little wider
    assert (found.low, found.high) == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.03)


def test_images_of_one_patient_do_not_make_a_figure_surer() -> None:
    probabilities, truth = drawn(12, 2)
    repeated, of_each = np.repeat(probabilities, 6, axis=0), np.repeat(truth, 6)
    alone = ranking_estimates(probabilities, truth)["auc"]
    grouped = ranking_estimates(repeated, of_each, [f"patient {i // 6}" for i in range(72)])["auc"]
    ungrouped = ranking_estimates(repeated, of_each)["auc"]
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high))
    assert width(ungrouped) < 0.7 * width(grouped)


def test_resamples_without_positive_cases_are_left_out_of_intervals() -> None:
    found = decision_estimates(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 1]), 2)["recall"]
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_nothing_predicted_positive_is_a_precision_of_0_and_no_positive_case_is_no_figure() -> None:
    none_found = decision_estimates(np.array([0, 1]), np.array([0, 0]), 2)
    assert (none_found["precision"].value, none_found["f1"].value, none_found["recall"].value) == (0.0, 0.0, 0.0)
    no_case = decision_estimates(np.array([0, 0]), np.array([0, 1]), 2)
    assert {name: no_case[name].value for name in ("recall", "precision", "f1")} == dict.fromkeys(
        ("recall", "precision", "f1")
    )
    assert no_case["accuracy"].value == 0.5
    assert ranking_estimates(binary(np.array([0.2, 0.7])), np.array([0, 0]))["auc"].value is None


def test_a_class_without_cases_is_left_out_of_the_means() -> None:
    probabilities, truth = drawn(40, 2)
    wider = np.concatenate([probabilities * 0.9, np.full((40, 1), 0.1)], axis=1)
    recalls = [np.mean(decide(wider)[truth == k] == k) for k in (0, 1)]
    assert decision_estimates(truth, decide(wider), 3)["recall"].value == pytest.approx(np.mean(recalls))
    areas = [roc_auc_score(truth == k, wider[:, k]) for k in (0, 1)]
    assert auc(wider[None], truth, once(40))[0] == pytest.approx(np.mean(areas))


def test_the_threshold_has_the_largest_youden_index_of_all() -> None:
    probabilities, truth = drawn(80, 2)
    threshold, index = choose_threshold(probabilities[:, 1], truth)
    false_rate, true_rate, _ = roc_curve(truth, probabilities[:, 1], drop_intermediate=False)
    assert index == pytest.approx(max(true_rate - false_rate))
    figures = decision_estimates(truth, decide(probabilities, threshold), 2)
    assert sum(figures[name].value or 0 for name in ("recall", "specificity")) - 1 == pytest.approx(index)


@pytest.mark.parametrize(
    ("positive", "threshold"),
    [
        pytest.param([0.1, 0.2, 0.9, 0.6], 0.5, id="one half where it is as good as the middle 0.4"),
        pytest.param([0.1, 0.2, 0.4, 0.3], 0.25, id="the middle of the gap"),
        pytest.param([0.3, 0.3, 0.3, 0.3], 0.5, id="one half where nothing can be told apart"),
        pytest.param([0.9, 0.8, 0.1, 0.2], 0.5, id="one half where everything is the wrong way round"),
    ],
)
def test_of_equally_good_thresholds_the_one_nearest_to_one_half_is_taken(
    positive: list[float], threshold: float
) -> None:
    assert choose_threshold(np.array(positive), np.array([0, 0, 1, 1]))[0] == pytest.approx(threshold)


def test_a_threshold_needs_two_classes() -> None:
    with pytest.raises(ValueError, match="both classes"):
        choose_threshold(np.array([0.1, 0.2]), np.array([1, 1]))
    with pytest.raises(ValueError, match="separates two classes, not 3"):
        decide(np.full((2, 3), 1 / 3), 0.5)


def test_curves_go_from_corner_to_corner_and_hold_the_areas() -> None:
    probabilities, truth = drawn(100, 2)
    found = curves(probabilities, truth, ("benign", "malignant"))
    assert list(found["roc"]) == list(found["precision_recall"]) == ["malignant"]
    roc = found["roc"]["malignant"]
    assert (roc["false_positive_rate"][0], roc["recall"][0]) == (0, 0)
    assert (roc["false_positive_rate"][-1], roc["recall"][-1]) == (1, 1)
    area = np.trapezoid(roc["recall"], roc["false_positive_rate"])
    assert area == pytest.approx(auc(probabilities[None], truth, once(100))[0])
    expected = average_precision_score(truth, probabilities[:, 1])
    assert average_precision(probabilities, truth) == pytest.approx(expected)


def test_more_classes_have_a_curve_each_and_a_class_without_cases_has_none() -> None:
    probabilities, truth = drawn(60, 3)
    assert list(curves(probabilities, truth, "abc")["roc"]) == ["a", "b", "c"]
    kept = truth < 2
    assert list(curves(probabilities[kept], truth[kept], "abc")["roc"]) == ["a", "b"]


def test_a_score_that_is_no_number_has_no_place_in_the_order() -> None:
    scores = np.array([[[0.2, 0.8], [np.nan, np.nan], [0.9, 0.1]]])
    with pytest.raises(ValueError, match="NaN"):
        auc(scores, np.array([1, 1, 0]), np.ones((1, 3)))
