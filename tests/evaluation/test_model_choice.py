"""The simplest method that is not clearly worse, and an estimate of it that its luck is no part of."""

import numpy as np
import pandas as pd
import pytest

from htunet.cli.run import _percent
from htunet.errors import HtunetError
from htunet.evaluation.model_choice import choose_model, choose_on_validation
from htunet.experiments.cross_validation import _scores


def scores_of(values: dict[str, list[float]], folds: list[int], groups: list[str] | None = None) -> pd.DataFrame:
    rows = [
        {"case": f"c{n}", "group": (groups or [""] * len(folds))[n], "fold": folds[n], "method": method,
         "value": value, "loss": 1 - value}
        for method, found in values.items() for n, value in enumerate(found)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_clearly_better_method_is_chosen_and_a_slightly_better_one_is_not() -> None:
    folds = [0, 0, 1, 1, 2, 2]
    small = [0.5, 0.6, 0.55, 0.65, 0.5, 0.6]
    clear = choose_model(scores_of({"UNet": small, "CLIP_HT": [x + 0.2 for x in small]}, folds), ["UNet", "CLIP_HT"])
    assert (clear.method, clear.expected.mean) == ("CLIP_HT", pytest.approx(np.mean(small) + 0.2))
    wobble = [0.1, -0.08, 0.1, -0.08, 0.1, -0.08]
    slight = scores_of({"UNet": small, "CLIP_HT": [x + d for x, d in zip(small, wobble, strict=True)]}, folds)
    assert choose_model(slight, ["UNet", "CLIP_HT"]).method == "UNet"
    assert "simpler than CLIP_HT" in choose_model(slight, ["UNet", "CLIP_HT"]).reason
    assert choose_model(slight, ["CLIP_HT", "UNet"]).method == "CLIP_HT"


def test_each_case_is_judged_by_what_the_other_folds_choose() -> None:
    # In fold 0 b is better by far, elsewhere a: the others choose a for fold 0, and b for folds 1 and 2.
    values = {"a": [0.0, 0.0, 0.9, 0.9, 0.9, 0.9], "b": [0.99, 0.99, 0.8, 0.8, 0.8, 0.8]}
    found = choose_model(scores_of(values, [0, 0, 1, 1, 2, 2]), ["a", "b"])
    assert found.chosen_without[0] == "a"
    expected = [values[found.chosen_without[fold]][n] for n, fold in enumerate([0, 0, 1, 1, 2, 2])]
    assert found.expected.mean == pytest.approx(np.mean(expected))
    assert found.own["b"].mean == pytest.approx(np.mean(values["b"]))


def test_cases_of_one_patient_count_as_one() -> None:
    values = {"a": [0.5] * 8 + [0.7, 0.7], "b": [0.7] * 8 + [0.4, 0.4]}
    folds = [0] * 4 + [1] * 6
    alone = choose_model(scores_of(values, folds), ["a", "b"])  # 0.1 better, standard error 0.067
    together = choose_model(scores_of(values, folds, ["p"] * 8 + ["q", "r"]), ["a", "b"])  # standard error 0.12
    assert (alone.method, together.method) == ("b", "a")


def test_the_estimate_is_unbiased_where_the_naive_one_is_too_good() -> None:
    rng = np.random.default_rng(3)
    naive, honest = [], []
    for _ in range(40):  # five methods that are equally good: choosing one changes nothing
        values = {f"m{k}": rng.normal(0.6, 0.2, 50).tolist() for k in range(5)}
        found = choose_model(scores_of(values, [n % 5 for n in range(50)]), list(values))
        honest.append(found.expected.mean)
        naive.append(max(mean.mean for mean in found.own.values()))
    error = 0.2 / np.sqrt(50 * 40)
    assert abs(np.mean(honest) - 0.6) < 3 * error
    assert np.mean(naive) - 0.6 > 5 * error


def test_a_case_without_a_value_is_left_out() -> None:
    table = scores_of({"a": [0.5, 0.7], "b": [float("nan"), 0.9]}, [0, 1])
    assert choose_model(table, ["a", "b"]).own["a"].mean == pytest.approx(0.7)
    with pytest.raises(HtunetError, match="No image has a value for each of the methods"):
        choose_model(table[table["case"] == "c0"], ["a", "b"])


def test_a_false_alarm_counts_against_a_method_where_another_one_rightly_finds_nothing() -> None:
    # "many" draws the lesions a little better (0.02 in Dice), and draws one into each of four images without any
    dice = {"careful": [0.80, 0.84, 0.70, 0.74, 0.78, 0.66], "many": [0.82, 0.86, 0.72, 0.76, 0.80, 0.68]}
    rows = [
        {"case": f"c{n}", "group": "", "fold": n % 2, "method": method, "label": 1, "resolution": "original_size",
         "dataset": "Dataset903_Tiny", "class": "", "dice": value, "empty": empty, "missed": 0}
        for method, known in dice.items()
        for n, (value, empty) in enumerate(
            [(value, "") for value in known] + [(np.nan, "both") if method == "careful" else (0.0, "reference")] * 4)
    ]  # fmt: skip
    found = choose_model(_scores(pd.DataFrame(rows), "seg"), ["many", "careful"])
    assert (found.method, found.own["many"].mean) == ("careful", pytest.approx(4.64 / 10))
    assert (found.expected.mean, found.expected.n_used, found.expected.n_cases) == (pytest.approx(4.52 / 6), 6, 10)
    others = {"seg": "in the others nothing is to be found, and nothing was", "cls": "the others have no value"}
    for task, text in others.items():
        assert _percent(found.expected, task).endswith(f"6 of 10 tested images; {text})")


def test_repetitions_of_a_case_in_groups_of_unlike_kinds_are_one_case() -> None:
    rows = scores_of({"a": [0.5, 0.7, 0.6]}, [0, 0, 0], ["p", "p", ""])
    rows = pd.concat([rows, rows.assign(fold=1, value=rows["value"] + 0.1)])
    validated = scores_of({"a": [0.5, 0.6]}, [0, 1])
    expected = choose_on_validation(validated, rows, ["a"]).expected
    assert (expected.mean, expected.n_used, expected.n_cases) == (pytest.approx(0.65), 3, 3)
