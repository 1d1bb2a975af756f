"""The list of metrics: an entry is all that a metric needs, and results from before do without it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders.results import classes, masks

from htunet.data.class_probabilities import ClassProbabilities
from htunet.errors import UsageError
from htunet.evaluation.case_table import case_table, read_table, write_table
from htunet.evaluation.class_summary import class_content, summarise
from htunet.evaluation.classification import Confusion
from htunet.evaluation.metrics import (
    DIAGONAL,
    EXCLUDE,
    METRICS,
    PENALISE,
    Kind,
    Level,
    Metric,
    find_metric,
    label_of,
    mask_metrics,
    metrics_of,
    score_mask,
)
from htunet.evaluation.retrieval import retrieval
from htunet.evaluation.study import study
from htunet.evaluation.summary import INPUT, ORIGINAL, CaseScore, Summary, summary_content, write_summary
from htunet.files import read_csv
from htunet.reporting.result_lines import class_lines, mask_lines

FOUND_PIXELS = Metric(
    name="found_pixels",
    label="Found pixels",
    kind=Kind.OVERLAP,
    better="higher",
    definition="TP / (TP + FN).",
    of=lambda counts: counts.tp / (counts.tp + counts.fn),
)
LONGEST = Metric(
    name="longest",
    label="Hausdorff",
    kind=Kind.DISTANCE,
    better="lower",
    unit="px",
    scale=1.0,
    when_empty=DIAGONAL,
    millimetres=True,
    definition="The largest distance between the outlines.",
    of=lambda distances: distances.both.max(),
)


def balanced(confusion: Confusion) -> np.ndarray:
    return (confusion.hits_RK / np.maximum(confusion.true_RK, 1)).mean(axis=1)


OF_CLASSES = (
    Metric(name="sure", label="Sure", kind=Kind.CASE, better="higher", definition="Above 0.8.",
           of=lambda case: float(max(case["probabilities"].values()) > 0.8)),
    Metric(name="balanced", label="Balanced accuracy", short="Bal", kind=Kind.DECISION, better="higher",
           definition="Mean recall.", of=balanced),
    Metric(name="positives", label="Positives", kind=Kind.RANKING, better="", definition="Weight of the positives.",
           of=lambda scores_SNK, truth_N, weights_RN: weights_RN @ (truth_N == 1)),
    Metric(name="largest", label="Largest", kind=Kind.PROBABILITY, better="higher", definition="The largest one.",
           of=lambda probabilities_NK, truth_N: float(probabilities_NK.max())),
    Metric(name="gap", label="Gap", kind=Kind.CALIBRATION, better="lower", definition="Mean distance from 1.",
           of=lambda probabilities_NK, truth_N: float(1 - probabilities_NK.max(axis=1).mean())),
)  # fmt: skip


@pytest.fixture
def added() -> Iterator[None]:
    """Metrics that an installed package, say, brings along."""
    new = (FOUND_PIXELS, LONGEST, *OF_CLASSES)
    for metric in new:
        METRICS.add(metric.name, metric)
    yield
    for metric in new:
        del METRICS._entries[metric.name]


def square(top: int, left: int, height: int = 2) -> np.ndarray:
    mask = np.zeros((6, 8), dtype=bool)
    mask[top : top + height, left : left + 2] = True
    return mask


def summary(method: str = "UNet", shift: int = 0, policy: str = PENALISE) -> Summary:
    """Four of eight pixels found (or fewer), one case missed; a pixel has half a millimetre."""
    pairs = {"a": (square(1, 1 + shift), square(1, 1, 4)), "b": (np.zeros((6, 8), dtype=bool), square(1, 1))}
    scores = [
        CaseScore(case=case, label=1, resolution=resolution, score=score_mask(*pair), spacing_mm=0.5)
        for case, pair in pairs.items()
        for resolution in (INPUT, ORIGINAL)
    ]
    about = {"dataset": "Dataset503_BUSI", "method": method, "plan": "paper", "fold": 0, "seed": 1, "task": "seg"}
    return Summary(identity=about, policy=policy, scores=tuple(scores))


def only(table: pd.DataFrame, **values: object) -> pd.Series:
    for name, value in values.items():
        table = table[table[name] == value]
    assert len(table) == 1, table
    return table.iloc[0]


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_says_what_it_is(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name
    assert metric.better in ("higher", "lower")
    assert metric.definition.endswith(".")
    assert (metric.unit == "%") == (metric.scale == 100)
    assert metric.label


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_is_on_the_page_with_its_direction(name: str) -> None:
    text = (Path(__file__).parents[2] / "documentation" / "reference" / "metrics.md").read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=\||\n)", text) if f"`{name}`" in block]
    assert any(METRICS[name].better in block for block in blocks), f"documentation/reference/metrics.md lacks {name}"


def test_the_names_and_keys_in_files_are_those_of_earlier_versions() -> None:
    names = ["dice", "iou", "hd95", "asd", "hd95_max", "asd_directed", "hd95_mm", "asd_mm"]
    keys = ["Dice", "IoU", "HD95", "ASD", "HD95_max", "ASD_directed", "HD95_mm", "ASD_mm"]
    found = [(metric.name, metric.file_key) for metric in mask_metrics()]
    assert [one for one in found if one[0] in names] == list(zip(names, keys, strict=True))
    decisions = ["accuracy", "recall", "precision", "f1", "specificity"]
    assert [metric.name for metric in metrics_of(Kind.DECISION) if metric.name in decisions] == decisions
    calibrations = [metric.file_key for metric in metrics_of(Kind.CALIBRATION)]
    assert [key for key in calibrations if key in ("ece", "brier", "nll")] == ["ece", "brier", "nll"]


def test_a_twin_in_millimetres_differs_in_name_and_unit_alone() -> None:
    pixels, twin = find_metric("hd95"), find_metric("hd95_mm")
    assert (pixels.heading, twin.heading) == ("HD95 px", "HD95 mm")
    assert replace(twin, name="hd95", key="", unit="px", millimetres=True) == pixels
    with pytest.raises(UsageError, match="dice_mm"):
        find_metric("dice_mm")


def test_trainers_choose_by_metrics_of_the_list() -> None:
    from htunet.training.contrastive import ContrastiveTrainer
    from htunet.training.trainer import TRAINERS

    names = {*(TRAINERS[task].metric for task in TRAINERS), ContrastiveTrainer.metric}
    assert {name: label_of(name) for name in names} == {
        "dice": "Dice", "auc": "AUC", "dice_auc": "mean of Dice and AUC", "recall_at_1": "R@1",
    }  # fmt: skip


@pytest.mark.usefixtures("added")
def test_a_new_metric_of_masks_is_in_every_output(tmp_path: Path) -> None:
    values = score_mask(square(1, 1), square(1, 1, 4)).values(PENALISE)
    assert (values["found_pixels"], values["longest"]) == (0.5, 2.0)

    write_summary(summary(), tmp_path)
    row = read_csv(tmp_path / "per_case.csv", ("found_pixels", "longest", "longest_mm"))[2]
    assert (row["case"], row["resolution"], float(row["found_pixels"])) == ("b", "input_size", 0.0)
    content = json.loads((tmp_path / "summary.json").read_text())
    case = content["metric_per_case"][0]["htunet"]
    assert case["original_size"]["1"]["Hausdorff_mm"] == 1.0
    assert content["htunet"]["means"]["input_size"]["Found pixels"]["mean"] == 0.25
    assert content["htunet"]["means_by_label"]["input_size"]["1"]["Hausdorff"]["mean"] == (2 + 10) / 2
    assert "Found pixels 25.00 %" in next(iter(mask_lines(summary())))

    table = case_table([content, summary_content(summary("CLIP", shift=1))])
    write_table(tmp_path / "cases.csv", table)
    assert only(read_table(tmp_path / "cases.csv"), method="UNet", case="a", resolution=INPUT)["found_pixels"] == 0.5
    found = study(table)
    assert only(found.means, arm="CLIP", metric="found_pixels", resolution=INPUT)["mean"] == 0.125
    assert only(found.by_size, arm="UNet", metric="longest", resolution=INPUT, tercile="small")["mean"] == 10
    assert only(found.comparisons, metric="found_pixels", resolution=INPUT)["mean_difference"] == 0.125


@pytest.mark.usefixtures("added")
def test_a_new_metric_of_masks_has_a_value_for_empty_ones() -> None:
    empty, drawn = np.zeros((6, 8), dtype=bool), square(1, 1)
    missed, alarm, nothing = score_mask(empty, drawn), score_mask(drawn, empty), score_mask(empty, empty)
    for policy, expected in (
        (PENALISE, [(0, 10), (0, 10), (np.nan, np.nan)]),
        (EXCLUDE, [(0, np.nan), (np.nan, np.nan), (np.nan, np.nan)]),
    ):
        found = [score.values(policy) for score in (missed, alarm, nothing)]
        np.testing.assert_array_equal([(one["found_pixels"], one["longest"]) for one in found], expected)


def probabilities() -> ClassProbabilities:
    values = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.3, 0.7]])
    truth = ("benign", "benign", "malignant", "malignant")
    return ClassProbabilities(classes=("benign", "malignant"), cases=tuple("abcd"), truth=truth, values_NK=values)


@pytest.mark.usefixtures("added")
def test_a_new_metric_of_classes_is_in_every_output() -> None:
    result = summarise(probabilities(), [""] * 4, probabilities())
    content = class_content(result)
    assert content["decisions"]["most_probable_class"]["figures"]["balanced"]["value"] == 0.75
    assert (content["positives"]["value"], content["largest"]) == (2, 0.9)
    assert content["calibration"]["before"]["gap"] == pytest.approx(1 - (0.9 + 0.6 + 0.7 + 0.7) / 4)
    assert "Bal 75.00 %" in "\n".join(class_lines(result))
    about: dict[str, Any] = {"dataset": "Dataset503_BUSI", "method": "UNet", "task": "cls", "fold": 0, "seed": 1}
    table = case_table([{"htunet": about | {"classification": content}}])
    assert table["sure"].tolist() == [1, 0, 0, 0]
    means = study(table).means.set_index("metric")["mean"]
    assert means[["sure", "balanced", "positives"]].tolist() == [0.25, 0.75, 2]


def test_a_new_metric_of_a_retrieval_is_in_its_file() -> None:
    worst = Metric(name="worst", label="Worst", kind=Kind.RETRIEVAL, better="lower", definition="Worst.", of=np.max)
    METRICS.add("worst", worst)
    try:
        queries = np.eye(3, dtype=np.float32)
        found = retrieval(queries, queries[[0, 2, 1]], ["x", "y", "z"])
    finally:
        del METRICS._entries["worst"]
    content = found.content()
    assert list(content) == ["recall", "median_rank", "worst", "chance"]
    assert (content["recall"], content["median_rank"], content["worst"]) == ({1: 1 / 3, 5: 1.0, 10: 1.0}, 3, 3)


@pytest.mark.usefixtures("added")
def test_results_from_before_have_no_value_of_a_new_metric(tmp_path: Path) -> None:
    truth = {"a": "benign", "b": "malignant"}
    old = [masks("UNet", [0.8, 0.5]), masks("CLIP", [0.7, 0.6]), classes("ResNet18", {"a": 0.2, "b": 0.9}, truth)]
    table = case_table(old)
    assert table["found_pixels"].isna().all()
    means = study(table).means
    assert {"dice", "auc"} <= set(means["metric"])
    assert not {"found_pixels", "longest"} & set(means["metric"])
    write_table(tmp_path / "cases.csv", table.drop(columns=["found_pixels", "longest", "longest_mm", "sure"]))
    again = study(read_table(tmp_path / "cases.csv"))
    assert again.means["mean"].tolist() == means.query("metric != 'sure'")["mean"].tolist()
    assert set(again.comparisons.dropna(subset="p")["metric"]) == {"dice", "iou", "hd95", "asd"}


def test_a_metric_that_stands_beside_the_papers_has_a_mean_and_is_not_compared() -> None:
    shown = {metric.name for metric in mask_metrics((Level.OVERVIEW, Level.TABLE))}
    assert {"hd95_max", "asd_directed"}.isdisjoint(shown)
    found = study(case_table([summary_content(summary(method)) for method in ("UNet", "CLIP")]))
    assert "hd95_max" in set(found.means["metric"]) - set(found.comparisons["metric"])
