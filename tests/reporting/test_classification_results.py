"""Tables, lines and the picture of classifications."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.class_run import TEST, VAL, build_class_dataset, probabilities
from PIL import Image

from htunet.data.class_probabilities import ClassProbabilities
from htunet.evaluation.class_summary import class_content, summarise
from htunet.reporting.figures.one_classification import draw_classification
from htunet.reporting.result_lines import class_lines
from htunet.reporting.tables.kinds import CLASSIFICATION, SEGMENTATION
from htunet.reporting.tables.paper_figures import (
    CLASSIFICATION_METHODS,
    ZERO_SHOT,
    classification_figures,
)
from htunet.reporting.tables.rows import row_data, row_tables, table_rows, write_tables
from htunet.reporting.tables.write import as_csv, as_latex, as_markdown, as_text


@pytest.fixture
def content(home: Path) -> dict[str, Any]:
    dataset = build_class_dataset()
    found = summarise(probabilities(dataset, TEST), [""] * 4, probabilities(dataset, VAL))
    own = {
        "dataset": "Dataset503_BUSI",
        "split_sizes": {"train": 518, "val": 65, "test": 64},
        "trainer": "ClassificationTrainer",
        "method": "BiomedCLIP_HT",
        "plan": "paper",
        "fold": 0,
        "seed": 1,
        "num_epochs": 200,
        "trainable_parameters": 4_381_254,
        "weights": {"source": "pretrained"},
        "classification": class_content(found),
    }
    return {"htunet": own}


def test_a_row_holds_ours_and_the_papers(content: dict[str, Any]) -> None:
    rows = table_rows([content], kind=CLASSIFICATION)
    (line,) = (line for line in as_markdown(*row_tables(rows, CLASSIFICATION)).splitlines() if "BiomedCLIP" in line)
    assert line == (
        r"| BiomedCLIP\_HT | 4.4 M | 75.00 [0.00, 100.00] | 85.94 | 100.00 | 68.06 | 66.67 [25.00, 100.00] | 92.62 "
        "| 80.00 [40.00, 100.00] | 78.29 | 75.00 [0.00, 100.00] | 91.84 | 1 | 4 | adapter not fine-tuned on captions; "
        "1 of the paper's 3 seeds; few test cases: 4 (2 benign, 2 malignant) |"
    )
    assert as_text(*row_tables(rows, CLASSIFICATION)).splitlines()[0] == "Dataset503_BUSI"
    assert r"\caption{Classification, Dataset503\_BUSI.}" in as_latex(*row_tables(rows, CLASSIFICATION))
    assert len(row_tables(rows, CLASSIFICATION)[0].columns) == 15


def test_csv_holds_both_decisions_and_the_calibration(content: dict[str, Any]) -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv(row_data(table_rows([content], kind=CLASSIFICATION), CLASSIFICATION))))
    assert (row["accuracy"], row["accuracy_at_validation_threshold"], row["paper_auc"]) == ("75.0", "75.0", "91.84")
    assert float(row["ece"]) == pytest.approx(100 * content["htunet"]["classification"]["calibration"]["before"]["ece"])
    assert float(row["temperature"]) > 0
    assert "n_missed" not in row


def test_a_summary_has_rows_of_its_own_kind_alone(content: dict[str, Any], tmp_path: Path) -> None:
    assert table_rows([content], kind=SEGMENTATION) == []
    paths = write_tables(tmp_path, table_rows([content], kind=CLASSIFICATION), CLASSIFICATION)
    assert [path.name for path in paths] == ["classification.csv", "classification.md", "classification.tex"]


def test_lines_say_the_auc_both_decisions_and_the_calibration(home: Path) -> None:
    dataset = build_class_dataset()
    text = "\n".join(class_lines(summarise(probabilities(dataset, TEST), [""] * 4, probabilities(dataset, VAL))))
    assert "classes: AUC 75.00 % [" in text
    assert "4 cases: 2 benign, 2 malignant" in text
    assert "threshold 0.500, the most probable class: Acc 75.00 %" in text
    assert "largest Youden index" in text
    assert "calibration: ECE" in text


def test_the_papers_figures_of_both_tables_are_put_together() -> None:
    assert classification_figures("BUSI", "BiomedCLIP_HT") == {
        "accuracy": 85.94,
        "auc": 91.84,
        "recall": 68.06,
        "precision": 92.62,
        "f1": 78.29,
    }
    resnet, lora = classification_figures("LN-EXT", "ResNet18"), classification_figures("LN-INT", "BiomedCLIP_LoRAVT")
    assert resnet == {"accuracy": 74.69, "auc": 87.32}
    assert (lora["accuracy"], lora["f1"], lora["auc"]) == (64.30, 50.26, 78.20)


def test_every_method_of_table_iii_is_found_for_its_data_sets() -> None:
    for dataset in ("LN-INT", "LN-EXT", "BUSI"):
        assert all(classification_figures(dataset, method) for method in CLASSIFICATION_METHODS)
    zero_shot = classification_figures("BUSI", "CLIP", ZERO_SHOT)
    assert zero_shot == {"accuracy": 70.48, "auc": 69.96}
    assert classification_figures("BUSI", "ResNet18", ZERO_SHOT) == {}
    assert classification_figures("BUSI", "UNet") == classification_figures("DDTI", "CLIP") == {}


@pytest.mark.parametrize("k", [2, 3])
def test_the_picture_is_drawn_for_two_and_for_more_classes(tmp_path: Path, k: int) -> None:
    rng = np.random.default_rng(0)
    names = ("50 $ x_$1", "malignant", "normal")[:k]  # two dollar signs, between which no formula could be read
    truth = rng.integers(0, k, 40)
    raised = np.exp(rng.normal(size=(40, k)) + np.eye(k)[truth])
    found = ClassProbabilities(
        classes=names,
        cases=tuple(map(str, range(40))),
        truth=tuple(names[i] for i in truth),
        values_NK=raised / raised.sum(axis=1, keepdims=True),
    )
    draw_classification(tmp_path / "c.png", summarise(found, [""] * 40, found), "Tiny")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


def test_lines_name_the_positive_class_and_warn_of_few_cases() -> None:
    truth = ("benign", "benign", "malignant")
    values = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    found = summarise(ClassProbabilities(classes=("benign", "malignant"), cases=tuple("abc"), truth=truth,
                                         values_NK=values), [""] * 3)  # fmt: skip
    text = "\n".join(class_lines(found))
    assert "positive class of Rec, Pre, F1, Spe: malignant" in text
    assert "Note: few test cases: 3 (2 benign, 1 malignant)" in text
    assert "[100.00, 100.00]" not in text


def test_what_has_no_value_is_absent_and_not_zero() -> None:
    found = summarise(ClassProbabilities(classes=("benign", "malignant"), cases=("a", "b"), truth=("benign", "benign"),
                                         values_NK=np.array([[0.9, 0.1], [0.2, 0.8]])), ["", ""])  # fmt: skip
    text = "\n".join(class_lines(found))
    assert "classes: AUC - · 2 cases" in text
    assert "Rec -" in text
    assert "[0.00, 0.00]" not in text
