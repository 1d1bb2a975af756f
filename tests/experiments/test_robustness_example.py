from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from builders.training import run_of, tiny_plan

from htunet.data.image_io import read_labels, write_png
from htunet.data.raw import Case, read_raw
from htunet.data.split_files import load_splits
from htunet.experiments import robustness_study
from htunet.experiments.robustness_study import (
    Example,
    RobustnessConfig,
    _made_of,
    alter_images,
    example,
    unlike_sizes,
)
from htunet.files import read_json, write_json
from htunet.paths import DatasetPaths, RunPaths


def test_squares_are_cut_around_the_lesion_as_far_as_the_picture_allows() -> None:
    image = np.tile(np.arange(200, dtype=np.uint8), (100, 1))
    for lesion, left in ((100, 50), (190, 100), (5, 0)):
        mask = np.zeros((100, 200), dtype=np.uint8)
        mask[40:60, lesion - 3 : lesion + 4] = 1
        found = Example(case="a", images={"gain": [image]}, values={"gain": [0.0]}, mask_HW=mask).squares["gain"][0]
        assert found.shape == (100, 100)
        assert found[0, 0] == left


def test_the_first_test_image_with_a_lesion_is_shown(tiny: DatasetPaths) -> None:
    raw, (first, second, *_) = read_raw(tiny), load_splits(tiny.splits_json)[0]["test"]
    labels = {case.id: raw.label_path(case) for case in raw.cases}
    write_png(labels[first], np.zeros_like(read_labels(labels[first])))
    found = example(run_of(tiny), RobustnessConfig(artefacts=("gain",), strengths=(1.0, 5.0)), alter_images(0))
    assert found.case == second
    assert found.values == {"gain": [0, 4, 20]}
    means = [image.mean() for image in found.images["gain"]]
    assert means == sorted(means)


def test_a_label_that_no_reference_has_is_in_no_mean(tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the evaluation: label 1 is found as it is, and a pixel is taken for label 2, which no test image has."""
    run = RunPaths(tiny, "SegmentationTrainer", "tiny", "UNet", 0, 1)
    masks = np.zeros((1, 4, 4), dtype=np.uint8)
    masks[0, :2] = 1
    found = masks[0].copy()
    found[3, 3] = 2
    info = SimpleNamespace(labels={"background": 0, "one": 1, "two": 2})
    predicted = SimpleNamespace(case=Case(id="a"), version=0, labels_HW=found, classes_N=None)
    monkeypatch.setattr(robustness_study, "split_cases", lambda *_: ["a"])
    monkeypatch.setattr(robustness_study, "predict_versions", lambda *_: [predicted])
    data, raw = SimpleNamespace(index={"a": 0}, masks=masks), SimpleNamespace(info=info)
    rows = robustness_study.measure_artefact(run, None, raw, data, lambda *_: [], "none", [0.0])  # type: ignore[arg-type]
    assert rows["dice"].tolist() == [1.0]


def test_measurements_of_all_labels_by_an_earlier_version_are_not_those_of_now(
    tiny: DatasetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one label alone they are the same."""
    run, config = RunPaths(tiny, "SegmentationTrainer", "tiny", "UNet", 0, 1), RobustnessConfig(artefacts=())
    classifying = replace(run, trainer="ClassificationTrainer")
    for one in (run, classifying):
        write_json(one.settings_json, {})
    monkeypatch.setattr(robustness_study, "file_hash", lambda _: "")
    assert "labels" not in _made_of(run, config, "altered")
    content = read_json(tiny.dataset_json)
    labels = {"background": 0, "one": 1, "two": 2}
    write_json(tiny.dataset_json, content | {"labels": labels, "htunet": content["htunet"] | {"labels": labels}})
    assert "labels" in _made_of(run, config, "altered")
    assert "labels" not in _made_of(classifying, config, "altered")


def test_without_a_lesion_the_middle_is_cut() -> None:
    image = np.tile(np.arange(100, dtype=np.uint8)[:, None], (1, 40))
    found = Example(case="a", images={"gain": [image]}, values={"gain": [0.0]}, mask_HW=None).squares["gain"][0]
    assert found.shape == (40, 40)
    assert found[0, 0] == 29


def test_masks_at_unlike_input_sizes_are_named(tiny: DatasetPaths) -> None:
    runs = {method: run_of(tiny, method) for method in ("UNet", "DINOv2")}
    runs["ResNet18"] = replace(run_of(tiny, "ResNet18"), trainer="ClassificationTrainer")
    for run, size in zip(runs.values(), ((32, 32), (32, 64), (96, 96)), strict=True):
        about = {"task": run.task, "precision": "fp32", "weights_argument": "random"}
        write_json(run.settings_json, about | {"plan_content": asdict(tiny_plan(input_size=size))})
    assert "these differ: UNet 32 x 32, DINOv2 32 x 64" in unlike_sizes(runs)
    del runs["DINOv2"]
    assert unlike_sizes(runs) == ""  # classes have no pixels
