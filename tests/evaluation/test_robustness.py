import numpy as np
import pandas as pd
import pytest

from htunet.evaluation.robustness import NONE, artefacts_in, compare_drops, curve, metrics_in

CLEAN = [0.8, 0.6, 1.0]
ALTERED = {1.0: [0.7, 0.5, 0.9], 2.0: [0.4, 0.2, 0.6]}


def table_of(clean: list[float], altered: dict[float, list[float]], figure: str = "dice") -> pd.DataFrame:
    """One artefact, ``gain``, with 4 dB a strength; cases a, b, c, ..."""
    rows = [
        {"artefact": NONE if strength == 0 else "gain", "strength": strength, "value": 4 * strength, "unit": "dB"}
        | {"case": f"case_{index:02d}", "group": "", "class": ("benign", "malignant")[index % 2], figure: value}
        for strength, values in {0.0: clean, **altered}.items()
        for index, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_a_curve_has_the_mean_of_each_strength_and_the_drop_from_the_unchanged_images() -> None:
    found = curve(table_of(CLEAN, ALTERED), "gain", "dice")
    assert [point.strength for point in found.points] == [0, 1, 2]
    assert [point.value for point in found.points] == [0, 4, 8]
    assert [point.estimate.value for point in found.points] == pytest.approx([0.8, 0.7, 0.4])
    assert [point.drop.value for point in found.points] == pytest.approx([0, 0.1, 0.4])
    assert found.unit == "dB"
    assert found.n_cases == 3


def test_the_area_is_the_mean_share_of_the_unchanged_figure_by_trapezoids() -> None:
    found = curve(table_of(CLEAN, ALTERED), "gain", "dice")
    assert found.area.value == pytest.approx(((1 + 0.875) / 2 + (0.875 + 0.5) / 2) / 2)
    assert curve(table_of(CLEAN, {1.0: CLEAN, 5.0: CLEAN}), "gain", "dice").area.value == pytest.approx(1)


def test_a_drop_that_is_equal_in_all_cases_is_certain_while_the_mean_is_not() -> None:
    point = curve(table_of(CLEAN, ALTERED), "gain", "dice").points[1]
    assert point.drop.low == pytest.approx(0.1)
    assert point.drop.high == pytest.approx(0.1)
    assert point.estimate.low is not None
    assert point.estimate.high is not None
    assert point.estimate.low < 0.65 < 0.75 < point.estimate.high


def test_an_image_without_a_lesion_counts_where_something_is_found_in_it_alone() -> None:
    """Nothing is found in the last image at first (no value), then there is a false alarm (0)."""
    found = curve(table_of([*CLEAN, np.nan], {1.0: [0.7, 0.5, 0.9, np.nan], 2.0: [0.4, 0.2, 0.6, 0]}), "gain", "dice")
    assert [point.estimate.value for point in found.points] == pytest.approx([0.8, 0.7, 0.3])
    assert [point.drop.value for point in found.points] == pytest.approx([0, 0.1, 0.4])  # of the same cases
    assert [point.n_cases for point in found.points] == [3, 3, 4]
    assert None not in (found.points[2].drop.low, found.area.low)


def test_images_of_one_patient_alone_give_no_interval() -> None:
    point = curve(table_of(CLEAN, ALTERED).assign(group="patient"), "gain", "dice").points[1]
    assert (point.estimate.value, point.estimate.low) == (pytest.approx(0.7), None)


def test_cases_in_another_order_give_the_same_curve() -> None:
    table = table_of(CLEAN, ALTERED)
    assert curve(table, "gain", "dice") == curve(table.sample(frac=1, random_state=0), "gain", "dice")


def test_the_auc_falls_as_the_pairs_in_order_do() -> None:
    table = table_of([0.1, 0.8, 0.3, 0.6], {1.0: [0.7, 0.8, 0.3, 0.6]}, "probability_malignant")
    table["probability_benign"] = 1 - table["probability_malignant"]
    table["probability_of_truth"] = table["probability_malignant"]
    assert metrics_in(table) == ["auc"]
    found = curve(table, "gain", "auc")
    assert [point.estimate.value for point in found.points] == pytest.approx([1, 3 / 4])  # of four pairs one is turned
    assert found.points[1].drop.value == pytest.approx(1 / 4)
    assert found.area.value == pytest.approx(7 / 8)


def test_an_image_without_a_class_is_in_no_auc() -> None:
    table = table_of([0.1, 0.8, 0.3, 0.6, 0.9], {1.0: [0.7, 0.8, 0.3, 0.6, 0.0]}, "probability_malignant")
    table["probability_benign"] = 1 - table["probability_malignant"]
    table.loc[table["case"] == "case_04", "class"] = ""
    found = curve(table, "gain", "auc")
    assert [point.estimate.value for point in found.points] == pytest.approx([1, 3 / 4])
    assert [found.n_cases, *(point.n_cases for point in found.points)] == [4, 4, 4]
    table.loc[table["class"] == "malignant", "class"] = ""
    assert metrics_in(table) == []


def test_one_class_alone_has_no_auc() -> None:
    table = table_of(CLEAN, ALTERED).assign(probability_benign=0.5, probability_malignant=0.5)
    assert metrics_in(table) == ["dice", "auc"]
    assert metrics_in(table.assign(**{"class": "benign"})) == ["dice"]


def test_a_figure_that_is_0_without_the_artefact_has_no_relative_area() -> None:
    assert curve(table_of([0, 0, 0], ALTERED), "gain", "dice").area.value is None


def test_a_distance_has_no_relative_area() -> None:
    found = curve(table_of([3, 5, 4], {1.0: [6, 6, 6]}, "hd95"), "gain", "hd95")
    assert found.area.value is None
    assert found.points[1].drop.value == pytest.approx(-2)


def test_the_unchanged_images_are_no_artefact() -> None:
    assert artefacts_in(table_of(CLEAN, ALTERED)) == ["gain"]


def methods(n: int = 12) -> dict[str, pd.DataFrame]:
    """Of n cases UNet loses 0.2 and a bit that differs, CLIP_HT half of it."""
    rng = np.random.default_rng(0)
    clean = rng.uniform(0.6, 0.9, n)
    loss = 0.2 + rng.uniform(0, 0.05, n)
    return {
        "UNet": table_of(clean.tolist(), {1.0: (clean - loss).tolist(), 2.0: (clean - loss).tolist()}),
        "CLIP_HT": table_of(clean.tolist(), {1.0: (clean - loss / 2).tolist(), 2.0: (clean - loss / 2).tolist()}),
    }


def test_the_method_that_loses_less_on_the_same_cases_is_named() -> None:
    tables = methods()
    (row,) = compare_drops(tables).to_dict("records")
    assert (row["artefact"], row["figure"], row["a"], row["b"]) == ("gain", "dice", "UNet", "CLIP_HT")
    assert row["mean_drop_a"] == pytest.approx(2 * row["mean_drop_b"])
    assert row["mean_difference"] == pytest.approx(row["mean_drop_b"])
    assert row["p"] == pytest.approx(2 / 2**12)  # all of 12 differences on one side, exactly
    assert row["more_robust"] == "CLIP_HT"
    turned = compare_drops({"CLIP_HT": tables["CLIP_HT"], "UNet": tables["UNet"]}).to_dict("records")[0]
    assert turned["more_robust"] == "CLIP_HT"
    assert turned["mean_difference"] == pytest.approx(-row["mean_difference"])


def test_several_pairs_are_corrected_for_and_equal_methods_are_not_told_apart() -> None:
    tables = methods()
    found = compare_drops({**tables, "again": tables["UNet"]}).set_index(["a", "b"])
    assert found.loc[("UNet", "CLIP_HT"), "p_holm"] == pytest.approx(3 * 2 / 2**12)
    assert found.loc[("UNet", "again"), "p_holm"] == 1
    assert found.loc[("UNet", "again"), "more_robust"] == ""


def patients_of_two_cases() -> dict[str, pd.DataFrame]:
    return {
        name: table.assign(group=[f"patient {int(case[-2:]) // 2}" for case in table["case"]])
        for name, table in methods().items()
    }


def test_cases_of_one_patient_are_one_pair() -> None:
    both = (methods(), patients_of_two_cases())
    (by_case,), (by_patient,) = (compare_drops(tables).to_dict("records") for tables in both)
    assert (by_patient["n_cases"], by_patient["n_pairs"]) == (12, 6)
    assert by_patient["p"] == pytest.approx(2 / 2**6)
    assert by_patient["mean_difference"] == pytest.approx(by_case["mean_difference"])
    assert (by_patient["low"], by_patient["high"]) != (by_case["low"], by_case["high"])


def test_tables_in_another_order_are_compared_alike() -> None:
    tables = patients_of_two_cases()
    turned = {name: table.sample(frac=1, random_state=0) for name, table in tables.items()}
    assert compare_drops(turned).equals(compare_drops(tables))


def test_the_drop_of_a_case_is_the_mean_over_the_strengths() -> None:
    tables = {"UNet": table_of([0.9], {1.0: [0.8], 2.0: [0.7], 3.0: [0.0]})}
    tables["CLIP_HT"] = table_of([0.9], {1.0: [0.9], 2.0: [0.9], 3.0: [0.6]})
    (row,) = compare_drops(tables).to_dict("records")
    assert (row["mean_drop_a"], row["mean_drop_b"]) == (pytest.approx(0.4), pytest.approx(0.1))


def test_a_false_alarm_by_an_artefact_is_a_drop() -> None:
    """The last two images show nothing to find: one method marks something in the first of them."""
    calm = table_of([0.8, np.nan, np.nan], {1.0: [0.6, np.nan, np.nan]})
    alarmed = table_of([0.8, np.nan, np.nan], {1.0: [0.7, 0.0, np.nan]})
    (row,) = compare_drops({"UNet": calm, "CLIP": alarmed}).to_dict("records")
    assert (row["mean_drop_a"], row["mean_drop_b"]) == (pytest.approx(0.2 / 2), pytest.approx(1.1 / 2))
    assert (row["mean_difference"], row["n_pairs"]) == (pytest.approx(-0.9 / 2), 2)


def test_artefacts_that_one_method_lacks_are_not_compared() -> None:
    tables = methods()
    shadow = tables["UNet"][tables["UNet"]["artefact"] == "gain"].assign(artefact="shadow")
    tables["UNet"] = pd.concat([tables["UNet"], shadow])
    assert compare_drops(tables)["artefact"].tolist() == ["gain"]


def test_too_few_cases_name_nobody() -> None:
    assert compare_drops(methods(4))["more_robust"].tolist() == [""]


def test_one_method_alone_is_compared_with_nothing() -> None:
    found = compare_drops({"UNet": methods()["UNet"]})
    assert found.empty
    assert "more_robust" in found


def test_methods_of_other_cases_are_not_compared() -> None:
    tables = methods()
    with pytest.raises(ValueError, match="same cases"):
        compare_drops({"UNet": tables["UNet"], "CLIP_HT": table_of(CLEAN, ALTERED)})
