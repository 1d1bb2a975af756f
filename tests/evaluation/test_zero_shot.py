"""Classes by sentences: a decision by hand, and each sentence alone."""

import numpy as np
import pytest

from htunet.data.zero_shot_prompts import Prompt
from htunet.errors import HtunetError
from htunet.evaluation.zero_shot import ZeroShotResult, zero_shot_result

PROMPTS = [
    ("benign", Prompt(text="oval", sign="shape")),
    ("benign", Prompt(text="smooth")),
    ("malignant", Prompt(text="spiculated")),
]
TEXTS = np.eye(3, dtype=np.float32)
IMAGES = np.array([[0.9, 0.1, 0.3], [0.2, 0.4, 0.4], [0.1, 0.1, 0.9], [0.6, 0.0, 0.2]], dtype=np.float32)
TRUTH = ("benign", "benign", "malignant", "malignant")


def result(
    classes: tuple[str, ...] = ("benign", "malignant"), truth: tuple[str, ...] = TRUTH, group: str = ""
) -> ZeroShotResult:
    cases = [(str(number), name, group) for number, name in enumerate(truth)]
    return zero_shot_result(IMAGES, TEXTS, PROMPTS, cases=cases, classes=classes, logit_scale=10.0)


def test_similarities_are_averaged_over_the_sentences_of_a_class() -> None:
    found = result()
    # means: (0.5, 0.3), (0.3, 0.4), (0.1, 0.9), (0.3, 0.2): benign, malignant, malignant, benign
    assert found.probabilities.predicted == ["benign", "malignant", "malignant", "benign"]
    odds = found.probabilities.values_NK[:, 1] / found.probabilities.values_NK[:, 0]
    assert np.log(odds).tolist() == pytest.approx([-2, 1, 8, -1], abs=1e-5)
    assert found.decision["accuracy"].value == 0.5
    assert found.confusion == [[1, 1], [1, 1]]
    assert found.auc.value == 0.75


def test_each_sentence_alone_is_scored_for_its_own_class() -> None:
    oval, smooth, spiculated = result().prompts
    assert oval.auc == 0.75  # 0.9 and 0.2 of its class against 0.1 and 0.6
    assert smooth.auc == pytest.approx(0.875)  # 0.1 and 0.4 against 0.1 and 0.0, one pair equal
    assert spiculated.auc == 0.5
    assert spiculated.similarity == pytest.approx({"benign": 0.35, "malignant": 0.55})


def test_the_result_can_be_written_as_strict_json() -> None:
    content = result().content()
    assert [entry["text"] for entry in content["prompts"]] == ["oval", "smooth", "spiculated"]
    assert content["n_cases"] == 4
    assert [entry["mean_similarity"]["malignant"] for entry in content["prompts"]] == pytest.approx([0.35, 0.05, 0.55])
    assert (content["accuracy"]["value"], content["recall"]["value"]) == (0.5, 0.5)


def test_rows_of_the_confusion_matrix_are_the_true_classes() -> None:
    assert result(truth=("benign", "benign", "benign", "malignant")).confusion == [[1, 2], [1, 0]]


def test_images_of_one_patient_alone_have_figures_without_an_interval() -> None:
    apart, together = result(), result(group="patient")
    assert None not in (apart.auc.low, apart.decision["accuracy"].low)
    assert (together.auc.value, together.auc.low) == (0.75, None)
    assert (together.decision["accuracy"].value, together.decision["accuracy"].low) == (0.5, None)


def test_sentences_of_a_class_without_images_have_no_auc() -> None:
    oval, _, spiculated = result(truth=("benign",) * 4).prompts
    assert (oval.auc, spiculated.auc) == (None, None)
    assert oval.similarity == pytest.approx({"benign": 0.45})


def test_a_case_without_a_class_is_refused() -> None:
    with pytest.raises(HtunetError, match="have none of the classes"):
        result(truth=("benign", "benign", "malignant", "normal"))
