"""Few-shot rows, the mean over data sets beside Table IV, and the picture."""

from pathlib import Path
from typing import Any

import pytest
from builders.results import classes
from PIL import Image

from htunet.evaluation.metrics import mask_metrics
from htunet.reporting.figures.few_shot_curves import _lines, _unlike_full_runs, draw_few_shot, few_shot_figure
from htunet.reporting.tables.few_shot_means import few_shot_rows
from htunet.reporting.tables.kinds import CLASSIFICATION, SEGMENTATION
from htunet.reporting.tables.paper_figures import SIZES_TABLE, few_shot_figures, table
from htunet.reporting.tables.rows import name_of, row_tables, table_rows


def content(
    dice: float, ratio: float | None, *, dataset: str = "Dataset503_BUSI", seed: int = 1, n_cases: int = 64
) -> dict[str, Any]:
    """What a summary.json says of one run with HT on BiomedCLIP; only its Dice is looked at."""
    means = {metric.file_key: dice if metric.name == "dice" else 0.5 for metric in mask_metrics(millimetres=False)}
    own = {
        **{"dataset": dataset, "trainer": "SegmentationTrainer", "method": "BiomedCLIP_HT", "plan": "paper", "fold": 0},
        **{"seed": seed, "ratio": ratio, "num_epochs": 200, "epochs": 200, "trainable_parameters": 4_118_568},
        **{"weights": {"source": "pretrained"}, "policy": "penalise", "n_cases": n_cases},
        "empty": {"input_size": {"prediction": [], "reference": [], "both": []}},
        "means": {"input_size": {name: {"mean": value} for name, value in means.items()}},
    }
    return {"htunet": own}


THREE_SEEDS = [content(dice, 0.05, seed=seed) for seed, dice in ((1, 0.60), (2, 0.64), (3, 0.62))]


def test_each_share_has_a_row_that_says_so_without_the_papers_full_figures() -> None:
    few, whole = table_rows([*THREE_SEEDS, content(0.8, None)])
    assert (few.ratio, whole.ratio) == (0.05, None)
    assert name_of(few) == "BiomedCLIP_HT, 5 %"
    assert "5 % of the training images" in few.marks
    assert few.values["dice"].text() == "62.00 ± 2.00"
    assert not few.paper
    assert whole.paper


def test_the_mean_over_some_data_sets_has_not_the_papers_mean_over_all_beside_it() -> None:
    other = [content(0.70, 0.05, dataset="Dataset504_DDTI", seed=seed) for seed in (1, 2, 3)]
    (row,) = few_shot_rows(table_rows([*THREE_SEEDS, *other, content(0.8, None)]))
    assert row.dataset == "Few-shot, mean of BUSI, DDTI"
    assert row.values["dice"].mean == pytest.approx(66.0)  # of 62 and 70
    assert row.values["dice"].std == pytest.approx(1.0)  # of 2 and 0
    assert (row.paper, row.n_runs) == ({}, 6)


def test_several_results_of_one_data_set_are_never_weighted_twice() -> None:
    busi = [content(0.60, 0.05), content(0.62, 0.05)]
    for own, images in zip(busi, ("before", "after"), strict=True):
        own["htunet"]["settings"] = {"plan_content": {}, "data_sha256": images}
    ddti = content(0.40, 0.05, dataset="Dataset504_DDTI")
    ddti["htunet"]["settings"] = {"plan_content": {}, "data_sha256": "other"}
    rows = table_rows([*busi, ddti])
    assert len(rows) == 3
    (row,) = few_shot_rows(rows)
    assert row.values["dice"].mean is None
    assert row.marks[0] == "no mean: several results of BUSI"


def test_data_sets_with_other_classes_have_a_mean_too() -> None:
    truth = {"a": "malignant", "b": "benign"}
    one, other = (classes("BiomedCLIP_HT", {"a": 0.9, "b": 0.2}, truth, ratio=0.05, dataset=name)
                  for name in ("Dataset503_BUSI", "Dataset504_DDTI"))  # fmt: skip
    found = other["htunet"]["classification"]
    found |= {"classes": ["absent", "present"], "positive": "present"}
    found["cases"] = [case | {"class": "present" if case["case"] == "a" else "absent"} for case in found["cases"]]
    (row,) = few_shot_rows(table_rows([one, other], kind=CLASSIFICATION))
    assert row.values["accuracy"].mean == 100
    assert row.tested.positive == "malignant, present"
    (printed,) = row_tables([row], CLASSIFICATION)
    assert printed.notes[2] == "Rec, Pre, F1: of malignant, present (Few-shot, mean of BUSI, DDTI)."


def test_the_mean_over_all_data_sets_of_the_paper_has_table_4_beside_it() -> None:
    sizes = {row["dataset"]: row for row in table(SIZES_TABLE) if row["segmentation"] == "yes"}
    found = [content(0.6, 0.05, dataset=f"Dataset50{number}_{name}", n_cases=int(row["testing"]))
             for number, (name, row) in enumerate(sizes.items())]  # fmt: skip
    found[1]["htunet"]["trained_on"] = {"dataset": "Dataset500_LN-INT", "part": "all", "cases": []}
    (row,) = few_shot_rows(table_rows(found))
    assert (row.paper["dice"], row.paper["hd95_max"]) == (71.73, 29.51)
    found[2]["htunet"]["n_cases"] = 30  # of the paper's name, with other images
    assert all(not row.paper for row in few_shot_rows(table_rows(found)))


def test_the_papers_figures_are_found_by_share_and_method() -> None:
    masks, classes = few_shot_figures(0.35, "BiomedCLIP_LoRA"), few_shot_figures(0.01, "BiomedCLIP")
    assert (masks["dice"], masks["asd_directed"]) == (66.37, 16.73)
    assert (classes["accuracy"], classes["recall"], classes["auc"]) == (60.60, 21.46, 62.99)
    assert few_shot_figures(0.3, "BiomedCLIP_HT") == few_shot_figures(0.1, "UNet") == {}


def test_runs_on_other_data_are_not_part_of_the_mean() -> None:
    across = content(0.3, 0.05, dataset="Dataset504_DDTI")
    across["htunet"]["trained_on"] = {"dataset": "Dataset503_BUSI", "part": "all", "cases": []}
    (row,) = few_shot_rows(table_rows([*THREE_SEEDS, across]))
    assert row.dataset == "Few-shot, mean of BUSI"


def test_the_picture_has_a_panel_for_each_data_set(tmp_path: Path) -> None:
    one = table_rows([*THREE_SEEDS, content(0.7, 0.2), content(0.8, None)])
    assert draw_few_shot(tmp_path / "one.png", one, SEGMENTATION)
    two = table_rows([*THREE_SEEDS, content(0.7, 0.2), content(0.7, 0.2, dataset="Dataset504_DDTI")])
    assert draw_few_shot(tmp_path / "two.png", two, SEGMENTATION)
    widths = [Image.open(tmp_path / name).width for name in ("one.png", "two.png")]
    assert widths[1] == 2 * widths[0]


def test_without_few_shot_runs_nothing_is_drawn(tmp_path: Path) -> None:
    assert not draw_few_shot(tmp_path / "none.png", table_rows([content(0.8, None)]), SEGMENTATION)
    assert not draw_few_shot(tmp_path / "none.png", table_rows([], kind=CLASSIFICATION), CLASSIFICATION)
    assert not (tmp_path / "none.png").exists()


def test_seeds_without_a_share_in_common_are_averaged_as_one_line(tmp_path: Path) -> None:
    rows = table_rows([content(0.5, 0.01), *THREE_SEEDS])
    assert [row.seeds for row in rows] == [(1,), (1, 2, 3)]
    assert draw_few_shot(tmp_path / "lines.png", rows, SEGMENTATION)


def test_shares_with_unequal_epochs_are_one_line_where_each_share_has_one_number_of_them() -> None:
    few = [content(dice, ratio) for dice, ratio in ((0.5, 0.05), (0.7, 0.5))]
    few[0]["htunet"] |= {"num_epochs": 900, "epochs": 900}
    assert list(_lines(table_rows(few))) == ["BiomedCLIP_HT"]
    again = content(0.6, 0.05)
    assert len(_lines(table_rows([*few, again]))) == 2


def test_other_settings_part_lines_also_where_no_share_has_both() -> None:
    few = [content(0.5, 0.05), content(0.6, 0.1)]
    for found, precision in zip(few, ("fp32", "bf16"), strict=True):
        found["htunet"]["settings"] = {"plan_content": {"patience": 3}, "precision": precision}
    lines = _lines(table_rows(few))
    assert [[row.ratio for row in rows] for rows in lines.values()] == [[0.05], [0.1]]


def test_full_runs_that_are_no_last_point_are_named() -> None:
    whole, other_fold = content(0.8, None), content(0.8, None)
    other_fold["htunet"]["fold"] = 3
    assert _unlike_full_runs(table_rows([*THREE_SEEDS, whole])) == []
    assert _unlike_full_runs(table_rows(THREE_SEEDS)) == []
    (text,) = _unlike_full_runs(table_rows([*THREE_SEEDS, whole, other_fold]))
    assert text.startswith("BiomedCLIP (HT): runs with all images are no point at 100 %, since their folds")


def test_a_line_without_full_runs_is_not_said_to_have_unlike_ones() -> None:
    from_simulation = content(0.6, 0.05)
    from_simulation["htunet"]["weights"] = {"source": "phantom"}
    rows = table_rows([*THREE_SEEDS, content(0.8, None), from_simulation])
    assert len(_lines(rows)) == 2
    assert _unlike_full_runs(rows) == []


def test_a_footnote_on_the_papers_figures_parts_no_line() -> None:
    few, whole = content(0.6, 0.05), content(0.8, None)
    for found in (few, whole):
        found["htunet"]["method"] = "BiomedCLIP_LoRA"
    ((name, members),) = _lines(table_rows([few, whole])).items()
    assert (name, [row.ratio for row in members]) == ("BiomedCLIP_LoRA", [0.05, None])


def test_the_panel_says_how_many_seeds_each_point_has() -> None:
    figure = few_shot_figure(table_rows([*THREE_SEEDS, content(0.7, 0.2)]), SEGMENTATION)
    assert figure is not None
    assert figure.axes[0].get_title("left") == "BUSI, 1 to 3 seeds a point"
