"""The Dice of the cases: averaged over seeds, then nothing but the cases themselves."""

from dataclasses import replace

import numpy as np
import pytest
from builders.results import masks

from htunet.paths import DatasetPaths, RunPaths
from htunet.reporting.figures.dice_distribution import CaseDice, case_dice, distributions, draw_distributions


def run(method: str, seed: int = 1) -> RunPaths:
    return RunPaths(DatasetPaths("Dataset503_BUSI"), "SegmentationTrainer", "paper", method, 0, seed)


def test_each_case_is_the_mean_of_its_seeds_and_the_median_is_over_cases() -> None:
    contents = {
        run("CLIP_HT", 1): masks("CLIP_HT", [0.2, 0.5, 0.9], seed=1),
        run("CLIP_HT", 2): masks("CLIP_HT", [0.4, 0.5, 0.0], seed=2),
        run("UNet"): masks("UNet", [0.1, 0.1, 0.7]),
    }
    unet, clip = distributions(list(contents), contents)
    assert (unet.name, clip.name) == ("UNet", "CLIP (HT)")
    assert clip.percent_N.tolist() == pytest.approx([30, 50, 45])
    assert clip.median == pytest.approx(45)
    assert (unet.n_missed, clip.n_missed) == (0, 0.5)  # one of the two seeds has missed a case


def test_of_several_labels_the_mean_counts_and_a_case_without_value_does_not() -> None:
    content = masks("UNet", [0.2, 0.4])
    own = content["metric_per_case"][0]["htunet"]["input_size"]
    own["2"] = own["1"] | {"Dice": 0.6}
    content["metric_per_case"][1]["htunet"]["input_size"]["1"]["Dice"] = None
    assert case_dice(content) == pytest.approx({"case_0": 0.4})


@pytest.mark.parametrize(("number", "title"), [(3, "BUSI, 3 test cases"), (4, "BUSI, 3 test cases with a Dice")])
def test_the_title_counts_the_cases_that_have_a_dice(number: int, title: str) -> None:
    one = CaseDice("UNet", "UNet", np.array([50.0, 60.0, 70.0]), 0.0, frozenset(map(str, range(number))))
    assert draw_distributions("BUSI", [], [one]).axes[0].get_title(loc="left") == title


def test_one_method_is_drawn_as_high_as_one_of_many() -> None:
    def row_mm(n: int) -> float:
        found = [CaseDice(f"method {i}", "UNet", np.array([50.0, 60.0, 70.0]), 0.0) for i in range(n)]
        figure = draw_distributions("BUSI", [], found)
        figure.canvas.draw()
        return figure.axes[0].get_window_extent().height / n

    assert row_mm(1) > 0.8 * row_mm(8)


def test_missed_cases_of_all_folds_are_added_up() -> None:
    contents = {}
    for fold in range(2):
        content = contents[replace(run("UNet"), fold=fold)] = masks("UNet", [0.0, 0.0, 0.5], fold=fold)
        for case in content["metric_per_case"]:
            case["htunet"]["case"] += f"_of_{fold}"
    (unet,) = distributions(list(contents), contents)
    assert (len(unet.percent_N), unet.n_missed) == (6, 4)


def test_results_of_earlier_files_or_of_another_policy_are_not_pooled() -> None:
    contents = {run("UNet", seed): masks("UNet", [0.2, 0.4], seed=seed) for seed in (1, 2, 3)}
    contents[run("UNet", 2)]["htunet"]["earlier"] = "of earlier images or masks"
    contents[run("UNet", 3)]["htunet"]["policy"] = "exclude"
    names = [one.name for one in distributions(list(contents), contents)]
    assert names == ["UNet", "UNet, of earlier images or masks", "UNet, policy exclude"]


def test_methods_that_are_tested_on_other_images_are_named() -> None:
    contents = {run("UNet"): masks("UNet", [0.2, 0.4]), run("CLIP_HT"): masks("CLIP_HT", [0.5, 0.6])}
    contents[replace(run("CLIP"), fold=1)] = other = masks("CLIP", [0.7, 0.8], fold=1)
    for case in other["metric_per_case"]:
        case["htunet"]["case"] += "_of_1"
    found = distributions(list(contents), contents)
    found.append(CaseDice("Nothing", "DINOv2", np.array([]), 0.0, found[0].tested))
    figure = draw_distributions("BUSI", [], found)
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert {"30.0 %", "no Dice"} < shown
    assert not any("nan" in text for text in shown)
    notes = " ".join(text.get_text() for text in [*figure.texts, figure._supxlabel] if text).replace("\n", " ")
    assert "Tested on other images than UNet: CLIP." in notes
