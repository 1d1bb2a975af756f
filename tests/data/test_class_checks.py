"""A fold that does not suit a classification is refused, with the split and the way out."""

import pytest

from htunet.data.class_checks import check_classes
from htunet.errors import HtunetError

CLASS_OF = {"b1": "benign", "b2": "benign", "b3": "benign", "m1": "malignant", "m2": "malignant", "m3": "malignant"}
KNOWN = ("benign", "malignant")
FOLD = {"train": ["b1", "m1"], "val": ["b2", "m2"], "test": ["b3", "m3"]}


def test_a_fold_with_every_class_in_every_split_is_accepted_and_so_is_one_without_a_test_split() -> None:
    check_classes(FOLD, CLASS_OF, KNOWN)
    check_classes(FOLD | {"test": []}, CLASS_OF, KNOWN)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"train": ["b1", "b2"]}, "train split has no image of malignant", id="train"),
        pytest.param({"val": ["b2"]}, r"Every image of the val split \(1\) is benign.*choose the best epoch", id="val"),
        pytest.param({"test": ["m2", "m3"]}, r"Every image of the test split \(2\) is malignant.*be scored", id="test"),
        pytest.param({"val": ["b2", "x"]}, r"1 of 2 images of the val split have none of.*x \(''\)", id="unknown"),
    ],
)
def test_a_split_that_cannot_serve_is_named(changes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(HtunetError, match=message):
        check_classes(FOLD | changes, CLASS_OF, KNOWN)


def test_a_class_may_be_missing_where_two_others_are_left_but_not_in_the_training() -> None:
    check_classes(FOLD | {"train": ["b1", "m1", "n1"]}, CLASS_OF | {"n1": "normal"}, (*KNOWN, "normal"))
    with pytest.raises(HtunetError, match="train split has no image of normal"):
        check_classes(FOLD, CLASS_OF, (*KNOWN, "normal"))
