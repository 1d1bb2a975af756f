import numpy as np
import pandas as pd
import pytest
from builders.results import classes, masks

from htunet.evaluation.case_table import case_table
from htunet.reporting.report.selection import MOST_ITEMS, choose, class_cases, mask_cases, per_group


def cases(values: dict[str, float], missed: dict[str, float] | None = None) -> pd.DataFrame:
    """Cases with their Dice, and missed ones with the share of the image that their lesion has."""
    shares = missed or {}
    names = [*values, *shares]
    return pd.DataFrame(
        {
            "value": [*values.values(), *[0.0] * len(shares)],
            "second": 0.0,
            "error": [""] * len(values) + ["missed"] * len(shares),
            "lesion_share": [0.1] * len(values) + [*shares.values()],
        },
        index=names,
    )


def test_the_lowest_are_the_worst_the_highest_the_best_and_the_middle_is_the_median() -> None:
    values = {f"c{tenth}": tenth / 10 for tenth in (5, 1, 9, 3, 7, 2, 8, 4, 6)}
    groups = choose(cases(values), 2).groups
    assert groups["worst"] == ("c1", "c2")
    assert groups["median"] == ("c4", "c5")  # of 3, 4, 5, 6, 7 two around the middle
    assert groups["best"] == ("c9", "c8")
    assert groups["missed"] == ()


def test_missed_cases_are_a_group_of_their_own_with_the_largest_lesion_first() -> None:
    found = choose(cases({"a": 0.2, "b": 0.5, "c": 0.9}, {"small": 0.01, "large": 0.3, "medium": 0.1}), 2)
    assert [found.groups[name] for name in ("missed", "worst", "median", "best")] == [
        ("large", "medium"), ("a",), ("b",), ("c",)
    ]  # fmt: skip
    assert found.n_without == 0


@pytest.mark.parametrize(
    ("n", "sizes"), [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 0, 1)), (4, (2, 1, 1)), (7, (3, 2, 2)), (9, (3, 3, 3))]
)
def test_few_cases_are_all_shown_once(n: int, sizes: tuple[int, int, int]) -> None:
    groups = choose(cases({f"c{i}": i / 10 for i in range(n)}), 3).groups
    assert tuple(len(groups[name]) for name in ("worst", "median", "best")) == sizes
    assert sorted(name for some in groups.values() for name in some) == [f"c{i}" for i in range(n)]


def test_of_equal_dice_the_larger_distance_is_worse_then_the_name_decides() -> None:
    frame = cases({"b": 0.5, "a": 0.5, "far": 0.5})
    frame.loc["far", "second"] = 9.0
    assert choose(frame, 1).groups["worst"] == ("far",)
    assert choose(frame, 1).groups["median"] == ("a",)


def test_a_case_without_a_value_is_counted_and_not_shown() -> None:
    found = choose(cases({"a": 0.5, "nothing": np.nan}), 3)
    assert found.n_without == 1
    assert all("nothing" not in some for some in found.groups.values())


def test_many_methods_have_fewer_cases_each() -> None:
    assert per_group(1) == 6
    assert per_group(102) == 2
    assert per_group(10_000) == 1
    assert all(5 * n * per_group(n) <= MOST_ITEMS for n in range(1, 281))


def test_a_case_has_the_mean_of_its_labels_and_is_missed_when_all_of_them_are() -> None:
    table = case_table([masks("CLIP_HT", [0.8, 0.0, 0.0])])
    second = table.assign(label=2, dice=[0.6, 0.6, 0.4, 0.4, 0.0, 0.0], empty=["", "", "", "", *["prediction"] * 2])
    found = mask_cases(pd.concat([table, second]))
    assert found["value"].tolist() == pytest.approx([0.7, 0.2, 0.0])
    assert found["error"].tolist() == ["", "", "missed"]
    second["lesion_share"], second["lesion_px"] = 0.1, 1000  # of the larger one, in pixels and as a fraction
    found = mask_cases(pd.concat([table, second]))
    assert found[["lesion_share", "lesion_px"]].to_numpy().tolist() == [[0.1, 1000]] * 3


def test_of_a_case_in_two_folds_the_first_counts() -> None:
    folds = case_table([masks("CLIP_HT", [0.8], fold=0), masks("CLIP_HT", [0.2], fold=1)])
    assert mask_cases(folds)["value"].tolist() == [0.8]


def test_a_wrong_decision_is_a_miss_or_a_false_alarm_by_the_positive_class() -> None:
    truth = {"a": "malignant", "b": "malignant", "c": "malignant", "d": "benign"}
    table = case_table([classes("CLIP", {"a": 0.9, "b": 0.2, "c": 0.6, "d": 0.7}, truth)])
    found = class_cases(table, pd.Series({"a": "small"}), "malignant")
    assert found["error"].tolist() == ["", "missed", "", "alarm"]
    assert found["value"].tolist() == pytest.approx([0.9, 0.2, 0.6, 0.3])
    assert found["tercile"].tolist() == ["small", "", "", ""]
    groups = choose(found, 1).groups
    assert groups == {"missed": ("b",), "alarm": ("d",), "wrong": (), "worst": ("c",), "median": (), "best": ("a",)}
    assert class_cases(table, pd.Series(dtype=object), "benign")["error"].tolist() == ["", "alarm", "", "missed"]
    assert class_cases(table, pd.Series(dtype=object), None)["error"].tolist() == ["", "wrong", "", "wrong"]


def test_a_lesion_that_is_found_where_there_is_none_is_a_false_alarm() -> None:
    table = case_table([masks("CLIP_HT", [0.8, 0.0, 0.0])])
    table.loc[table["case"] == "case_2", "empty"] = "reference"
    assert mask_cases(table)["error"].tolist() == ["", "missed", "alarm"]


def test_nothing_is_found_only_where_no_label_is_found() -> None:
    table = case_table([masks("CLIP_HT", [0.0, 0.0, 0.0, 0.0])])
    both_sizes = table.groupby("case").cumcount().max() + 1
    first = table.assign(empty=np.repeat(["prediction", "prediction", "both", "reference"], both_sizes))
    second = table.assign(label=2, empty=np.repeat(["", "both", "both", "both"], both_sizes))
    found = mask_cases(pd.concat([first, second]))
    assert found["empty"].tolist() == ["", "prediction", "both", "reference"]
    assert found["error"].tolist() == ["", "missed", "", "alarm"]
