"""Which images of another data set are predicted, and which data sets a run fits."""

from dataclasses import asdict
from pathlib import Path

import pytest
from builders.raw import build_raw
from builders.training import tiny_plan

from htunet.data.raw import read_raw
from htunet.data.split_files import save_splits
from htunet.errors import HtunetError
from htunet.files import read_json, write_json
from htunet.inference.across import cases_of, check_fits
from htunet.paths import DatasetPaths, RunPaths

OTHER = "Dataset904_Other"
LESION = {"background": 0, "lesion": 1}
TWO = {"background": 0, "lesion": 1, "duct": 2}
CLASSES = {"benign": 0, "malignant": 1}


def check(task: str, other: DatasetPaths, ours: dict[str, int] = TWO, **theirs: object) -> None:
    """A run that learnt the labels ``ours`` or ``CLASSES`` against a data set that knows ``theirs``."""
    trainer = {"seg": "SegmentationTrainer", "cls": "ClassificationTrainer"}[task]
    run = RunPaths(other, trainer, "tiny", "TINY", fold=0, seed=1, trained_on="Dataset903_Tiny")
    plan = tiny_plan(labels=ours, classes=CLASSES)
    write_json(run.source.settings_json, {"plan_content": asdict(plan)})
    content = read_json(other.dataset_json)
    write_json(other.dataset_json, content | {"htunet": content["htunet"] | theirs})
    check_fits(run, read_raw(other))


def test_the_test_split_is_that_of_fold_0_where_the_data_set_has_none_of_its_own(home: Path) -> None:
    raw = read_raw(build_raw(4, name=OTHER))
    ids = [case.id for case in raw.cases]
    folds = [{"train": ids[:1], "val": ids[1:2], "test": ids[2:]}, {"train": ids[2:], "val": ids[1:2], "test": ids[:1]}]
    save_splits(raw.paths.splits_json, folds)
    assert [case.id for case in cases_of(raw, "test")] == ids[2:]


@pytest.mark.parametrize("labels", [TWO, {"background": 0, "duct": 2, "lesion": 1}])
def test_several_labels_fit_in_any_order(home: Path, labels: dict[str, int]) -> None:
    check("seg", build_raw(2, name=OTHER), labels=labels)


def test_one_label_fits_any_other_one(home: Path) -> None:
    check("seg", build_raw(2, name=OTHER), LESION, labels={"background": 0, "nodule": 1})


@pytest.mark.parametrize(
    "labels", [LESION, {"background": 0, "lesion": 2, "duct": 1}, {"background": 0, "lesion": 1, "nodule": 2}]
)
def test_several_labels_of_other_names_or_values_do_not_fit(home: Path, labels: dict[str, int]) -> None:
    with pytest.raises(HtunetError, match="The labels of Other are"):
        check("seg", build_raw(2, name=OTHER), labels=labels)


@pytest.mark.parametrize("classes", [{"benign": 0}, {"benign": 0, "malignant": 1, "normal": 2}])
def test_fewer_or_more_classes_do_not_fit(home: Path, classes: dict[str, int]) -> None:
    other = build_raw(2, classes=("benign",), name=OTHER)
    with pytest.raises(HtunetError, match="The classes of Other are"):
        check("cls", other, classes=classes)


def test_images_without_a_class_fit_and_those_of_a_strange_one_do_not(home: Path) -> None:
    check("cls", build_raw(2, classes=("benign", ""), name=OTHER), classes=CLASSES)
    with pytest.raises(HtunetError, match="1 of 3 images of Other have none of the classes benign, malignant"):
        check("cls", build_raw(3, classes=("benign", "malignant", "cyst"), name=OTHER), classes=CLASSES)
