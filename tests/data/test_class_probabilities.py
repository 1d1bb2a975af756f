"""classes.csv: what is written is read again, and what is no probability is refused with its place."""

from pathlib import Path

import numpy as np
import pytest

from htunet.data.class_probabilities import (
    ClassProbabilities,
    class_order,
    read_class_probabilities,
    write_class_probabilities,
)
from htunet.errors import HtunetError

FOUND = ClassProbabilities(
    classes=("benign", "malignant"),
    cases=("a", "b", "c"),
    truth=("malignant", "benign", ""),
    values_NK=np.array([[0.1, 0.9], [2 / 3, 1 / 3], [0.5, 0.5]]),
)


def test_what_is_written_is_read_again_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    write_class_probabilities(path, FOUND)
    assert path.read_text().splitlines()[:2] == [
        "case,class,probability_benign,probability_malignant,predicted",
        "a,malignant,0.1,0.9,malignant",
    ]
    found = read_class_probabilities(path)
    assert (found.classes, found.cases, found.truth) == (FOUND.classes, FOUND.cases, FOUND.truth)
    np.testing.assert_array_equal(found.values_NK, FOUND.values_NK)


def test_new_images_have_no_column_of_true_classes_and_short_numbers(tmp_path: Path) -> None:
    path, values = tmp_path / "classes.csv", np.array([[2 / 3, 1 / 3], [1 - 1.23456789e-7, 1.23456789e-7]])
    new = ClassProbabilities(classes=("benign", "malignant"), cases=("a", "b"), truth=("", ""), values_NK=values)
    write_class_probabilities(path, new)
    assert path.read_text().splitlines() == [
        "case,probability_benign,probability_malignant,predicted",
        "a,0.666667,0.333333,benign",
        "b,1,1.23457e-07,benign",
    ]
    found = read_class_probabilities(path)
    assert found.truth == ("", "")
    np.testing.assert_allclose(found.values_NK, values, rtol=1e-5)


def test_of_equal_probabilities_the_first_class_is_predicted() -> None:
    assert FOUND.predicted == ["malignant", "benign", "benign"]


def test_classes_stand_in_the_order_of_their_indices() -> None:
    assert class_order({"malignant": 1, "benign": 0, "odd": 2}) == ("benign", "malignant", "odd")


def test_cases_without_a_known_class_are_named() -> None:
    with pytest.raises(HtunetError, match=r"1 of 3 cases have none of the classes benign, malignant: c \(''\)"):
        _ = FOUND.truth_indices


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(["case,class,predicted", "a,x,x"], "0 columns probability_NAME", id="no probability"),
        pytest.param(["case,class,probability_x,probability_y,predicted"], "holds no case", id="no line"),
        pytest.param(
            ["case,class,probability_x,probability_y,predicted", "a,x,0.9,0.2,x"], "a: prob.* add up to 1", id="sum"
        ),
        pytest.param(["case,class,probability_x,probability_y,predicted", "a,x,nan,1,x"], "got nan, 1", id="nan"),
        pytest.param(["case,class,probability_x,probability_y,predicted", "a,x,1.5,-0.5,x"], "lie in 0..1", id="range"),
        pytest.param(["case,class,probability_x,probability_y,predicted", "a,x,?,1,x"], "got [?], 1", id="text"),
        pytest.param(
            ["case,class,probability_x,probability_y,predicted", "a,x,0,1,y", "a,x,0,1,y"], "one line for a", id="twice"
        ),
        pytest.param(["case,probability_x,probability_y", "a,0,1"], "lacks the columns", id="columns"),
    ],
)
def test_a_file_that_is_no_such_file_is_refused_with_the_place(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "classes.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(HtunetError, match=message):
        read_class_probabilities(tmp_path / "classes.csv")
